"""T24: servers are replaced one after the other under open sockets."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter

from tests.chaos.clients import doubles, until
from tests.chaos.figures import Figure, at_most, exactly, told, within
from tests.chaos.proxy import Proxy
from tests.chaos.resuming import Resuming, gaps
from tests.chaos.scenario import SEED, Size, scenario
from tests.chaos.scenarios.truth import not_as_published, outcomes
from tests.chaos.stage import Recorder, Stage
from tests.processes import Process
from tests.product import Web

_RESTARTING = {1001, 1012}
_MOST_IN_A_SECOND = 0.4


@scenario(
    "T24",
    "A rolling restart under open sockets",
    sizes={
        "short": {"sockets": 20, "restarts": 1, "calm_s": 0},
        "default": {"sockets": 500, "restarts": 2, "calm_s": 4},
        "full": {"sockets": 500, "restarts": 2, "calm_s": 20},
    },
    webs=2,
)
async def rolling(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 50)
    slowest, exits, busiest = 0.0, [], 0.0
    away: list[str] = []
    with Recorder(stage) as recorder:
        async with Proxy([web.port for web in stage.webs], SEED) as proxy:
            clients = [
                Resuming(lambda: proxy.port, symbols[:5], SEED + number)
                for number in range(size.sockets)
            ]
            await until(lambda: all(c.is_up for c in clients), within_s=60)
            for number in range(size.restarts):
                held = len(proxy.accepted)
                begin = time.monotonic()
                exits.append(await _replace(stage, proxy, number))
                await until(lambda: all(c.is_up for c in clients), within_s=40)
                slowest = max(slowest, time.monotonic() - begin)
                away += [client.state for client in clients if not client.is_up]
                busiest = max(busiest, _busiest(proxy.accepted[held:]))
                await asyncio.sleep(size.calm_s)
            for client in clients:
                await client.stop()
    histories = [client.history for client in clients]
    # The last reason of each is our own end.
    reasons = Counter(code for h in histories for code in h.reasons)
    told_to = sum(len(h.waits_ms) for h in histories)
    closed = sum(n for code, n in reasons.items())
    return [
        exactly("sockets closed otherwise than by 1001 or 1012", _others(reasons), 0),
        exactly("closed without a notice of when to come back", closed - told_to, 0),
        exactly("sockets that had not come back after 40 s", len(away), 0),
        *(told("one of them", state) for state in away[:3]),
        within("all back and with ticks after", slowest, 15),
        at_most(
            "busiest second's part of those who come back", busiest, _MOST_IN_A_SECOND, timed=True
        ),
        told("recovered, started over", outcomes(histories)),
        exactly("ticks shown twice or out of order", sum(doubles(h.ticks) for h in histories), 0),
        exactly("ticks missing without a word", sum(map(gaps, histories)), 0),
        exactly("sockets that had to start over", sum(h.started_over for h in histories), 0),
        exactly("prices that are not as published", not_as_published(recorder, histories), 0),
        told("exit codes of servers", exits),
        exactly("stack traces of servers", stage.traces(), 0),
    ]


async def _replace(stage: Stage, proxy: Proxy, number: int) -> int:
    """Stop one server as a deployment does and start the next; return the exit code."""
    old: Web = stage.webs[number]
    proxy.targets.remove(old.port)
    old.process.send(signal.SIGTERM)
    code = await stage.aside(_ended, old.process)
    server = "uvicorn" if "uvicorn" in old.process.log.name else "daphne"
    new = await stage.aside(stage.watched, server)
    stage.webs[number] = new
    proxy.targets.append(new.port)
    return code


def _ended(process: Process) -> int:
    return process.wait(20)


def _busiest(times: list[float]) -> float:
    """Return the greatest part of connections that came within one second."""
    ordered = sorted(times)
    most, begin = 0, 0
    for end, at in enumerate(ordered):
        while at - ordered[begin] > 1:
            begin += 1
        most = max(most, end - begin + 1)
    return most / len(ordered) if ordered else 0.0


def _others(reasons: Counter[int]) -> int:
    return sum(n for code, n in reasons.items() if code not in _RESTARTING)
