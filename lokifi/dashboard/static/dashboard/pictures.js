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

const known = fromBefore(); // ref -> address, null where the coin has none
const waiting = new Map(); // ref -> those who want to hear of it
const asked = new Set();
let searched = 0;
let isListAsked = false;
let timer = 0; // until they are asked for, and while they are

function fromBefore() {
  const { at, of } = recall(KEPT, { at: Date.now(), of: {} });
  const isYoung = Date.now() - at < LIFE_MS;
  return new Map(isYoung && of && typeof of === "object" ? Object.entries(of) : []);
}

// Coins as a list tells them.
export function learn(list) {
  for (const { ref, image } of list) {
    known.set(ref, image ?? null);
    waiting.get(ref)?.forEach((told) => told());
    waiting.delete(ref);
  }
  const of = Object.fromEntries([...known].slice(-MOST));
  keep(KEPT, { at: recall(KEPT, { at: Date.now() }).at, of });
}

// Put the asset's picture into `place`, or its letter; what is not known yet is asked for.
export function pictureInto(place, symbol, ref) {
  if (place.dataset.ref === ref) return;
  place.dataset.ref = ref;
  const show = () => place.dataset.ref === ref && place.replaceChildren(logo(symbol, known.get(ref)));
  show();
  if (known.has(ref) || !ref.startsWith(PREFIX)) return;
  if (!waiting.has(ref)) waiting.set(ref, new Set());
  waiting.get(ref).add(show);
  timer ||= setTimeout(ask);
}

export const pictureOf = (ref) => known.get(ref) ?? null;

// The list of the largest coins has most of them in one answer; the others are found by their ids.
async function ask() {
  try {
    if (!isListAsked) learn((await top(1)).cryptos);
    isListAsked = true;
    for (const ref of [...waiting.keys()]) {
      if (asked.has(ref) || searched >= SEARCHES) continue;
      searched += 1;
      learn((await coins(ref.slice(PREFIX.length))).results);
      asked.add(ref);
    }
    timer = 0;
  } catch {
    timer = setTimeout(ask, AGAIN_MS); // until then a letter does as well
  }
}
