/** The REST API: one method a request, a PriceError for every failure. */

import { PriceStream } from "./stream.js";
import type {
  Batch, Candles, CoinSearch, History, Kind, Mapping, Period, PriceAt, Problem, Quote, Resolution,
  StreamOptions, SymbolSearch, Top,
} from "./types.js";

/** Symbols of one request; more are asked for in several. */
const A_REQUEST = 100;
const LONGEST_S = 20;

/** A request that failed. `code` is the problem's, or `unreachable` where no server answered. */
export class PriceError extends Error {
  readonly code: string;
  readonly status: number;
  readonly problem: Problem | null;
  /** Seconds after which it makes sense to ask again. */
  readonly retryAfterS: number | null;

  constructor(code: string, message: string, status = 0, problem: Problem | null = null, retryAfterS: number | null = null) {
    super(message);
    this.name = "PriceError";
    this.code = code;
    this.status = status;
    this.problem = problem;
    this.retryAfterS = retryAfterS;
  }
}

export interface ClientOptions extends StreamOptions {
  /** Used for every request; the global one by default. */
  fetch?: typeof fetch;
  /** Seconds after which a request without its whole answer is given up, as `unreachable`; 20 by default. */
  timeoutS?: number;
}

export interface Asking {
  signal?: AbortSignal;
  /** Further parameters of the query. */
  query?: Record<string, string | number | boolean | undefined>;
}

export class PriceClient {
  readonly url: string;
  readonly #options: ClientOptions;
  readonly #fetch: typeof fetch;

  /** `url` is where the product is: `https://prices.example.org`. */
  constructor(url: string, options: ClientOptions = {}) {
    this.url = new URL(url).href.replace(/\/$/, "");
    this.#options = options;
    this.#fetch = options.fetch ?? ((...asked) => fetch(...asked));
  }

  quote(symbol: string, asking: Asking = {}): Promise<Quote> {
    return this.get(pathOf(symbol), asking);
  }

  /** Quotes of any number of symbols, a hundred a request; the times are those of the last one. */
  async quotes(symbols: Iterable<string>, asking: Asking = {}): Promise<Batch> {
    const names = [...new Set(symbols)];
    let whole: Batch | null = null;
    for (let at = 0; at === 0 || at < names.length; at += A_REQUEST) {
      const part = names.slice(at, at + A_REQUEST).join(",");
      const answer: Batch = await this.get("/prices", { ...asking, query: { ...asking.query, symbols: part } });
      whole = whole ? added(whole, answer) : answer;
    }
    return whole as Batch;
  }

  history(symbol: string, period: Period = "1m", asking: Asking = {}): Promise<History> {
    return this.get(`${pathOf(symbol)}/history`, { ...asking, query: { ...asking.query, period } });
  }

  candles(symbol: string, period: Period = "1m", resolution?: Resolution, asking: Asking = {}): Promise<Candles> {
    const query = { ...asking.query, period, resolution };
    return this.get(`${pathOf(symbol)}/ohlcv`, { ...asking, query });
  }

  /** The close of a day gone by, `YYYY-MM-DD`. */
  priceAt(symbol: string, date: string, asking: Asking = {}): Promise<PriceAt> {
    return this.get(`${pathOf(symbol)}/at`, { ...asking, query: { ...asking.query, date } });
  }

  top(limit = 100, page = 1, asking: Asking = {}): Promise<Top> {
    return this.get("/prices/crypto/top", { ...asking, query: { ...asking.query, limit, page } });
  }

  searchCoins(q: string, limit = 50, asking: Asking = {}): Promise<CoinSearch> {
    return this.get("/prices/crypto/search", { ...asking, query: { ...asking.query, q, limit } });
  }

  search(q: string, limit = 50, kind?: Kind, asking: Asking = {}): Promise<SymbolSearch> {
    return this.get("/prices/symbols/search", { ...asking, query: { ...asking.query, q, limit, kind } });
  }

  mapping(asking: Asking = {}): Promise<Mapping> {
    return this.get("/prices/crypto/mapping", asking);
  }

  /** A stream of this server, opened. */
  stream(options: StreamOptions = {}): PriceStream {
    const url = `${this.url.replace(/^http/, "ws")}/api/ws/prices`;
    return new PriceStream(url, { ...this.#options, ...options }).open();
  }

  /**
   * Whatever else is to be had below /api/v1. Rejects with a PriceError, or with the reason that `signal` was
   * aborted for: an AbortError, or the TimeoutError of `AbortSignal.timeout`.
   */
  async get<T>(path: string, { signal, query = {} }: Asking = {}): Promise<T> {
    const words = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== "") words.set(name, String(value));
    }
    const asked = words.toString();
    const limit = AbortSignal.timeout(1000 * (this.#options.timeoutS ?? LONGEST_S));
    let response: Response;
    let text: string;
    try {
      const target = `${this.url}/api/v1${path}${asked && `?${asked}`}`;
      response = await this.#fetch(target, { signal: signal ? AbortSignal.any([signal, limit]) : limit });
      text = await response.text();
    } catch {
      if (signal?.aborted) throw signal.reason;
      throw new PriceError("unreachable", limit.aborted ? "The server did not answer in time." : "The server cannot be reached.");
    }
    const body = parsed(text);
    if (response.ok && body !== null) return body as T;
    throw failure(response, body);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// Tickers may be written in any case, and in capitals none is a word of the API's own addresses.
function pathOf(symbol: string): string {
  const ticker = /^[a-z]+$/.test(symbol) ? symbol.toUpperCase() : symbol;
  return `/prices/${encodeURIComponent(ticker)}`;
}

function added(whole: Batch, part: Batch): Batch {
  return {
    ...part,
    count: whole.count + part.count,
    data: { ...whole.data, ...part.data },
    failed: { ...whole.failed, ...part.failed },
    resolved: { ...whole.resolved, ...part.resolved },
    cache_hits: whole.cache_hits + part.cache_hits,
    api_calls: whole.api_calls + part.api_calls,
    cached: whole.cached && part.cached,
    stale: whole.stale || part.stale,
  };
}

function failure(response: Response, body: unknown): PriceError {
  const problem = (typeof body === "object" && body !== null ? body : null) as Problem | null;
  const wait = Number(response.headers.get("Retry-After") ?? NaN);
  return new PriceError(
    problem?.code ?? "internal_error",
    problem?.detail ?? `The server answered ${response.status}.`,
    response.status,
    problem,
    Number.isFinite(wait) ? wait : null,
  );
}
