"""The rows of the table in docs/performance-http.md, each with what it is to reach."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

import uvloop

from bench.http.misses import misses
from bench.http.rounds import Figures, Target, rounds
from bench.http.servers import API, KNOWN, Servers
from bench.row import How, Row
from tests.lokifi.raw import Line
from tests.product import Web

TOP = KNOWN["top 100"][0]
_SECONDS = 2
# Keys that nobody has asked for before, from 1 to MANY, in no order.
MANY = 10_000
AT_RANDOM = """
math.randomseed(os.time())
hits, answers = 0, 0
local threads = {}
setup = function(thread) table.insert(threads, thread) end
request = function() return wrk.format("GET", "PATH?junk=" .. math.random(MANY)) end
response = function(status, headers)
  answers = answers + 1
  if headers["age"] then hits = hits + 1 end
end
share = function() return threads[1]:get("hits") / threads[1]:get("answers") end
"""


def target(name: str, web: Web, path: str, **more: object) -> Target:
    return Target(name, web.port, path, web.process.pid, **more)  # type: ignore[arg-type]


def note(row: Row, found: Mapping[str, Figures]) -> None:
    for name, one in found.items():
        row.table[name] = {
            "requests/s": one.per_s,
            "p50 ms": one.p50_ms,
            "p99 ms": one.p99_ms,
            "CPU us": one.cpu_us,
        }


def known(how: How, at: Servers) -> Row:
    row = Row("known", "Known in the process, 16 connections")
    ours = at.ours()
    at.fill(ours)
    peer, bare = at.starlette(1), at.bare()
    for name, (path, _) in KNOWN.items():
        at.fill(ours)
        servers = {"ours": ours, "Starlette": peer, "bare": bare}
        found = rounds(
            [target(f"{name}, {s}", w, path) for s, w in servers.items()], 16, _SECONDS, how.rounds
        )
        note(row, found)
        mine, its, floor = (found[f"{name}, {s}"].per_s for s in servers)
        row.judge_least(f"{name}: times Starlette with its copy", mine / its, 1.3)
        row.judge_least(f"{name}: part of the bare responder", mine / floor, 0.25)
    return row


def _judge_cpu(row: Row, found: Mapping[str, Figures], ours: str, peer: str, least: float) -> None:
    """Judge by what an answer takes, which what else the machine does hardly changes."""
    row.judge_least(
        f"{ours}: peer's CPU against ours", found[peer].cpu_us / found[ours].cpu_us, least
    )


def in_redis(how: How, at: Servers) -> Row:
    """Compare what goes out of Redis where the process keeps nothing."""
    row = Row("redis", "Known in Redis only, 16 connections")
    ours, peer = at.ours(FRONT_CACHE_BYTES="0"), at.starlette(0)
    for name in ("history 1w", "history 1y", "ohlcv 1m", "quote"):
        path = KNOWN[name][0]
        at.fill(ours)
        pair = [target(f"{name}, ours", ours, path), target(f"{name}, Starlette", peer, path)]
        found = rounds(pair, 16, _SECONDS, how.rounds)
        note(row, found)
        times = found[f"{name}, ours"].per_s / found[f"{name}, Starlette"].per_s
        row.judge_least(f"{name}: times Starlette and Redis", times, 0.9)
        _judge_cpu(row, found, f"{name}, ours", f"{name}, Starlette", 0.9)
    return row


def batch(how: How, at: Servers) -> Row:
    """Ask for 50 known quotes at once: posted, which no cache keeps, and by GET."""
    row = Row("batch", "A batch of 50, known, 16 connections")
    ours, peer = at.ours(), at.starlette(0)
    symbols = at.fill_quotes(ours, 50)
    body = json.dumps({"symbols": symbols}).encode()
    path = f"{API}/batch"
    pair = [
        target(f"{name}, POST", web, path, body=body, part="data")
        for name, web in (("ours", ours), ("Starlette", peer))
    ]
    found = rounds(pair, 16, _SECONDS, how.rounds)
    note(row, found)
    times = found["ours, POST"].per_s / found["Starlette, POST"].per_s
    row.judge_least("POST: times Starlette and MGET", times, 1)
    _judge_cpu(row, found, "ours, POST", "Starlette, POST", 1)
    got = target("ours, GET", ours, f"{API}?symbols={','.join(symbols)}")
    at.fill_quotes(ours, 50)
    note(row, rounds([got], 16, _SECONDS, how.rounds))
    return row


def one_connection(how: How, at: Servers) -> Row:
    row = Row("one", "Top 100 over one connection")
    ours, peer = at.ours(), at.starlette(1)
    at.fill(ours)
    pair = [target("ours", ours, TOP), target("Starlette", peer, TOP)]
    found = rounds(pair, 1, _SECONDS, how.rounds)
    note(row, found)
    row.judge("p50 against Starlette's", found["ours"].p50_ms, found["Starlette"].p50_ms, "ms")
    return row


def unchanged(how: How, at: Servers) -> Row:
    row = Row("304", "Top 100, whole and as 304")
    ours = at.ours()
    at.fill(ours)
    etag = target("", ours, TOP).sample().header("etag") or ""
    whole = target("200", ours, TOP)
    known_already = target(
        "304", ours, TOP, headers={"If-None-Match": etag}, status=304, is_compared=False
    )
    found = rounds([whole, known_already], 16, _SECONDS, how.rounds)
    note(row, found)
    row.judge_least("304 against 200", found["304"].per_s / found["200"].per_s, 1.3)
    return row


def zipped(how: How, at: Servers) -> Row:
    row = Row("gzip", "Plain and gzip")
    ours = at.ours()
    for name in ("history 1w", "top 100"):
        at.fill(ours)
        path = KNOWN[name][0]
        pair = [
            target(f"{name}, plain", ours, path),
            target(f"{name}, gzip", ours, path, headers={"Accept-Encoding": "gzip"}),
        ]
        found = rounds(pair, 16, _SECONDS, how.rounds)
        note(row, found)
        part = found[f"{name}, gzip"].per_s / found[f"{name}, plain"].per_s
        row.judge_least(f"{name}: gzip against plain", part, 0.9)
    return row


def daphne(how: How, at: Servers) -> Row:
    row = Row("daphne", "Under daphne, history 1w")
    ours, alone = at.ours("daphne"), at.django_alone("daphne")
    path = KNOWN["history 1w"][0]
    at.fill(ours)
    pair = [target("ours", ours, path), target("the view alone", alone, path)]
    found = rounds(pair, 16, _SECONDS, how.rounds)
    note(row, found)
    times = found["ours"].per_s / found["the view alone"].per_s
    row.judge_least("times the plain view under daphne", times, 6)
    return row


def processes(how: How, at: Servers) -> Row:
    row = Row("processes", "One process and two, history 1w, 64 connections")
    path = KNOWN["history 1w"][0]
    one, two = at.workers(1), at.workers(2)
    for web in (one, two, one, two):
        at.fill(web)
        for _ in range(10):
            at.fill(web)
    found = rounds([target("one", one, path), target("two", two, path)], 64, _SECONDS, how.rounds)
    note(row, found)
    times = found["two"].per_s / found["one"].per_s
    row.judge_least("two against one", times, 1.4)
    alone, both = found["one"], found["two"]
    # One process has a core to itself; two share both with wrk.
    most = 2 * alone.cpu_us / (both.cpu_us + both.tool_us)
    row.notes.append(
        f"wrk takes {both.tool_us:.0f} us of CPU for an answer beside the {both.cpu_us:.0f} us of "
        f"the servers, on {os.cpu_count()} cores: with both cores full that is {most:.2f} times "
        f"what one process does on one."
    )
    return row


def many_keys(how: How, at: Servers) -> Row:
    """Ask at random for keys of which a tenth has room."""
    row = Row("many keys", f"{MANY} keys at random, room for a tenth of them, 64 connections")
    path = f"{API}/BTC/history?period=1w"
    size = len(target("", at.ours(), path).sample().body)
    web = at.ours(FRONT_CACHE_BYTES=str(MANY * size // 10))
    at.fill(web)
    script = AT_RANDOM.replace("PATH?", f"{path}&").replace("MANY", str(MANY))
    before_kib = _rss_kib(web)
    one = target("ours", web, path, script=script, is_compared=False)
    found = rounds([one], 64, 5, how.rounds)
    note(row, found)
    row.table["ours"]["hits %"] = 100 * found["ours"].share
    grown = (_rss_kib(web) - before_kib) / 1024
    row.notes.append(
        f"The server grew by {grown:.1f} MiB; the bound is {MANY * size / 10 / 2**20:.1f} MiB."
    )
    return row


def _rss_kib(web: Web) -> int:
    from bench.proc import rss_kib

    return rss_kib([web.process.pid])


def thousand(how: How, at: Servers) -> Row:
    """1,000 clients ask for one thing that nobody knows, of a source that takes a second."""
    row = Row("thousand", "1,000 clients, one unknown thing, a source that takes 1 s")
    count = 1000
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    web = at.ours()
    line = Line(web.port)
    line.ask(f"{API}/XRP")
    line.close()
    slowest = []
    for period in ("1w", "3m", "1y")[: how.rounds]:
        market = at.product.sandbox
        market.reset()
        market.fault("delay", delay_s=1, seconds=30)
        times_s, wrong = uvloop.run(_crowd(web.port, f"{API}/XRP/history?period={period}", count))
        calls = market.count("/coingecko/api/v3/coins/") + market.count("/coinbase")
        market.heal()
        slowest.append(max(times_s))
        row.judge(f"{period}: upstream calls", calls, 1)
        row.judge(f"{period}: answers that were not 200", wrong, 0)
        row.judge(f"{period}: the last is answered", max(times_s), 1.5, "s")
    return row


class _Asking(asyncio.Protocol):
    """One of a crowd: asks when it is told to, and notes when all of its answer is there."""

    def __init__(self, said: bytes, done: Callable[[], None]) -> None:
        self._said = said
        self._done = done
        self._heard: list[bytes] = []
        self.ended_at = 0.0
        self.is_cut = False

    @property
    def is_right(self) -> bool:
        head, _, body = b"".join(self._heard).partition(b"\r\n\r\n")
        is_whole = b"content-length: %d\r\n" % len(body) in head.lower() + b"\r\n"
        return is_whole and not self.is_cut and head.startswith(b"HTTP/1.1 200")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's is of no class of asyncio's

    def ask(self) -> None:
        self._transport.write(self._said)

    def data_received(self, data: bytes) -> None:
        self._heard.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_at = time.monotonic()
        self.is_cut = exc is not None
        self._done()


async def _crowd(port: int, path: str, count: int) -> tuple[list[float], int]:
    """Return how long each of so many who ask at once waited for all of it, and how many in vain.

    Streams would take as much of the machine for reading as the server does for sending.
    """
    said = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    left, all_done = count, asyncio.Event()

    def done() -> None:
        nonlocal left
        left -= 1
        if not left:
            all_done.set()

    loop = asyncio.get_running_loop()
    crowd = []
    for _ in range(count):
        _, one = await loop.create_connection(lambda: _Asking(said, done), "127.0.0.1", port)
        crowd.append(one)
    begun = time.monotonic()
    for one in crowd:
        one.ask()
    async with asyncio.timeout(30):
        await all_done.wait()
    return [one.ended_at - begun for one in crowd], sum(not one.is_right for one in crowd)


def growth(how: How, at: Servers) -> Row:
    row = Row("growth", "By connections (history 1w) and by size of the body (top N, candles)")
    ours = at.ours()
    path = KNOWN["history 1w"][0]
    for label in ("requests/s", "p99 ms"):
        row.lines[f"{label} by connections"] = []
        row.lines[f"{label} by KB"] = []
    for connections in (1, 4, 16, 64, 256, 1024):
        at.fill(ours)
        one = rounds([target("ours", ours, path)], connections, _SECONDS, 1)["ours"]
        row.table[f"{connections} connections"] = {"requests/s": one.per_s, "p99 ms": one.p99_ms}
        row.lines["requests/s by connections"].append((connections, one.per_s))
        row.lines["p99 ms by connections"].append((connections, one.p99_ms))
    tops = [f"{API}/crypto/top?limit={n}" for n in (1, 10, 50, 300)]
    for path in (*tops, f"{API}/BTC/ohlcv?period=3m&resolution=30"):
        sample = [target("ours", ours, path).sample() for _ in range(3)][-1]
        one = rounds([target("ours", ours, path)], 16, _SECONDS, 1)["ours"]
        kb = len(sample.body) / 1000
        row.table[f"{kb:.0f} KB"] = {"requests/s": one.per_s, "p99 ms": one.p99_ms}
        row.lines["requests/s by KB"].append((kb, one.per_s))
        row.lines["p99 ms by KB"].append((kb, one.p99_ms))
    return row


ROWS: dict[str, Callable[[How, Servers], Row]] = {
    "known": known,
    "redis": in_redis,
    "batch": batch,
    "one": one_connection,
    "304": unchanged,
    "gzip": zipped,
    "daphne": daphne,
    "misses": misses,
    "thousand": thousand,
    "many": many_keys,
    "processes": processes,
    "growth": growth,
}
