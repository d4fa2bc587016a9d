// node --experimental-websocket probe.mjs URL: follow BTC, and print what is known of it at each
// notice. The notice "leave" has it left, and "end" ends all. The twin of probe() in test_far_ends.py.
import { PriceStream } from "../../clients/typescript/dist/index.js";

const stream = new PriceStream(process.argv[2], { WebSocket: globalThis.WebSocket });
const seen = {};
const subscription = stream.subscribe(["BTC"]);
stream.on("notice", ({ code }) => {
  const quote = stream.quote("BTC");
  seen[code] = { quote: quote && [quote.price, quote.stale], isSilent: stream.isSilent, skewMs: stream.skewMs };
  if (code === "leave") subscription.close();
  if (code !== "end") return;
  stream.close();
  console.log(JSON.stringify(seen));
});
stream.open();
