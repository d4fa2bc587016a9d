// The drawing itself: lightweight-charts with our colours, panes and figures.

import {
  CandlestickSeries, createChart, HistogramSeries, LineSeries, PriceScaleMode,
} from "./vendor/lightweight-charts/lightweight-charts-5.2.1.mjs";
import { average, holes, isDaily, strength, stroke } from "./bars.js";
import { barTime, compact, money, smallestStep } from "./figures.js";

// Lines that are told from both grounds, the light and the dark one, by 3 to 1.
export const AVERAGES = { 20: "#b06f00", 50: "#8a63d2" };
export const COMPARED = ["#d0506f", "#008f8f", "#8a7a00", "#6878f0"];
// Percent and logarithm are of prices alone.
const PLAIN_SCALE = { mode: PriceScaleMode.Normal, scaleMargins: { top: 0.1, bottom: 0 } };
const STRENGTH = "#c9558d";
const STRENGTH_LENGTH = 14;

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Plot {
  holes = 0; // empty places that are drawn

  #chart; #main = null; #isLine = false; #volume = null; #lines = []; #model = null; #told;

  // `told(values)` hears what stands under the crosshair; null when it has left.
  constructor(container, told) {
    this.#told = told;
    this.#chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false, fontFamily: "system-ui, sans-serif", background: { color: "transparent" } },
      rightPriceScale: { borderVisible: false },
      timeScale: { borderVisible: false, rightOffset: 2, minBarSpacing: 0.1 },
      localization: { locale: "en-GB" },
    });
    this.#chart.subscribeCrosshairMove(({ time, seriesData }) => {
      told(time === undefined || !this.#main ? null : this.#valuesAt(time, seriesData));
    });
    this.paint();
  }

  paint() {
    const line = color("--line");
    this.#chart.applyOptions({
      layout: { textColor: color("--faint"), panes: { separatorColor: line, separatorHoverColor: color("--hover") } },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
    });
    if (this.#model) this.draw(this.#model, true);
  }

  // `model`: bars, resolution, isCoin, isLine, isLog, averages, hasStrength, compared: [{symbol, bars, isCoin, color}].
  draw(model, isSameView = false) {
    const view = isSameView ? this.#chart.timeScale().getVisibleLogicalRange() : null;
    this.#clear();
    this.#model = model;
    const { bars, resolution, compared } = model;
    const isPercent = compared.length > 0;
    this.#chart.applyOptions({
      localization: { timeFormatter: (time) => barTime(time, isDaily(resolution)) },
      timeScale: { timeVisible: !isDaily(resolution) },
    });
    const mode = isPercent ? PriceScaleMode.Percentage : model.isLog ? PriceScaleMode.Logarithmic : PriceScaleMode.Normal;
    this.#drawMain(bars, isPercent || model.isLine);
    this.#main.priceScale().applyOptions({ mode, scaleMargins: { top: 0.12, bottom: 0.05 } });
    for (const { symbol, bars: theirs, isCoin, color: own } of compared) {
      this.#line(symbol, stroke(theirs, resolution, isCoin), { color: own, lineWidth: 2, lastValueVisible: true }, 0);
    }
    for (const length of model.averages) {
      this.#line(`MA ${length}`, average(bars, length), { color: AVERAGES[length] }, 0);
    }
    let pane = 1;
    if (bars.some(({ volume }) => volume !== null)) this.#drawVolume(bars, pane++);
    if (model.hasStrength) this.#drawStrength(bars, pane++);
    this.#chart.panes().forEach((each, at) => each.setStretchFactor(at === 0 ? 5 : 1));
    if (view) this.#chart.timeScale().setVisibleLogicalRange(view);
    else this.#chart.timeScale().fitContent();
  }

  // The newest bar moved, or there is a new one; the averages follow with the next drawing.
  update(bar) {
    const { bars } = this.#model;
    if (bars.at(-1).timestamp === bar.timestamp) bars[bars.length - 1] = bar;
    else bars.push(bar);
    this.#main.update(this.#isLine ? point(bar) : candle(bar));
    if (this.#volume && bar.volume !== null) this.#volume.update(this.#column(bar));
  }

  // Put the crosshair on a bar, for the keyboard.
  point(at) {
    const bar = this.#model.bars[at];
    this.#chart.setCrosshairPosition(bar.close, bar.timestamp, this.#main);
    const lines = this.#lines.map(({ series, data }) => [series, data.find(({ time }) => time === bar.timestamp)]);
    this.#told(this.#valuesAt(bar.timestamp, new Map(lines)));
  }

  leave() {
    this.#chart.clearCrosshairPosition();
  }

  // The newest value of each line, for when nothing is pointed at.
  newest() {
    return this.#lines.map(({ name, data, color: own }) => ({ name, color: own, value: data.at(-1)?.value ?? null }));
  }

  picture() {
    return this.#chart.takeScreenshot();
  }

  remove() {
    this.#chart.remove();
  }

  #clear() {
    for (const series of [this.#main, this.#volume, ...this.#lines.map((line) => line.series)]) {
      if (series) this.#chart.removeSeries(series);
    }
    this.#main = this.#volume = null;
    this.#lines = [];
    for (let at = this.#chart.panes().length - 1; at > 0; at--) this.#chart.removePane(at);
  }

  #drawMain(bars, isLine) {
    this.#isLine = isLine;
    const priceFormat = { type: "custom", formatter: money, minMove: smallestStep(bars.at(-1).close) };
    const [up, down] = [color("--up"), color("--down")];
    this.#main = isLine
      ? this.#chart.addSeries(LineSeries, { color: color("--accent"), lineWidth: 2, priceFormat }, 0)
      : this.#chart.addSeries(CandlestickSeries, {
        upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false, priceFormat,
      }, 0);
    const empty = this.#model.isCoin ? holes(bars, this.#model.resolution) : [];
    this.holes = empty.length;
    const drawn = isLine ? stroke(bars, this.#model.resolution, this.#model.isCoin) : bars.map(candle);
    this.#main.setData(empty.length ? [...drawn, ...empty].sort((a, b) => a.time - b.time) : drawn);
  }

  #drawVolume(bars, pane) {
    const priceFormat = { type: "custom", formatter: compact, minMove: 0.01 };
    this.#volume = this.#chart.addSeries(HistogramSeries, { priceFormat, priceLineVisible: false, lastValueVisible: false }, pane);
    this.#volume.priceScale().applyOptions(PLAIN_SCALE);
    this.#volume.setData(bars.filter(({ volume }) => volume !== null).map((bar) => this.#column(bar)));
  }

  #drawStrength(bars, pane) {
    const series = this.#line("RSI", strength(bars, STRENGTH_LENGTH), { color: STRENGTH, lastValueVisible: true }, pane);
    series.priceScale().applyOptions(PLAIN_SCALE);
    for (const price of [30, 70]) {
      series.createPriceLine({ price, color: color("--faint"), lineWidth: 1, lineStyle: 2, axisLabelVisible: false });
    }
  }

  #line(name, data, options, pane) {
    const { bars } = this.#model;
    const step = pane === 0 ? smallestStep(bars.at(-1).close) : 0.1;
    const series = this.#chart.addSeries(LineSeries, {
      lineWidth: 1, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false,
      priceFormat: { type: "custom", formatter: pane === 0 ? money : (value) => value.toFixed(0), minMove: step }, ...options,
    }, pane);
    series.setData(data);
    this.#lines.push({ name, series, data, color: options.color });
    return series;
  }

  #column(bar) {
    return { time: bar.timestamp, value: bar.volume, color: `${color(bar.close >= bar.open ? "--up" : "--down")}88` };
  }

  #valuesAt(time, data) {
    const bar = this.#model.bars.find(({ timestamp }) => timestamp === time) ?? null;
    const lines = this.#lines.map(({ name, series, color: own }) => ({ name, color: own, value: data.get(series)?.value ?? null }));
    return { time, bar, lines };
  }
}

const point = ({ timestamp, close }) => ({ time: timestamp, value: close });
const candle = ({ timestamp, open, high, low, close }) => ({ time: timestamp, open, high, low, close });
