// The shell: which view is shown, the search box, the theme, and how the connection is.

import { attributions } from "./api.js";
import { h, part, say } from "./dom.js";
import { Following } from "./following.js";
import { keep, recall } from "./kept.js";
import { Prices } from "./prices.js";
import { searching } from "./searching.js";
import { State } from "./client/stream.js";

const VIEWS = {
  board: { title: "Live board", module: () => import("./board.js") },
  chart: { title: "Chart", module: () => import("./chart.js") },
  discover: { title: "Discover", module: () => import("./discover.js") },
};
const TOAST_MS = 8000;
const AGAIN_MS = 60_000;
const WORDS = {
  [State.CREATED]: "connecting",
  [State.CONNECTED]: "connecting",
  [State.SUBSCRIBING]: "subscribing",
  [State.ACTIVE]: "live",
};

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const prices = new Prices(`${scheme}//${location.host}/api/ws/prices?client_id=dashboard`);
const { stream } = prices;
const following = new Following(part("view").dataset.symbols.split(",").filter(Boolean));
const app = { prices, following, navigate, rename, announce, warn, title };

let shown = null; // what the view that is mounted gave to leave it by
let turn = 0;
let isMissing = false; // the view's module could not be had
let toastTimer = 0;

function announce(text) {
  say(part("said"), text);
}

// What went wrong is shown too, for some seconds.
function warn(text) {
  if (!text) return;
  announce(text);
  say(part("toast"), text);
  part("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { part("toast").hidden = true; }, TOAST_MS);
}

function viewOf(path) {
  const [, first = "", second = ""] = path.split("/");
  if (first === "chart") return { name: "chart", symbol: decoded(path.slice("/chart/".length)) };
  return { name: first === "discover" ? "discover" : "board", symbol: second };
}

// What nobody can have meant is shown as it stands, and refused as no symbol.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function show() {
  const mine = ++turn;
  const { name, symbol } = viewOf(location.pathname);
  const view = VIEWS[name];
  for (const link of part("tabs").children) {
    if (link.dataset.name === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  title(view.title);
  const module = await view.module().catch(unloaded);
  if (mine !== turn) return;
  shown?.();
  shown = null;
  const root = part("view");
  root.replaceChildren();
  root.className = name;
  isMissing = !module;
  if (isMissing) return root.append(missing(view.title));
  shown = module.mount(root, app, symbol);
}

// A TypeError is what a browser says of a file that it could not fetch.
function unloaded(error) {
  if (!(error instanceof TypeError)) throw error;
  return null;
}

function missing(name) {
  return h("div", { class: "empty" }, h("p", {}, h("b", {}, `${name} cannot be shown now.`)),
    h("p", { class: "faint" }, "A part of the page could not be loaded."), h("button", { onclick: showAgain }, "Try again"));
}

// Some browsers never ask again for a file that they once could not have, but with the whole page.
function showAgain() {
  if (prices.isLive) location.reload();
  else show();
}

function title(text) {
  document.title = `${text} \u00b7 Lokifi prices`;
}

function navigate(address) {
  history.pushState(null, "", address);
  scrollTo(0, 0);
  show();
}

// What the address names goes by another name.
function rename(symbol) {
  history.replaceState(null, "", `/chart/${encodeURIComponent(symbol)}${location.search}`);
  show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  if (!link || !isPlain) return;
  event.preventDefault();
  navigate(link.getAttribute("href"));
});
addEventListener("popstate", show);

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, select, textarea");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  part("search").focus();
});

// On the board a result is followed, elsewhere it is charted.
searching(part("search"), part("results"), part("said"), (result) => {
  if (viewOf(location.pathname).name !== "board") return navigate(`/chart/${encodeURIComponent(result.symbol)}`);
  const refusal = following.add(result.symbol);
  if (refusal) warn(refusal);
  else announce(`${result.symbol} is on the board.`);
});

const THEMES = ["auto", "dark", "light"];
function paintTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  part("theme").textContent = { auto: "\u25d0", dark: "\u263e", light: "\u2600" }[name];
  part("theme").setAttribute("aria-label", `Theme: ${name}`);
  part("theme").title = `Theme: ${name}`;
  dispatchEvent(new Event("theme"));
}
part("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(recall("theme", "auto")) + 1) % THEMES.length];
  keep("theme", next);
  paintTheme(next);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("theme")));

// Everything that changes with time alone, and the banners.
function refresh() {
  const isDown = stream.state === State.DISCONNECTED;
  const pill = part("state");
  pill.dataset.state = isDown ? "waiting" : WORDS[stream.state];
  const wait = Math.max(0, Math.ceil((stream.retryAt - performance.now()) / 1000));
  const isOver = isDown && stream.isClosed; // for good: the server wants no more of this page
  say(part("state-word"), isOver ? "closed" : isDown ? `reconnecting, try ${stream.tries}` : WORDS[stream.state]);
  const next = stream.msToNextTick();
  const isLive = stream.state === State.ACTIVE && next !== null;
  part("hurry").hidden = !isDown || isOver;
  say(part("next"), isOver ? "" : isDown ? `in ${wait} s` : isLive ? `next in ${Math.ceil(next / 1000)} s` : "");
  const all = following.symbols.map((symbol) => prices.of(symbol)).filter(Boolean);
  const told = [...all.map(({ source }) => source), part("view").dataset.source ?? ""];
  const sources = new Set(told.flatMap((source) => source.split("+")));
  part("sandbox").hidden = !sources.has("sandbox");
  const trouble = [];
  if (isOver) trouble.push("Prices are not being updated: the server has closed the connection for good.");
  else if (isDown) trouble.push("Prices are not being updated: the connection is down. It is tried again by itself.");
  else if (stream.isSilent) trouble.push("Prices are not being updated: the server has nothing new to tell.");
  const old = all.filter(({ stale }) => stale).map(({ symbol }) => symbol);
  if (old.length) trouble.push(`Old, since no source could be asked: ${old.join(", ")}.`);
  part("stale").hidden = !trouble.length;
  say(part("stale"), trouble.join(" "));
  credit(sources);
  dispatchEvent(new Event("second"));
}

// Whom the sources of what is shown want named.
let wanted = {};
function credit(sources) {
  const named = [...sources].map((source) => wanted[source]).filter(Boolean);
  const text = named.map((one) => one.text).join();
  if (part("credits").dataset.text === text) return;
  part("credits").dataset.text = text;
  part("credits").replaceChildren(...named.map((one) => (one.link?.startsWith("https://")
    ? h("a", { href: one.link, rel: "noopener noreferrer" }, one.text) : h("span", {}, one.text))));
}
function learnWanted() {
  attributions().then((known) => { wanted = known; }, () => setTimeout(learnWanted, AGAIN_MS));
}
learnWanted();

prices.onState(refresh);
prices.onState(() => isMissing && prices.isLive && showAgain()); // the server is back
setInterval(refresh, 1000);
part("hurry").addEventListener("click", () => stream.hurry());
addEventListener("online", () => stream.hurry());
document.addEventListener("visibilitychange", () => document.hidden || stream.hurry());

// What is on the board is followed in every view, so that coming back to it costs nothing.
let followed = null;
function follow() {
  const before = followed;
  followed = stream.subscribe(following.symbols);
  before?.close();
}
following.listen(follow);
prices.listen({ changed() {}, renamed: (names) => following.rename(names) });
follow();
stream.open();
paintTheme(recall("theme", "auto"));
show();
refresh();
