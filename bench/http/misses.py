"""The row of what nobody knows: each request makes its one upstream call."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from redis import Redis

from bench.http.servers import API, Servers
from bench.proc import whole_cpu_s
from bench.row import How, Row
from tests.lokifi.raw import Line
from tests.product import Web

MOST_TIMES = 1.3
# The machine's own speed changes within seconds: so few at a time, by turns, so many turns a round.
_EACH = 50
_TURNS = 6
_COIN = "/coingecko/api/v3/coins"
# What is asked of us, the kind of key it is kept under, and the call that it takes.
_ASKED = {
    "quote": (f"{API}/XRP", "price:XRP", f"{_COIN}/markets?vs_currency=usd&ids=ripple"),
    "history 1w": (
        f"{API}/XRP/history?period=1w",
        "history:XRP:1w",
        f"{_COIN}/ripple/market_chart?vs_currency=usd&days=7",
    ),
}


def misses(how: How, at: Servers) -> Row:
    """Let each request find nothing, one after the other, and count the server's CPU."""
    row = Row("misses", "Not known anywhere: one request after the other, each with its call")
    ours, bare = at.ours(), at.bare_drf()
    with Redis(port=at.product.redis.port) as store:
        for name, (target, key, upstream) in _ASKED.items():

            def forget(key: str = key) -> None:
                store.delete(key, f"good:{key}")

            mine, its = [], []
            _cpu_us(ours, target, forget, 30)
            _cpu_us(bare, upstream, forget, 30)
            for _ in range(how.rounds):
                turns = []
                before = at.product.sandbox.count()
                for _ in range(_TURNS):
                    turns.append((_cpu_us(ours, target, forget), _cpu_us(bare, upstream, forget)))
                calls = (at.product.sandbox.count() - before) / (_TURNS * _EACH) - 1
                mine.append(statistics.mean(us for us, _ in turns))
                its.append(statistics.mean(us for _, us in turns))
            row.table[f"{name}, ours"] = {"CPU us": statistics.median(mine), "calls": calls}
            row.table[f"{name}, a bare DRF view"] = {"CPU us": statistics.median(its), "calls": 1}
            times = statistics.median(_ratios(mine, its))
            row.judge(f"{name}: CPU, times the bare view's", times, MOST_TIMES)
    return row


def _ratios(mine: Sequence[float], its: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(mine, its, strict=True)]


def _cpu_us(web: Web, target: str, forget: Callable[[], None], count: int = _EACH) -> float:
    line = Line(web.port)
    before = whole_cpu_s(web.process.pid)
    for _ in range(count):
        forget()
        reply = line.ask(target)
        assert reply.status == 200, reply.body[:500]
    used_s = whole_cpu_s(web.process.pid) - before
    line.close()
    return used_s / count * 1e6
