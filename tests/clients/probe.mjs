// node --experimental-websocket probe.mjs URL: follow BTC, and print what is known of it at each
// notice. The notice "leave" has it left, and "end" ends all. The twin of probe() in test_far_ends.py.
import { PriceStream } from "../../clients/typescript/dist/index.js";

const stream = new PriceStream(process.argv[2], { WebSocket: globalThis.WebSocket });
const seen = {};
const prices = [];
let reported = 0;
process.on("uncaughtException", () => { reported += 1; });
const failing = () => { throw new Error("of a listener"); };
stream.on("state", failing);
const first = stream.subscribe(["BTC"], failing);
let subscription = stream.subscribe(["BTC"], (tick) => prices.push(tick.price));
// Left while there is no connection, and wanted again.
let isLeaving = false;
stream.on("state", (state) => {
  if (state !== "DISCONNECTED" || !isLeaving) return;
  isLeaving = false;
  subscription.close();
  subscription = stream.subscribe(["BTC"]);
  seen.away = { quote: stream.quote("BTC") };
});
stream.on("notice", ({ code }) => {
  const quote = stream.quote("BTC");
  seen[code] = { quote: quote && [quote.price, quote.stale], isSilent: stream.isSilent, skewMs: stream.skewMs };
  if (code === "leave later") isLeaving = true;
  if (code.startsWith("leave")) first.close();
  if (code === "leave") subscription.close();
  if (code !== "end") return;
  Object.assign(seen.end, { prices, reported });
  stream.close();
  console.log(JSON.stringify(seen));
});
stream.open();
