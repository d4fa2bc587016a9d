/**
 * Live prices over one WebSocket that comes back by itself and says honestly how it is.
 * docs/websocket.md says what goes over the wire.
 */
import type { Choices, PriceUpdate, Tick } from "./types.js";
export declare const State: {
    /** Not connected yet. */
    readonly CREATED: "CREATED";
    /** The server has answered. */
    readonly CONNECTED: "CONNECTED";
    /** Something that was asked for is not answered yet. */
    readonly SUBSCRIBING: "SUBSCRIBING";
    /** All that was asked for is answered: what comes is live. */
    readonly ACTIVE: "ACTIVE";
    /** The connection is gone; it is tried again by itself, unless the stream was closed. */
    readonly DISCONNECTED: "DISCONNECTED";
};
export type State = (typeof State)[keyof typeof State];
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
export declare class PriceStream {
    #private;
    state: State;
    /** `performance.now()` of the next try, while DISCONNECTED. */
    retryAt: number;
    /** Connections that failed since the last one that was answered. */
    tries: number;
    /** Seconds between ticks; null until the server has said. */
    intervalS: number | null;
    /** How far the server's clock is ahead of ours. */
    skewMs: number;
    /** The server itself hears no ticks. */
    isSilent: boolean;
    /** Closed for good. */
    isClosed: boolean;
    /** When the last tick was published, as text; null before the first. */
    updatedAt: string | null;
    constructor(url: string, options?: StreamOptions);
    /** Whether what is known may be old: not connected, not yet answered, or the server has nothing new. */
    get isStale(): boolean;
    /** The newest price known of a symbol, marked stale where it may be old; null where none is. */
    quote(symbol: string): Tick | null;
    /** Call `listener` at each event of a kind, until the function that is returned is called. */
    on<K extends keyof StreamEvents>(kind: K, listener: (...told: StreamEvents[K]) => void): () => void;
    /** Follow symbols, until the subscription is closed. What is known of them is told soon. */
    subscribe(symbols: Iterable<string>, listener?: Listener): Subscription;
    open(): this;
    /** Try at once instead of waiting: the network or the person is back. */
    hurry(): void;
    /** Closed here is closed for good. */
    close(): void;
    /** What the server's clock says. */
    now(): number;
    /** Ticks come at whole multiples of the interval. */
    msToNextTick(): number | null;
}
