// node --experimental-websocket run.mjs URL: says when the server may be restarted, waits for a
// line that it was, and prints the results. Later Nodes have a global WebSocket without the flag.
import { createInterface } from "node:readline";
import * as library from "../../clients/typescript/dist/index.js";
import { behaviours } from "./behaviours.mjs";

const lines = createInterface({ input: process.stdin });
const { WebSocket } = globalThis;
delete globalThis.WebSocket; // as in Node 20: it has to be given

function restarted() {
  console.log("restart");
  return new Promise((resolve) => lines.once("line", resolve));
}

const results = await behaviours({ library, url: process.argv[2], restarted, WebSocket });
console.log(JSON.stringify(results));
lines.close();
