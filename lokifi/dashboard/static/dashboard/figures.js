// Figures as a person reads them. What the source does not give is a dash, never 0.

const NONE = "\u2013";
const two = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
const full = new Intl.NumberFormat("en-US", two);
const fine = new Intl.NumberFormat("en-US", { minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
const percent = new Intl.NumberFormat("en-US", { ...two, signDisplay: "exceptZero" });

export function money(value) {
  if (value === null) return NONE;
  return (Math.abs(value) >= 1 ? full : fine).format(value);
}

export function change({ change_percent: value }) {
  return value === null ? NONE : `${percent.format(value)} %`;
}

export function volume({ volume: value, ref }) {
  if (value === null) return NONE;
  return ref.startsWith("stock:") ? `${short.format(value)} shares` : `$${short.format(value)}`;
}

export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}
