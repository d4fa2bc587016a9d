// What clients/behaviours.json lists, shown by the TypeScript client in Node or in a browser.
// `library` is its module, `url` a running server, `restarted` resolves once that was restarted,
// `WebSocket` a constructor where there is no global one. Returns {name: "ok" or what went wrong}.

const WITHIN_MS = 60_000;

export async function behaviours({ library, url, restarted, WebSocket }) {
  const { PriceClient, PriceError, PriceStream, State } = library;
  const options = WebSocket ? { WebSocket } : {};
  const client = new PriceClient(url, options);
  const results = {};

  async function show(name, behaviour) {
    try {
      await behaviour();
      results[name] = "ok";
    } catch (error) {
      results[name] = `${error.stack ?? error}`;
    }
  }

  await show("rest", async () => {
    const quote = await client.quote("btc");
    equal([quote.symbol, quote.ref, typeof quote.price], ["BTC", "coingecko:bitcoin", "number"]);
    const batch = await client.quotes(["BTC", "ETH", "NOPE", ...many(120)]);
    equal(Object.keys(batch.data), ["BTC", "ETH"]);
    equal(batch.failed.NOPE, "unknown_symbol");
    equal(Object.keys(batch.failed).length, 121);
    equal((await client.history("BTC", "1w")).data.length, 168);
    equal((await client.candles("ETH", "1w", "60")).resolution, "60");
    equal((await client.priceAt("AAPL", "2026-11-20")).symbol, "AAPL");
    equal((await client.top(5)).cryptos.length, 5);
    truth((await client.searchCoins("doge")).results.some(({ id }) => id === "dogecoin"), "no dogecoin");
    truth((await client.search("apple", 5, "stock")).results.some(({ ref }) => ref === "stock:AAPL"), "no Apple");
    equal((await client.mapping()).mapping.BTC, "bitcoin");
  });

  await show("errors", async () => {
    const unknown = await failure(client.quote("NOPE"));
    truth(unknown instanceof PriceError, "another error");
    equal([unknown.code, unknown.status, unknown.problem.status], ["unknown_symbol", 404, 404]);
    const refused = await failure(client.history("BTC", "1q"));
    equal([refused.code, refused.problem.errors[0].field], ["invalid_parameter", "period"]);
    const away = await failure(new PriceClient("http://127.0.0.1:9").quote("BTC"));
    equal([away.code, away.status, away.problem], ["unreachable", 0, null]);
    const stop = new AbortController();
    const asked = failure(client.quote("BTC", { signal: stop.signal }));
    stop.abort();
    equal((await asked).name, "AbortError");
  });

  const socketUrl = `${url.replace(/^http/, "ws")}/api/ws/prices`;
  const stream = new PriceStream(socketUrl, options);
  const states = [stream.state];
  const updates = [];
  const rejected = {};
  stream.on("state", (state) => states.push(state));
  stream.on("update", (update) => updates.push(update));
  stream.on("rejected", (codes) => Object.assign(rejected, codes));
  const seen = [];
  const mine = stream.subscribe(["BTC", "eth"], (tick, update) => seen.push({ symbol: tick.symbol, tick, update }));

  await show("states", async () => {
    truth(stream.isStale, "fresh before it was opened");
    stream.open();
    await until(() => stream.state === State.ACTIVE, "ACTIVE");
    equal(states, [State.CREATED, State.CONNECTED, State.SUBSCRIBING, State.ACTIVE]);
    truth(!stream.isStale, "stale while live");
    equal(stream.intervalS, 1);
  });

  await show("ticks", async () => {
    await until(() => live(updates).length >= 3, "three ticks");
    truth(updates[0].snapshot, "no snapshot at first");
    consecutive(live(updates));
    const { tick } = seen.at(-1);
    equal(stream.quote(tick.symbol).stale, false);
    truth(seen.filter(({ symbol }) => symbol === "BTC").length >= 4, "too few prices");
  });

  await show("names", async () => {
    equal(new Set(seen.map(({ symbol }) => symbol)), new Set(["BTC", "ETH"]));
    const others = [];
    const odd = stream.subscribe(["crypto:sol", "NOPE"], (tick) => others.push(tick.symbol));
    await until(() => rejected.NOPE && others.length, "an answer");
    equal([rejected.NOPE, others[0]], ["unknown_symbol", "SOL"]);
    odd.close();
  });

  await show("latecomer", async () => {
    const before = updates.length;
    const late = [];
    const user = stream.subscribe(["ETH"], (tick, update) => late.push([tick.symbol, update.snapshot ?? false]));
    await Promise.resolve();
    await Promise.resolve();
    equal([late[0], updates.length], [["ETH", true], before]);
    user.close();
  });

  await show("counting", async () => {
    const [one, two] = [[], []];
    const first = stream.subscribe(["DOGE"], (tick) => one.push(tick));
    const second = stream.subscribe(["doge"], (tick) => two.push(tick));
    await until(() => one.length && two.length, "both");
    first.close();
    first.close();
    const [ofFirst, ofSecond] = [one.length, two.length];
    await until(() => two.length >= ofSecond + 2, "the one that stays");
    equal(one.length, ofFirst);
    second.close();
    await until(() => live(updates).slice(-2).every(({ data }) => !("DOGE" in data)), "nothing more");
    await until(() => live(updates).slice(-2).every(({ data }) => "ETH" in data), "the others");
  });

  await show("restart", async () => {
    const before = states.length;
    await restarted();
    truth(states.slice(before).includes(State.DISCONNECTED), `was ${states.slice(before)}`);
    const came = live(updates).length;
    await until(() => stream.state === State.ACTIVE && live(updates).length >= came + 2, "a live tick");
    equal(states.at(before), State.DISCONNECTED);
    equal(stream.isStale, false);
    const all = updates.filter(({ snapshot }) => !snapshot);
    truth(all.some(({ replay }) => replay), "nothing was replayed");
    consecutive(all);
    equal(Object.keys(updates.at(-1).data).sort(), ["BTC", "ETH"]);
  });

  await show("closing", async () => {
    mine.close();
    const again = stream.subscribe(["BTC"]);
    stream.close();
    stream.hurry();
    stream.open();
    const before = updates.length;
    await new Promise((resolve) => setTimeout(resolve, 2500));
    equal([stream.state, stream.isClosed, stream.isStale], [State.DISCONNECTED, true, true]);
    equal(updates.length, before);
    again.close();
    let refused = null;
    try {
      stream.subscribe(["BTC"]);
    } catch (error) {
      refused = error;
    }
    truth(refused, "it was opened again");
  });

  return results;
}

const live = (updates) => updates.filter(({ snapshot, replay }) => !snapshot && !replay);
const many = (count) => Array.from({ length: count }, (_, n) => `NOPE${n}`);

async function failure(promise) {
  return promise.then(() => { throw new Error("it succeeded"); }, (error) => error);
}

async function until(holds, what) {
  const deadline = Date.now() + WITHIN_MS;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function truth(holds, why) {
  if (!holds) throw new Error(why);
}

function equal(is, shall) {
  const text = (value) => JSON.stringify(value instanceof Set ? [...value].sort() : value);
  truth(text(is) === text(shall), `${text(is)} is not ${text(shall)}`);
}

function consecutive(updates) {
  const seqs = updates.map(({ seq }) => seq);
  equal(seqs, seqs.map((_, n) => seqs[0] + n));
}
