// The top coins to sort, filter and page through, and a search over everything that is listed.

import { ApiError, found, top } from "./api.js";
import { comparing } from "./board.js";
import { chartLink, h, logo, say } from "./dom.js";
import { age, dollars, money, percent, utcTime, way } from "./figures.js";
import { learn, pictureOf } from "./pictures.js";
import { rowOf } from "./searching.js";

const PAGES = [1, 2, 3];
const A_PAGE = 50;
const PAUSE_MS = 200;
const AGAIN_MS = 300_000; // after which the list is asked for again
const LIVE_MS = 300_000; // what is older says so, whatever it was when it came
const COLUMNS = [
  { name: "rank", title: "#", of: (coin) => coin.market_cap_rank },
  { name: "symbol", title: "Coin", of: (coin) => coin.symbol },
  { name: "price", title: "Price, USD", of: (coin) => coin.current_price, text: money },
  { name: "change", title: "24 h", of: (coin) => coin.price_change_percentage_24h, text: percent },
  { name: "cap", title: "Market cap", of: (coin) => coin.market_cap, text: dollars },
  { name: "volume", title: "Volume, 24 h", of: (coin) => coin.total_volume, text: dollars },
  { name: "ath", title: "From its high", of: (coin) => coin.ath_change_percentage, text: percent },
];
const FILTERS = {
  all: { title: "All", keeps: () => true },
  up: { title: "Rising", keeps: (coin) => coin.price_change_percentage_24h > 0 },
  down: { title: "Falling", keeps: (coin) => coin.price_change_percentage_24h < 0 },
  followed: { title: "On the board", keeps: (coin, following) => following.has(followedAs(coin, following)) },
};
let coins = []; // kept between visits of this view
let answered = null; // what the shown list came with
let loadedAt = 0;

// A ticker may mean another asset than this coin, so what is kept is the unique name where they differ.
function followedAs(coin, following) {
  return following.has(coin.ref) || !coin.settled ? coin.ref : coin.settled;
}

export function mount(root, { prices, following, announce, warn }) {
  let sort = { by: "rank", down: false };
  let filter = "all";
  let page = 1;
  let timer = 0;
  let running = null;
  let isLoading = false;
  let isGone = false;

  const heads = COLUMNS.map(({ name, title }) => h("th", { scope: "col", "data-column": name },
    h("button", { class: "plain", onclick: () => sortBy(name, sort.by === name ? !sort.down : !["rank", "symbol"].includes(name)) }, title)));
  const body = h("tbody");
  const table = h("table", { class: "coins" }, h("caption", { class: "unseen" }, "Coins by market cap"),
    h("thead", {}, h("tr", {}, heads, h("td"))), body);
  const choice = h("select", { onchange: () => sortBy(choice.value, !["rank", "symbol"].includes(choice.value)) },
    COLUMNS.map(({ name, title }) => h("option", { value: name }, name === "rank" ? "rank" : title)));
  const input = h("input", { type: "search", id: "filter", "aria-label": "Filter coins, search coins and stocks", autocomplete: "off",
    spellcheck: "false", placeholder: "Filter, or find a coin or stock", maxlength: 100, oninput: typed });
  const filters = h("div", { class: "group", role: "group", "aria-label": "Which coins" },
    Object.entries(FILTERS).map(([name, { title }]) => h("button", { "data-filter": name, onclick: () => {
      filter = name;
      page = 1;
      show();
    } }, title)));
  const also = h("section", { hidden: true, "aria-label": "Everything listed" });
  const note = h("div", { class: "empty", hidden: true });
  const place = h("span", { class: "faint" });
  const back = h("button", { onclick: () => turn(-1) }, "Previous");
  const onward = h("button", { onclick: () => turn(1) }, "Next");
  const when = h("span", { class: "faint small" });
  root.append(
    h("div", { class: "bar" }, h("h1", {}, "Discover"), when),
    h("div", { class: "bar" }, h("div", { class: "search" }, input), filters, h("label", { class: "sorting" }, "Sort ", choice)),
    also, table, note, h("nav", { class: "pager", "aria-label": "Pages" }, back, place, onward));

  function sortBy(by, down) {
    sort = { by, down };
    page = 1;
    show();
  }

  function turn(step) {
    page += step;
    show();
    root.scrollIntoView();
  }

  function chosen() {
    const words = input.value.trim().toLowerCase();
    const has = (coin) => `${coin.symbol} ${coin.name} ${coin.id}`.toLowerCase().includes(words);
    const { of } = COLUMNS.find(({ name }) => name === sort.by);
    return coins.filter((coin) => has(coin) && FILTERS[filter].keeps(coin, following)).sort(comparing(of, sort.down));
  }

  function show() {
    const list = chosen();
    const pages = Math.max(1, Math.ceil(list.length / A_PAGE));
    page = Math.min(Math.max(1, page), pages);
    choice.value = sort.by;
    heads.forEach((cell) => {
      if (cell.dataset.column === sort.by) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    [...filters.children].forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.filter === filter)));
    fill(list.slice((page - 1) * A_PAGE, page * A_PAGE));
    const isSome = list.length > 0;
    table.hidden = !isSome;
    note.hidden = isSome || !coins.length;
    if (!note.hidden) note.replaceChildren(h("p", {}, h("b", {}, "No coin of the list fits.")), h("p", { class: "faint" }, "What else is listed stands above."));
    root.querySelector(".pager").hidden = pages < 2;
    say(place, `${page} of ${pages} \u00b7 ${list.length} coins`);
    back.disabled = page === 1;
    onward.disabled = page === pages;
    if (answered) {
      say(when, `${coins.length} coins by market cap, from ${answered.source}, the newest as of ${utcTime(answered.as_of)}`
        + `${answered.stale ? " (old: no source could be asked)" : ""}`);
      root.dataset.source = answered.source;
    }
  }

  // The rows are new, and what had the focus has it again.
  function fill(list) {
    const had = body.contains(document.activeElement) ? document.activeElement : null;
    const ref = had?.closest("tr").dataset.ref;
    body.replaceChildren(...list.map(row));
    const again = [...body.children].find((one) => ref && one.dataset.ref === ref);
    again?.querySelector(had.matches(".star") ? ".star" : "a").focus();
  }

  function row(coin) {
    const name = followedAs(coin, following);
    const cells = COLUMNS.slice(2).map(({ name: column, of, text }) => {
      const isChange = column === "change" || column === "ath";
      return h("td", { "data-name": column, "data-way": isChange ? way(of(coin)) : null }, text(of(coin)),
        column === "price" ? old(coin) : null);
    });
    return h("tr", { "data-ref": coin.ref }, h("td", {}, String(coin.market_cap_rank ?? "\u2013")),
      h("th", { scope: "row" }, chartLink(coin.ref, { class: "who-link" }, logo(coin.symbol, pictureOf(coin.ref)),
        h("span", { class: "who" }, h("b", {}, coin.symbol), h("span", { class: "faint" }, coin.name)))),
      cells, h("td", {}, star(coin.symbol, name, () => follow(coin))));
  }

  // The list lives longer than a price: what is no longer live says how old it is.
  function old({ freshness, last_updated: at }) {
    if (!at) return null;
    const cell = h("span", { class: "origin", "data-at": at, "data-freshness": freshness });
    tick(cell);
    return cell;
  }

  function tick(cell) {
    const { at, freshness } = cell.dataset;
    const ms = prices.stream.now() - Date.parse(at);
    say(cell, freshness === "live" && ms < LIVE_MS ? "" : `${age(ms)} old`);
  }

  function second() {
    body.querySelectorAll("[data-at]").forEach(tick);
    if (!document.hidden && !isLoading && Date.now() - loadedAt > AGAIN_MS) load();
  }

  function star(label, name, onclick) {
    const isOn = following.has(name);
    return h("button", { class: "plain star", "aria-pressed": String(isOn), title: isOn ? "On the board" : "Follow",
      "aria-label": `Follow ${label}`, onclick }, isOn ? "\u2605" : "\u2606");
  }

  // The board goes by the name that ticks use, which is the ticker where it means this coin.
  async function follow(coin) {
    const name = followedAs(coin, following);
    if (following.has(name)) following.remove(name);
    else {
      try {
        const { data } = await prices.load([coin.ref]);
        coin.settled = Object.keys(data)[0] ?? coin.ref;
        const refusal = following.add(coin.settled);
        if (refusal) warn(refusal);
        else announce(`${coin.settled} is on the board.`);
      } catch (error) {
        warn(error.message);
      }
    }
    if (!isGone) show();
  }

  function typed() {
    page = 1;
    show();
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE_MS);
  }

  async function search() {
    running?.abort();
    const text = input.value.trim();
    also.hidden = !text;
    if (!text) return;
    running = new AbortController();
    try {
      const { results } = await found(text, 12, running.signal);
      const list = h("ul", { class: "also" }, results.map((result) => h("li", {},
        chartLink(result.symbol, {}, rowOf(result, results)),
        star(result.symbol, result.symbol, () => {
          warn(following.toggle(result.symbol));
          search();
        }))));
      also.replaceChildren(results.length ? list : h("p", { class: "faint" }, `Nothing else is listed under \u201c${text}\u201d.`));
    } catch (error) {
      if (error.name !== "AbortError") also.replaceChildren(h("p", { class: "faint" }, error.message));
    }
  }

  function failed(error) {
    note.hidden = false;
    table.hidden = true;
    note.replaceChildren(h("p", {}, h("b", {}, "The list cannot be had now.")), h("p", { class: "faint" }, error.message),
      h("button", { onclick: load }, "Try again"));
  }

  async function load() {
    note.hidden = true;
    isLoading = true;
    loadedAt = Date.now();
    try {
      const lists = [];
      for (const number of PAGES) {
        const answer = await top(number);
        if (isGone) return;
        lists.push(...answer.cryptos);
        learn(answer);
        const newest = Math.max(...lists.map((coin) => Date.parse(coin.last_updated) || 0));
        const told = { ...answer, as_of: newest ? new Date(newest).toISOString() : answer.as_of };
        const isLast = !answer.has_more || number === PAGES.at(-1);
        // Half a list takes the place of no whole one.
        if (isLast || lists.length > coins.length) [coins, answered] = [[...lists], told];
        settle();
        show();
        if (isLast) break;
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!coins.length && !isGone) failed(error);
    } finally {
      isLoading = false;
    }
  }

  function settle() {
    for (const coin of coins) {
      if (prices.of(coin.symbol)?.ref === coin.ref) coin.settled = coin.symbol;
    }
  }

  if (coins.length) settle();
  else {
    table.hidden = false;
    body.append(...Array.from({ length: 12 }, () => h("tr", {}, h("td"), h("th", {}, h("span", { class: "bone" })), h("td", {}, h("span", { class: "bone" })), h("td"))));
  }
  const leave = [
    following.listen(() => coins.length && show()),
    prices.onState(() => prices.isLive && !coins.length && load()), // the server is back
  ];
  addEventListener("second", second);
  if (coins.length) show();
  load();
  return () => {
    isGone = true;
    removeEventListener("second", second);
    leave.forEach((go) => go());
    clearTimeout(timer);
    running?.abort();
    delete root.dataset.source;
  };
}
