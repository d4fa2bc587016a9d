// The chart: candles or a line, with volume, live last bar, averages, strength and comparison.

import { ApiError, candles as askCandles, history as askHistory } from "./api.js";
import { barWith, csv, isDaily, RESOLUTIONS, stepOf } from "./bars.js";
import { badges, chartLink, h, logo, say } from "./dom.js";
import { barTime, compact, localTime, money, NONE, percent, utcTime, way } from "./figures.js";
import { keep, recall } from "./kept.js";
import { pictureInto } from "./pictures.js";
import { AVERAGES, COMPARED, Plot } from "./plot.js";
import { searching } from "./searching.js";

const PERIODS = { "1d": "1D", "1w": "1W", "1m": "1M", "3m": "3M", "6m": "6M", "1y": "1Y", "5y": "5Y", all: "All" };
const DAYS = { "1d": 1, "1w": 7, "1m": 31, "3m": 92, "6m": 183, "1y": 366, "5y": 1827, all: 3653 };
const READABLE = 5000; // bars that a chart can show, and that no source is asked too often for
const AGAIN_MS = 120_000;
const LIMITS = { plan: "the source's plan", limit: "a limit here or of the source", listing: "its listing", split: "a split nobody tells of" };
// Asking again changes nothing.
const FINAL = new Set(["unknown_symbol", "invalid_symbol", "inactive_symbol"]);
const MADE = { derived: "made of hourly prices", recorded: "recorded here from live quotes" };

function finest(available, period) {
  const isReadable = (resolution) => (stepOf(resolution) ?? 0) * READABLE >= DAYS[period] * 86_400;
  return available.find(isReadable) ?? available.at(-1) ?? "";
}

function dot(color) {
  const disk = h("span", { class: "dot", "aria-hidden": "true" });
  disk.style.backgroundColor = color;
  return disk;
}

export function mount(root, app, named) {
  const { prices, following, announce, warn } = app;
  const symbol = named || recall("charted", "") || following.symbols[0] || "BTC";
  const words = new URLSearchParams(location.search);
  const chosen = {
    period: Object.hasOwn(PERIODS, words.get("period")) ? words.get("period") : "1m",
    resolution: Object.hasOwn(RESOLUTIONS, words.get("resolution")) ? words.get("resolution") : "",
    isLine: words.get("mode") === "line",
    isLog: words.has("log"),
    averages: Object.keys(AVERAGES).filter((length) => (words.get("ma") ?? "").split(",").includes(length)),
    hasStrength: words.has("rsi"),
    compared: (words.get("compare") ?? "").split(",").filter(Boolean).slice(0, COMPARED.length),
  };
  let answer = null; // the answer that is drawn, its candles growing with live bars
  let compared = []; // what is drawn beside it: [{symbol, bars, isCoin, color, source}]
  let missed = {}; // why what is to be compared is not: by symbol
  let plot = null;
  let running = null;
  let cursor = -1;
  let available = null; // the widths that can be had over this period, where the server said so
  let isLoading = false; // other bars than those that are drawn
  let hasFailed = false; // and may be tried again
  let wasHalted = prices.isHalted;
  let isGone = false;
  const ui = build();
  keep("charted", symbol);
  write();

  function write() {
    const query = new URLSearchParams({ period: chosen.period });
    if (chosen.resolution) query.set("resolution", chosen.resolution);
    if (chosen.isLine) query.set("mode", "line");
    if (chosen.isLog) query.set("log", "");
    if (chosen.averages.length) query.set("ma", chosen.averages.join(","));
    if (chosen.hasStrength) query.set("rsi", "");
    if (chosen.compared.length) query.set("compare", chosen.compared.join(","));
    history.replaceState(null, "", `/chart/${encodeURIComponent(symbol)}?${query}`);
    press();
  }

  function press() {
    for (const button of ui.bar.querySelectorAll("[data-period]")) {
      button.setAttribute("aria-pressed", String(button.dataset.period === chosen.period));
    }
    // What is compared is drawn as lines in percent.
    const isCompared = others().length > 0;
    const isOn = { candles: !isCompared && !chosen.isLine, line: isCompared || chosen.isLine, log: !isCompared && chosen.isLog,
      rsi: chosen.hasStrength };
    for (const length of Object.keys(AVERAGES)) isOn[`ma${length}`] = chosen.averages.includes(length);
    for (const button of ui.bar.querySelectorAll("[data-turn]")) {
      button.setAttribute("aria-pressed", String(isOn[button.dataset.turn]));
      button.disabled = isCompared && ["candles", "line", "log"].includes(button.dataset.turn);
    }
    ui.resolution.value = chosen.resolution;
    for (const option of ui.resolution.options) {
      option.disabled = Boolean(available && option.value) && !available.includes(option.value);
    }
    ui.chips.replaceChildren(...chosen.compared.map((other, at) => h("span", { class: "chip" }, dot(COMPARED[at]), other,
      missed[other] ? h("span", { class: "faint" }, missed[other]) : null, h("button", { "aria-label": `Stop comparing ${other}`, onclick: () => {
        chosen.compared = chosen.compared.filter((each) => each !== other);
        write();
        compare();
      } }, "\u00d7"))));
  }

  function build() {
    const turn = (name, text, change) => h("button", { "data-turn": name, onclick: () => {
      change();
      write();
      draw(true);
    } }, text);
    const made = {
      logo: h("span", {}, logo(symbol, null)), name: h("span", { class: "faint" }), price: h("span", { class: "headline" }), change: h("span"),
      badges: h("span", { class: "badges" }), chips: h("span", { class: "bar" }),
      star: h("button", { class: "plain star", onclick: () => warn(following.toggle(symbol)) }),
      resolution: h("select", { "aria-label": "Width of a bar", onchange: () => {
        chosen.resolution = made.resolution.value;
        write();
        load();
      } }, h("option", { value: "" }, "fitting bars"),
      Object.entries(RESOLUTIONS).map(([value, text]) => h("option", { value }, text))),
      drawing: h("div", { role: "img", tabindex: "0", "aria-label": `Chart of ${symbol}`, onkeydown: walk, onblur: forget, onpointerleave: forget }),
      legend: h("div", { class: "legend" }), over: h("div", { class: "over" }), notes: h("div", { class: "notes" }),
    };
    // The order of RESOLUTIONS: whole numbers come first in any object, which is the finest first.
    const results = h("ul", { class: "results", role: "listbox", id: "compare-results", "aria-label": "Results", hidden: true });
    const input = h("input", { type: "search", role: "combobox", "aria-label": "Compare with", placeholder: "Compare with",
      "aria-controls": "compare-results", "aria-expanded": "false", "aria-autocomplete": "list", autocomplete: "off", maxlength: 100 });
    searching(input, results, document.getElementById("said"), addCompared);
    made.bar = h("div", { class: "bar" },
      h("div", { class: "group", role: "group", "aria-label": "Period" }, Object.entries(PERIODS).map(([period, text]) =>
        h("button", { "data-period": period, onclick: () => {
          chosen.period = period;
          chosen.resolution = "";
          available = null;
          write();
          load();
        } }, text))),
      made.resolution,
      h("div", { class: "group", role: "group", "aria-label": "Drawn as" },
        turn("candles", "Candles", () => { chosen.isLine = false; }), turn("line", "Line", () => { chosen.isLine = true; }),
        turn("log", "Log", () => { chosen.isLog = !chosen.isLog; })),
      h("div", { class: "group", role: "group", "aria-label": "Indicators" },
        Object.keys(AVERAGES).map((length) => turn(`ma${length}`, `MA ${length}`, () => {
          const isOn = chosen.averages.includes(length);
          chosen.averages = isOn ? chosen.averages.filter((each) => each !== length) : [...chosen.averages, length];
        })), turn("rsi", "RSI", () => { chosen.hasStrength = !chosen.hasStrength; })),
      h("div", { class: "search" }, input, results), made.chips,
      h("div", { class: "group right" },
        h("button", { onclick: savePicture }, "PNG"), h("button", { onclick: saveTable, title: `The bars of ${symbol}` }, "CSV")));
    root.append(
      h("div", { class: "bar" }, made.logo, h("h1", {}, symbol), made.name, made.price, made.change, made.badges, made.star),
      made.bar, h("div", { class: "canvas" }, made.drawing, made.legend, made.over), made.notes,
      h("p", { class: "faint small" }, "TradingView Lightweight Charts, Copyright (\u0441) 2023 TradingView, Inc. ",
        h("a", { href: "https://www.tradingview.com/", rel: "noopener noreferrer" }, "https://www.tradingview.com/")));
    return made;
  }

  function addCompared(result) {
    if (result.symbol === symbol || chosen.compared.includes(result.symbol)) return;
    if (chosen.compared.length >= COMPARED.length) return warn(`${COMPARED.length} can be compared at once.`);
    chosen.compared.push(result.symbol);
    write();
    compare();
  }

  // Quietly: the bars that are drawn, once more.
  async function load(isQuiet = false) {
    if (isQuiet && isLoading) return;
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    if (!isQuiet) begin();
    try {
      const got = await bars(signal);
      if (!isGone) take(got, isQuiet && !hasFailed);
    } catch (error) {
      if (error.name === "AbortError" || isGone || (isQuiet && error instanceof ApiError)) return;
      if (!(error instanceof ApiError)) throw error;
      failed(error);
    } finally {
      if (signal === running.signal) isLoading = false;
    }
  }

  function begin() {
    isLoading = true;
    compared = [];
    forget();
    cover(h("span", { class: "bone" }), h("p", { class: "faint", role: "status" }, "Loading bars\u2026"));
  }

  function take(got, isSameView) {
    const pointed = cursor < 0 ? null : answer.candles[cursor].timestamp;
    answer = got;
    cursor = answer.candles.findIndex(({ timestamp }) => timestamp === pointed);
    hasFailed = false;
    ui.over.hidden = true;
    if (!answer.candles.length) return cover(h("p", {}, h("b", {}, "Nothing was traded in this period.")));
    if (prices.of(symbol)) live(prices.of(symbol), true);
    draw(isSameView);
    if (cursor >= 0) plot.point(cursor);
    if (chosen.compared.length) compare();
  }

  function failed({ code, message, problem }) {
    hasFailed = !FINAL.has(code);
    ui.notes.replaceChildren();
    if (hasFailed) {
      return cover(h("p", {}, h("b", {}, "This chart cannot be shown now.")), h("p", { class: "faint" }, message),
        h("button", { onclick: () => load() }, "Try again"));
    }
    const after = problem.successor;
    const isPast = code === "inactive_symbol" && !symbol.includes(":");
    cover(h("p", {}, h("b", {}, "There is no chart of this.")), h("p", { class: "faint" }, message),
      after ? h("p", {}, chartLink(after.ref, {}, `The chart of ${after.symbol}`)) : null,
      isPast ? h("p", {}, chartLink(`stock:${symbol}`, {}, `What ${symbol} was, until ${problem.last_day}`)) : null,
      h("p", { class: "faint" }, "Press / to search for another."));
  }

  // Where the wished bars cannot be had, the finest that can be read; where no bars can, plain prices.
  async function bars(signal) {
    try {
      return await askCandles(symbol, chosen.period, chosen.resolution, signal);
    } catch (error) {
      if (error.code === "resolution_unavailable") {
        const wished = RESOLUTIONS[chosen.resolution];
        ({ available } = error.problem);
        chosen.resolution = finest(available, chosen.period);
        const got = await askCandles(symbol, chosen.period, chosen.resolution, signal);
        write();
        return { ...got, instead: `Bars of ${wished} cannot be had over this period.` };
      }
      if (error.code !== "plan_restricted") throw error;
      const got = await askHistory(symbol, chosen.period, signal);
      const candles = got.data.map(({ timestamp, price }) => (
        { timestamp, open: price, high: price, low: price, close: price, volume: null, closed: true }));
      return { ...got, candles, isPoints: true, instead: `Prices only, no bars: ${error.message}.` };
    }
  }

  async function compare() {
    if (!answer) return;
    const beside = answer;
    const asked = [...chosen.compared];
    const drawn = answer.isPoints ? "" : answer.resolution;
    const got = await Promise.allSettled(asked.map((other) => askCandles(other, chosen.period, drawn)));
    // Other bars may be drawn by now, or others be wished beside them.
    if (isGone || answer !== beside || isLoading || asked.join() !== chosen.compared.join()) return;
    compared = [];
    missed = {};
    got.forEach(({ value, reason }, at) => {
      const name = asked[at];
      const isCoin = !value?.ref.startsWith("stock:");
      if (value?.candles.length) compared.push({ symbol: name, bars: value.candles, isCoin, color: COMPARED[at], source: value.source });
      else missed[name] = reason?.message ?? "Nothing was traded in this period.";
    });
    if (Object.keys(missed).length) announce(Object.entries(missed).map((one) => one.join(": ")).join(" "));
    draw(false);
  }

  function draw(isSameView) {
    if (!answer?.candles.length) return;
    plot ??= new Plot(ui.drawing, legend);
    plot.draw({ bars: answer.candles, resolution: answer.resolution, isCoin: !answer.ref.startsWith("stock:") && !answer.isPoints,
      isLine: chosen.isLine || Boolean(answer.isPoints), isLog: chosen.isLog, averages: chosen.averages,
      hasStrength: chosen.hasStrength, compared: others() }, isSameView);
    press();
    describe();
    credit();
    legend(null);
  }

  function others() {
    return compared.filter(({ symbol: name }) => chosen.compared.includes(name));
  }

  // Whose bars and price are shown, for whom it wants named.
  function credit() {
    const shown = [prices.of(symbol), answer, ...others()];
    root.dataset.source = shown.map((one) => one?.source).filter(Boolean).join("+");
  }

  function describe() {
    const { candles, resolution } = answer;
    const low = Math.min(...candles.map((bar) => bar.low));
    const high = Math.max(...candles.map((bar) => bar.high));
    const at = (bar) => barTime(bar.timestamp, isDaily(resolution));
    const named = others().map((other) => other.symbol);
    const scale = named.length ? ` Compared in percent with ${named.join(", ")}.` : chosen.isLog ? " On a log scale." : "";
    const holes = plot.holes ? ` ${plot.holes} ${plot.holes === 1 ? "bar is" : "bars are"} missing.` : "";
    ui.drawing.setAttribute("aria-label", `${symbol}, ${candles.length} bars of ${RESOLUTIONS[resolution] ?? resolution} from ${at(candles[0])} `
      + `to ${at(candles.at(-1))}: last ${money(candles.at(-1).close)}, low ${money(low)}, high ${money(high)}.${scale}${holes} Left and right move between bars.`);
    const notes = [answer.instead ?? null, `Source: ${answer.source}`, `as of ${utcTime(answer.as_of)}`];
    if (answer.stale) notes.push("old: no source could be asked");
    if (!answer.isPoints) notes.push(`bars of ${RESOLUTIONS[resolution]}`);
    if (MADE[answer.origin]) notes.push(MADE[answer.origin]);
    if (answer.currency !== "USD") notes.push(`in ${answer.currency}`);
    if (typeof answer.coverage === "number" && answer.coverage < 1) notes.push(`${percent(answer.coverage * 100)} of the time is covered`);
    if (answer.adjustment === "splits") notes.push("adjusted for splits");
    if (answer.truncated) notes.push(`begins later than asked, for ${LIMITS[answer.truncated_by] ?? "want of data"}`);
    if (answer.dropped) notes.push(`${answer.dropped} bars that contradicted themselves are left out`);
    ui.notes.replaceChildren(...notes.filter(Boolean).map((text) => h("span", {}, text)));
    if (answer.alternatives.length) {
      ui.notes.append(h("span", {}, "Others with this ticker: ",
        answer.alternatives.flatMap(({ ref, name }, place) => [place ? ", " : "", chartLink(ref, {}, name)])));
    }
  }

  function legend(values) {
    const bar = values ? values.bar : answer.candles.at(-1);
    const time = values ? values.time : bar.timestamp;
    const parts = [h("span", {}, barTime(time, isDaily(answer.resolution)))];
    const one = (name, text, own = null) => {
      parts.push(h("span", {}, own && dot(own), `${name} `, h("b", {}, text)));
    };
    if (!bar && !compared.length) parts.push(h("span", {}, "no trade"));
    else if (!bar) one(symbol, NONE);
    else if (answer.isPoints) one("price", money(bar.close));
    else {
      for (const [name, field] of [["O", "open"], ["H", "high"], ["L", "low"], ["C", "close"]]) one(name, money(bar[field]));
      const change = (100 * (bar.close - bar.open)) / bar.open;
      parts.push(h("span", { "data-way": way(change) }, percent(change)));
      if (bar.volume !== null) one("Vol", compact(bar.volume));
      if (!bar.closed) parts.push(h("span", { class: "faint" }, "still open"));
    }
    for (const { name, color, value } of values?.lines ?? plot?.newest() ?? []) if (value !== null) one(name, name === "RSI" ? value.toFixed(1) : money(value), color);
    ui.legend.replaceChildren(...parts);
  }

  function live(quote, isSilent = false) {
    if (!answer?.candles.length || answer.ref !== quote.ref || answer.isPoints || answer.currency !== "USD") return;
    const bar = barWith(answer.candles.at(-1), quote, answer.resolution, answer.fetched_at);
    if (!bar) return;
    if (plot && !isSilent) plot.update(bar);
    else if (bar.timestamp === answer.candles.at(-1).timestamp) answer.candles[answer.candles.length - 1] = bar;
    else answer.candles.push(bar);
    if (!isSilent && cursor < 0 && !ui.drawing.matches(":hover")) legend(null);
  }

  function headline(quote, before) {
    if (!quote) {
      const failure = prices.failureOf(symbol);
      return failure ? say(ui.name, `${symbol} ${failure}.`) : undefined;
    }
    say(ui.name, quote.name ?? "");
    pictureInto(ui.logo, symbol, quote.ref);
    say(ui.price, money(quote.price));
    say(ui.change, percent(quote.change_percent));
    ui.change.dataset.way = way(quote.change_percent);
    badge(quote);
    credit();
    app.title(`${symbol} ${money(quote.price)}`);
    const direction = before ? Math.sign(quote.price - before.price) : 0;
    ui.price.classList.remove("up", "down");
    if (direction) requestAnimationFrame(() => ui.price.classList.add(direction > 0 ? "up" : "down"));
    live(quote);
  }

  function badge(quote) {
    if (quote) ui.badges.replaceChildren(...badges(prices.shown(quote), localTime));
  }

  function star() {
    const isOn = following.has(symbol);
    say(ui.star, isOn ? "\u2605" : "\u2606");
    ui.star.setAttribute("aria-pressed", String(isOn));
    ui.star.setAttribute("aria-label", isOn ? "Take from the board" : "Put on the board");
  }

  function walk(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !plot) return;
    event.preventDefault();
    const last = answer.candles.length - 1;
    cursor = Math.min(last, Math.max(0, (cursor < 0 ? last + (step < 0 ? 1 : 0) : cursor) + step));
    plot.point(cursor);
    announce(ui.legend.innerText);
  }

  // Nothing is pointed at any more, and the legend is of the newest bar again.
  function forget() {
    if (cursor < 0) return;
    cursor = -1;
    plot.leave();
    legend(null);
  }

  function cover(...children) {
    ui.over.replaceChildren(...children.filter(Boolean));
    ui.over.hidden = false;
  }

  function savePicture() {
    if (!plot) return;
    const drawn = plot.picture();
    const scale = devicePixelRatio;
    const sheet = h("canvas", { width: drawn.width, height: drawn.height + 28 * scale });
    const pen = sheet.getContext("2d");
    const style = getComputedStyle(root.querySelector(".canvas"));
    pen.fillStyle = style.backgroundColor;
    pen.fillRect(0, 0, sheet.width, sheet.height);
    pen.fillStyle = style.color;
    pen.font = `${14 * scale}px system-ui, sans-serif`;
    let x = 8 * scale;
    for (const { text, color } of heading()) {
      pen.fillStyle = color ?? style.color;
      pen.fillText(text, x, 19 * scale);
      x += pen.measureText(`${text}   `).width;
    }
    pen.drawImage(drawn, 0, 28 * scale);
    sheet.toBlob((blob) => save(blob, "png"));
  }

  // What a picture says of itself, once it is without this page.
  function heading() {
    const told = [symbol, PERIODS[chosen.period], answer.isPoints ? "prices" : `bars of ${RESOLUTIONS[answer.resolution]}`];
    const main = others().length ? getComputedStyle(document.documentElement).getPropertyValue("--accent").trim() : null;
    return [{ text: told.join("  "), color: main }, ...plot.newest().map(({ name, color }) => ({ text: name, color })),
      { text: `${answer.source}, ${utcTime(answer.as_of)}${others().length ? ", in percent" : ""}` }];
  }

  function saveTable() {
    if (answer) save(new Blob([csv(answer.candles, answer.isPoints)], { type: "text/csv" }), "csv");
  }

  function save(blob, ending) {
    const href = URL.createObjectURL(blob);
    const name = `${symbol}-${chosen.period}-${answer.resolution}`.replace(/[^A-Za-z0-9.-]+/g, "-");
    h("a", { href, download: `${name}.${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  }

  const repaint = () => {
    plot?.paint();
    if (answer?.candles.length) legend(null);
  };
  const again = setInterval(() => document.hidden || !answer || load(true), AGAIN_MS);
  const isOurs = (told) => told === symbol || (answer && prices.of(told)?.ref === answer.ref);
  const followed = prices.stream.subscribe([symbol]);
  const leave = [
    () => followed.close(),
    following.listen(star),
    prices.listen({ changed: (told, quote, before) => isOurs(told) && headline(quote, before),
      renamed: (names) => Object.hasOwn(names, symbol) && app.rename(names[symbol]) }),
    prices.onState(() => prices.isLive && hasFailed && load()), // the server is back
  ];
  const second = () => {
    if (wasHalted !== prices.isHalted) badge(prices.of(symbol));
    wasHalted = prices.isHalted;
  };
  addEventListener("theme", repaint);
  addEventListener("second", second);
  star();
  headline(prices.of(symbol), null);
  if (!prices.of(symbol)?.name) {
    prices.load([symbol]).then(({ resolved }) => !isGone && Object.hasOwn(resolved, symbol) && app.rename(resolved[symbol]), () => {});
  }
  load();
  return () => {
    isGone = true;
    running?.abort();
    clearInterval(again);
    leave.forEach((go) => go());
    removeEventListener("theme", repaint);
    removeEventListener("second", second);
    delete root.dataset.source;
    plot?.remove();
  };
}
