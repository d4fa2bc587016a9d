// Elements, with everything foreign as text: nothing here or elsewhere reads markup.

const SVG = "http://www.w3.org/2000/svg";

export const part = (id) => document.getElementById(id);

// h("button", {class: "x", onclick, "aria-label": "..."}, "text", child): null children are left out.
export function h(name, fields = {}, ...children) {
  return furnish(document.createElement(name), fields, children);
}

export function svg(name, fields = {}, ...children) {
  return furnish(document.createElementNS(SVG, name), fields, children);
}

function furnish(element, fields, children) {
  for (const [key, value] of Object.entries(fields)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// A live region is read out when it is written, so it is written only when it changes.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Only these: whatever a source calls an image is otherwise not asked for.
const isPicture = (address) => typeof address === "string" && address.startsWith("https://");

const GIVEN_UP_AFTER = 3;
const missing = new Set(); // pictures that could not be had are asked for once
let hasAny = false;

// Where no picture at all can be had, as without the internet, no more are asked for.
const isHopeless = () => !hasAny && missing.size >= GIVEN_UP_AFTER;

// A colour of its own for each ticker, as an angle.
const hue = (text) => ([...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 9973, 7) * 137) % 360;

// A coin's picture over its first letter, which stays where there is no picture.
export function logo(symbol, address) {
  const bare = symbol.replace(/^.*:/, "");
  const disk = h("span", { class: "logo", "aria-hidden": "true" }, [...bare][0]?.toUpperCase() ?? "?");
  disk.style.setProperty("--hue", hue(bare));
  if (!isPicture(address) || missing.has(address) || isHopeless()) return disk;
  const image = h("img", { alt: "", width: 28, height: 28, loading: "lazy", decoding: "async", referrerpolicy: "no-referrer" });
  image.onload = () => {
    hasAny = true;
    disk.classList.add("has-image");
  };
  image.onerror = () => {
    missing.add(address);
    image.remove();
  };
  image.src = address.replace("/large/", "/small/");
  disk.append(image);
  return disk;
}

export function chartLink(symbol, fields, ...children) {
  return h("a", { href: `/chart/${encodeURIComponent(symbol)}`, "data-view": true, ...fields }, ...children);
}

const BADGES = {
  live: "live", delayed: "delayed", closed: "closed", stale: "stale", unknown: "age unknown",
};
const SESSIONS = { pre: "pre-market", post: "after hours" };
const MARKETS = { open: "open", regular: "open", pre: "before the session", post: "after the session", closed: "closed" };

// How far a price can be trusted: a word, and the reason on hover and for screen readers.
export function badges({ freshness, stale, market, session, disputed, isHalted }, localTime) {
  const isMissed = isHalted && freshness !== "closed"; // while a market is closed nothing is missed
  const word = stale || isMissed ? "stale" : (freshness ?? "unknown");
  const why = [];
  if (stale || freshness === "stale") why.push("No source could be asked; this is the last price known.");
  else if (isMissed) why.push("Prices are not being updated; this is the last one that came.");
  if (word === "delayed") why.push("The source gives prices late.");
  if (word === "unknown") why.push("The source does not say when this price held.");
  if (market) {
    why.push(`New York is ${MARKETS[market.state] ?? market.state}; next change ${localTime(market.next_change_at)}.`);
  }
  const made = [h("span", { class: "badge", "data-badge": word, title: why.join(" ") || null }, BADGES[word] ?? word)];
  if (SESSIONS[session]) made.push(h("span", { class: "badge", "data-badge": "session" }, SESSIONS[session]));
  if (disputed) {
    const title = "Sources disagree about this price by more than they should.";
    made.push(h("span", { class: "badge", "data-badge": "disputed", title }, "disputed"));
  }
  return made;
}
