// The symbols on the board, in the order they were added, kept in this browser.

import { keep, onKept, recall } from "./kept.js";

const MOST = 100;
const KEPT = "symbols";
const LONGEST = 120;

export class Following {
  #symbols; #told = new Set();

  constructor(otherwise) {
    this.#symbols = kept() ?? otherwise.slice(0, MOST);
    // All windows of a browser show the same board.
    onKept(KEPT, () => this.#take(kept() ?? otherwise.slice(0, MOST)));
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
    if (!this.#symbols.some((symbol) => Object.hasOwn(names, symbol))) return;
    this.#set([...new Set(this.#symbols.map((symbol) => (Object.hasOwn(names, symbol) ? names[symbol] : symbol)))]);
  }

  #set(symbols) {
    keep(KEPT, symbols);
    this.#take(symbols);
  }

  #take(symbols) {
    this.#symbols = symbols;
    this.#told.forEach((told) => told());
  }
}

// What is kept may have been written by anyone: symbols alone, each once.
function kept() {
  const known = recall(KEPT, null);
  if (!Array.isArray(known)) return null;
  const symbols = known.filter((symbol) => typeof symbol === "string" && symbol.trim() && symbol.length <= LONGEST);
  return [...new Set(symbols.map((symbol) => (symbol.includes(":") ? symbol : symbol.toUpperCase())))].slice(0, MOST);
}
