// Live prices over one WebSocket that comes back by itself and says honestly how it is.
// It knows nothing of the page; docs/websocket.md says what goes over the wire.

const STEP_MS = 1000;
const MOST_MS = 60_000;
const HANDSHAKE_MS = 10_000;
const SYMBOLS_A_MESSAGE = 100;
const TOO_MUCH = 4429;
const TOO_OLD = 4440;

export const State = Object.freeze({
  CREATED: "CREATED",
  CONNECTED: "CONNECTED",
  SUBSCRIBING: "SUBSCRIBING",
  ACTIVE: "ACTIVE",
  DISCONNECTED: "DISCONNECTED",
});

export class PriceStream {
  state = State.CREATED;
  retryAt = 0; // performance.now() of the next try, while DISCONNECTED
  tries = 0; // connections that failed since the last one that was answered
  intervalS = null; // seconds between ticks
  skewMs = 0; // how far the server's clock is ahead of ours
  isSilent = false; // the server itself hears no ticks

  #url; #told; #socket = null; #retry = 0; #watchdog = 0; #deadAfterMs; #comeBackMs = null;
  #isClosed = false; #isPlanned = false; #asks = 0;
  #wanted = new Map(); // symbol -> how many want it
  #sent = new Set(); // what this connection was asked for
  #had = new Set(); // what an earlier connection followed: these can be resumed
  #waiting = new Map(); // id of a request -> its symbols
  #last = null; // {seq, epoch} of the newest tick we have
  #isOurs = false; // whether ticks of this connection are about our symbols

  // `told` has state(), prices(quotes, frame), resolved({asked: symbol}), rejected({symbol: code}).
  constructor(url, told) {
    this.#url = url;
    this.#told = told;
  }

  // Follow symbols until the function that is returned is called.
  follow(symbols) {
    const mine = new Set(symbols);
    for (const symbol of mine) this.#wanted.set(symbol, (this.#wanted.get(symbol) ?? 0) + 1);
    this.#plan();
    return () => {
      for (const symbol of mine) {
        const left = (this.#wanted.get(symbol) ?? 0) - 1;
        if (left > 0) this.#wanted.set(symbol, left);
        else this.#wanted.delete(symbol);
      }
      mine.clear();
      this.#plan();
    };
  }

  open() {
    if (this.#isClosed || this.#socket) return;
    clearTimeout(this.#retry);
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#deadAfterMs = HANDSHAKE_MS;
    this.#watch();
    socket.onmessage = (event) => socket === this.#socket && this.#hear(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#gone(event.code);
  }

  // Try at once instead of waiting: the network or the person is back.
  hurry() {
    if (this.state === State.DISCONNECTED) this.open();
  }

  // Closed here is closed for good.
  close() {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#become(State.DISCONNECTED);
  }

  now() {
    return Date.now() + this.skewMs;
  }

  // Ticks come at whole multiples of the interval.
  msToNextTick() {
    if (!this.intervalS) return null;
    const step = this.intervalS * 1000;
    return step - (this.now() % step);
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.#told.state();
  }

  #hear(text) {
    this.#watch();
    const frame = parsed(text);
    if (frame.timestamp) this.skewMs = Date.parse(frame.timestamp) - Date.now();
    if (frame.type === "welcome") this.#welcomed(frame);
    if (frame.type === "subscribed") this.#subscribed(frame);
    if (frame.type === "price_update" || frame.type === "heartbeat") this.#tick(frame);
    if (frame.type === "notice") this.#noticed(frame);
    if (frame.type === "error" && this.#waiting.has(frame.id)) this.#again(frame);
  }

  #welcomed(frame) {
    this.tries = 0;
    this.intervalS = frame.update_interval;
    this.#deadAfterMs = frame.dead_after_s * 1000;
    this.#watch();
    this.#become(State.CONNECTED);
    this.#sync();
  }

  #subscribed(frame) {
    this.#waiting.delete(frame.id);
    this.#isOurs = true;
    frame.symbols.forEach((symbol) => this.#had.add(symbol));
    this.#told.resolved(frame.resolved);
    const final = {};
    const later = [];
    for (const [symbol, code] of Object.entries(frame.rejected)) {
      if (code === "upstream_unavailable") later.push(symbol);
      else final[symbol] = code;
    }
    if (later.length) this.#retryOf(later, frame.retry_after_ms);
    this.#told.rejected(final);
    this.#settle();
  }

  #again(frame) {
    const symbols = this.#waiting.get(frame.id);
    this.#waiting.delete(frame.id);
    if (frame.retry_after_ms) this.#retryOf(symbols, frame.retry_after_ms);
    this.#settle();
  }

  #retryOf(symbols, waitMs = STEP_MS) {
    setTimeout(() => {
      symbols.forEach((symbol) => this.#sent.delete(symbol));
      this.#plan();
    }, waitMs);
  }

  #settle() {
    if (!this.#socket) return;
    this.#become(this.#waiting.size ? State.SUBSCRIBING : State.ACTIVE);
  }

  #tick(frame) {
    const isLive = !frame.snapshot && !frame.replay;
    const isNewEpoch = frame.epoch !== this.#last?.epoch;
    // A snapshot is of some symbols only, so it does not say how far the others came.
    if (this.#isOurs && (!frame.snapshot || isNewEpoch)) {
      this.#last = { seq: frame.seq, epoch: frame.epoch };
    }
    if (frame.type !== "price_update") return;
    if (isLive) this.isSilent = false;
    this.#told.prices(Object.values(frame.data), frame);
  }

  #noticed(frame) {
    if (frame.code === "stopping") this.#comeBackMs = frame.retry_after_ms;
    if (frame.code === "publisher_silent") this.isSilent = true;
    if (frame.code === "cadence_changed") this.intervalS = frame.update_interval;
    this.#told.state();
  }

  // What was asked for in one turn of the page goes out as one message.
  #plan() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      this.#isPlanned = false;
      this.#sync();
    });
  }

  #sync() {
    if (this.#socket?.readyState !== WebSocket.OPEN || this.state === State.CREATED) return;
    const gone = [...this.#sent].filter((symbol) => !this.#wanted.has(symbol));
    const come = [...this.#wanted.keys()].filter((symbol) => !this.#sent.has(symbol));
    for (const symbol of gone) {
      this.#sent.delete(symbol);
      this.#had.delete(symbol);
    }
    come.forEach((symbol) => this.#sent.add(symbol));
    for (const symbols of parts(gone)) this.#send({ action: "unsubscribe", symbols });
    const back = this.#last ? come.filter((symbol) => this.#had.has(symbol)) : [];
    const fresh = come.filter((symbol) => !back.includes(symbol));
    const since = this.#last && { since: this.#last.seq, epoch: this.#last.epoch };
    for (const symbols of parts(back)) this.#subscribe({ symbols, ...since });
    for (const symbols of parts(fresh)) this.#subscribe({ symbols });
    this.#settle();
  }

  #subscribe(fields) {
    const id = ++this.#asks;
    this.#waiting.set(id, fields.symbols);
    this.#send({ action: "subscribe", id, ...fields });
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  // A connection that broke without a word looks open for ever: silence is what tells.
  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#socket?.close();
      this.#gone(0);
    }, this.#deadAfterMs);
  }

  #gone(code) {
    clearTimeout(this.#watchdog);
    this.#socket = null;
    this.#sent.clear();
    this.#waiting.clear();
    this.#isOurs = false;
    const wait = this.#wait(code);
    this.retryAt = performance.now() + wait;
    this.#retry = setTimeout(() => this.open(), wait);
    this.#become(State.DISCONNECTED);
    this.#told.state();
  }

  // Full jitter, so that a thousand pages do not come back in the same moment.
  #wait(code) {
    const most = Math.min(MOST_MS, STEP_MS * 2 ** this.tries++);
    const asked = this.#comeBackMs;
    this.#comeBackMs = null;
    if (asked !== null) return asked;
    if (code === TOO_OLD) return 0;
    if (code === TOO_MUCH) return MOST_MS * (1 + Math.random());
    return Math.random() * most;
  }
}

function* parts(symbols) {
  for (let at = 0; at < symbols.length; at += SYMBOLS_A_MESSAGE) {
    yield symbols.slice(at, at + SYMBOLS_A_MESSAGE);
  }
}

// What is not JSON is not ours; the next frame will be.
function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
