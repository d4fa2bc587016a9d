/** The REST API: one method a request, a PriceError for every failure. */
import { PriceStream } from "./stream.js";
import type { Batch, Candles, CoinSearch, History, Kind, Mapping, Period, PriceAt, Problem, Quote, Resolution, StreamOptions, SymbolSearch, Top } from "./types.js";
/** A request that failed. `code` is the problem's, or `unreachable` where no server answered. */
export declare class PriceError extends Error {
    readonly code: string;
    readonly status: number;
    readonly problem: Problem | null;
    /** Seconds after which it makes sense to ask again. */
    readonly retryAfterS: number | null;
    constructor(code: string, message: string, status?: number, problem?: Problem | null, retryAfterS?: number | null);
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
export declare class PriceClient {
    #private;
    readonly url: string;
    /** `url` is where the product is: `https://prices.example.org`. */
    constructor(url: string, options?: ClientOptions);
    quote(symbol: string, asking?: Asking): Promise<Quote>;
    /** Quotes of any number of symbols, a hundred a request; the times are those of the last one. */
    quotes(symbols: Iterable<string>, asking?: Asking): Promise<Batch>;
    history(symbol: string, period?: Period, asking?: Asking): Promise<History>;
    candles(symbol: string, period?: Period, resolution?: Resolution, asking?: Asking): Promise<Candles>;
    /** The close of a day gone by, `YYYY-MM-DD`. */
    priceAt(symbol: string, date: string, asking?: Asking): Promise<PriceAt>;
    top(limit?: number, page?: number, asking?: Asking): Promise<Top>;
    searchCoins(q: string, limit?: number, asking?: Asking): Promise<CoinSearch>;
    search(q: string, limit?: number, kind?: Kind, asking?: Asking): Promise<SymbolSearch>;
    mapping(asking?: Asking): Promise<Mapping>;
    /** A stream of this server, opened. */
    stream(options?: StreamOptions): PriceStream;
    /**
     * Whatever else is to be had below /api/v1. Rejects with a PriceError, or with the reason that `signal` was
     * aborted for: an AbortError, or the TimeoutError of `AbortSignal.timeout`.
     */
    get<T>(path: string, { signal, query }?: Asking): Promise<T>;
}
