// One WebSocket that comes back by itself, and says honestly how it is.

const STEP_MS = 1000;
const MOST_MS = 60_000;
const HANDSHAKE_MS = 10_000;
const TOO_MUCH = 4429;
const TOO_OLD = 4440;

export class Feed {
  #told; #socket = null; #timer = 0; #watchdog = 0; #tries = 0; #deadAfterMs; #comeBackMs = null;

  // `told` has symbols(), state(word, ms), message(frame).
  constructor(told) {
    this.#told = told;
    addEventListener("online", () => this.#now());
    document.addEventListener("visibilitychange", () => document.hidden || this.#now());
  }

  open() {
    clearTimeout(this.#timer);
    this.#told.state("connecting");
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/ws/prices?client_id=board`);
    this.#socket = socket;
    this.#deadAfterMs = HANDSHAKE_MS;
    this.#watch();
    socket.onmessage = (event) => socket === this.#socket && this.#hear(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code);
  }

  send(action, symbols) {
    if (this.#socket?.readyState === WebSocket.OPEN && symbols.length) {
      this.#socket.send(JSON.stringify({ action, symbols }));
    }
  }

  #hear(text) {
    this.#watch();
    const frame = read(text);
    if (frame.type === "welcome") {
      this.#tries = 0;
      this.#deadAfterMs = frame.dead_after_s * 1000;
      this.#watch();
      this.#told.state("live");
      this.send("subscribe", this.#told.symbols());
    }
    if (frame.type === "notice" && frame.code === "stopping") this.#comeBackMs = frame.retry_after_ms;
    this.#told.message(frame);
  }

  // A connection that broke without a word looks open for ever: silence is what tells.
  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#socket.close();
      this.#closed(0);
    }, this.#deadAfterMs);
  }

  #closed(code) {
    clearTimeout(this.#watchdog);
    this.#socket = null;
    const wait = this.#wait(code);
    this.#told.state("waiting", wait);
    this.#timer = setTimeout(() => this.open(), wait);
  }

  // Full jitter, so that a thousand pages do not come back in the same moment.
  #wait(code) {
    const most = Math.min(MOST_MS, STEP_MS * 2 ** this.#tries++);
    const asked = this.#comeBackMs;
    this.#comeBackMs = null;
    if (asked !== null) return asked;
    if (code === TOO_OLD) return 0;
    if (code === TOO_MUCH) return MOST_MS * (1 + Math.random());
    return Math.random() * most;
  }

  #now() {
    if (this.#socket === null) this.open();
  }
}

// What is not JSON is not ours; the next frame will be.
function read(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
