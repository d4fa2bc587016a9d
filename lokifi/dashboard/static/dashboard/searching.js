// A search box over coins and stocks: answers as you type, arrows to choose, Enter to take.

import { found } from "./api.js";
import { h, logo, say } from "./dom.js";
import { pictureOf } from "./pictures.js";

const PAUSE_MS = 150;
const AGAIN_MS = 3000; // after which a search that failed is tried again
const MOST = 12;
// What stands in a listbox is an option, though there is nothing to choose.
const NOTE = { class: "note", role: "option", "aria-disabled": "true" };

const bare = (symbol) => symbol.replace(/^[a-z]+:/, "");

// Whether another asset bears the same ticker: then the forced form or the name must tell them apart.
function isShared(result, results) {
  if (result.symbol.includes(":")) return true;
  return results.some((other) => other.ref !== result.ref && bare(other.symbol).toUpperCase() === result.symbol);
}

export function rowOf(result, results) {
  const where = result.kind === "stock" ? result.exchange || "US stock" : "coin";
  return [
    logo(bare(result.symbol), pictureOf(result.ref)),
    h("span", { class: "who" }, h("b", {}, result.symbol), h("span", { class: "faint" }, result.name)),
    isShared(result, results) ? h("span", { class: "tag", title: "Several assets have this ticker." }, "shared ticker") : null,
    h("span", { class: "tag" }, where),
  ];
}

// `take(result)` is called with what was chosen; `input` has role=combobox, `list` role=listbox.
export function searching(input, list, status, take) {
  let results = [];
  let chosen = -1;
  let asked = "";
  let timer = 0;
  let isAwaited = false; // Enter came before the answer
  let running = null;

  function close() {
    clearTimeout(timer);
    running?.abort();
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    chosen = -1;
    isAwaited = false;
  }

  function open(...rows) {
    list.replaceChildren(...rows);
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
  }

  function choose(index) {
    chosen = index;
    [...list.children].forEach((row, at) => row.setAttribute("aria-selected", String(at === chosen)));
    const row = list.children[chosen];
    if (row) input.setAttribute("aria-activedescendant", row.id);
    else input.removeAttribute("aria-activedescendant");
    row?.scrollIntoView({ block: "nearest" });
  }

  function done(result) {
    input.value = "";
    results = [];
    asked = "";
    close();
    take(result);
  }

  function show() {
    if (!results.length) {
      open(h("li", NOTE, `Nothing is listed under \u201c${asked}\u201d.`));
      return say(status, "No results.");
    }
    const rows = results.map((result, at) => h("li", {
      id: `${list.id}-${at}`, role: "option", "aria-selected": "false",
      onpointerdown: (event) => event.preventDefault(),
      onclick: () => done(result),
    }, rowOf(result, results)));
    open(...rows);
    choose(0);
    say(status, `${results.length} results.`);
    if (isAwaited) done(results[0]);
  }

  async function search() {
    const text = input.value.trim();
    if (text === asked) return;
    asked = text;
    running?.abort();
    if (!text) return close();
    running = new AbortController();
    if (list.hidden) open(h("li", NOTE, "Searching\u2026"));
    try {
      ({ results } = await found(text, MOST, running.signal));
      show();
    } catch (error) {
      if (error.name === "AbortError") return;
      asked = "";
      results = [];
      open(h("li", NOTE, error.message));
      say(status, error.message);
      timer = setTimeout(search, AGAIN_MS);
    }
  }

  function enter() {
    if (input.value.trim() !== asked) {
      clearTimeout(timer);
      isAwaited = true;
      search();
    } else if (results[chosen]) done(results[chosen]);
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    isAwaited = false;
    timer = setTimeout(search, PAUSE_MS);
  });
  input.addEventListener("focus", () => input.value.trim() && results.length && show());
  input.addEventListener("blur", () => setTimeout(() => document.activeElement !== input && close(), 100));
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && results.length) {
      event.preventDefault();
      choose((chosen + step + results.length) % results.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      enter();
    } else if (event.key === "Escape") {
      if (list.hidden) input.blur();
      close();
    }
  });
}
