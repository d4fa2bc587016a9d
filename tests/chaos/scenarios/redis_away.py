"""T2, T3 and T4: Redis is killed, emptied, deaf."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress

from tests.chaos.clients import Client, Heard, Swarm, until
from tests.chaos.figures import Figure, at_most, exactly, percentile, told, within
from tests.chaos.scenario import SEED, Size, scenario
from tests.chaos.stage import Prices, Recorder, Stage, seen, status_of

_PRICE = "/api/v1/prices/"
_STEADY = 2  # ticks that everyone has before a fault begins


class Asking:
    """Asks a REST price again and again, and notes what comes."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[int, float, bytes]] = []
        self._url = url
        self._task = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        while True:
            self.answers.append(await asyncio.to_thread(status_of, self._url))
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for status, _, _ in self.answers)

    @property
    def wrong(self) -> int:
        return sum(status not in {200, 503} for status, _, _ in self.answers)


@scenario(
    "T2",
    "Redis is killed under open sockets and comes back empty",
    sizes={
        "short": {"sockets": 20, "new": 2, "away_s": 1},
        "default": {"sockets": 1000, "new": 20, "away_s": 10},
        "full": {"sockets": 1000, "new": 100, "away_s": 10},
    },
)
async def redis_killed(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 100)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, size.sockets)
    with Recorder(stage) as recorder:
        await swarm.ticks(_STEADY, within_s=20)
    old, before = list(swarm.clients), recorder.ticks[-1].prices
    for web in stage.webs:
        seen(web)
    asking = [Asking(web.url + _PRICE + symbols[0]) for web in stage.webs]
    stage.redis.kill()
    new = await _come_meanwhile(stage, swarm, symbols[:10], size)
    await stage.aside(stage.restart_redis)
    back_at = time.time()
    await until(lambda: all(_first_after(c, back_at) for c in old if c.is_open), within_s=30)
    lag = max(seen(web).lag_s for web in stage.webs)
    await swarm.ticks(_STEADY, within_s=20)
    for one in asking:
        await one.stop()
    figures = [
        exactly("sockets closed", swarm.lost, 0),
        exactly("new ones let in while Redis was away", _let_in(new), len(new)),
        exactly("of them told that old prices are stale", _told_stale(new, before), len(new)),
        exactly("sockets with ticks after its return", _after(old, back_at), len(old)),
        within("last socket's first tick after its return", _slowest(old, back_at), 3.0),
        exactly("REST answers other than 200 and 503", sum(a.wrong for a in asking), 0),
        told("REST answers", _statuses(asking)),
        told("event loop at most late by", lag, "s"),
        exactly("stack traces of servers", stage.traces(), 0),
    ]
    await swarm.close()
    return figures


async def _come_meanwhile(
    stage: Stage, swarm: Swarm, symbols: list[str], size: Size
) -> list[Client]:
    """Let new clients come all through the outage; return them when it is to end."""
    begin = time.monotonic()
    new: list[Client] = []
    # A server knows that its last tick is old only when the next one is overdue.
    await asyncio.sleep(min(2.5, 2.5 * stage.interval_s))
    for number in range(size.new * len(stage.webs)):
        client = Client(symbols, keeps_prices=True)
        new.append(client)
        swarm.clients.append(client)
        with suppress(OSError, TimeoutError):
            await client.open(stage.webs[number % len(stage.webs)].port, within_s=10)
    await asyncio.sleep(max(0.0, size.away_s - (time.monotonic() - begin)))
    return new


def _let_in(new: list[Client]) -> int:
    return sum(client.subscribed.done() for client in new)


def _told_stale(new: list[Client], before: Prices) -> int:
    return sum(_knows_what_is_old(client, before) for client in new)


def _knows_what_is_old(client: Client, before: Prices) -> bool:
    """Return whether all that is not newer than the last tick is marked stale."""
    first = next((h for h in client.heard if h.kind == "price_update"), None)
    if first is None or not first.data:
        return False
    fresh = {symbol: quote for symbol, quote in first.data.items() if not quote.stale}
    return all(
        symbol in before and quote.last_updated > before[symbol].last_updated
        for symbol, quote in fresh.items()
    )


def _first_after(client: Client, at: float) -> float | None:
    """Return when the first prices came that were published after that moment."""
    return next(
        (
            h.at
            for h in heard_after(client, at)
            if h.kind == "price_update" and h.at - h.delay_s > at
        ),
        None,
    )


def heard_after(client: Client, at: float) -> list[Heard]:
    """Return what was heard after `at`, oldest first; looks at the newest alone."""
    found = []
    for one in reversed(client.heard):
        if one.at < at:
            break
        found.append(one)
    return found[::-1]


def _after(clients: list[Client], at: float) -> int:
    return sum(_first_after(client, at) is not None for client in clients)


def _slowest(clients: list[Client], at: float) -> float:
    return max((_first_after(c, at) or float("inf")) - at for c in clients)


def _statuses(asking: list[Asking]) -> str:
    total = sum((one.statuses for one in asking), Counter())
    return ", ".join(f"{status}: {count}" for status, count in sorted(total.items()))


@scenario(
    "T3",
    "Redis is emptied, and cuts its listeners, again and again",
    sizes={
        "short": {"sockets": 10, "rounds": 1, "every_s": 1.5},
        "default": {"sockets": 200, "rounds": 6, "every_s": 5},
        "full": {"sockets": 1000, "rounds": 12, "every_s": 5},
    },
)
async def redis_emptied(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 100)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, size.sockets)
    with Recorder(stage) as recorder:
        await swarm.ticks(_STEADY, within_s=20)
        begin = time.time()
        faults = 0
        for number in range(size.rounds * 2):
            await stage.aside(_disturb, stage, number)
            faults += 1
            await asyncio.sleep(size.every_s / 2)
        end = time.time()
        await swarm.ticks(_STEADY, within_s=30)
    published = [tick for tick in recorder.ticks if begin <= tick.at < end]
    silent = [c for c in swarm.clients if c.is_open and not heard_after(c, end)]
    missed = [len(published) - _heard_between(c, begin, end) for c in swarm.clients]
    figures = [
        exactly("sockets closed", swarm.lost, 0),
        told("faults", faults),
        told("ticks published meanwhile", len(published)),
        at_most("ticks that a socket did not get, at most", max(missed), faults),
        exactly("gaps that prev_seq does not tell", sum(map(untold, swarm.clients)), 0),
        exactly("sockets without a tick afterwards", len(silent), 0),
        exactly("stack traces of servers", stage.traces(), 0),
    ]
    await swarm.close()
    return figures


def _disturb(stage: Stage, number: int) -> None:
    with stage.client() as client:
        if number % 2:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        else:
            client.flushall()


def _heard_between(client: Client, begin: float, end: float) -> int:
    # A new epoch's first tick comes as a snapshot.
    places = {
        (h.epoch, h.seq)
        for h in client.heard
        if h.kind == "price_update" and begin <= h.at - h.delay_s < end
    }
    return len(places)


def untold(client: Client) -> int:
    """Return how many live ticks do not follow on what the client was told before."""
    wrong = 0
    last: tuple[str, int] | None = None
    for one in client.heard:
        if one.is_live:
            if last is not None and last[0] == one.epoch and one.prev_seq > last[1]:
                wrong += 1
            last = (one.epoch, one.seq)
        elif last is None or last[0] != one.epoch:
            last = (one.epoch, one.seq)
    return wrong


@scenario(
    "T4",
    "Redis hangs: it takes connections and answers nothing",
    sizes={
        "short": {"sockets": 10, "hung_s": 1.5},
        "default": {"sockets": 200, "hung_s": 20},
        "full": {"sockets": 1000, "hung_s": 20},
    },
)
async def redis_hung(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 100)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, size.sockets)
    await swarm.ticks(_STEADY, within_s=20)
    for web in stage.webs:
        status_of(web.url + _PRICE + symbols[0])
        seen(web)
    stage.redis.pause()
    try:
        asking = [Asking(web.url + _PRICE + symbols[0]) for web in stage.webs]
        await asyncio.sleep(size.hung_s)
        for one in asking:
            await one.stop()
        lag = max(seen(web).lag_s for web in stage.webs)
    finally:
        stage.redis.resume()
    back_at = time.time()
    await swarm.ticks(_STEADY, within_s=30)
    waits = [wait for one in asking for _, wait, _ in one.answers]
    figures = [
        exactly("sockets closed", swarm.lost, 0),
        exactly("REST answers other than 200 and 503", sum(a.wrong for a in asking), 0),
        told("REST answers", _statuses(asking)),
        told("of them marked stale", _marked_stale(asking)),
        within("REST p99", percentile(waits, 0.99), 1.0),
        within("event loop at most late by", lag, 0.2),
        exactly("sockets with ticks afterwards", _after(swarm.clients, back_at), size.sockets),
        exactly("stack traces of servers", stage.traces(), 0),
    ]
    await swarm.close()
    return figures


def _marked_stale(asking: list[Asking]) -> int:
    bodies = [body for one in asking for status, _, body in one.answers if status == 200]
    return sum(json.loads(body)["stale"] for body in bodies)
