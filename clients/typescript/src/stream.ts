/**
 * Live prices over one WebSocket that comes back by itself and says honestly how it is.
 * docs/websocket.md says what goes over the wire.
 */

import type {
  Choices, Listener, PriceUpdate, SocketConstructor, Socket, StreamEvents, StreamOptions, Subscription, Tick,
} from "./types.js";

export const State = {
  /** Not connected yet. */
  CREATED: "CREATED",
  /** The server has answered. */
  CONNECTED: "CONNECTED",
  /** Something that was asked for is not answered yet. */
  SUBSCRIBING: "SUBSCRIBING",
  /** All that was asked for is answered: what comes is live. */
  ACTIVE: "ACTIVE",
  /** The connection is gone; it is tried again by itself, unless the stream was closed. */
  DISCONNECTED: "DISCONNECTED",
} as const;
export type State = (typeof State)[keyof typeof State];

interface User {
  symbols: Set<string>;
  listener: Listener | undefined;
}

interface Place {
  seq: number;
  epoch: string;
}

interface Frame {
  type?: string;
  [field: string]: any;
}

const OPEN = 1;
const STEP_MS = 1000;
const MOST_MS = 60_000;
const HANDSHAKE_MS = 10_000;
const SYMBOLS_A_MESSAGE = 100;
const NO_KEY = 4401;
const TOO_MUCH = 4429;
const TOO_OLD = 4440;
type Timer = ReturnType<typeof setTimeout>;

export class PriceStream {
  state: State = State.CREATED;
  /** `performance.now()` of the next try, while DISCONNECTED. */
  retryAt = 0;
  /** Connections that failed since the last one that was answered. */
  tries = 0;
  /** Seconds between ticks; null until the server has said. */
  intervalS: number | null = null;
  /** How far the server's clock is ahead of ours. */
  skewMs = 0;
  /** The server itself hears no ticks. */
  isSilent = false;
  /** Closed for good. */
  isClosed = false;
  /** When the last tick was published, as text; null before the first. */
  updatedAt: string | null = null;

  readonly #url: string;
  readonly #WebSocket: SocketConstructor;
  readonly #choices: Choices;
  readonly #listeners = new Map<keyof StreamEvents, Set<(...told: any[]) => void>>();
  readonly #users = new Set<User>();
  readonly #quotes = new Map<string, Tick>();
  #socket: Socket | null = null;
  #isWelcome = false;
  #retry: Timer | undefined;
  #watchdog: Timer | undefined;
  readonly #later = new Set<Timer>();
  #deadAfterMs = HANDSHAKE_MS;
  #mostBytes = Infinity;
  #comeBackMs: number | null = null;
  #isPlanned = false;
  #asks = 0;
  readonly #wanted = new Map<string, number>(); // how many users want it, by what they wrote
  readonly #names = new Map<string, string>(); // the server's name of it, by what was written
  readonly #sent = new Set<string>(); // what this connection was asked for
  readonly #had = new Set<string>(); // what was accepted: this can be resumed
  readonly #waiting = new Map<number, string[]>(); // symbols by the id of a request
  #last: Place | null = null; // the newest tick we have
  #heard: Place = { seq: 0, epoch: "" }; // the newest tick that this connection told of
  #isOurs = false; // whether ticks of this connection are about our symbols

  constructor(url: string, options: StreamOptions = {}) {
    this.#url = new URL(url).href;
    const found = options.WebSocket ?? (globalThis as { WebSocket?: SocketConstructor }).WebSocket;
    if (!found) throw new TypeError("There is no global WebSocket here: give a constructor as options.WebSocket.");
    this.#WebSocket = found;
    this.#choices = options.choices ?? {};
  }

  /** Whether what is known may be old: not connected, not yet answered, or the server has nothing new. */
  get isStale(): boolean {
    return this.state !== State.ACTIVE || this.isSilent;
  }

  /** The newest price known of a symbol, marked stale where it may be old; null where none is. */
  quote(symbol: string): Tick | null {
    const name = this.#nameOf(symbol);
    const known = this.#quotes.get(name);
    return known ? { ...known, stale: known.stale || this.isStale || !this.#had.has(name) } : null;
  }

  /** Call `listener` at each event of a kind, until the function that is returned is called. */
  on<K extends keyof StreamEvents>(kind: K, listener: (...told: StreamEvents[K]) => void): () => void {
    const all = this.#listeners.get(kind) ?? new Set();
    this.#listeners.set(kind, all.add(listener));
    return () => void all.delete(listener);
  }

  /** Follow symbols, until the subscription is closed. What is known of them is told soon. */
  subscribe(symbols: Iterable<string>, listener?: Listener): Subscription {
    if (this.isClosed) throw new Error("The stream is closed.");
    const user: User = { symbols: new Set(symbols), listener };
    this.#users.add(user);
    for (const symbol of user.symbols) this.#wanted.set(symbol, (this.#wanted.get(symbol) ?? 0) + 1);
    this.#plan();
    queueMicrotask(() => this.#catchUp(user));
    return { symbols: [...user.symbols], close: () => this.#leave(user) };
  }

  open(): this {
    if (this.isClosed || this.#socket) return this;
    clearTimeout(this.#retry);
    this.#deadAfterMs = HANDSHAKE_MS;
    const socket = new this.#WebSocket(this.#url);
    this.#socket = socket;
    this.#watch();
    socket.addEventListener("message", ({ data }) => { if (socket === this.#socket) this.#hear(data); });
    socket.addEventListener("close", ({ code }) => { if (socket === this.#socket) this.#gone(code); });
    socket.addEventListener("error", () => {}); // "close" follows
    return this;
  }

  /** Try at once instead of waiting: the network or the person is back. */
  hurry(): void {
    if (this.state === State.DISCONNECTED) this.open();
  }

  /** Closed here is closed for good. */
  close(): void {
    this.isClosed = true;
    for (const timer of [this.#retry, this.#watchdog, ...this.#later]) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#become(State.DISCONNECTED);
  }

  /** What the server's clock says. */
  now(): number {
    return Date.now() + this.skewMs;
  }

  /** Ticks come at whole multiples of the interval. */
  msToNextTick(): number | null {
    if (!this.intervalS) return null;
    const step = this.intervalS * 1000;
    return step - (this.now() % step);
  }

  #tell<K extends keyof StreamEvents>(kind: K, ...told: StreamEvents[K]): void {
    for (const listener of [...(this.#listeners.get(kind) ?? [])]) call(listener, ...told);
  }

  #become(state: State): void {
    if (this.state === state) return;
    this.state = state;
    this.#tell("state", state);
  }

  // --- Users -----------------------------------------------------------------------

  #leave(user: User): void {
    if (!this.#users.delete(user)) return;
    for (const symbol of user.symbols) {
      const left = (this.#wanted.get(symbol) ?? 0) - 1;
      if (left > 0) this.#wanted.set(symbol, left);
      else this.#wanted.delete(symbol);
    }
    if (!this.#isWelcome) this.#forget();
    this.#plan();
  }

  #catchUp(user: User): void {
    if (!user.listener || !this.#last || !this.#users.has(user)) return;
    const data: Record<string, Tick> = {};
    for (const symbol of user.symbols) {
      const known = this.#had.has(this.#nameOf(symbol)) ? this.quote(symbol) : null;
      if (known) data[known.symbol] = known;
    }
    const count = Object.keys(data).length;
    const { seq, epoch } = this.#last;
    const timestamp = this.updatedAt ?? "";
    const update: PriceUpdate = { type: "price_update", epoch, seq, prev_seq: seq, timestamp, count, data, snapshot: true };
    for (const tick of Object.values(data)) call(user.listener, tick, update);
  }

  #deliver(update: PriceUpdate): void {
    for (const user of [...this.#users]) {
      if (!user.listener) continue;
      for (const name of new Set([...user.symbols].map((symbol) => this.#nameOf(symbol)))) {
        const tick = update.data[name];
        if (tick) call(user.listener, tick, update);
      }
    }
  }

  #nameOf(written: string): string {
    return this.#names.get(written) ?? written;
  }

  // --- What the server says -----------------------------------------------------------

  #hear(text: unknown): void {
    this.#watch();
    const frame = parsed(text);
    // A tick that is told again is as old as the outage.
    if (frame.timestamp && !frame.replay) this.skewMs = Date.parse(frame.timestamp) - Date.now();
    if (frame.type === "welcome") this.#welcomed(frame);
    else if (frame.type === "subscribed") this.#subscribed(frame);
    else if (frame.type === "price_update" || frame.type === "heartbeat") this.#tick(frame);
    else if (frame.type === "notice") this.#noticed(frame);
    else if (frame.type === "error") this.#failed(frame);
  }

  #welcomed(frame: Frame): void {
    this.tries = 0;
    this.intervalS = frame.update_interval;
    this.#deadAfterMs = frame.dead_after_s * 1000;
    this.#mostBytes = frame.limits?.max_message_bytes ?? Infinity;
    this.isSilent = false; // said again where it is still so
    this.#heard = { seq: frame.seq, epoch: frame.epoch };
    this.#watch();
    this.#isWelcome = true;
    this.#become(State.CONNECTED);
    this.#sync();
  }

  #subscribed(frame: Frame): void {
    const asked = this.#waiting.get(frame.id) ?? [];
    this.#waiting.delete(frame.id);
    this.#isOurs = true;
    const rejected: Record<string, string> = frame.rejected;
    this.#lose(asked.filter((name) => name in rejected));
    this.#learn(asked.filter((name) => !(name in rejected)), frame.symbols, frame.resolved);
    // Ticks were missed, and nothing is known in their place.
    if (!frame.recovered) for (const symbol of frame.pending ?? []) this.#quotes.delete(symbol);
    const final: Record<string, string> = {};
    const later: string[] = [];
    for (const [name, code] of Object.entries(rejected)) {
      if (code === "upstream_unavailable") later.push(name);
      else final[name] = code;
    }
    if (later.length) this.#askAgain(later, frame.retry_after_ms);
    if (Object.keys(frame.resolved).length) this.#tell("resolved", frame.resolved);
    if (Object.keys(final).length) this.#tell("rejected", final);
    this.#sync(); // what was left while it was being asked for
  }

  #learn(asked: string[], symbols: string[], resolved: Record<string, string>): void {
    const folded = new Map(symbols.map((symbol) => [symbol.toUpperCase(), symbol]));
    for (const name of asked) {
      const symbol = resolved[name] ?? folded.get(name.trim().toUpperCase()) ?? name;
      this.#names.set(name, symbol);
      this.#had.add(symbol);
    }
  }

  // What is refused misses ticks from now on: asked again, it begins with a snapshot.
  #lose(names: string[]): void {
    const kept = this.#named([...this.#sent].filter((name) => !names.includes(name)));
    for (const symbol of this.#named(names)) if (!kept.has(symbol)) this.#had.delete(symbol);
  }

  #failed(frame: Frame): void {
    const asked = this.#waiting.get(frame.id);
    this.#waiting.delete(frame.id);
    this.#lose(asked ?? []);
    if (asked && frame.retry_after_ms) this.#askAgain(asked, frame.retry_after_ms);
    else this.#tell("error", { code: frame.code, error: frame.error });
    this.#settle();
  }

  #askAgain(names: string[], waitMs = STEP_MS): void {
    const timer = setTimeout(() => {
      this.#later.delete(timer);
      names.forEach((name) => this.#sent.delete(name));
      this.#plan();
    }, waitMs);
    this.#later.add(timer);
  }

  #settle(): void {
    if (this.#isWelcome) this.#become(this.#waiting.size ? State.SUBSCRIBING : State.ACTIVE);
  }

  #tick(frame: Frame): void {
    if (typeof frame.epoch !== "string" || typeof frame.seq !== "number") return;
    this.#hearOf(frame.epoch, frame.seq);
    const isNewEpoch = frame.epoch !== this.#last?.epoch;
    // A snapshot is of some symbols only, so it does not say how far the others came.
    if (this.#isOurs && (!frame.snapshot || isNewEpoch)) this.#last = { seq: frame.seq, epoch: frame.epoch };
    if (frame.type !== "price_update") return;
    const update = { ...frame, data: prices(frame.data) } as unknown as PriceUpdate;
    this.updatedAt = update.timestamp;
    for (const tick of Object.values(update.data)) this.#keep(tick);
    this.#tell("update", update);
    this.#deliver(update);
  }

  // That ticks are back is told by their numbers alone: they may hold nothing for us.
  #hearOf(epoch: string, seq: number): void {
    if (epoch === this.#heard.epoch && seq <= this.#heard.seq) return;
    this.#heard = { seq, epoch };
    if (!this.isSilent) return;
    this.isSilent = false;
    this.#tell("state", this.state);
  }

  #keep(tick: Tick): void {
    if (!this.#had.has(tick.symbol)) return; // it was left while this was on its way
    const before = this.#quotes.get(tick.symbol);
    // With chosen fields a message has a part of a price; of another asset nothing is kept.
    const isSame = before && (tick.ref === undefined || tick.ref === before.ref);
    this.#quotes.set(tick.symbol, isSame ? { ...before, ...tick } : tick);
  }

  #noticed(frame: Frame): void {
    if (frame.code === "stopping") this.#comeBackMs = frame.retry_after_ms;
    if (frame.code === "cadence_changed") this.intervalS = frame.update_interval;
    if (frame.code === "publisher_silent") {
      this.isSilent = true;
      this.#tell("state", this.state);
    }
    this.#tell("notice", { code: frame.code, message: frame.message });
  }

  // --- What the server is told ----------------------------------------------------------

  // What was asked for in one turn of the program goes out as one message.
  #plan(): void {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      this.#isPlanned = false;
      this.#sync();
    });
  }

  #sync(): void {
    if (!this.#isWelcome || this.#socket?.readyState !== OPEN) return;
    for (const symbols of this.#parts(this.#left())) this.#send({ action: "unsubscribe", symbols });
    const come = [...this.#wanted.keys()].filter((name) => !this.#sent.has(name));
    come.forEach((name) => this.#sent.add(name));
    const back = this.#last ? come.filter((name) => this.#had.has(this.#nameOf(name))) : [];
    const fresh = come.filter((name) => !back.includes(name));
    for (const symbol of this.#named(fresh)) if (!this.#had.has(symbol)) this.#quotes.delete(symbol);
    const since = this.#last && { since: this.#last.seq, epoch: this.#last.epoch };
    for (const symbols of this.#parts(back)) this.#subscribe({ symbols, ...since });
    for (const symbols of this.#parts(fresh)) this.#subscribe({ symbols });
    this.#settle();
  }

  // Forget names that nobody wants; return the symbols that nobody wants by any name.
  #left(): string[] {
    const asking = new Set([...this.#waiting.values()].flat());
    const gone = [...this.#sent].filter((name) => !this.#wanted.has(name) && !asking.has(name));
    gone.forEach((name) => this.#sent.delete(name));
    const kept = this.#named(this.#sent);
    const left = [...this.#named(gone)].filter((symbol) => !kept.has(symbol));
    for (const symbol of left) this.#quotes.delete(symbol);
    return left.filter((symbol) => this.#had.delete(symbol));
  }

  // Without a connection nobody need be told; what is left then misses all that comes meanwhile.
  #forget(): void {
    const kept = this.#named(this.#wanted.keys());
    for (const known of [this.#had, this.#quotes]) {
      for (const symbol of known.keys()) if (!kept.has(symbol)) known.delete(symbol);
    }
  }

  #named(written: Iterable<string>): Set<string> {
    return new Set([...written].map((name) => this.#nameOf(name)));
  }

  #subscribe(fields: { symbols: string[] }): void {
    const id = ++this.#asks;
    this.#waiting.set(id, fields.symbols);
    this.#send({ action: "subscribe", id, ...fields, ...this.#choices });
  }

  #send(message: object): void {
    this.#socket?.send(JSON.stringify(message));
  }

  /** Parts of a list that fit into a message each. */
  *#parts(symbols: string[]): Generator<string[]> {
    const room = this.#mostBytes - JSON.stringify(this.#choices).length - 200;
    let part: string[] = [];
    let bytes = 0;
    for (const symbol of symbols) {
      const size = 3 * symbol.length + 3; // at the most, as UTF-8
      if (part.length && (part.length >= SYMBOLS_A_MESSAGE || bytes + size > room)) {
        yield part;
        part = [];
        bytes = 0;
      }
      part.push(symbol);
      bytes += size;
    }
    if (part.length) yield part;
  }

  // --- Going and coming back --------------------------------------------------------------

  // A connection that broke without a word looks open for ever: silence is what tells.
  #watch(): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      const socket = this.#socket;
      this.#gone(0);
      socket?.close();
    }, this.#deadAfterMs);
  }

  #gone(code: number): void {
    clearTimeout(this.#watchdog);
    this.#socket = null;
    this.#isWelcome = this.#isOurs = false;
    this.#sent.clear();
    this.#waiting.clear();
    this.#forget();
    if (code === NO_KEY) {
      this.close();
      this.#tell("error", { code: "unauthorized", error: "The server wants a key; this stream is closed." });
      return;
    }
    const wait = this.#wait(code);
    this.retryAt = performance.now() + wait;
    this.#retry = setTimeout(() => this.open(), wait);
    this.state = State.DISCONNECTED;
    this.#tell("state", this.state); // each failed try is news
  }

  // Full jitter, so that a thousand clients do not come back in the same moment.
  #wait(code: number): number {
    const most = Math.min(MOST_MS, STEP_MS * 2 ** this.tries++);
    const asked = this.#comeBackMs;
    this.#comeBackMs = null;
    if (asked !== null) return asked;
    if (code === TOO_OLD && this.tries === 1) return 0;
    if (code === TOO_MUCH) return MOST_MS * (1 + Math.random());
    return Math.random() * most;
  }
}

// What a user's listener throws is told as an error of the program; the others and the stream go on.
function call<Told extends unknown[]>(listener: (...told: Told) => void, ...told: Told): void {
  try {
    listener(...told);
  } catch (error) {
    queueMicrotask(() => { throw error; });
  }
}

// What is no price is never told as one, whoever stands between the server and us. Where
// `fields` were chosen, a price may be missing.
function prices(data: unknown): Record<string, Tick> {
  const told = Object.entries((data ?? {}) as Record<string, Tick | null>);
  return Object.fromEntries(told.filter(([symbol, tick]) => tick?.symbol === symbol && isPrice(tick.price))) as Record<string, Tick>;
}

function isPrice(price: unknown): boolean {
  return price === undefined || (typeof price === "number" && Number.isFinite(price) && price > 0);
}

// What is not JSON is not ours; the next frame will be.
function parsed(text: unknown): Frame {
  try {
    return (JSON.parse(String(text)) as Frame | null) ?? {};
  } catch {
    return {};
  }
}
