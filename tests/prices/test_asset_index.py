"""What a process remembers of symbols, and when it stops believing it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import Error as DatabaseAwayError
from django.db import OperationalError, connection
from redis import Redis

from prices import redis_clients
from prices.errors import UnknownSymbolError
from prices.models import Asset, Catalogue
from prices.services import asset_index, symbols
from prices.services.asset_index import AssetIndex
from prices.types import AssetKind

pytestmark = pytest.mark.django_db


class Clock:
    def __init__(self) -> None:
        self.now = time.monotonic() + 10

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(symbols._index, "_clock", clock)
    return clock


@pytest.fixture(autouse=True)
def assets(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in AssetKind:
        Catalogue.objects.create(kind=kind, source="test", filled_at=datetime.now(UTC), rows=1)
    for rank, name in enumerate(("bitcoin", "batcat"), 1):
        Asset.objects.create(
            ref=f"coingecko:{name}",
            ticker="BTC",
            name=name.title(),
            kind="crypto",
            coingecko_id=name,
            market_cap_rank=rank,
        )
    Asset.objects.create(
        ref="stock:AAPL", ticker="AAPL", name="Apple", kind="stock", finnhub_symbol="AAPL"
    )


EVERY_FORM = ["BTC", "btc", "crypto:BTC", "coingecko:bitcoin", "coingecko:batcat", "AAPL"]


def ref_of(asked: str) -> str:
    return symbols.resolve(asked).asset.ref


def elsewhere(sql: str, client: Redis | None = None) -> None:
    """Change the table as another process does: nobody here is told but by Redis."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
    if client:
        client.set("lokifi:names", "another word")


@pytest.fixture
def database_away() -> Callable[[], Any]:
    def fail(*_: Any) -> None:
        raise OperationalError("gone")

    return lambda: connection.execute_wrapper(fail)


PINNED = "UPDATE prices_asset SET pinned = TRUE WHERE ref = 'coingecko:batcat'"


def test_a_symbol_that_was_resolved_takes_no_query_in_any_form(
    django_assert_num_queries: Any,
) -> None:
    before = [symbols.resolve(form) for form in EVERY_FORM]

    with django_assert_num_queries(0):
        assert [symbols.resolve(form) for form in EVERY_FORM] == before
        assert list(symbols.resolve_many(EVERY_FORM).found) == EVERY_FORM
        assert [symbols.known(form) for form in EVERY_FORM] == before


def test_what_nobody_resolved_is_not_known_and_takes_no_query(
    django_assert_num_queries: Any,
) -> None:
    with django_assert_num_queries(0):
        assert symbols.known("BTC") is None


def test_what_has_no_owner_yet_is_not_remembered() -> None:
    Catalogue.objects.filter(kind=AssetKind.STOCK).delete()
    Asset.objects.update(market_cap_rank=5000)
    assert symbols.resolve_many(["BTC"]).found == {"BTC": "BTC"}

    assert symbols.known("BTC") is None


def test_a_pin_is_seen_at_once_in_its_own_process() -> None:
    assert ref_of("BTC") == "coingecko:bitcoin"
    symbols.pin(Asset.objects.get(coingecko_id="batcat"))

    assert ref_of("BTC") == "coingecko:batcat"
    assert symbols.resolve("coingecko:bitcoin").symbol == "coingecko:bitcoin"


@pytest.mark.parametrize("how", ["save", "delete", "update", "bulk_update", "bulk_create"])
def test_every_change_of_an_asset_is_seen_at_once(how: str) -> None:
    assert ref_of("BTC") == "coingecko:bitcoin"
    one = Asset.objects.get(coingecko_id="bitcoin")
    one.name = "Bitcoin, renamed"
    if how == "save":
        one.save()
    elif how == "delete":
        one.delete()
    elif how == "update":
        Asset.objects.filter(pk=one.pk).update(name=one.name)
    elif how == "bulk_update":
        Asset.objects.bulk_update([one], ["name"])
    else:
        more = {"update_conflicts": True, "unique_fields": ["ref"], "update_fields": ["name"]}
        Asset.objects.bulk_create([one], **more)

    assert symbols.known("BTC") is None
    assert symbols.resolve("BTC").asset.name == ("Batcat" if how == "delete" else one.name)


def test_a_change_in_another_process_is_seen_within_a_second(
    clock: Clock, redis_client: Redis
) -> None:
    assert ref_of("BTC") == "coingecko:bitcoin"
    elsewhere(PINNED, redis_client)
    clock.now += asset_index.LOOK_EACH_S

    assert ref_of("BTC") == "coingecko:batcat"


def test_a_change_that_nobody_told_is_seen_within_a_minute(clock: Clock) -> None:
    assert ref_of("BTC") == "coingecko:bitcoin"
    elsewhere(PINNED)
    clock.now += asset_index.LIFE_S - 1
    assert ref_of("BTC") == "coingecko:bitcoin"
    clock.now += 2

    assert ref_of("BTC") == "coingecko:batcat"


def test_with_redis_away_a_symbol_is_known_for_seconds_and_then_asked_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ref_of("BTC") == "coingecko:bitcoin"
    monkeypatch.setattr(redis_clients._outage, "_until", float("inf"))
    clock.now += 2
    assert symbols.resolve("BTC") is symbols.known("BTC")
    elsewhere(PINNED)
    clock.now += asset_index.DEAF_LIFE_S

    assert symbols.known("BTC") is None
    assert ref_of("BTC") == "coingecko:batcat"


def test_what_was_changed_while_redis_was_away_is_seen_when_it_is_back(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ref_of("BTC") == "coingecko:bitcoin"
    with monkeypatch.context() as outage:
        outage.setattr(redis_clients._outage, "_until", float("inf"))
        clock.now += 1.5
        assert ref_of("BTC") == "coingecko:bitcoin"
    elsewhere(PINNED)
    clock.now += 1.5

    assert ref_of("BTC") == "coingecko:batcat"


def test_while_the_database_fails_a_symbol_means_what_it_meant_before(
    clock: Clock, database_away: Callable[[], Any]
) -> None:
    assert ref_of("BTC") == "coingecko:bitcoin"
    clock.now += asset_index.LIFE_S + 1
    with database_away():
        assert ref_of("BTC") == "coingecko:bitcoin"
        assert symbols.resolve_many(["BTC"]).found == {"BTC": "BTC"}
        with pytest.raises(DatabaseAwayError):
            symbols.resolve_many(["BTC", "AAPL"])


def test_what_was_read_before_a_change_is_not_taken_for_what_came_after() -> None:
    index: AssetIndex[str] = AssetIndex()
    begun = index.generation
    index.change()
    index.put("any:BTC", "the old one", begun)

    assert index.get("any:BTC") is None
    assert index.last("any:BTC") == "the old one"


def test_the_memory_is_bounded_and_what_is_used_least_goes_first() -> None:
    index: AssetIndex[int] = AssetIndex(most=2)
    index.put("a", 1, index.generation)
    index.put("b", 2, index.generation)
    assert index.get("a") == 1
    index.put("c", 3, index.generation)

    assert [index.get(name) for name in "abc"] == [1, None, 3]


def test_a_coins_id_and_a_ticker_that_are_spelled_alike_are_two_things() -> None:
    Asset.objects.create(
        ref="coingecko:BTC", ticker="ODD", name="Odd", kind="crypto", coingecko_id="BTC"
    )
    assert ref_of("crypto:BTC") == "coingecko:bitcoin"
    assert ref_of("coingecko:BTC") == "coingecko:BTC"
    with pytest.raises(UnknownSymbolError):
        symbols.resolve("coingecko:btc")
