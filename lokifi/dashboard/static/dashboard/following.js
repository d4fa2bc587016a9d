// The symbols on the board, in the order they were added, kept in this browser.

import { keep, recall } from "./kept.js";

const MOST = 100;
const KEPT = "symbols";

export class Following {
  #symbols; #told = new Set();

  constructor(otherwise) {
    const known = recall(KEPT, null);
    const isList = Array.isArray(known);
    this.#symbols = (isList ? known.filter((s) => typeof s === "string") : otherwise).slice(0, MOST);
  }

  get symbols() {
    return [...this.#symbols];
  }

  has(symbol) {
    return this.#symbols.includes(symbol);
  }

  listen(told) {
    this.#told.add(told);
    return () => this.#told.delete(told);
  }

  // Returns why it cannot be, or "".
  add(symbol) {
    if (this.has(symbol)) return "";
    if (this.#symbols.length >= MOST) return `A board holds ${MOST} symbols.`;
    this.#set([...this.#symbols, symbol]);
    return "";
  }

  remove(symbol) {
    this.#set(this.#symbols.filter((other) => other !== symbol));
  }

  toggle(symbol) {
    if (!this.has(symbol)) return this.add(symbol);
    this.remove(symbol);
    return "";
  }

  // What was kept may go by another name by now.
  rename(names) {
    if (!this.#symbols.some((symbol) => symbol in names)) return;
    this.#set([...new Set(this.#symbols.map((symbol) => names[symbol] ?? symbol))]);
  }

  #set(symbols) {
    this.#symbols = symbols;
    keep(KEPT, symbols);
    this.#told.forEach((told) => told());
  }
}
