// What this browser remembers. A window without storage works all the same.

const PREFIX = "lokifi.";

export function recall(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback; // no storage, or what is in it is not ours
  }
}

export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    return; // full or forbidden: it is forgotten with the page
  }
}
