from __future__ import annotations

import json
import logging
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pytest_django import Settings
from redis import Redis

from prices import redis_clients
from prices.errors import NoPriceError, PricesError, UpstreamTimeoutError
from prices.services.quotes import QuoteBatch
from streaming import demand, ticks
from streaming.publisher import Publisher
from streaming.ticks import Place
from tests.streaming.sockets import quote, wire


@pytest.fixture(autouse=True)
def _interval(settings: Settings) -> None:
    settings.PUBLISH_INTERVAL_S = 3600


class Market:
    """What the publisher asks; counts what it was asked for."""

    def __init__(self, *tracked: str) -> None:
        self.tracked = tracked
        self.asked: list[tuple[list[str], list[str]]] = []
        self.errors: dict[str, PricesError] = {}
        self.down: Exception | None = None
        self.price = 100.0
        self.held: set[str] = set()
        self.announced: list[Place] = []

    def for_tick(self, wanted: Collection[str], followed: Collection[str]) -> QuoteBatch:
        self.asked.append((list(wanted), list(followed)))
        if self.down:
            raise self.down
        data = {s: quote(s, self.price) for s in wanted if s not in self.errors}
        return QuoteBatch(data, {s: e for s, e in self.errors.items() if s in wanted})

    def publisher(self) -> Publisher:
        return Publisher(
            for_tick=self.for_tick,
            cached=lambda wanted: {s: quote(s) for s in wanted if s in self.held},
            tracked=lambda: self.tracked,
            announce=self.announced.append,
        )


def follow(*symbols: str) -> None:
    """Let these be followed by somebody for an hour."""
    redis_clients.client().zadd(demand.WANTED, dict.fromkeys(symbols, 9e15))


def again(redis_client: Redis) -> None:
    """Let the next tick be due."""
    for key in redis_client.scan_iter("lokifi:tick:*"):
        redis_client.delete(key)


def last(redis_client: Redis) -> dict[str, Any]:
    snapshot: dict[str, Any] = json.loads(str(redis_client.get(ticks.SNAPSHOT)))
    tick: dict[str, Any] = snapshot["tick"]
    return tick


def test_a_tick_holds_what_anyone_follows_and_what_is_tracked(redis_client: Redis) -> None:
    market = Market("SOL", "BTC")
    follow("BTC", "ETH")

    place = market.publisher().publish()

    assert market.asked == [(["BTC", "ETH", "SOL"], ["BTC", "ETH"])], "the union, once"
    assert market.announced == [place]
    tick = last(redis_client)
    assert tick["data"] == {s: wire(s) for s in ("BTC", "ETH", "SOL")}
    assert tick["count"] == 3


def test_a_tick_without_any_symbol_is_still_a_tick(redis_client: Redis) -> None:
    market = Market()

    assert market.publisher().publish() is not None

    assert market.asked == []
    assert last(redis_client)["data"] == {}


def test_two_beats_or_two_workers_publish_each_tick_once(redis_client: Redis) -> None:
    market = Market("BTC")
    workers = [market.publisher() for _ in range(8)]

    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(Publisher.publish, workers))

    assert len(market.announced) == 1
    assert places.count(None) == 7
    assert last(redis_client)["seq"] == 1


def test_what_nobody_follows_any_more_is_in_no_tick(redis_client: Redis) -> None:
    market = Market()
    publisher = market.publisher()
    follow("BTC", "ETH")
    publisher.publish()
    redis_clients.client().zrem(demand.WANTED, "ETH")
    again(redis_client)

    publisher.publish()

    assert list(last(redis_client)["data"]) == ["BTC"]


def test_while_sources_fail_the_last_good_values_go_out_marked_stale(
    redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    market = Market("BTC", "ETH")
    publisher = market.publisher()
    publisher.publish()
    caplog.set_level(logging.WARNING, "streaming.publisher")
    market.errors = {"ETH": UpstreamTimeoutError("sandbox", "slow")}
    market.price = 101.0

    for _ in range(3):
        again(redis_client)
        publisher.publish()
        assert last(redis_client)["data"] == {
            "BTC": wire("BTC", 101.0),
            "ETH": wire("ETH", 100.0, stale=True),
        }
    market.errors = {}
    again(redis_client)
    publisher.publish()

    assert last(redis_client)["data"]["ETH"] == wire("ETH", 101.0)
    assert [r.message for r in caplog.records] == [
        "ticks carry last good values: sources do not answer in time",
        "ticks are current again",
    ]


def test_a_service_that_breaks_costs_no_tick(redis_client: Redis) -> None:
    market = Market("BTC", "ETH")
    publisher = market.publisher()
    publisher.publish()
    market.down = RuntimeError("a fault of ours")
    market.held = {"ETH"}
    again(redis_client)

    place = publisher.publish()

    assert place is not None
    assert place.seq == 2
    assert last(redis_client)["data"] == {
        "BTC": wire("BTC", stale=True),
        "ETH": wire("ETH"),
    }


def test_what_has_no_price_is_in_no_data(redis_client: Redis) -> None:
    market = Market("BTC", "DEAD")
    publisher = market.publisher()
    publisher.publish()
    market.errors = {"DEAD": NoPriceError("DEAD")}
    again(redis_client)

    publisher.publish()

    assert list(last(redis_client)["data"]) == ["BTC"]


def test_a_source_that_is_slow_does_not_hold_up_the_tick(
    settings: Settings, redis_client: Redis
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    market = Market("BTC")
    release, calls = threading.Event(), []

    def slow(wanted: Collection[str], followed: Collection[str]) -> QuoteBatch:
        calls.append(wanted)
        release.wait(10)
        return QuoteBatch()

    market.held = {"BTC"}
    publisher = market.publisher()
    publisher.for_tick = slow

    for _ in range(3):
        again(redis_client)
        assert publisher.publish() is not None
    release.set()

    assert last(redis_client)["seq"] == 3
    assert last(redis_client)["data"] == {"BTC": wire("BTC")}
    assert len(calls) == 1, "one call is under way; no other is piled on top of it"


def test_a_new_epoch_begins_where_the_publisher_knows_of_a_later_tick(redis_client: Redis) -> None:
    publisher = Market().publisher()
    places = []
    for _ in range(3):
        again(redis_client)
        places.append(publisher.publish())
    redis_client.hset(ticks.COUNT, "seq", "1")
    again(redis_client)

    after = publisher.publish()

    assert after is not None
    assert places[-1] is not None
    assert (after.seq, after.epoch == places[-1].epoch) == (1, False)
