// What the charting library's own UDF adapter does with a server's answers, and nothing kinder:
// it looks at no status, reads every answer as text, and takes a key `s` for a failure.

export const PERIODS_S = { 1: 60, 5: 300, 60: 3600, "1D": 86_400 };

export class Adapter {
  constructor(base) {
    this.base = base;
  }

  async ask(name, parameters = {}) {
    const pairs = Object.entries(parameters);
    const query = pairs.map((pair) => pair.map((one) => encodeURIComponent(one.toString())).join("=")).join("&");
    const address = `${this.base}/${name}${query ? `?${query}` : ""}`;
    const response = await fetch(address, { credentials: "same-origin" });
    return JSON.parse(await response.text());
  }

  async start() {
    this.config = await this.ask("config");
    if (!this.config.supports_search && !this.config.supports_group_request) {
      throw new Error("Unsupported datafeed configuration: it supports neither search nor groups");
    }
    if (this.config.supports_group_request) throw new Error("It would be asked for groups");
    return this.config;
  }

  async search(words, type = "", exchange = "") {
    const found = await this.ask("search", { limit: 30, query: words.toUpperCase(), type, exchange });
    if (found.s !== undefined) throw new Error(found.errmsg);
    return found.map((one) => ({ ...one, ticker: one.ticker ?? one.symbol }));
  }

  async resolve(name) {
    const told = await this.ask("symbols", { symbol: name });
    if (told.s !== undefined) throw new Error("unknown_symbol");
    for (const needed of ["name", "timezone", "session", "pricescale"]) {
      if (told[needed] === undefined) throw new Error(`${needed} is missing`);
    }
    return {
      minmov: 0, has_intraday: false, has_daily: true, has_weekly_and_monthly: false, has_empty_bars: false,
      volume_precision: 0, intraday_multipliers: ["1", "5", "15", "30", "60"], format: "price",
      supported_resolutions: this.config.supported_resolutions, visible_plots_set: "ohlcv",
      ...told, ticker: told.ticker ?? told.name, base_name: [told.name],
    };
  }

  async bars(symbol, resolution, { from, to, countBack }) {
    const asked = { symbol: symbol.ticker, resolution, from, to };
    if (countBack !== undefined) asked.countback = countBack;
    if (symbol.currency_code !== undefined) asked.currencyCode = symbol.currency_code;
    const told = await this.ask("history", asked);
    if (told.s !== "ok" && told.s !== "no_data") throw new Error(told.errmsg);
    if (told.s === "no_data") return { bars: [], meta: { noData: true, nextTime: told.nextTime } };
    const bars = told.t.map((time, at) => {
      const bar = { time: time * 1000, close: parseFloat(told.c[at]), open: parseFloat(told.c[at]) };
      bar.high = bar.low = bar.close;
      if (told.o !== undefined) {
        bar.open = parseFloat(told.o[at]);
        bar.high = parseFloat(told.h[at]);
        bar.low = parseFloat(told.l[at]);
      }
      if (told.v !== undefined) bar.volume = parseFloat(told.v[at]);
      return bar;
    });
    return { bars, meta: { noData: false } };
  }

  // One look at a chart that is open, as every ten seconds; `last` is its newest bar so far.
  async pulse(symbol, resolution, last, now = Math.floor(Date.now() / 1000)) {
    const from = now - 10 * PERIODS_S[resolution];
    const { bars } = await this.bars(symbol, resolution, { from, to: now, countBack: 2 });
    if (bars.length === 0) return [];
    const newest = bars[bars.length - 1];
    if (last && newest.time < last.time) return [];
    if (last && newest.time > last.time) {
      if (bars.length < 2) {
        throw new Error("Not enough bars in history for proper pulse update. Need at least 2.");
      }
      return [bars[bars.length - 2], newest];
    }
    return [newest];
  }

  async quotes(symbols) {
    const told = await this.ask("quotes", { symbols });
    if (told.s !== "ok") throw new Error(told.errmsg);
    return told.d;
  }
}

// Draw a symbol as a page would: resolve it, ask for what is seen, and poll twice.
export async function draw(adapter, library, container, name, resolution, now) {
  const symbol = await adapter.resolve(name);
  const span = { from: now - 200 * PERIODS_S[resolution], to: now, countBack: 150 };
  const { bars } = await adapter.bars(symbol, resolution, span);
  const chart = library.createChart(container, { width: 600, height: 300 });
  const series = chart.addSeries(library.CandlestickSeries, { upColor: "#00ff00", downColor: "#ff0000" });
  const shown = (bar) => ({ ...bar, time: bar.time / 1000 });
  series.setData(bars.map(shown));
  let last = bars[bars.length - 1];
  for (let polls = 0; polls < 2; polls++) {
    for (const bar of await adapter.pulse(symbol, resolution, last, now)) {
      series.update(shown(bar));
      last = bar;
    }
  }
  // Against a chart that stands at the bar before, the newest must be told with its neighbour.
  const steps = await adapter.pulse(symbol, resolution, bars[bars.length - 2], now);
  chart.timeScale().fitContent();
  const drawn = chart.takeScreenshot().getContext("2d").getImageData(0, 0, 500, 250).data;
  let coloured = 0;
  for (let at = 0; at < drawn.length; at += 4) {
    const [red, green, blue] = drawn.slice(at, at + 3);
    if (blue === 0 && Math.max(red, green) === 255 && Math.min(red, green) === 0) coloured++;
  }
  return {
    symbol, times: bars.map((bar) => bar.time / 1000), closes: bars.map((bar) => bar.close),
    numbers: bars.every((bar) => Object.values(bar).every(Number.isFinite)), steps: steps.length, coloured,
  };
}
