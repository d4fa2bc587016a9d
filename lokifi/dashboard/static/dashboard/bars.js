// What is made of bars: the live one, gaps, averages, strength, a table to take away.

const DAY_S = 86_400;
const SESSION_S = 23_400;
const MOST_HOLES = 5000;

// The resolutions of the API, finest first, as a person says them.
export const RESOLUTIONS = {
  1: "1 minute", 5: "5 minutes", 15: "15 minutes", 30: "30 minutes", 60: "1 hour", 240: "4 hours",
  D: "1 day", W: "1 week", M: "1 month",
};
export const isDaily = (resolution) => ["D", "W", "M"].includes(resolution);

// Seconds of a bar; null for months, which differ.
export function stepOf(resolution) {
  return { D: DAY_S, W: 7 * DAY_S, M: null }[resolution] ?? Number(resolution) * 60;
}

function endOf(bar, resolution) {
  const step = stepOf(resolution);
  if (step !== null) return bar.timestamp + step;
  const start = new Date(bar.timestamp * 1000);
  return Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1) / 1000;
}

// The newest bar with this quote in it, or the next one; null where the quote belongs to none, or
// says nothing that its series, fetched at that time, does not say better.
export function barWith(last, quote, resolution, fetchedAt) {
  const at = Math.floor(Date.parse(quote.last_updated) / 1000);
  const { price } = quote;
  const isStock = quote.ref.startsWith("stock:");
  // The last price of a day is stamped with its close: it begins no bar.
  const isOut = isStock && (quote.freshness === "closed" || (quote.session ?? "regular") !== "regular");
  const isUnsure = quote.stale || quote.disputed || quote.freshness === "unknown";
  const isOld = at < last.timestamp || Date.parse(quote.last_updated) < Date.parse(fetchedAt);
  if (isUnsure || isOld || isOut) return null;
  if (at < endOf(last, resolution)) {
    return { ...last, close: price, high: Math.max(last.high, price), low: Math.min(last.low, price), closed: false };
  }
  const step = stepOf(resolution);
  // Of a stock only the running session's bars can be known here; of weeks and months none.
  if (step === null || step > DAY_S || (isStock && (step === DAY_S || at - last.timestamp > SESSION_S))) return null;
  const timestamp = last.timestamp + Math.floor((at - last.timestamp) / step) * step;
  // Nor what lies between: it is asked for, and no hole is made of it.
  if (timestamp > last.timestamp + step) return null;
  return { timestamp, open: price, high: price, low: price, close: price, volume: null, closed: false };
}

// Empty places where a coin's bars are missing: coins trade round the clock, so a hole is a hole.
export function holes(bars, resolution) {
  const step = stepOf(resolution);
  if (step === null) return [];
  const missing = [];
  for (let at = 1; at < bars.length; at++) {
    for (let time = bars[at - 1].timestamp + step; time < bars[at].timestamp; time += step) {
      if (missing.push({ time }) >= MOST_HOLES) return missing;
    }
  }
  return missing;
}

// Points of a line; of a coin's the stroke over a hole is left out, as the bars would be.
export function stroke(bars, resolution, isCoin) {
  const step = isCoin ? stepOf(resolution) : null;
  return bars.map(({ timestamp, close }, at) => {
    const isBeforeHole = step !== null && bars[at + 1]?.timestamp > timestamp + step;
    return { time: timestamp, value: close, ...(isBeforeHole ? { color: "transparent" } : {}) };
  });
}

export function average(bars, length) {
  const made = [];
  let sum = 0;
  bars.forEach(({ timestamp, close }, at) => {
    sum += close - (at >= length ? bars[at - length].close : 0);
    if (at >= length - 1) made.push({ time: timestamp, value: sum / length });
  });
  return made;
}

// The relative strength index as Wilder smooths it.
export function strength(bars, length) {
  const made = [];
  let up = 0;
  let down = 0;
  for (let at = 1; at < bars.length; at++) {
    const step = bars[at].close - bars[at - 1].close;
    const parts = Math.min(at, length);
    up += (Math.max(step, 0) - up) / parts;
    down += (Math.max(-step, 0) - down) / parts;
    if (at < length) continue;
    const value = down === 0 ? (up === 0 ? 50 : 100) : 100 - 100 / (1 + up / down);
    made.push({ time: bars[at].timestamp, value });
  }
  return made;
}

// Of points there is the close alone.
export function csv(bars, isPoints = false) {
  const fields = ["timestamp", "open", "high", "low", "close", "volume"];
  const told = fields.filter((field) => !isPoints || ["timestamp", "close", "volume"].includes(field));
  const lines = bars.map((bar) => fields.map((field) => (told.includes(field) ? bar[field] ?? "" : "")).join(","));
  return `${[fields.join(","), ...lines].join("\n")}\n`;
}
