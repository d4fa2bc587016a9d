// Figures as a person reads them. What the source does not give is a dash, never 0.

export const NONE = "\u2013";
const two = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
const full = new Intl.NumberFormat("en-US", two);
const unit = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 }); // a peg is seen to hold
const fine = new Intl.NumberFormat("en-US", { minimumSignificantDigits: 3, maximumSignificantDigits: 4 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
const signed = new Intl.NumberFormat("en-US", { ...two, signDisplay: "exceptZero" });
const moment = new Intl.DateTimeFormat("en-GB", {
  timeZone: "UTC", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
});
const date = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short", year: "numeric" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", weekday: "short", timeZoneName: "short" });

const isNothing = (value) => value === null || value === undefined || Number.isNaN(value);

export function money(value) {
  if (isNothing(value)) return NONE;
  const size = Math.abs(value);
  return (size >= 10 || size === 0 ? full : size >= 1 ? unit : fine).format(value);
}

export function percent(value) {
  return isNothing(value) ? NONE : `${signed.format(value)} %`;
}

export function compact(value) {
  return isNothing(value) ? NONE : short.format(value);
}

export function dollars(value) {
  return isNothing(value) ? NONE : `$${short.format(value)}`;
}

export function volume({ volume: value, ref }) {
  return ref.startsWith("stock:") ? compact(value) : dollars(value);
}

export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

// Unix seconds in UTC, as the bars are cut.
export function barTime(seconds, isDay) {
  return isDay ? date.format(seconds * 1000) : `${moment.format(seconds * 1000)} UTC`;
}

// An ISO time as the bars are told.
export function utcTime(iso) {
  return barTime(Date.parse(iso) / 1000, false);
}

// An ISO time on the reader's own clock.
export function localTime(iso) {
  return clock.format(new Date(iso));
}

// Up, down or neither, of a change as it is shown.
export function way(value) {
  return String(Math.sign(Math.round((value ?? 0) * 100)));
}

// How small a step a chart's axis must show for a price of this size.
export function smallestStep(price) {
  if (!(price > 0)) return 0.01;
  return price >= 10 ? 0.01 : price >= 1 ? 0.0001 : 10 ** (Math.floor(Math.log10(price)) - 3);
}
