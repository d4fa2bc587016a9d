// The live board: one row a followed symbol.

import { badges, chartLink, h, logo, say } from "./dom.js";
import { age, compact, dollars, localTime, money, percent, volume, way } from "./figures.js";
import { keep, recall } from "./kept.js";
import { pictureInto } from "./pictures.js";
import { sourceOfWeek, weekAgain, weekInto } from "./sparkline.js";

const COLUMNS = [
  { name: "symbol", title: "Symbol", of: (quote, symbol) => symbol },
  { name: "price", title: "Price, USD", of: (quote) => quote?.price },
  { name: "change", title: "Change", of: (quote) => quote?.change_percent },
  { name: "range", title: "Low to high, 24 h" },
  { name: "week", title: "7 days" },
  { name: "volume", title: "Volume", of: (quote) => quote?.volume },
  { name: "cap", title: "Market cap", of: (quote) => quote?.market_cap },
  { name: "source", title: "Source, age", of: (quote) => (quote ? Date.parse(quote.last_updated) : null) },
];
const NAMES_MS = 10_000;
const SORTED = COLUMNS.filter(({ of }) => of);

export function mount(root, { prices, following, announce, warn }) {
  const rows = new Map(); // symbol -> {row, cells}
  let sort = checked(recall("sort", { by: "", down: false }));

  let isUnsorted = false;
  let wasHalted = prices.isHalted;
  let askAt = 0; // performance.now() from when names may be asked for again

  const body = h("tbody");
  const heads = COLUMNS.map((column) => head(column));
  const table = h("table", { class: "quotes" },
    h("caption", { class: "unseen" }, "Followed symbols. Arrow keys move between rows, Enter opens the chart."),
    h("thead", {}, h("tr", {}, heads, h("td"))), body);
  const choice = h("select", { id: "sort", onchange: () => sortBy(choice.value, choice.value !== "symbol") },
    h("option", { value: "" }, "as added"),
    SORTED.map(({ name, title }) => h("option", { value: name }, title)));
  const count = h("span", { class: "faint" });
  const empty = h("div", { class: "empty" },
    h("p", {}, h("b", {}, "Nothing is followed.")),
    h("p", {}, "Press / and type a symbol or a name, or pick coins in ",
      h("a", { href: "/discover", "data-view": true }, "Discover"), "."));
  root.append(
    h("div", { class: "bar" }, h("h1", {}, "Live board"), count,
      h("label", { class: "right sorting" }, "Sort ", choice)),
    table, empty,
    h("p", { class: "faint small" }, "Coins: change, low and high over 24 hours, volume in dollars. "
      + "Stocks: change against the previous close, low and high of the session, volume in shares."));

  function head({ name, title, of }) {
    if (!of) return h("th", { scope: "col" }, title);
    const turn = () => sortBy(name, sort.by === name ? !sort.down : name !== "symbol");
    return h("th", { scope: "col", "data-column": name }, h("button", { class: "plain", onclick: turn }, title));
  }

  function sortBy(by, down) {
    sort = { by, down };
    keep("sort", sort);
    order();
  }

  function order() {
    choice.value = sort.by;
    heads.forEach((cell) => {
      if (cell.dataset.column === sort.by) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    const column = SORTED.find(({ name }) => name === sort.by);
    const symbols = following.symbols;
    if (column) symbols.sort(comparing((symbol) => column.of(prices.of(symbol), symbol), sort.down));
    const wanted = symbols.map((symbol) => rows.get(symbol).row);
    if (wanted.some((row, at) => body.children[at] !== row)) {
      const focused = document.activeElement;
      body.append(...wanted);
      if (body.contains(focused)) focused.focus();
    }
  }

  function build(symbol) {
    const cells = {};
    const cell = (name) => (cells[name] = h("td", { "data-name": name }));
    cells.name = h("span", { class: "faint" });
    cells.logo = h("span", {}, logo(symbol, null));
    const link = chartLink(symbol, { class: "who-link" }, cells.logo,
      h("span", { class: "who" }, h("b", {}, symbol), cells.name));
    const button = h("button", { class: "plain remove", "aria-label": `Remove ${symbol}`, title: "Remove", onclick: () => {
      remove(rows.get(symbol).row, ".remove");
      announce(`${symbol} was removed.`);
    } }, "\u00d7");
    const row = h("tr", { "data-symbol": symbol }, h("th", { scope: "row" }, link),
      ["price", "change", "range", "week", "volume", "cap", "source"].map(cell), h("td", {}, button));
    cells.price.append(h("span", { class: "bone" }));
    rows.set(symbol, { row, cells });
    body.append(row);
    weekInto(cells.week, symbol);
    paint(symbol, prices.of(symbol), null);
  }

  function paint(symbol, quote, before) {
    const { row, cells } = rows.get(symbol);
    if (!quote) {
      const failure = prices.failureOf(symbol);
      if (failure) say(cells.price, failure);
      row.classList.toggle("failed", failure !== null);
      return;
    }
    row.classList.remove("failed");
    const now = prices.shown(quote);
    row.classList.toggle("old", quote.stale || (prices.isHalted && quote.freshness !== "closed"));
    say(cells.name, quote.name ?? "");
    pictureInto(cells.logo, symbol, quote.ref);
    say(cells.price, money(quote.price));
    say(cells.change, percent(quote.change_percent));
    cells.change.dataset.way = way(quote.change_percent);
    range(cells.range, quote);
    say(cells.volume, volume(quote));
    say(cells.cap, dollars(quote.market_cap));
    cells.volume.dataset.label = "volume";
    cells.cap.dataset.label = "cap";
    cells.age = h("span", { class: "age" });
    cells.source.replaceChildren(h("span", { class: "badges" }, badges(now, localTime)),
      h("span", { class: "origin" }, `${quote.source} \u00b7 `, cells.age));
    tick(symbol);
    if (before) flash(cells.price, Math.sign(quote.price - before.price));
  }

  function tick(symbol) {
    const { cells } = rows.get(symbol);
    const quote = prices.of(symbol);
    if (quote && cells.age) say(cells.age, age(prices.stream.now() - Date.parse(quote.last_updated)));
  }

  function refill() {
    const symbols = following.symbols;
    const fresh = symbols.filter((symbol) => !rows.has(symbol));
    for (const [symbol, { row }] of rows) {
      if (!symbols.includes(symbol)) {
        row.remove();
        rows.delete(symbol);
      }
    }
    fresh.forEach(build);
    order();
    table.hidden = !symbols.length;
    empty.hidden = symbols.length > 0;
    say(count, symbols.length ? `${compact(symbols.length)} symbols` : "");
    named();
  }

  // Names come from REST alone; where it could not be asked, it is asked again later.
  async function named() {
    const nameless = following.symbols.filter((symbol) => !prices.of(symbol)?.name && !prices.failureOf(symbol));
    if (!nameless.length || performance.now() < askAt) return;
    askAt = performance.now() + NAMES_MS;
    try {
      const { resolved } = await prices.load(nameless);
      askAt = performance.now() + 1000;
      following.rename(resolved);
    } catch (error) {
      warn(error.message);
    }
  }

  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("tr");
    if (!row) return;
    if (step) {
      event.preventDefault();
      const next = body.children[[...body.children].indexOf(row) + step];
      next?.querySelector("a").focus();
    } else if (event.key === "Delete") {
      remove(row, "a");
    }
  });

  // The focus goes on to the row beside.
  function remove(row, focused) {
    const beside = row.nextElementSibling ?? row.previousElementSibling;
    following.remove(row.dataset.symbol);
    beside?.querySelector(focused).focus();
  }

  const leave = [
    following.listen(refill),
    prices.listen({ changed(symbol, quote, before) {
      if (!rows.has(symbol)) return;
      paint(symbol, quote, before);
      isUnsorted = true;
    } }),
  ];
  const second = () => {
    if (wasHalted !== prices.isHalted) rows.forEach((_, symbol) => paint(symbol, prices.of(symbol), null));
    wasHalted = prices.isHalted;
    rows.forEach(({ cells }, symbol) => {
      tick(symbol);
      if (!document.hidden) weekAgain(cells.week, symbol);
    });
    root.dataset.source = [...rows.keys()].map(sourceOfWeek).filter(Boolean).join("+");
    if (isUnsorted) order();
    isUnsorted = false;
    named();
  };
  addEventListener("second", second);
  refill();
  return () => {
    leave.forEach((go) => go());
    removeEventListener("second", second);
    delete root.dataset.source;
  };
}

function checked(sort) {
  return SORTED.some(({ name }) => name === sort?.by) ? sort : { by: "", down: false };
}

// What is not known stands last, whichever way the rest goes.
export function comparing(of, down) {
  const sign = down ? -1 : 1;
  return (left, right) => {
    const [a, b] = [of(left) ?? null, of(right) ?? null];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  };
}

function range(cell, { low, high, price }) {
  if (low === null || high === null) return say(cell, "\u2013");
  const at = high > low ? Math.min(1, Math.max(0, (price - low) / (high - low))) : 0.5;
  let track = cell.querySelector(".track");
  if (!track) {
    track = h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "mark" }));
    cell.replaceChildren(h("span", { class: "ends" }, h("span"), h("span")), track);
  }
  const [first, last] = cell.querySelector(".ends").children;
  say(first, money(low));
  say(last, money(high));
  track.firstChild.style.left = `${(at * 100).toFixed(1)}%`;
}

function flash(cell, direction) {
  cell.classList.remove("up", "down");
  if (!direction) return;
  requestAnimationFrame(() => cell.classList.add(direction > 0 ? "up" : "down"));
}
