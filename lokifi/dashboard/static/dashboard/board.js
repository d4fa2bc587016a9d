// The board: one row a symbol, filled from REST at first and from the WebSocket ever after.

import { Feed } from "./feed.js";
import { age, change, money, volume } from "./figures.js";

const MOST = 100;
const KEPT = "lokifi.symbols";
const REASONS = { invalid_symbol: "is not a symbol", unknown_symbol: "is not listed", inactive_symbol: "is not traded any more" };
const part = (id) => document.getElementById(id);
const rows = new Map(); // symbol -> { row, cells, quote }
let skewMs = 0; // how far the server's clock is ahead of ours
let retryAt = 0;
let isSilent = false;

const feed = new Feed({
  symbols: () => [...rows.keys()],
  state(word, waitMs = 0) {
    part("state").dataset.state = word;
    retryAt = performance.now() + waitMs;
    if (word === "waiting") load([...rows.keys()]).catch(() => {});
    refresh();
  },
  message(frame) {
    if (frame.timestamp) skewMs = Date.parse(frame.timestamp) - Date.now();
    if (frame.type === "price_update") Object.values(frame.data).forEach(show);
    if (frame.type === "price_update" && !frame.snapshot) isSilent = false;
    if (frame.type === "notice" && frame.code === "publisher_silent") isSilent = true;
    if (frame.type === "subscribed") subscribed(frame);
    refresh();
  },
});

function subscribed(frame) {
  // What was kept may go by another name by now.
  for (const [asked, symbol] of Object.entries(frame.resolved)) {
    if (remove(asked)) add(symbol);
  }
  Object.entries(frame.rejected).forEach(([symbol, code]) => fail(symbol, code));
}

async function load(symbols) {
  if (!symbols.length) return {};
  const query = symbols.map(encodeURIComponent).join(",");
  const response = await fetch(`/api/v1/prices?symbols=${query}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  Object.values(answer.data).forEach(show);
  Object.entries(answer.failed).forEach(([symbol, code]) => fail(symbol, code));
  refresh();
  return answer;
}

function add(symbol) {
  if (rows.has(symbol)) return;
  const row = part("board").insertRow();
  const head = row.appendChild(document.createElement("th"));
  head.scope = "row";
  head.textContent = symbol;
  const cells = {};
  for (const name of ["price", "change", "high", "low", "volume", "source", "age"]) {
    cells[name] = row.insertCell();
    cells[name].dataset.name = name;
  }
  const button = document.createElement("button");
  button.textContent = "\u00d7";
  button.ariaLabel = `Remove ${symbol}`;
  button.onclick = () => {
    remove(symbol);
    feed.send("unsubscribe", [symbol]);
    refresh();
  };
  row.insertCell().append(button);
  rows.set(symbol, { row, cells, quote: null });
  keep();
}

function remove(symbol) {
  rows.get(symbol)?.row.remove();
  const was = rows.delete(symbol);
  keep();
  return was;
}

function show(told) {
  const held = rows.get(told.symbol);
  if (!held) return;
  const { row, cells, quote: before } = held;
  // REST and the socket may cross: what the source said later counts, unless nothing new is had.
  const isOlder = before && Date.parse(before.last_updated) > Date.parse(told.last_updated);
  if (isOlder && !told.stale) return;
  const quote = isOlder ? { ...before, stale: true } : told;
  held.quote = quote;
  cells.price.textContent = money(quote.price);
  cells.change.textContent = change(quote);
  cells.change.dataset.way = Math.sign(quote.change_percent ?? 0);
  cells.high.textContent = money(quote.high);
  cells.low.textContent = money(quote.low);
  cells.volume.textContent = volume(quote);
  cells.source.textContent = quote.source;
  row.classList.toggle("old", quote.stale);
  const way = before ? Math.sign(quote.price - before.price) : 0;
  cells.price.className = "";
  requestAnimationFrame(() => (cells.price.className = { 1: "up", "-1": "down" }[way] ?? ""));
}

function fail(symbol, code) {
  const held = rows.get(symbol);
  if (held && !held.quote) held.cells.price.textContent = REASONS[code] ?? code.replaceAll("_", " ");
}

// Everything that changes with time alone, and the banners.
function refresh() {
  const state = part("state");
  const wait = Math.max(0, Math.ceil((retryAt - performance.now()) / 1000));
  const words = { live: "live", connecting: "connecting", waiting: `no connection; again in ${wait} s` };
  say(state, words[state.dataset.state]);
  const held = [...rows.values()];
  for (const { cells, quote } of held) {
    if (quote) cells.age.textContent = age(Date.now() + skewMs - Date.parse(quote.last_updated));
  }
  part("sandbox").hidden = !held.some(({ quote }) => quote?.source === "sandbox");
  const old = [...rows].filter(([, { quote }]) => quote?.stale).map(([symbol]) => symbol);
  const trouble = [];
  if (state.dataset.state === "waiting") trouble.push("Prices are not being updated: the connection is down.");
  else if (isSilent) trouble.push("Prices are not being updated: the server has nothing new to tell.");
  if (old.length) trouble.push(`Old, since no source could be asked: ${old.join(", ")}.`);
  part("stale").hidden = !trouble.length;
  say(part("stale"), trouble.join(" "));
  part("empty").hidden = rows.size > 0;
}

// A live region is read out when it is written, so it is written only when it changes.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function keep() {
  try {
    localStorage.setItem(KEPT, JSON.stringify([...rows.keys()]));
  } catch {
    // A window without storage: the board works all the same.
  }
}

function kept() {
  try {
    const symbols = JSON.parse(localStorage.getItem(KEPT));
    if (Array.isArray(symbols)) return symbols.filter((s) => typeof s === "string").slice(0, MOST);
  } catch {
    // No storage, or what is in it is not ours.
  }
  return part("board").dataset.symbols.split(",").filter(Boolean);
}

part("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = part("symbol");
  const asked = input.value.trim();
  if (!asked || asked.includes(",")) return say(part("answer"), "One symbol at a time.");
  if (rows.size >= MOST) return say(part("answer"), `A board holds ${MOST} symbols.`);
  say(part("answer"), "");
  try {
    const answer = await load([asked]);
    const [symbol, code] = [...Object.keys(answer.data), ...Object.entries(answer.failed).flat()];
    if (code in REASONS) return say(part("answer"), `${asked} ${REASONS[code]}.`);
    add(symbol);
    Object.values(answer.data).forEach(show);
    if (code) fail(symbol, code);
    feed.send("subscribe", [symbol]);
    input.value = "";
    refresh();
  } catch (error) {
    say(part("answer"), error instanceof TypeError ? "The server cannot be reached." : error.message);
  }
});

kept().forEach(add);
load([...rows.keys()]).catch(() => {});
feed.open();
setInterval(refresh, 1000);
