// A line of the last week behind a row, asked for one after another: each may cost the source a call.

import { history } from "./api.js";
import { svg } from "./dom.js";
import { percent } from "./figures.js";

const WIDTH = 96;
const HEIGHT = 28;
const POINTS = 56;
const LIFE_MS = 1_800_000;
const REST_MS = 20_000;

const known = new Map(); // symbol -> {at, prices, source}, prices null where there are none
const queue = [];
let isBusy = false;
let restUntil = 0;
let timer = 0;

export function sparkline(prices) {
  const step = Math.max(1, Math.floor(prices.length / POINTS));
  const some = prices.filter((_, at) => at % step === 0 || at === prices.length - 1);
  const low = Math.min(...some);
  const span = Math.max(...some) - low || 1;
  const x = (at) => ((at / (some.length - 1)) * (WIDTH - 2) + 1).toFixed(1);
  const y = (price) => (HEIGHT - 2 - ((price - low) / span) * (HEIGHT - 4)).toFixed(1);
  const points = some.map((price, at) => `${x(at)},${y(price)}`).join(" ");
  const way = Math.sign(some.at(-1) - some[0]);
  const said = `${percent((100 * (some.at(-1) - some[0])) / some[0])} in 7 days`;
  return svg("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "data-way": way, role: "img", "aria-label": said },
    svg("polyline", { points }));
}

// Fill `cell` with the symbol's week as soon as it is its turn.
export function weekInto(cell, symbol) {
  const held = known.get(symbol);
  if (held && Date.now() - held.at < LIFE_MS) return draw(cell, held.prices);
  queue.push({ cell, symbol });
  next();
}

// Ask again for a week that was told long ago.
export function weekAgain(cell, symbol) {
  const held = known.get(symbol);
  if (!held || Date.now() - held.at < LIFE_MS) return;
  held.at = Date.now(); // once: what fails stays in the queue
  queue.push({ cell, symbol });
  next();
}

export const sourceOfWeek = (symbol) => known.get(symbol)?.source;

function draw(cell, prices) {
  if (prices && prices.length > 1) cell.replaceChildren(sparkline(prices));
}

async function next() {
  if (isBusy || !queue.length) return;
  const restMs = restUntil - Date.now();
  if (restMs > 0) {
    clearTimeout(timer);
    timer = setTimeout(next, restMs);
    return;
  }
  isBusy = true;
  const { cell, symbol } = queue.shift();
  if (cell.isConnected) await load(cell, symbol);
  isBusy = false;
  next();
}

async function load(cell, symbol) {
  try {
    const { data, source } = await history(symbol, "1w");
    const prices = data.map(({ price }) => price);
    known.set(symbol, { at: Date.now(), prices, source });
    draw(cell, prices);
  } catch (error) {
    const mayPass = error.code?.startsWith("upstream") || error.code === "unreachable";
    if (!mayPass) known.set(symbol, { at: Date.now(), prices: null });
    else {
      // A picture is no reason to press a source that has no call left.
      restUntil = Date.now() + REST_MS;
      queue.push({ cell, symbol });
    }
  }
}
