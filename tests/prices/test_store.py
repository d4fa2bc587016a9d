"""Bars that a source gave are asked for once, whatever period or form they are asked in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.db.models import F
from redis import Redis

from prices import tasks
from prices.models import Asset, Bar, Series
from prices.services import store
from prices.types import AssetKind, Candle, Candles, Origin, Resolution, TruncatedBy, Window
from tests.market import Sandbox
from tests.prices.rest import get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

HOUR_S = 3600


@contextmanager
def later(sandbox: Sandbox, **how_much: float) -> Iterator[None]:
    """Move the sandbox's clock and ours on."""
    by = timedelta(**how_much)
    sandbox.control("POST", "clock", {"shift_s": by.total_seconds()})
    with time_machine.travel(datetime.now(UTC) + by):
        yield


def forget(redis_client: Redis, *symbols: str) -> None:
    """Empty the cache of these symbols' series: only the store remembers."""
    for symbol in symbols:
        for key in redis_client.scan_iter(f"*:{symbol}:*"):
            redis_client.delete(key)


def test_a_year_of_hours_asked_twice_is_asked_once_and_an_hour_later_for_the_missing_bar(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    # Its pages are of 1,000 bars: 9 calls rather than 30.
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["binance"]}
    first = ok("/BTC/ohlcv", period="1y", resolution="60")
    asked = sandbox.count()

    ok("/BTC/ohlcv", period="1y", resolution="60")
    assert sandbox.count() == asked

    forget(redis_client, "BTC")
    with later(sandbox, hours=1):
        second = ok("/BTC/ohlcv", period="1y", resolution="60")

    assert sandbox.count() == asked + 1
    assert second["count"] == first["count"]
    assert second["to"] == first["to"] + HOUR_S
    assert second["from"] == first["from"] + HOUR_S
    closed = {bar["timestamp"]: bar for bar in first["candles"] if bar["closed"]}
    assert [bar for bar in second["candles"] if bar["timestamp"] in closed] == list(
        closed.values()
    )[1:]


def test_another_period_over_the_same_bars_asks_for_the_end_alone(
    sandbox: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["binance"]}
    ok("/BTC/ohlcv", period="1y", resolution="60")
    asked = sandbox.count()

    quarter = ok("/BTC/ohlcv", period="3m", resolution="60")

    assert sandbox.count() == asked + 1
    assert quarter["count"] in (90 * 24, 90 * 24 + 1)


def test_history_made_of_bars_asks_for_the_end_alone(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    chains = {"coin_history": ["coinbase"], "coin_candles": ["coinbase"]}
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | chains
    ok("/ETH/history", period="3m")
    asked = sandbox.count()

    ok("/ETH/history", period="1m")
    assert sandbox.count() == asked + 1

    ok("/ETH/ohlcv", period="3m")
    assert sandbox.count() == asked + 2


def test_a_stock_s_known_days_are_not_sent_again(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"stock_candles": ["tiingo"]}
    first = ok("/AAPL/ohlcv", period="5y")
    forget(redis_client, "AAPL")

    second = ok("/AAPL/ohlcv", period="5y")

    calls = sandbox.calls("/tiingo/tiingo/daily/AAPL/prices")["recent"]
    starts = [call["query"]["startDate"] for call in calls if "startDate" in call["query"]]
    assert starts[0] < "2022"
    assert datetime.fromisoformat(starts[-1]).date() > (datetime.now(UTC) - timedelta(10)).date()
    assert second["candles"] == first["candles"]


@pytest.mark.parametrize(
    "asked", [{"period": "5y"}, {"period": "all"}, {"period": "1y", "resolution": "60"}]
)
def test_of_a_stock_s_known_bars_who_pays_for_them_asks_for_the_end_alone(
    sandbox: Sandbox, redis_client: Redis, settings: Any, asked: dict[str, str]
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"stock_candles": ["finnhub"]}
    first = ok("/AAPL/ohlcv", **asked)
    forget(redis_client, "AAPL")
    before = sandbox.count()

    second = ok("/AAPL/ohlcv", **asked)

    calls = sandbox.calls("/finnhub/api/v1/stock/candle")["recent"]
    since = datetime.fromtimestamp(int(calls[-1]["query"]["from"]), UTC)
    assert sandbox.count() == before + 1
    assert since > datetime.now(UTC) - timedelta(10)
    # While New York trades the last bar moves on.
    one, other = ([c for c in told["candles"] if c["closed"]] for told in (first, second))
    assert one == other
    assert second["candles"][-1]["timestamp"] == first["candles"][-1]["timestamp"]


def test_that_a_coin_is_younger_is_not_asked_again(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase"]}
    ok("/PEPE/ohlcv", period="5y")
    forget(redis_client, "PEPE")
    asked = sandbox.count()

    series = ok("/PEPE/ohlcv", period="5y")

    assert sandbox.count() == asked + 1
    assert series["truncated_by"] == "limit"  # Coinbase listed it; nobody says when it began.


def test_a_coin_that_was_counted_anew_is_asked_for_as_a_whole(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase"]}
    first = ok("/ETH/ohlcv", period="1y")
    Bar.objects.update(open=F("open") * 10, high=F("high") * 10, close=F("close") * 10)
    forget(redis_client, "ETH")

    second = ok("/ETH/ohlcv", period="1y")

    assert second["candles"][:-1] == first["candles"][:-1]
    closes = {bar["timestamp"]: bar["close"] for bar in first["candles"] if bar["closed"]}
    assert dict(Bar.objects.values_list("opens", "close")) == closes


def test_what_lies_between_two_runs_is_asked_for(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["binance"]}
    ok("/SOL/ohlcv", period="1w", resolution="60")
    redis_client.delete("reference:coingecko:solana")  # It lapses by Redis's clock, not by ours.
    with later(sandbox, days=20):
        ok("/SOL/ohlcv", period="1d", resolution="60")
        spans = Series.objects.get(resolution="60", source="binance").spans

        series = ok("/SOL/ohlcv", period="1m", resolution="60")

    assert len(spans) == 2
    stamps = [bar["timestamp"] for bar in series["candles"]]
    assert stamps == list(range(stamps[0], stamps[-1] + 1, HOUR_S))
    assert len(Series.objects.get(resolution="60", source="binance").spans) == 1


def test_pages_that_came_before_a_source_broke_off_are_not_asked_for_again(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase"]}
    ok("/LTC/ohlcv", period="1d")  # settles the pair
    asked = sandbox.count("/coinbase")
    ok("/ETH/ohlcv", period="5y")
    pages = sandbox.count("/coinbase") - asked
    with sandbox_that_breaks_off(sandbox, after=3):
        problem(get("/LTC/ohlcv", period="5y"), 503, "upstream_unavailable")
    redis_client.flushdb()
    asked = sandbox.count("/coinbase")

    ok("/LTC/ohlcv", period="5y")

    assert sandbox.count("/coinbase") - asked < pages


@contextmanager
def sandbox_that_breaks_off(sandbox: Sandbox, *, after: int) -> Iterator[None]:
    # Faults count calls from now on: the first ones are only a little late.
    sandbox.fault("delay", source="coinbase", calls=after, delay_s=0.05)
    sandbox.fault("status", status=500, path="/coinbase/products/LTC-USD/candles", calls=100)
    yield
    sandbox.heal()


# The store itself


def bar(hours: int, close: float = 100.0, *, closed: bool = True) -> Candle:
    return Candle(hours * HOUR_S, close, close, close, close, None, closed)


def hours(since: int, until: int) -> Window:
    return Window(*(datetime.fromtimestamp(at * HOUR_S, UTC) for at in (since, until)))


def told(*bars: Candle, cut: TruncatedBy | None = None) -> Candles:
    return Candles(list(bars), Origin.PROVIDER, truncated_by=cut)


@pytest.fixture
def stock() -> Asset:
    return Asset.objects.get(ref="stock:AAPL")


def keep(asset: Asset, window: Window, series: Candles, currency: str = "USD") -> None:
    known = store.known(asset, "tiingo", Resolution.H1, window, currency)
    store.keep(asset, "tiingo", Resolution.H1, window, series, known, currency)


def kept(asset: Asset) -> list[Candle]:
    return store.known(asset, "tiingo", Resolution.H1, hours(0, 10_000)).bars


def test_what_is_not_over_is_not_kept(stock: Asset) -> None:
    keep(stock, hours(10, 13), told(bar(10), bar(11), bar(12, closed=False)))

    assert kept(stock) == [bar(10), bar(11)]


def test_a_history_that_was_restated_is_replaced_as_a_whole(stock: Asset) -> None:
    keep(stock, hours(10, 14), told(*(bar(at, 100) for at in range(10, 14))))

    keep(stock, hours(12, 15), told(*(bar(at, 25) for at in range(12, 15))))

    assert kept(stock) == [bar(at, 25) for at in range(12, 15)]
    assert [one[:2] for one in Series.objects.get(asset=stock).spans] == [
        [12 * HOUR_S, 14 * HOUR_S]
    ]


def spans(asset: Asset) -> list[tuple[int, int]]:
    runs = Series.objects.get(asset=asset).spans
    return [(since // HOUR_S, until // HOUR_S) for since, until, _ in runs]


def run(since: int, until: int, close: float) -> Candles:
    return told(*(bar(at, close) for at in range(since, until)))


def test_a_run_that_is_told_otherwise_goes_though_another_one_was_known(stock: Asset) -> None:
    keep(stock, hours(0, 100), run(0, 100, 1000))
    keep(stock, hours(150, 200), run(150, 200, 100))
    assert spans(stock) == [(0, 99), (150, 199)]

    keep(stock, hours(90, 200), run(90, 200, 100))

    assert spans(stock) == [(90, 199)]
    assert set(Bar.objects.values_list("close", flat=True)) == {100}


def test_a_run_that_is_only_touched_stays_by_itself_and_unconfirmed(stock: Asset) -> None:
    with time_machine.travel(datetime.now(UTC) - timedelta(days=30)):
        keep(stock, hours(0, 100), run(0, 100, 1000))
        series = Series.objects.get(asset=stock)
        before = store.confirmed_at(series, 50 * HOUR_S)

    keep(stock, hours(100, 250), run(100, 250, 100))

    series.refresh_from_db()
    assert spans(stock) == [(0, 99), (100, 249)]
    assert store.confirmed_at(series, 50 * HOUR_S) == before
    assert {one.close for one in kept(stock)} == {100}


def test_runs_that_a_source_says_the_same_of_are_one(stock: Asset) -> None:
    keep(stock, hours(0, 100), run(0, 100, 100))
    keep(stock, hours(150, 200), run(150, 200, 100))

    keep(stock, hours(90, 200), run(90, 200, 100))

    assert spans(stock) == [(0, 199)]


def test_of_a_run_whose_bars_are_not_told_any_more_nothing_is_given(stock: Asset) -> None:
    keep(stock, hours(100, 110), run(105, 110, 1000))
    keep(stock, hours(150, 200), run(150, 200, 100))

    keep(stock, hours(100, 200), told(bar(100), *run(120, 200, 100).candles))

    assert spans(stock) == [(100, 199)]
    assert {one.close for one in kept(stock)} == {100}


def test_bars_in_another_currency_replace_those_that_were_kept(stock: Asset) -> None:
    keep(stock, hours(10, 12), told(bar(10), bar(11)), "USDT")

    keep(stock, hours(11, 12), told(bar(11)))

    assert kept(stock) == [bar(11)]
    assert Bar.objects.count() == 1


def test_why_a_series_is_cut_tells_what_is_asked_again(stock: Asset) -> None:
    keep(stock, hours(10, 40), told(bar(30), bar(31), cut=TruncatedBy.LISTING))
    assert store.begins(stock, "tiingo", Resolution.H1, hours(10, 40).start) == 30 * HOUR_S

    keep(stock, hours(1, 40), told(bar(30), bar(31), cut=TruncatedBy.PLAN))
    assert store.begins(stock, "tiingo", Resolution.H1, hours(1, 40).start) is None


@pytest.mark.django_db(transaction=True)  # what fails within one ends it, for PostgreSQL
def test_a_database_that_fails_costs_the_saving_and_is_told_once(
    sandbox: Sandbox, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    ok("/BTC/ohlcv", period="1d")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE prices_bar RENAME TO prices_bar_elsewhere")
    forget(redis_client, "BTC")

    ok("/BTC/ohlcv", period="1d")
    ok("/ETH/ohlcv", period="1d")
    warnings = [one for one in caplog.records if one.name == store.__name__]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE prices_bar_elsewhere RENAME TO prices_bar")
    ok("/LTC/ohlcv", period="1d")

    assert len(warnings) == 1
    assert Bar.objects.filter(series__asset__ticker="LTC").exists()


def test_narrow_bars_are_deleted_after_their_time_and_days_never(
    stock: Asset, settings: Any
) -> None:
    settings.KEEP_MINUTES_DAYS, settings.KEEP_HOURS_DAYS = 1, 2
    now_h = int(datetime.now(UTC).timestamp()) // HOUR_S
    span = hours(now_h - 72, now_h)
    bars = told(*(bar(at) for at in range(now_h - 72, now_h)))
    for width in (Resolution.M5, Resolution.H1, Resolution.DAY):
        store.keep(stock, "tiingo", width, span, bars, store.Known())

    tasks.prune_store()

    left = {
        width: Bar.objects.filter(series__resolution=width).count() for width in ("5", "60", "D")
    }
    assert left["5"] in (23, 24)
    assert left["60"] in (47, 48)
    assert left["D"] == 72
    assert Series.objects.get(resolution="5").spans[0][0] > span.start.timestamp()  # type: ignore[union-attr]


def test_more_rows_than_one_batch_are_pruned(stock: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PRUNED_AT_ONCE", 10)
    store.keep(
        stock,
        "tiingo",
        Resolution.M1,
        hours(0, 100),
        told(*(bar(at) for at in range(25))),
        store.Known(),
    )

    assert store.prune(datetime.now(UTC)) == 25
    assert (Bar.objects.count(), Series.objects.get().spans) == (0, [])


def test_a_coin_s_last_bar_may_have_been_early_without_restating_the_others() -> None:
    coin = Asset.objects.get(ref="coingecko:bitcoin")
    assert coin.kind == AssetKind.CRYPTO
    keep(coin, hours(10, 14), told(*(bar(at) for at in range(10, 14))))

    keep(coin, hours(11, 15), told(*(bar(at) for at in (11, 12)), bar(13, 102), bar(14)))

    assert kept(coin) == [bar(10), bar(11), bar(12), bar(13, 102), bar(14)]


def test_of_a_series_that_broke_off_only_the_run_at_its_end_is_kept(stock: Asset) -> None:
    got = [bar(at) for at in (0, 1, 200, 201)]

    store.keep_part(
        stock, "tiingo", Resolution.H1, [*got, replace(bar(202), closed=False)], store.Known()
    )

    assert kept(stock) == [bar(200), bar(201)]
