/** What the product sends, as docs/http-api.md and docs/websocket.md have it. Ignore fields you do not know. */
import type { State } from "./stream.js";
export type Freshness = "live" | "delayed" | "closed" | "stale" | "unknown";
export type Kind = "crypto" | "stock";
export type Period = "1d" | "1w" | "1m" | "3m" | "6m" | "1y" | "5y" | "all";
export type Resolution = "1" | "5" | "15" | "30" | "60" | "240" | "D" | "W" | "M";
export interface Market {
    state: "pre" | "open" | "post" | "closed";
    next_change_at: string | null;
}
export interface Alternative {
    ref: string;
    name: string;
    kind: Kind;
}
/** One symbol's price as the stream tells it. */
export interface Tick {
    symbol: string;
    ref: string;
    price: number;
    change: number | null;
    change_percent: number | null;
    high: number | null;
    low: number | null;
    volume: number | null;
    market_cap: number | null;
    last_updated: string;
    source: string;
    stale: boolean;
    freshness: Freshness;
    market: Market | null;
    session: string | null;
    disputed: boolean;
}
/** One message of the stream: `data` has only symbols that have a price. */
export interface PriceUpdate {
    type: "price_update";
    epoch: string;
    seq: number;
    prev_seq: number;
    timestamp: string;
    count: number;
    data: Record<string, Tick>;
    snapshot?: true;
    replay?: true;
    merged?: number;
}
/** Cuts what a stream is told; see "Choosing what you get" in docs/websocket.md. */
export interface Choices {
    fields?: (keyof Tick)[] | null;
    min_change_percent?: number | null;
    max_rate?: number | null;
    mode?: "full" | "delta";
}
interface Answer {
    source: string | null;
    as_of: string | null;
    fetched_at: string | null;
    cached: boolean;
    stale: boolean;
    currency: string;
}
export interface Quote extends Answer, Tick {
    source: string;
    name: string;
    kind: Kind;
    change_basis: string;
    volume_basis: string | null;
    quote_currency: string;
    fallback_from: {
        source: string;
        code: string;
    }[];
    alternatives: Alternative[];
}
export interface Batch extends Answer {
    success: boolean;
    count: number;
    data: Record<string, Quote>;
    failed: Record<string, string>;
    resolved: Record<string, string>;
    cache_hits: number;
    api_calls: number;
}
export interface Point {
    timestamp: number;
    price: number;
    volume: number | null;
}
export interface Candle {
    timestamp: number;
    open: number;
    high: number;
    low: number;
    close: number;
    volume: number | null;
    closed: boolean;
}
interface Series extends Answer {
    success: boolean;
    symbol: string;
    ref: string;
    period: Period;
    resolution: Resolution | null;
    count: number;
    from: number | null;
    to: number | null;
    truncated: boolean;
    truncated_by: string | null;
    available_from: number | null;
    volume_basis: string | null;
    alternatives: Alternative[];
}
export interface History extends Series {
    data: Point[];
}
export interface Candles extends Series {
    candles: Candle[];
    origin: "provider" | "derived" | "recorded";
    dropped: number;
}
export interface PriceAt extends Answer {
    symbol: string;
    ref: string;
    date: string;
    close_date: string;
    price: number;
}
/** A coin of the top list or a search. */
export interface Coin {
    id: string;
    ref: string;
    symbol: string;
    name: string;
    image: string | null;
    current_price: number | null;
    market_cap: number | null;
    market_cap_rank: number | null;
    total_volume: number | null;
    high_24h: number | null;
    low_24h: number | null;
    price_change_24h: number | null;
    price_change_percentage_24h: number | null;
    circulating_supply: number | null;
    total_supply: number | null;
    max_supply: number | null;
    ath: number | null;
    ath_change_percentage: number | null;
    ath_date: string | null;
    atl: number | null;
    atl_change_percentage: number | null;
    atl_date: string | null;
    last_updated: string | null;
}
export interface Top extends Answer {
    success: boolean;
    count: number;
    page: number;
    limit: number;
    has_more: boolean;
    cryptos: Coin[];
}
export interface CoinSearch extends Answer {
    success: boolean;
    query: string;
    count: number;
    results: Coin[];
}
export interface Mapping extends Answer {
    success: boolean;
    count: number;
    mapping: Record<string, string>;
}
export interface SymbolSearch extends Answer {
    success: boolean;
    query: string;
    count: number;
    results: {
        symbol: string;
        ref: string;
        name: string;
        kind: Kind;
        exchange: string | null;
    }[];
}
/** The body of every failure (RFC 9457); `code` is stable. */
export interface Problem {
    type: string;
    title: string;
    status: number;
    detail: string;
    instance: string;
    code: string;
    request_id: string | null;
    errors: {
        field: string;
        message: string;
    }[];
    [member: string]: unknown;
}
/** What of a WebSocket is needed: a browser's, Node 22's, or that of the package `ws`. */
export interface Socket {
    readonly readyState: number;
    send(data: string): void;
    close(): void;
    addEventListener(type: "message" | "close" | "error", listener: (event: any) => void): void;
}
export type SocketConstructor = new (url: string) => Socket;
export interface StreamOptions {
    /** The constructor of sockets where there is no global one (Node 20). */
    WebSocket?: SocketConstructor;
    /** What this stream wants to be told, for all its symbols. */
    choices?: Choices;
}
export interface StreamEvents {
    /** The state, or whether prices may be old, has changed. */
    state: [state: State];
    /** A message with prices, whoever asked for them. */
    update: [update: PriceUpdate];
    /** By what was asked, the name that prices come under, where that is another. */
    resolved: [names: Record<string, string>];
    /** By what was asked, why it cannot be followed. Nothing of it comes again by itself. */
    rejected: [codes: Record<string, string>];
    /** Something the server says of itself; see docs/websocket.md. */
    notice: [notice: {
        code: string;
        message: string;
    }];
    /** A mistake of this client's, or that it will not come back (4401). */
    error: [error: {
        code: string;
        error: string;
    }];
}
export type Listener = (tick: Tick, update: PriceUpdate) => void;
export interface Subscription {
    readonly symbols: readonly string[];
    /** Leave these symbols, which others may go on following. A second time does nothing. */
    close(): void;
}
export {};
