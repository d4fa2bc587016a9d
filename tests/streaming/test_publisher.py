from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from pytest_django import Settings
from redis import Redis

from prices import redis_clients
from prices.answers import QuoteAnswer
from prices.errors import NoPriceError, PricesError, UpstreamTimeoutError
from prices.models import Asset, Catalogue
from prices.services import holdings, symbols
from prices.services.quotes import QuoteBatch
from prices.services.symbols import Resolution
from prices.types import AssetKind
from streaming import demand, ticks
from streaming.publisher import Publisher
from streaming.ticks import Place
from tests.processes import until
from tests.streaming.sockets import AT, meaning, quote, wire


@pytest.fixture(autouse=True)
def _interval(settings: Settings) -> None:
    settings.PUBLISH_INTERVAL_S = 3600


class Market:
    """What the publisher asks; counts what it was asked for."""

    def __init__(self, *tracked: str) -> None:
        self.tracked = tracked
        self.asked: list[tuple[list[str], list[str]]] = []
        self.found: list[list[str]] = []
        self.errors: dict[str, PricesError] = {}
        self.down: Exception | None = None
        self.price = 100.0
        self.held: set[str] = set()
        self.announced: list[Place] = []
        self.names: dict[str, str] = {}
        self.refs: dict[str, str] = {}
        self.database: Callable[[], object] = bool

    def for_tick(
        self, wanted: Collection[str], followed: Collection[str], found: Resolution | None
    ) -> QuoteBatch:
        self.found.append(list(found.found) if found else [])
        self.asked.append((list(wanted), list(followed)))
        if self.down:
            raise self.down
        symbols = {self.names.get(name, name) for name in wanted}
        data = {s: self.quote(s) for s in symbols if s not in self.errors}
        return QuoteBatch(data, {s: e for s, e in self.errors.items() if s in symbols})

    def quote(self, symbol: str) -> QuoteAnswer:
        return quote(symbol, self.price, ref=self.refs.get(symbol))

    def list_tracked(self) -> Collection[str]:
        self.database()
        return self.tracked

    def publisher(self) -> Publisher:
        return Publisher(
            for_tick=self.for_tick,
            cached=lambda wanted: {s: quote(s) for s in wanted if s in self.held},
            tracked=self.list_tracked,
            resolve=lambda asked: meaning(asked, self.names, self.refs),
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

    def slow(wanted: Collection[str], *_: object) -> QuoteBatch:
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


def test_a_symbol_that_got_another_name_goes_on_under_the_one_that_is_followed(
    redis_client: Redis,
) -> None:
    market = Market("STX")
    publisher = market.publisher()
    follow("stock:STX")
    market.names = {"stock:STX": "STX"}

    publisher.publish()

    assert last(redis_client)["data"] == {
        "STX": wire("STX"),
        "stock:STX": wire("stock:STX", ref="ref:STX"),
    }


def test_a_symbol_that_gets_another_name_while_sources_fail_keeps_its_last_good_value(
    redis_client: Redis,
) -> None:
    market = Market()
    publisher = market.publisher()
    follow("stock:STX")
    market.refs = {"stock:STX": "stock:STX", "STX": "stock:STX"}
    publisher.publish()
    market.names = {"stock:STX": "STX"}
    holdings.note_names()
    market.errors = {"STX": UpstreamTimeoutError("sandbox", "slow")}
    again(redis_client)

    publisher.publish()

    assert last(redis_client)["data"] == {
        name: wire(name, ref="stock:STX", stale=True) for name in ("STX", "stock:STX")
    }


@pytest.mark.parametrize(
    ("errors", "down"),
    [
        ({"BTC": UpstreamTimeoutError("sandbox", "slow")}, None),
        ({}, RuntimeError("a fault of ours")),
    ],
    ids=["the source fails", "nothing is in time"],
)
def test_an_outage_after_a_pin_never_gives_the_old_assets_price_to_the_new(
    redis_client: Redis, errors: dict[str, PricesError], down: Exception | None
) -> None:
    market = Market("BTC", "ETH")
    market.held = {"BTC", "ETH"}
    publisher = market.publisher()
    publisher.publish()
    market.refs = {"BTC": "coingecko:batcat"}
    holdings.note_names()
    market.errors, market.down = errors, down
    again(redis_client)

    publisher.publish()
    assert list(last(redis_client)["data"]) == ["ETH"]

    market.errors, market.down = {}, None
    again(redis_client)
    publisher.publish()
    assert last(redis_client)["data"]["BTC"] == wire("BTC", ref="coingecko:batcat")


def _locked() -> None:
    raise OperationalError("database is locked")


def _gone() -> None:
    raise InterfaceError("connection already closed")


@pytest.mark.parametrize("fail", [_locked, _gone], ids=["locked", "gone"])
def test_a_database_that_fails_costs_no_tick(
    redis_client: Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[], None],
) -> None:
    monkeypatch.setattr("streaming.publisher._PLAN_HOLDS_S", 0.0)
    caplog.set_level(logging.WARNING, "streaming.publisher")
    market = Market("SOL")
    market.database = fail
    publisher = market.publisher()
    follow("BTC")

    for _ in range(2):
        publisher.publish()
        assert last(redis_client)["data"] == {"BTC": wire("BTC")}
        again(redis_client)
    market.database = bool
    publisher.publish()
    assert list(last(redis_client)["data"]) == ["BTC", "SOL"]

    market.database = fail
    again(redis_client)
    publisher.publish()
    assert list(last(redis_client)["data"]) == ["BTC", "SOL"], "what is tracked was known by then"
    assert [r.message for r in caplog.records] == [
        "the database does not answer in time; ticks go on without it",
        "the database answers again",
        "the database does not answer in time; ticks go on without it",
    ]


def test_a_database_that_is_slow_does_not_hold_up_the_tick(
    settings: Settings, redis_client: Redis
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    market = Market("SOL")
    release = threading.Event()
    market.database = lambda: release.wait(10)
    publisher = market.publisher()
    follow("BTC")

    for _ in range(3):
        again(redis_client)
        publisher.publish()
    release.set()

    tick = last(redis_client)
    assert (tick["seq"], list(tick["data"])) == (3, ["BTC"])


def test_at_a_fast_cadence_what_names_mean_is_learnt_between_ticks(
    settings: Settings, redis_client: Redis
) -> None:
    settings.PUBLISH_INTERVAL_S = 3
    market = Market("SOL")
    asked: list[list[str]] = []

    def resolve(names: Collection[str]) -> Resolution:
        asked.append(list(names))
        return meaning(names, market.names, market.refs)

    publisher = market.publisher()
    publisher.resolve = resolve
    follow("BTC")
    publisher.publish()
    until(lambda: len(asked) == 2, "the next tick's plan")
    again(redis_client)
    market.database = _locked

    publisher.publish()

    assert list(last(redis_client)["data"]) == ["BTC", "SOL"]
    assert market.found == [asked[0], asked[0]], "each tick was told what its names mean"
    assert len(asked) == 2, "and nothing was learnt while it was due"


@pytest.mark.django_db(transaction=True)
def test_a_pin_reaches_those_who_follow_the_old_name(redis_client: Redis) -> None:
    for kind in AssetKind:
        Catalogue.objects.create(kind=kind, source="test", filled_at=AT, rows=1)
    fields = {"ticker": "STX", "is_active": True}
    Asset.objects.create(
        ref="coingecko:stacks", kind="crypto", coingecko_id="stacks", market_cap_rank=90, **fields
    )
    stock = Asset.objects.create(ref="stock:STX", kind="stock", finnhub_symbol="STX", **fields)
    market = Market()
    publisher = market.publisher()
    publisher.resolve = symbols.resolve_many
    follow("stock:STX", "STX")
    market.refs = {"STX": "coingecko:stacks", "stock:STX": "stock:STX"}
    publisher.publish()
    assert refs(redis_client) == {"STX": "coingecko:stacks", "stock:STX": "stock:STX"}

    symbols.pin(stock)
    market.names, market.refs = {"stock:STX": "STX"}, {"STX": "stock:STX"}
    again(redis_client)
    publisher.publish()

    assert refs(redis_client) == {"STX": "stock:STX", "stock:STX": "stock:STX"}


def refs(redis_client: Redis) -> dict[str, str]:
    return {name: value["ref"] for name, value in last(redis_client)["data"].items()}
