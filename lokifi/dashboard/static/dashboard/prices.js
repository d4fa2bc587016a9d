// What is known of every symbol on the page, from REST at first and the WebSocket ever after.

import { quotes as askQuotes, reason } from "./api.js";
import { PriceStream, State } from "./client/stream.js";

const A_REQUEST = 100;

// What else comes is no price, whoever sends it.
const isQuote = (told) => typeof told?.symbol === "string" && typeof told.ref === "string"
  && typeof told.price === "number" && told.price > 0 && !Number.isNaN(Date.parse(told.last_updated));

export class Prices {
  stream; #quotes = new Map(); #failed = new Map(); #listeners = new Set(); #stateListeners = new Set();

  constructor(url) {
    this.stream = new PriceStream(url);
    const { stream } = this;
    stream.on("state", () => this.#stateListeners.forEach((listener) => listener()));
    stream.on("update", ({ data }) => Object.values(data).forEach((quote) => this.take(quote)));
    stream.on("resolved", (names) => this.#listeners.forEach((listener) => listener.renamed?.(names)));
    stream.on("rejected", (codes) => Object.entries(codes).forEach(([symbol, code]) => this.#fail(symbol, code)));
  }

  of(symbol) {
    return this.#quotes.get(symbol) ?? null;
  }

  failureOf(symbol) {
    return this.#quotes.has(symbol) ? null : (this.#failed.get(symbol) ?? null);
  }

  // `listener` has changed(symbol, quote, before) and perhaps renamed({asked: symbol}).
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onState(listener) {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  // Whether nothing new comes, so that whatever is known may be old.
  get isHalted() {
    return this.stream.state === State.DISCONNECTED || this.stream.isSilent;
  }

  get isLive() {
    return this.stream.state === State.ACTIVE && !this.stream.isSilent;
  }

  // A quote as it can be taken now.
  shown(quote) {
    return this.isHalted ? { ...quote, isHalted: true } : quote;
  }

  async load(symbols) {
    const whole = { data: {}, failed: {}, resolved: {} };
    for (let at = 0; at < symbols.length; at += A_REQUEST) {
      const answer = await askQuotes(symbols.slice(at, at + A_REQUEST));
      Object.values(answer.data).forEach((quote) => this.take(quote));
      Object.entries(answer.failed).forEach(([symbol, code]) => this.#fail(symbol, code));
      for (const field of Object.keys(whole)) Object.assign(whole[field], answer[field]);
    }
    return whole;
  }

  take(told) {
    if (!isQuote(told)) return;
    const known = this.#quotes.get(told.symbol);
    // The name may have come to mean another asset, of which nothing was known.
    const before = known?.ref === told.ref ? known : null;
    // REST and the socket may cross: what the source said later counts, unless nothing new is had.
    const isOlder = before && Date.parse(before.last_updated) > Date.parse(told.last_updated);
    if (isOlder && !told.stale) return;
    // A tick leaves out the name and what else does not change.
    const quote = isOlder ? { ...before, stale: true } : { ...before, ...told };
    this.#quotes.set(told.symbol, quote);
    this.#failed.delete(told.symbol);
    this.#listeners.forEach((listener) => listener.changed(told.symbol, quote, before));
  }

  #fail(symbol, code) {
    this.#failed.set(symbol, reason(code));
    this.#listeners.forEach((listener) => listener.changed(symbol, this.of(symbol), this.of(symbol)));
  }
}
