// The REST API. A failure is an ApiError with the problem's code; the server's absence is one too.

const BASE = "/api/v1/prices";
const PATIENCE_MS = 20_000;

export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail);
    this.code = problem.code;
    this.problem = problem;
  }
}

export async function ask(path, query = {}, signal = undefined) {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  const { isOk, status, text } = await fetched(`${BASE}${path}${words.size ? `?${words}` : ""}`, signal);
  const body = parsed(text);
  if (isOk && body) return body;
  throw new ApiError(body ?? { code: "internal_error", detail: `The server answered ${status}.` });
}

// An answer whole. What breaks off, or takes too long, is the server's absence; an abort is the caller's.
async function fetched(address, signal) {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const abort = () => stop.abort();
  const timer = setTimeout(abort, PATIENCE_MS);
  signal?.addEventListener("abort", abort);
  try {
    const response = await fetch(address, { signal: stop.signal });
    return { isOk: response.ok, status: response.status, text: await response.text() };
  } catch {
    signal?.throwIfAborted();
    const detail = stop.signal.aborted ? "The server does not answer." : "The server cannot be reached.";
    throw new ApiError({ code: "unreachable", detail });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// {source: {text, link}}: whom each source wants named.
export async function attributions() {
  const { isOk, text } = await fetched("/api/v1/sources");
  if (!isOk) throw new ApiError({ code: "internal_error", detail: "The sources are not known." });
  const { sources } = JSON.parse(text);
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
