"""T5 to T8: beats and workers that double, die, differ and sleep."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from celery import Celery

from tests.chaos.burst import DONE, TASK
from tests.chaos.clients import Swarm, doubles
from tests.chaos.figures import Figure, at_most, exactly, told, within
from tests.chaos.scenario import SEED, Size, scenario
from tests.chaos.stage import MARKETS, Published, Recorder, Stage, kill, pause
from tests.processes import Process, until

_EARLY = 0.1  # of an interval: as early as a tick may be by Redis's clock
_LOOP_ERRORS = ("Event loop is closed", "attached to a different loop", "Traceback (most recent")


def _intervals(ticks: list[Published]) -> list[int]:
    return [math.floor(tick.at / tick.interval_s + _EARLY) for tick in ticks]


@scenario(
    "T5",
    "Three beats and two workers",
    sizes={
        "short": {"seconds": 3},
        "default": {"seconds": 60},
        "full": {"seconds": 300},
    },
    settings={"PUBLISH_INTERVAL_S": "2"},
    workers=2,
    beats=3,
    is_about_publishing=True,
)
async def several_of_each(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 50)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, 10)
    await swarm.ticks(1, within_s=20)
    before = await stage.aside(stage.sandbox.count, MARKETS)
    with Recorder(stage) as recorder:
        await asyncio.sleep(size.seconds)
    calls = await stage.aside(stage.sandbox.count, MARKETS) - before
    ticks = recorder.ticks[1:]  # the first was there before
    when = _intervals(ticks)
    figures = [
        told("ticks published", len(ticks)),
        exactly("intervals with more than one tick", len(when) - len(set(when)), 0),
        exactly("intervals without a tick", when[-1] - when[0] + 1 - len(set(when)), 0),
        exactly("jumps of seq", sum(b.seq != a.seq + 1 for a, b in _pairs(ticks)), 0),
        at_most("upstream batches more than ticks", calls - len(ticks), 1),
        exactly("ticks that a socket had twice", sum(doubles(c.heard) for c in swarm.clients), 0),
    ]
    await swarm.close()
    return figures


def _pairs(ticks: list[Published]) -> list[tuple[Published, Published]]:
    return list(pairwise(ticks))


@scenario(
    "T6",
    "Workers are killed while they publish",
    sizes={"short": {"kills": 1}, "default": {"kills": 50}, "full": {"kills": 50}},
    workers=2,
    is_about_publishing=True,
)
async def workers_killed(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 200)
    swarm = Swarm(symbols, len(symbols), SEED)
    await swarm.open(stage.webs, 4, keeps_prices=True)
    chance = random.Random(SEED)
    if len(stage.workers) == 1:
        stage.workers.append(await stage.aside(stage.worker))
    await swarm.ticks(2, within_s=20)
    with Recorder(stage) as recorder:
        for number in range(size.kills):
            await _kill_one(stage, stage.workers, number, chance)
        await swarm.ticks(2, within_s=20)
    when = _intervals(recorder.ticks)
    lost = [b - a - 1 for a, b in pairwise(when)]
    known = recorder.by_place
    figures = [
        told("workers killed", size.kills),
        told("ticks published", len(when)),
        exactly("torn ticks in Redis", len(recorder.torn), 0),
        exactly("ticks that are not as published", _other_than(known, swarm), 0),
        at_most("ticks lost in one go, at most", max(lost, default=0), 1),
        at_most("ticks lost in all", sum(lost), size.kills),
        exactly("ticks that a socket had twice", sum(doubles(c.heard) for c in swarm.clients), 0),
        exactly("sockets closed", swarm.lost, 0),
    ]
    await swarm.close()
    return figures


async def _kill_one(
    stage: Stage, workers: list[Process], number: int, chance: random.Random
) -> None:
    """Kill a worker at some point of a tick's making, and put a new one in its place."""
    victim = workers[number % 2]
    # Ticks are begun as the second begins, and take some tens of milliseconds.
    now = time.time()
    await asyncio.sleep(math.floor(now) + 1 + chance.uniform(-0.02, 0.15) - now)
    await stage.aside(kill, victim)
    workers[number % 2] = await stage.aside(stage.worker)


def _other_than(known: dict[tuple[str, int], Published], swarm: Swarm) -> int:
    """Return how many prices are not those of the tick that they came with."""
    wrong = 0
    for client in swarm.clients:
        for one in client.live:
            tick = known.get((one.epoch, one.seq))
            if tick is not None:
                wrong += sum(tick.prices.get(s) != price for s, price in one.data.items())
    return wrong


@scenario(
    "T7",
    "Celery publishes from every kind of pool",
    sizes={
        "short": {"publishes": 5, "pools": 1},
        "default": {"publishes": 1_500, "pools": 3},
        "full": {"publishes": 10_000, "pools": 3},
    },
    workers=0,
    beats=0,
    is_about_publishing=True,
)
async def every_pool(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 50)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, 10)
    pools = ["prefork", "solo", "threads"][: size.pools]
    each = size.publishes // len(pools)
    workers = await asyncio.gather(*(stage.aside(_pool, stage, name) for name in pools))
    counts, grown = [], []
    for name in pools:
        before = len(_connections(stage))
        done, least = await stage.aside(_publish, stage, name, each)
        counts.append(done)
        grown.append(max(0, len(_connections(stage)) - max(before, least)))
    errors = sum(worker.said.count(word) for worker in workers for word in _LOOP_ERRORS)
    await asyncio.sleep(1)
    last = [client.live[-1].seq if client.live else 0 for client in swarm.clients]
    with stage.client() as client:
        seq = int(client.hget("lokifi:count", "seq") or 0)
    figures = [
        exactly(f"publishes done ({', '.join(pools)})", counts, [each] * len(pools)),
        exactly("errors of loops, stack traces", errors, 0),
        at_most("connections to Redis more after than after the first tenth", max(grown), 4),
        exactly("sockets without the last tick", sum(one != seq for one in last), 0),
        exactly("sockets closed", swarm.lost, 0),
    ]
    for worker in workers:
        await stage.aside(worker.stop)
    await swarm.close()
    return figures


def _pool(stage: Stage, pool: str) -> Process:
    command = [
        *(sys.executable, "-m", "celery", "-A", "tests.chaos.burst", "worker"),
        *("--pool", pool, "--concurrency", "1", "--queues", f"burst-{pool}"),
        *("--hostname", f"{pool}@%h", "--without-gossip", "--without-mingle"),
        *("--loglevel", "INFO"),
    ]
    worker = stage.start(f"worker-{pool}", command)
    worker.wait_until_said(" ready.", stage.starts_within_s)
    return worker


def _connections(stage: Stage) -> list[Any]:
    with stage.client() as client:
        return list(client.client_list())


def _publish(stage: Stage, pool: str, count: int) -> tuple[int, int]:
    """Have ticks published; return how many were, and the connections after a tenth of them."""
    tenth = count // 10 or 1
    # Named, since CELERY_BROKER_URL in the environment would win over the app's own.
    url = stage.environment["CELERY_BROKER_URL"]
    with Celery(set_as_current=False) as sender, sender.connection_for_write(url) as connection:
        send = partial(sender.send_task, TASK, (pool,), queue=f"burst-{pool}")
        _send(partial(send, connection=connection), stage, pool, tenth)
        least = len(_connections(stage))
        done = _send(partial(send, connection=connection), stage, pool, count - tenth)
    return done, least


def _send(send: Callable[[], Any], stage: Stage, pool: str, count: int) -> int:
    """Have so many more ticks published; return how many have been in all."""
    key = DONE + pool
    with stage.client() as client:
        wanted = int(client.get(key) or 0) + count
        for _ in range(count):
            send()
        deadline = time.monotonic() + 30 + count / 5
        while (done := int(client.get(key) or 0)) < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
    return done


@scenario(
    "T8",
    "A worker sleeps, and wakes to a backlog",
    sizes={
        "short": {"asleep_s": 2, "after_s": 1},
        "default": {"asleep_s": 60, "after_s": 10},
        "full": {"asleep_s": 300, "after_s": 20},
    },
    is_about_publishing=True,
)
async def worker_asleep(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 50)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, 10)
    await swarm.ticks(2, within_s=20)
    for worker in stage.workers:
        await stage.aside(pause, worker, signal.SIGSTOP)
    await asyncio.sleep(size.asleep_s)
    before = await stage.aside(stage.sandbox.count, MARKETS)
    with Recorder(stage) as recorder:
        woken_at = time.time()
        for worker in stage.workers:
            await stage.aside(pause, worker, signal.SIGCONT)
        await stage.aside(until, lambda: _woken(recorder, woken_at), "a tick", 20)
        await asyncio.sleep(size.after_s)
    calls = await stage.aside(stage.sandbox.count, MARKETS) - before
    ticks = [tick for tick in recorder.ticks if tick.at > woken_at]
    when = _intervals(ticks)
    figures = [
        within("first tick after waking", ticks[0].at - woken_at, 2.0 + stage.interval_s),
        exactly("intervals with more than one tick", len(when) - len(set(when)), 0),
        at_most("upstream batches more than ticks", calls - len(ticks), 1),
        exactly("sockets closed", swarm.lost, 0),
    ]
    await swarm.close()
    return figures


def _woken(recorder: Recorder, at: float) -> bool:
    return any(tick.at > at for tick in recorder.ticks)
