/** The REST API: one method a request, a PriceError for every failure. */
import { PriceStream } from "./stream.js";
/** Symbols of one request; more are asked for in several. */
const A_REQUEST = 100;
const LONGEST_S = 20;
/** A request that failed. `code` is the problem's, or `unreachable` where no server answered. */
export class PriceError extends Error {
    code;
    status;
    problem;
    /** Seconds after which it makes sense to ask again. */
    retryAfterS;
    constructor(code, message, status = 0, problem = null, retryAfterS = null) {
        super(message);
        this.name = "PriceError";
        this.code = code;
        this.status = status;
        this.problem = problem;
        this.retryAfterS = retryAfterS;
    }
}
export class PriceClient {
    url;
    #options;
    #fetch;
    /** `url` is where the product is: `https://prices.example.org`. */
    constructor(url, options = {}) {
        this.url = new URL(url).href.replace(/\/$/, "");
        this.#options = options;
        this.#fetch = options.fetch ?? ((...asked) => fetch(...asked));
    }
    quote(symbol, asking = {}) {
        return this.get(pathOf(symbol), asking);
    }
    /** Quotes of any number of symbols, a hundred a request; the times are those of the last one. */
    async quotes(symbols, asking = {}) {
        const names = [...new Set(symbols)];
        let whole = null;
        for (let at = 0; at === 0 || at < names.length; at += A_REQUEST) {
            const part = names.slice(at, at + A_REQUEST).join(",");
            const answer = await this.get("/prices", { ...asking, query: { ...asking.query, symbols: part } });
            whole = whole ? added(whole, answer) : answer;
        }
        return whole;
    }
    history(symbol, period = "1m", asking = {}) {
        return this.get(`${pathOf(symbol)}/history`, { ...asking, query: { ...asking.query, period } });
    }
    candles(symbol, period = "1m", resolution, asking = {}) {
        const query = { ...asking.query, period, resolution };
        return this.get(`${pathOf(symbol)}/ohlcv`, { ...asking, query });
    }
    /** The close of a day gone by, `YYYY-MM-DD`. */
    priceAt(symbol, date, asking = {}) {
        return this.get(`${pathOf(symbol)}/at`, { ...asking, query: { ...asking.query, date } });
    }
    top(limit = 100, page = 1, asking = {}) {
        return this.get("/prices/crypto/top", { ...asking, query: { ...asking.query, limit, page } });
    }
    searchCoins(q, limit = 50, asking = {}) {
        return this.get("/prices/crypto/search", { ...asking, query: { ...asking.query, q, limit } });
    }
    search(q, limit = 50, kind, asking = {}) {
        return this.get("/prices/symbols/search", { ...asking, query: { ...asking.query, q, limit, kind } });
    }
    mapping(asking = {}) {
        return this.get("/prices/crypto/mapping", asking);
    }
    /** A stream of this server, opened. */
    stream(options = {}) {
        const url = `${this.url.replace(/^http/, "ws")}/api/ws/prices`;
        return new PriceStream(url, { ...this.#options, ...options }).open();
    }
    /**
     * Whatever else is to be had below /api/v1. Rejects with a PriceError, or with the reason that `signal` was
     * aborted for: an AbortError, or the TimeoutError of `AbortSignal.timeout`.
     */
    async get(path, { signal, query = {} } = {}) {
        const words = new URLSearchParams();
        for (const [name, value] of Object.entries(query)) {
            if (value !== undefined && value !== "")
                words.set(name, String(value));
        }
        const asked = words.toString();
        const limit = AbortSignal.timeout(1000 * (this.#options.timeoutS ?? LONGEST_S));
        let response;
        let text;
        try {
            const target = `${this.url}/api/v1${path}${asked && `?${asked}`}`;
            response = await this.#fetch(target, { signal: signal ? AbortSignal.any([signal, limit]) : limit });
            text = await response.text();
        }
        catch {
            if (signal?.aborted)
                throw signal.reason;
            throw new PriceError("unreachable", limit.aborted ? "The server did not answer in time." : "The server cannot be reached.");
        }
        const body = parsed(text);
        if (response.ok && body !== null)
            return body;
        throw failure(response, body);
    }
}
function parsed(text) {
    try {
        return JSON.parse(text);
    }
    catch {
        return null;
    }
}
// Tickers may be written in any case, and in capitals none is a word of the API's own addresses.
function pathOf(symbol) {
    const ticker = /^[a-z]+$/.test(symbol) ? symbol.toUpperCase() : symbol;
    return `/prices/${encodeURIComponent(ticker)}`;
}
function added(whole, part) {
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
function failure(response, body) {
    const problem = (typeof body === "object" && body !== null ? body : null);
    const wait = Number(response.headers.get("Retry-After") ?? NaN);
    return new PriceError(problem?.code ?? "internal_error", problem?.detail ?? `The server answered ${response.status}.`, response.status, problem, Number.isFinite(wait) ? wait : null);
}
