// The REST API. A failure is an ApiError with the problem's code; the server's absence is one too.

const BASE = "/api/v1/prices";

export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail);
    this.code = problem.code;
    this.problem = problem;
  }
}

export async function ask(path, query = {}, signal = undefined) {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  let response;
  try {
    response = await fetch(`${BASE}${path}${words.size ? `?${words}` : ""}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ code: "unreachable", detail: "The server cannot be reached." });
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new ApiError(body ?? { code: "internal_error", detail: `The server answered ${response.status}.` });
}

// {source: {text, link}}: whom each source wants named.
export async function attributions() {
  const response = await fetch("/api/v1/sources");
  const { sources = [] } = response.ok ? await response.json() : {};
  return Object.fromEntries(sources.map(({ name, attribution }) => [name, attribution]));
}

export const quotes = (symbols) => ask("", { symbols: symbols.join(",") });
export const found = (q, limit, signal) => ask("/symbols/search", { q, limit }, signal);
export const coins = (q) => ask("/crypto/search", { q, limit: 10 });
export const top = (page) => ask("/crypto/top", { limit: 100, page });

export function history(symbol, period, signal) {
  return ask(`/${encodeURIComponent(symbol)}/history`, { period }, signal);
}

export function candles(symbol, period, resolution, signal) {
  return ask(`/${encodeURIComponent(symbol)}/ohlcv`, { period, resolution }, signal);
}

const WORDS = {
  unknown_symbol: "is not listed",
  invalid_symbol: "is not a symbol",
  inactive_symbol: "is not traded any more",
  not_found: "has no price now",
  provider_not_configured: "has no source here: its provider has no key",
  upstream_unavailable: "cannot be had now: no source answers",
  upstream_rate_limited: "cannot be had now: the source's limit is used up",
};

export const reason = (code) => WORDS[code] ?? code.replaceAll("_", " ");
