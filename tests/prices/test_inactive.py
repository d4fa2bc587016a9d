"""What is traded no more: renamed stocks, delisted ones, coins that vanished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from prices.models import Asset, Bar, Catalogue, Series
from prices.services import catalogue, quotes, retirement, symbols
from prices.types import COMPOSITE, AssetKind, Listing, Resolution
from tests.market import Sandbox
from tests.prices.rest import ROOT, client, get, ok, problem

pytestmark = pytest.mark.django_db

MAY_2022 = datetime(2022, 5, 16, 15, tzinfo=UTC)


@pytest.fixture
def years(sandbox: Sandbox, redis_client: Redis) -> Sandbox:
    """A market whose stocks were filled in May 2022, and again now."""
    from prices import cache, failures, registry

    cache._local.clear()
    failures._here.clear()
    registry.forget()
    with the_past(sandbox):
        catalogue.fill_all()
    Asset.objects.filter(ref="stock:FB").update(tracked=True)
    catalogue.fill_all()
    return sandbox


@contextmanager
def the_past(sandbox: Sandbox) -> Iterator[None]:
    sandbox.control("POST", "clock", {"now": MAY_2022.timestamp()})
    yield
    sandbox.control("POST", "clock", {"shift_s": 0})


def gone(ref: str) -> Asset:
    return Asset.objects.get(ref=ref)


@pytest.mark.parametrize("asked", ["FB", "fb", "FB/history", "FB/ohlcv", "stock:FB"])
def test_a_renamed_ticker_is_gone_and_tells_what_it_trades_as(years: Sandbox, asked: str) -> None:
    body = problem(get(f"/{asked}"), 410, "inactive_symbol")

    assert body["successor"] == {"ref": "stock:META", "symbol": "META"}
    assert date.fromisoformat(body["last_day"]) == gone("stock:FB").last_day
    assert "META" in body["detail"]


def test_a_delisted_ticker_has_no_successor(years: Sandbox) -> None:
    body = problem(get("/TWTR"), 410, "inactive_symbol")

    assert body["successor"] is None
    assert problem(get("/TWTR/ohlcv"), 410, "inactive_symbol")["code"] == "inactive_symbol"


def test_a_fresh_product_knows_what_was_renamed_or_delisted_before_its_time(
    market: Sandbox,
) -> None:
    renamed = problem(get("/FB"), 410, "inactive_symbol")
    delisted = problem(get("/TWTR"), 410, "inactive_symbol")

    assert renamed["successor"] == {"ref": "stock:META", "symbol": "META"}
    assert (renamed["last_day"], delisted["last_day"]) == ("2022-06-08", "2022-10-27")
    assert delisted["successor"] is None
    old = ok("/stock:FB/ohlcv", period="1m")
    assert datetime.fromtimestamp(old["to"], UTC).date() == date(2022, 6, 8)


def test_a_former_ticker_whose_successor_is_not_listed_is_unknown(market: Sandbox) -> None:
    Asset.objects.filter(ref__in=["stock:FB", "stock:META"]).delete()

    retirement.remember_former(datetime.now(UTC))

    assert not Asset.objects.filter(ref="stock:FB").exists()


def test_a_former_ticker_that_is_listed_again_is_what_bears_it(market: Sandbox) -> None:
    listing = Listing(AssetKind.STOCK, "TWTR", "TWTR", "TWEETER", figi="BBG00NEW")
    catalogue._write(catalogue._assets([listing], []), datetime.now(UTC))

    retirement.remember_former(datetime.now(UTC))

    assert symbols.resolve("TWTR").asset.name == "TWEETER"


def test_a_symbol_that_is_gone_costs_no_source_a_call(years: Sandbox) -> None:
    calls = years.count()

    get("/TWTR")
    get("/FB")

    assert years.count() == calls


def test_a_delisted_stock_s_history_is_read_by_ref_and_tells_its_last_day(years: Sandbox) -> None:
    series = ok("/stock:TWTR/history", period="1m")
    bars = ok("/stock:TWTR/ohlcv", period="1y", resolution="W")

    assert datetime.fromtimestamp(series["to"], UTC).date() == date(2022, 10, 27)
    assert (series["ref"], series["freshness"], series["resolution"]) == (
        "stock:TWTR",
        "closed",
        "D",
    )
    assert 19 <= series["count"] <= 23
    assert bars["candles"][-1]["timestamp"] == 1_666_569_600  # Monday, 24 October 2022
    assert problem(get("/TWTR"), 410, "inactive_symbol")["last_day"] == "2022-10-27"


def test_a_renamed_stock_s_history_is_its_heir_s_up_to_its_own_last_day(years: Sandbox) -> None:
    Asset.objects.filter(ref="stock:FB").update(last_day=date(2022, 6, 8))

    old = ok("/stock:FB/ohlcv", period="1m")
    new = ok("/META/ohlcv", period="all", resolution="D")

    assert (old["symbol"], old["ref"]) == ("stock:FB", "stock:FB")
    assert datetime.fromtimestamp(old["to"], UTC).date() == date(2022, 6, 8)
    of_heir = {bar["timestamp"]: bar["close"] for bar in new["candles"]}
    assert [of_heir[bar["timestamp"]] for bar in old["candles"]] == [
        bar["close"] for bar in old["candles"]
    ]


def test_bars_within_the_day_of_what_is_gone_are_refused(years: Sandbox) -> None:
    refused = get("/stock:TWTR/ohlcv", period="1m", resolution="60")

    assert problem(refused, 409, "resolution_unavailable")["available"] == ["D", "W", "M"]


def test_a_batch_names_what_is_gone_and_answers_the_rest(years: Sandbox) -> None:
    body = {"symbols": ["FB", "stock:TWTR", "META"]}

    batch = client().post(f"{ROOT}/batch", body, content_type="application/json").json()

    assert list(batch["data"]) == ["META"]
    assert batch["failed"] == {"FB": "inactive_symbol", "stock:TWTR": "inactive_symbol"}


def test_who_was_tracked_is_tracked_under_its_new_ticker(years: Sandbox) -> None:
    assert gone("stock:META").tracked
    assert symbols.tracked() == ["META"]


def test_a_ticker_given_to_another_company_is_that_one_s(years: Sandbox) -> None:
    fb = gone("stock:FB")
    kept = Series.objects.create(
        asset=fb, source="tiingo", resolution=Resolution.DAY, renewed_at=datetime.now(UTC)
    )
    Bar.objects.create(series=kept, opens=0, open=1, high=1, low=1, close=1)
    listing = Listing(AssetKind.STOCK, "FB", "FB", "FLYING BOATS", figi="BBG00NEW")
    assets = catalogue._assets([listing], [])

    known = retirement.known(AssetKind.STOCK)
    catalogue._write(assets, datetime.now(UTC))
    retirement.forget_former(known, assets)

    found = symbols.resolve("FB")
    assert (found.asset.name, found.asset.successor, found.asset.last_day) == (
        "FLYING BOATS",
        None,
        None,
    )
    assert not Series.objects.filter(pk=kept.pk).exists()


@pytest.mark.parametrize(
    ("figi", "name", "is_another"),
    [
        ("BBG00NEW", "FLYING BOATS", True),
        ("BBG00NEW", "Facebook Inc", False),
        (f"{COMPOSITE}BBG00OTHER", "FLYING BOATS", False),
        ("", "FLYING BOATS", False),
    ],
)
def test_a_past_is_dropped_only_for_another_number_of_the_same_kind_and_another_name(
    figi: str, name: str, is_another: bool
) -> None:
    was = retirement.Known("BBG00OLD", True, "FACEBOOK INC")

    assert was.is_of_another_than(Asset(ref="stock:FB", figi=figi, name=name)) is is_another


def test_two_new_stocks_of_one_identifier_make_no_successor(market: Sandbox) -> None:
    Asset.objects.create(
        ref="stock:OLDIE",
        ticker="OLDIE",
        name="Old",
        kind=AssetKind.STOCK,
        figi=gone("stock:META").figi,
        seen_at=Catalogue.objects.get(kind=AssetKind.STOCK).filled_at,
    )
    twin = gone("stock:META").figi
    Asset.objects.filter(ref__in=["stock:META", "stock:AAPL"]).delete()
    Asset.objects.filter(ref="stock:MSFT").update(figi=twin)

    catalogue.fill(AssetKind.STOCK)

    assert gone("stock:OLDIE").is_gone
    assert gone("stock:OLDIE").successor == gone("stock:META")


def test_a_stock_that_came_by_a_look_up_is_not_called_gone(market: Sandbox) -> None:
    Asset.objects.create(
        ref="stock:LOOKED",
        ticker="LOOKED",
        name="Looked up",
        kind=AssetKind.STOCK,
        seen_at=datetime.now(UTC) - timedelta(hours=3),
    )

    catalogue.fill(AssetKind.STOCK)

    assert not gone("stock:LOOKED").is_active
    problem(get("/LOOKED/history"), 404, "unknown_symbol")


def test_a_coin_that_vanished_is_read_from_the_store_where_no_source_has_it(
    market: Sandbox, settings: Any
) -> None:
    coin = Asset.objects.create(
        ref="coingecko:vanished-coin",
        coingecko_id="vanished-coin",
        ticker="VNSH",
        name="Vanished",
        kind=AssetKind.CRYPTO,
        is_active=False,
        last_day=date(2026, 3, 10),
    )
    kept = Series.objects.create(
        asset=coin, source="coinbase", resolution=Resolution.DAY, renewed_at=datetime.now(UTC)
    )
    march = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    for day in range(10):
        Bar.objects.create(
            series=kept, opens=march + day * 86_400, open=1, high=2, low=1, close=1.5, volume=3
        )

    series = ok("/coingecko:vanished-coin/ohlcv", period="1w")

    assert series["count"] == 7
    assert series["to"] == march + 9 * 86_400
    assert problem(get("/VNSH"), 410, "inactive_symbol")["last_day"] == "2026-03-10"
    assert problem(get("/crypto:VNSH"), 410, "inactive_symbol")["successor"] is None
    assert problem(get("/coingecko:vanished-coin"), 410, "inactive_symbol")


def test_the_last_day_of_a_gone_coin_is_not_the_one_an_exchange_struck_it_off(
    market: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase"]}
    coin, yesterday = gone("coingecko:solana"), datetime.now(UTC).date() - timedelta(days=1)
    Asset.objects.filter(pk=coin.pk).update(is_active=False, last_day=yesterday)
    market.control("POST", "clock", {"shift_s": -10 * 86_400})

    series = ok("/coingecko:solana/ohlcv", period="1m")

    assert datetime.fromtimestamp(series["to"], UTC).date() < yesterday
    assert gone("coingecko:solana").last_day == yesterday


def test_sockets_and_ticks_hear_that_a_symbol_is_gone(years: Sandbox) -> None:
    assert symbols.resolve_many(["FB", "stock:FB", "META"]).rejected == {
        "FB": "inactive_symbol",
        "stock:FB": "inactive_symbol",
    }
    assert quotes.for_tick(["FB"]).failed == {"FB": "inactive_symbol"}
