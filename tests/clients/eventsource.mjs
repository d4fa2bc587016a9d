// An EventSource over a restart of the server: the browser alone sees to coming back and resuming.

export async function run(restarted) {
  const [updates, subscribed] = [[], []];
  const source = new EventSource("/api/v1/prices/stream?symbols=BTC,NOPE");
  source.onmessage = ({ data, lastEventId }) => updates.push({ ...JSON.parse(data), lastEventId });
  source.addEventListener("subscribed", ({ data }) => subscribed.push(JSON.parse(data)));
  await until(() => updates.length >= 3);
  await restarted();
  const came = updates.length;
  await until(() => subscribed.length >= 2 && updates.length >= came + 3);
  source.close();
  const ticks = updates.filter(({ snapshot }) => !snapshot).map(({ seq }) => seq);
  const results = {
    "begins with a snapshot": Boolean(updates[0].snapshot),
    "says what it does not follow": subscribed[0].rejected.NOPE === "unknown_symbol",
    "notes the place of each": updates.every(({ epoch, seq, lastEventId }) => lastEventId === `${epoch}:${seq}`),
    "resumes by itself": subscribed[1].recovered === true && updates.some(({ replay }) => replay),
    "gets each tick once": ticks.every((seq, n) => seq === ticks[0] + n),
  };
  return Object.fromEntries(Object.entries(results).map(([name, holds]) => [name, holds ? "ok" : `no: ${ticks}`]));
}

async function until(holds) {
  const deadline = Date.now() + 60_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error("waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
