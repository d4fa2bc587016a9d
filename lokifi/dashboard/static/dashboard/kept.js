// What this browser remembers. A window without storage works all the same.

const PREFIX = "lokifi.";

export function recall(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback; // no storage, or what is in it is not ours
  }
}

// Calls `told` whenever another window of this browser keeps something else under this name.
export function onKept(name, told) {
  addEventListener("storage", ({ key }) => (key === PREFIX + name || key === null) && told());
}

export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    return; // full or forbidden: it is forgotten with the page
  }
}
