/**
 * Live prices over one WebSocket that comes back by itself and says honestly how it is.
 * docs/websocket.md says what goes over the wire.
 */
import type { Listener, StreamEvents, StreamOptions, Subscription, Tick } from "./types.js";
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
