"""T19: a slow, lossy, deaf and narrow network."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.clients import doubles, until
from tests.chaos.figures import Figure, exactly, told, within
from tests.chaos.proxy import Proxy, Weather
from tests.chaos.resuming import Resuming, gaps
from tests.chaos.scenario import SEED, Size, scenario
from tests.chaos.scenarios.truth import not_as_published, outcomes
from tests.chaos.stage import Recorder, Stage

_DEAD_AFTER_S = 3
SETTINGS = {"WS_HEARTBEAT_S": "1", "WS_DEAD_AFTER_S": str(_DEAD_AFTER_S)}
_WEATHERS = {
    "200 ms of delay": Weather(delay_s=0.2),
    "1 % of packets stall": Weather(stall_part=0.01, stall_s=0.4),
    "half-open": Weather(is_half_open=True),
    "1 kB a second": Weather(bytes_per_s=1000),
}


@scenario(
    "T19",
    "A bad network",
    sizes={
        "short": {"clients": 2, "each_s": 0.7, "calm_s": 0},
        "default": {"clients": 10, "each_s": 12, "calm_s": 6},
        "full": {"clients": 50, "each_s": 60, "calm_s": 20},
    },
    settings=SETTINGS,
)
async def bad_network(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 20)
    figures: list[Figure] = []
    slowest = 0.0
    with Recorder(stage) as recorder:
        async with Proxy([web.port for web in stage.webs], SEED) as proxy:
            clients = [
                Resuming(lambda: proxy.port, symbols[:10], SEED + n, dead_after_s=_DEAD_AFTER_S)
                for n in range(size.clients)
            ]
            await until(lambda: all(c.is_up for c in clients), within_s=20)
            for weather in _WEATHERS.values():
                proxy.weather = weather
                await asyncio.sleep(size.each_s)
                proxy.weather = Weather()
                begin = time.monotonic()
                await _all_fresh(clients)
                slowest = max(slowest, time.monotonic() - begin)
                await asyncio.sleep(size.calm_s)
            proxy.cut()
            await _all_fresh(clients)
            for client in clients:
                await client.stop()
    histories = [client.history for client in clients]
    figures += [
        told("weathers", ", ".join(_WEATHERS)),
        told("connections made", sum(h.connections for h in histories)),
        told("of them recovered, started over", outcomes(histories)),
        exactly("ticks shown twice or out of order", sum(doubles(h.ticks) for h in histories), 0),
        exactly("ticks missing without a word", sum(map(gaps, histories)), 0),
        exactly("prices that are not as published", not_as_published(recorder, histories), 0),
        # Dead connections are found, and then a wait of at most 2 s.
        within("all have fresh ticks again after", slowest, _DEAD_AFTER_S + 6),
        exactly("stack traces of servers", stage.traces(), 0),
    ]
    return figures


async def _all_fresh(clients: list[Resuming]) -> None:
    """Wait until everyone was shown a tick that has only just been published."""
    after = time.time()
    await until(lambda: all(_last_published(c) > after for c in clients), within_s=40)


def _last_published(client: Resuming) -> float:
    ticks = client.history.ticks
    return ticks[-1].at - ticks[-1].delay_s if ticks else 0.0
