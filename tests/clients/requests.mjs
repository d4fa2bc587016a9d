// node requests.mjs URL: what becomes of requests to a server that stops in the middle, as JSON.
// The twin of requested() in test_requests.py.
import { PriceClient } from "../../clients/typescript/dist/index.js";

const client = new PriceClient(process.argv[2], { timeoutS: 0.5 });
const patient = new PriceClient(process.argv[2]);
const become = async (request) => {
  const error = await request.then(() => null, (thrown) => thrown);
  return typeof error?.code === "string" ? error.code : `${error?.name}`;
};

const stop = new AbortController();
const aborted = become(patient.quote("HALF", { signal: stop.signal }));
setTimeout(() => stop.abort(), 200);

console.log(JSON.stringify({
  MUTE: await become(client.quote("MUTE")),
  HALF: await become(client.quote("HALF")),
  CUT: await become(patient.quote("CUT")),
  WRONG: await become(patient.quote("WRONG")),
  STREAM: await become(patient.quote("stream")),
  aborted: await aborted,
  timeout: await become(patient.quote("HALF", { signal: AbortSignal.timeout(200) })),
}));
process.exit();
