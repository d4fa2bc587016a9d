"""The front cache before the product while prices tick, and while Redis is away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from redis import Redis

from tests.lokifi.raw import Connect, Line, Reply, kept
from tests.processes import until
from tests.product import Product

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("frontcache")]

ROOT = "/api/v1/prices"
COLD = [
    f"{ROOT}/ADA",
    f"{ROOT}/MSFT",
    f"{ROOT}/ADA/history?period=1y",
    f"{ROOT}/ADA/ohlcv?period=1y",
    f"{ROOT}/crypto/top?limit=7",
    f"{ROOT}/symbols/search?q=micro",
    f"{ROOT}?symbols=ADA,DOT,MSFT",
]
# The issue's own mark, and what a busy machine may take to hand over an answer.
NOTHING_WAITS_S = 2.0
ALLOWANCE_S = 0.5


@pytest.fixture(scope="module")
def ticking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product whose prices tick; the last test of it may take its Redis away."""
    settings = {"PUBLISH_INTERVAL_S": "1", "TRACKED_SYMBOLS": "BTC,ETH"}
    with Product(tmp_path_factory.mktemp("ticking"), **settings) as product:
        yield product


def test_while_prices_tick_under_load_no_answer_is_older_than_it_says_and_none_goes_back(
    ticking: Product, connect: Connect
) -> None:
    with ThreadPoolExecutor(5) as threads:
        servers = [ticking.web("uvicorn", FRONT_CACHE_BYTES=room) for room in ("67108864", "0")]
        for line in map(connect, servers):
            # The first to ask loads the catalogue; whoever comes meanwhile may be refused.
            for target in Watch.TARGETS:
                until(lambda: line.ask(target).status != 503, target)  # noqa: B023 (at once)
        parts = [ticking.worker(), ticking.beat()]
        end = time.monotonic() + 8
        stored = Stored(ticking.redis.port)
        watches = [Watch(connect(web), stored) for web in servers for _ in range(2)]
        following = threads.submit(stored.follow, end)
        for done in [threads.submit(watch.until, end) for watch in watches]:
            done.result()
        following.result()
        for part in parts:
            part.stop(timeout_s=3)

    assert all(watch.hits > 30 for watch in watches)
    # Nobody waited for a copy to end: ticks replaced what was kept.
    assert all(len(watch.seen) > 4 for watch in watches)


@pytest.mark.parametrize("fault", ["hung", "killed"])
def test_with_redis_away_what_is_known_is_served_and_nothing_waits_longer_than_two_seconds(
    ticking: Product, connect: Connect, fault: str
) -> None:
    web, redis = ticking.web("uvicorn"), ticking.redis
    line = connect(web)
    known = [f"{ROOT}/BTC/history?period=1w", f"{ROOT}/ETH/history?period=1w"]
    for target in known:
        kept(line, target, age_s=1)
    (redis.pause if fault == "hung" else redis.kill)()
    try:
        copies = [timed(line, target) for target in known * 5]
        cold = [timed(line, target) for target in COLD]
        # For a second Redis is not asked again; what comes then finds out anew.
        time.sleep(1.1)
        late = [timed(line, target) for target in [*known, *COLD]]
    finally:
        redis.resume()
    web.process.stop(timeout_s=3)

    assert {(one.status, one.header("x-cache")) for one, _ in copies} == {(200, "HIT")}
    assert all(one.life_left > 0 for one, _ in copies)
    assert {one.status for one, _ in [*cold, *late]} <= {200, 503}
    asked = [*known * 5, *COLD, *known, *COLD]
    took_s = [took_s for _, took_s in [*copies, *cold, *late]]
    most_s = NOTHING_WAITS_S + ALLOWANCE_S
    assert [one for one in zip(asked, took_s, strict=True) if one[1] > most_s] == []


def timed(line: Line, target: str) -> tuple[Reply, float]:
    begun = time.monotonic()
    reply = line.ask(target)
    return reply, time.monotonic() - begun


class Stored:
    """When Redis was seen to hold which quote, by a clock that is none of the servers'."""

    def __init__(self, port: int) -> None:
        self._redis = Redis(port=port)
        # By symbol, when it was fetched and when we saw it, newest last.
        self._seen: dict[str, list[tuple[float, str]]] = {"BTC": [], "ETH": []}

    def follow(self, end: float) -> None:
        with closing(self._redis):
            while time.monotonic() < end:
                for symbol, seen in self._seen.items():
                    body = self._redis.get(f"price:{symbol}")
                    if isinstance(body, bytes):
                        seen.append((time.monotonic(), json.loads(body)["fetched_at"]))
                time.sleep(0.05)

    def at(self, symbol: str, moment: float) -> str:
        """Return when what Redis held at a moment was fetched, as far as was seen by then."""
        return max((text for seen, text in self._seen[symbol] if seen <= moment), default="")


class Watch:
    """One connection, and what it was told: never an older quote than before."""

    TARGETS = (
        *(f"{ROOT}/BTC", f"{ROOT}?symbols=BTC,ETH", f"{ROOT}/ETH", f"{ROOT}/batch"),
        *(f"{ROOT}/crypto/top?limit=5", f"{ROOT}/crypto/search?q=bitcoin"),
    )

    def __init__(self, line: Line, stored: Stored) -> None:
        self.hits = 0
        self._stored = stored
        self.seen: set[str] = set()
        self._line = line
        self._newest: dict[str, str] = {}
        # By ref, when the newest price that it was told was made.
        self._told: dict[str, str] = {}

    def until(self, end: float) -> None:
        while time.monotonic() < end:
            for target in self.TARGETS:
                self._check(target)

    def _check(self, target: str) -> None:
        asked = time.monotonic()
        if target.endswith("/batch"):
            said, json_type = b'{"symbols":["ETH","BTC"]}', {"Content-Type": "application/json"}
            reply = self._line.ask(target, "POST", json_type, said)
        else:
            reply = self._line.ask(target)
        self.hits += reply.header("x-cache") == "HIT"
        body = json.loads(reply.body)
        assert reply.status == 200, body
        assert reply.max_age <= 5
        assert reply.header("age") is None or reply.life_left > 0
        for row in [*body.get("cryptos", []), *body.get("results", [])]:
            assert row["last_updated"] >= self._told.get(row["ref"], ""), (row, self._told)
        if "/crypto/" in target:
            return
        for quote in body.get("data", {body.get("symbol"): body}).values():
            symbol, at = quote["symbol"], quote["fetched_at"]
            assert at >= self._newest.get(symbol, ""), (target, symbol, at, self._newest)
            # An age is told in whole seconds: what was read then is no older than Redis held.
            read = asked - int(reply.header("age") or 0) - 1
            assert at >= self._stored.at(symbol, read), (target, reply.headers, at)
            self._newest[symbol] = at
            self._told[quote["ref"]] = quote["last_updated"]
            self.seen.add(at)
