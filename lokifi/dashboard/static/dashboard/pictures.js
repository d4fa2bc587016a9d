// Coins' pictures by the assets' unique names: learned from lists of coins, kept in this browser.

import { coins, top } from "./api.js";
import { logo } from "./dom.js";
import { keep, recall } from "./kept.js";

const KEPT = "pictures";
const LIFE_MS = 7 * 86_400_000;
const MOST = 600;
const SEARCHES = 12; // a page asks for so many pictures one by one
const AGAIN_MS = 60_000;
const PREFIX = "coingecko:";

let since = Date.now(); // of when the oldest of them are
const known = fromBefore(); // ref -> address, null where the coin has none
const waiting = new Map(); // ref -> those who want to hear of it
const asked = new Set();
let searched = 0;
let isListAsked = false;
let isMadeUp = false; // the sandbox's coins are real in name alone: no other host hears which ones are looked at
let timer = 0; // until they are asked for, and while they are

function fromBefore() {
  const { at, of } = recall(KEPT, {});
  const isYoung = Date.now() - at < LIFE_MS;
  if (!isYoung || !of || typeof of !== "object") return new Map();
  since = at;
  return new Map(Object.entries(of));
}

// Coins as an answer lists them.
export function learn({ source, cryptos, results }) {
  isMadeUp = source.startsWith("sandbox");
  if (isMadeUp) return waiting.clear();
  const list = cryptos ?? results;
  for (const { ref, image } of list) {
    known.set(ref, image ?? null);
    waiting.get(ref)?.forEach((told) => told());
    waiting.delete(ref);
  }
  const of = Object.fromEntries([...known].slice(-MOST));
  keep(KEPT, { at: since, of });
}

// Put the asset's picture into `place`, or its letter; what is not known yet is asked for.
export function pictureInto(place, symbol, ref) {
  if (place.dataset.ref === ref) return;
  place.dataset.ref = ref;
  const show = () => place.dataset.ref === ref && place.replaceChildren(logo(symbol, pictureOf(ref)));
  show();
  if (isMadeUp || known.has(ref) || !ref.startsWith(PREFIX)) return;
  if (!waiting.has(ref)) waiting.set(ref, new Set());
  waiting.get(ref).add(show);
  timer ||= setTimeout(ask);
}

export const pictureOf = (ref) => (isMadeUp ? null : known.get(ref) ?? null);

// The list of the largest coins has most of them in one answer; the others are found by their ids.
async function ask() {
  try {
    if (!isListAsked) learn(await top(1));
    isListAsked = true;
    for (const ref of [...waiting.keys()]) {
      if (asked.has(ref) || searched >= SEARCHES) continue;
      searched += 1;
      learn(await coins(ref.slice(PREFIX.length)));
      asked.add(ref);
      if (waiting.delete(ref)) known.set(ref, null); // no list has it
    }
    timer = 0;
  } catch {
    timer = setTimeout(ask, AGAIN_MS); // until then a letter does as well
  }
}
