"""T17 and T23: long runs of coming and going, and of faults at random."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import redis

from tests.chaos.clients import Client, doubles, until
from tests.chaos.figures import Figure, at_least, at_most, exactly, told
from tests.chaos.proxy import Proxy
from tests.chaos.resuming import History, Resuming, gaps
from tests.chaos.scenario import SEED, Size, scenario
from tests.chaos.scenarios.truth import checked, not_as_published, outcomes
from tests.chaos.stage import Recorder, Sight, Stage, kill, seen

_LOOK_EVERY_S = 2.0
_SPARE = 4  # tasks and file descriptors that come and go
_LONG_S = 1500  # from there on the slope is told without an allowance


@scenario(
    "T17",
    "Clients come and go, 50 a second",
    sizes={
        "short": {"seconds": 2, "a_second": 10},
        "default": {"seconds": 180, "a_second": 50},
        "full": {"seconds": 1800, "a_second": 50},
    },
)
async def churn(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 200)
    chance = random.Random(SEED)
    failed: list[str] = []
    await _come_and_go(stage, symbols, min(20, size.seconds / 2), size.a_second, chance, failed)
    quiet = await _all_quiet(stage)
    sights: list[tuple[float, list[Sight]]] = []
    looking = asyncio.create_task(_look(stage, sights))
    await _come_and_go(stage, symbols, size.seconds, size.a_second, chance, failed)
    looking.cancel()
    after = await _all_quiet(stage)
    slope = max(_slope(sights, number) for number in range(len(stage.webs)))
    # A short run tells a slope only roughly: one MiB in all is allowed.
    most = max(1.0, 600 / size.seconds) if size.seconds < _LONG_S else 1.0
    grown = max(b.rss_mib - a.rss_mib for a, b in zip(quiet, after, strict=True))
    return [
        told("connections made", size.seconds * size.a_second),
        exactly("connections that failed", len(failed), 0),
        at_most("memory's slope, per 10 minutes", slope, most, "MiB", timed=True),
        told("memory when all are gone, more than before", grown, "MiB"),
        at_most("tasks more than before", _more(quiet, after, "tasks"), _SPARE),
        at_most("file descriptors more than before", _more(quiet, after, "fds"), _SPARE),
        exactly("subscribers left", sum(one.sockets for one in after), 0),
        exactly("stack traces of servers", stage.traces(), 0),
    ]


async def _come_and_go(
    stage: Stage,
    symbols: list[str],
    seconds: float,
    a_second: int,
    chance: random.Random,
    failed: list[str],
) -> None:
    tasks: set[asyncio.Task[None]] = set()
    begin = time.monotonic()
    for number in range(int(seconds * a_second)):
        await asyncio.sleep(max(0.0, begin + number / a_second - time.monotonic()))
        port = stage.webs[number % len(stage.webs)].port
        tasks.add(asyncio.create_task(_visit(port, symbols, chance, failed)))
        tasks = {task for task in tasks if not task.done()}
    await asyncio.gather(*tasks)


async def _visit(port: int, symbols: list[str], chance: random.Random, failed: list[str]) -> None:
    client = Client(chance.sample(symbols, min(10, len(symbols))))
    try:
        await client.open(port, within_s=20)
        await asyncio.sleep(chance.uniform(0, 2))
        client.send(action="unsubscribe", symbols=list(client.symbols[:3]))
        await asyncio.sleep(0.05)
    except (OSError, TimeoutError) as exc:
        failed.append(type(exc).__name__)
    if not client.subscribed.done() or client.gone.done():
        failed.append(f"status {client.status}")
    client.close()


async def _look(stage: Stage, sights: list[tuple[float, list[Sight]]]) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        found = await stage.aside(lambda: [seen(web) for web in stage.webs])
        sights.append((time.monotonic(), found))


async def _all_quiet(stage: Stage) -> list[Sight]:
    """Look at the servers when all clients are gone."""
    await until(lambda: not any(seen(web).sockets for web in stage.webs), within_s=20)
    await asyncio.sleep(1)
    return [seen(web) for web in stage.webs]


def _slope(sights: list[tuple[float, list[Sight]]], number: int) -> float:
    """Return MiB per ten minutes, by least squares over the last two thirds."""
    points = [(at, found[number].rss_mib) for at, found in sights][len(sights) // 3 :]
    if len(points) < 3:
        return 0.0
    mean_at = sum(at for at, _ in points) / len(points)
    mean = sum(rss for _, rss in points) / len(points)
    over = sum((at - mean_at) * (rss - mean) for at, rss in points)
    return 600 * over / sum((at - mean_at) ** 2 for at, _ in points)


def _more(before: list[Sight], after: list[Sight], what: str) -> int:
    pairs = zip(before, after, strict=True)
    return max(int(getattr(b, what)) - int(getattr(a, what)) for a, b in pairs)


Fault = Callable[[], Awaitable[None]]


class Nemesis:
    """Does one harmful thing after the other, by a seed."""

    def __init__(self, stage: Stage, proxy: Proxy, seed: int) -> None:
        self.done: list[str] = []
        self._stage = stage
        self._proxy = proxy
        self._random = random.Random(seed)
        self._faults: dict[str, Fault] = {
            "clients cut": self._cut,
            "listeners cut": self._deafen,
            "Redis hung": self._hang,
            "Redis emptied": self._empty,
            "Redis killed": self._kill_redis,
            "worker killed": self._kill_worker,
            "server killed": self._kill_server,
        }

    async def run(self, seconds: float, every_s: float) -> None:
        begin = time.monotonic()
        order: list[str] = []
        while time.monotonic() - begin < seconds:
            await asyncio.sleep(self._random.uniform(0.3, 1) * every_s)
            if not order:
                order = self._random.sample(sorted(self._faults), len(self._faults))
            name = order.pop()
            await self._faults[name]()
            self.done.append(name)

    async def _cut(self) -> None:
        self._proxy.cut(self._random.uniform(0.2, 1))

    async def _deafen(self) -> None:
        await self._tell("CLIENT", "KILL", "TYPE", "pubsub")

    async def _empty(self) -> None:
        await self._tell("FLUSHALL")

    async def _tell(self, *words: str) -> None:
        with suppress(redis.RedisError), self._stage.client() as client:
            await self._stage.aside(client.execute_command, *words)

    async def _hang(self) -> None:
        self._stage.redis.pause()
        await asyncio.sleep(self._random.uniform(0.2, 2))
        self._stage.redis.resume()

    async def _kill_redis(self) -> None:
        self._stage.redis.kill()
        await asyncio.sleep(self._random.uniform(0.2, 2))
        await self._stage.aside(self._stage.restart_redis)

    async def _kill_worker(self) -> None:
        await self._stage.aside(kill, self._stage.workers[0])
        self._stage.workers[0] = await self._stage.aside(self._stage.worker)

    async def _kill_server(self) -> None:
        number = self._random.randrange(len(self._stage.webs))
        old = self._stage.webs[number]
        server = "uvicorn" if "uvicorn" in old.process.log.name else "daphne"
        self._proxy.targets.remove(old.port)
        await self._stage.aside(old.process.stop, signal.SIGKILL)
        new = await self._stage.aside(self._stage.watched, server)
        self._stage.webs[number] = new
        self._proxy.targets.append(new.port)


@scenario(
    "T23",
    "Faults at random, and every client's history held against the truth",
    sizes={
        "short": {"seconds": 4, "clients": 4, "every_s": 1},
        "default": {"seconds": 120, "clients": 30, "every_s": 4},
        "full": {"seconds": 600, "clients": 50, "every_s": 5},
    },
    webs=2,
)
async def nemesis(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 50)
    with Recorder(stage) as recorder:
        async with Proxy([web.port for web in stage.webs], SEED) as proxy:
            chance = random.Random(SEED)
            clients = [
                Resuming(lambda: proxy.port, chance.sample(symbols, 10), SEED + number)
                for number in range(size.clients)
            ]
            await until(lambda: all(c.is_up for c in clients), within_s=30)
            harm = Nemesis(stage, proxy, SEED)
            await harm.run(size.seconds, size.every_s)
            calm_at = time.time()
            await until(lambda: all(_has_after(c, calm_at) for c in clients), within_s=30)
            for client in clients:
                await client.stop()
    histories = [client.history for client in clients]
    shown = sum(len(h.ticks) for h in histories)
    return [
        told("faults", f"{len(harm.done)}: {', '.join(sorted(set(harm.done)))}"),
        told("ticks published, epochs", f"{len(recorder.ticks)}, {_epochs(recorder)}"),
        told("ticks shown to clients", shown),
        told("recovered, started over", outcomes(histories)),
        exactly("ticks shown twice or out of order", sum(doubles(h.ticks) for h in histories), 0),
        exactly("prices that are not as published", not_as_published(recorder, histories), 0),
        at_least("part of shown ticks held against the truth", _part(recorder, histories), 0.6),
        exactly("ticks missing without a word", sum(map(gaps, histories)), 0),
        exactly("clients without ticks in the end", _without(clients, calm_at), 0),
        exactly("torn ticks in Redis", len(recorder.torn), 0),
    ]


def _has_after(client: Resuming, at: float) -> bool:
    ticks = client.history.ticks
    return bool(ticks) and ticks[-1].at - ticks[-1].delay_s > at


def _without(clients: list[Resuming], at: float) -> int:
    return sum(not _has_after(client, at) for client in clients)


def _epochs(recorder: Recorder) -> int:
    return len({tick.epoch for tick in recorder.ticks})


def _part(recorder: Recorder, histories: list[History]) -> float:
    shown = sum(len(h.ticks) for h in histories)
    return checked(recorder, histories) / shown if shown else 0.0
