"""How far back a series reaches, which source it is of, and where a seam is."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from redis import Redis

from prices.models import Asset, Bar, Series
from prices.services import store
from prices.services.reach import joined
from prices.services.series import Part
from prices.sessions import latest_session
from prices.types import (
    Adjustment,
    Candle,
    Candles,
    Origin,
    Point,
    Points,
    Resolution,
)
from tests.market import Sandbox
from tests.prices.rest import get, max_age, ok, problem
from tests.prices.test_store import forget, later

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

DAY_S = 86_400


@pytest.fixture
def free_coingecko(settings: Any) -> None:
    """CoinGecko reaches a year back, as on a free key."""
    providers = deepcopy(settings.PRICE_PROVIDERS)
    providers["coingecko"]["OPTIONS"]["plan"] = "demo"
    settings.PRICE_PROVIDERS = providers


def chain(settings: Any, capability: str, *sources: str) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {capability: list(sources)}


def skipped(answer: Any) -> list[tuple[str, str]]:
    return [
        (one["source"].removeprefix("sandbox:"), one["code"]) for one in answer["fallback_from"]
    ]


@pytest.mark.usefixtures("free_coingecko")
@pytest.mark.parametrize("path", ["ohlcv", "history"])
def test_five_years_come_from_the_source_that_has_them(settings: Any, path: str) -> None:
    chain(settings, "coin_candles", "coingecko", "coinbase")
    chain(settings, "coin_history", "coingecko", "coinbase")

    series = ok(f"/BTC/{path}", period="5y")

    assert skipped(series) == [("coingecko", "plan")]
    assert series["count"] > 5 * 364
    assert (series["truncated"], series["segments"]) == (False, [])


@pytest.mark.usefixtures("free_coingecko")
def test_all_there_is_is_all_that_any_source_has(settings: Any) -> None:
    chain(settings, "coin_candles", "coingecko", "binance", "coinbase")

    series = ok("/BTC/ohlcv", period="all")

    assert skipped(series) == [("coingecko", "plan"), ("binance", "listing")]
    assert datetime.fromtimestamp(series["from"], UTC).year == 2015
    assert series["currency"] == "USD"


@pytest.mark.usefixtures("free_coingecko")
def test_a_period_within_the_plan_stays_with_the_first_source(
    sandbox: Sandbox, settings: Any
) -> None:
    chain(settings, "coin_history", "coingecko", "coinbase")

    series = ok("/BTC/history", period="6m")

    assert skipped(series) == []
    assert sandbox.count("/coinbase") == 0


def test_a_source_that_was_found_to_have_no_more_is_not_asked_again(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    chain(settings, "stock_candles", "twelvedata", "tiingo")
    first = ok("/AAPL/ohlcv", period="all")
    asked = sandbox.count("/tiingo")
    forget(redis_client, "AAPL")

    second = ok("/AAPL/ohlcv", period="all")

    assert asked > 0
    assert sandbox.count("/tiingo") == asked
    assert second["from"] == first["from"]


def test_further_sources_that_fail_leave_the_answer_that_there_is(
    sandbox: Sandbox, settings: Any
) -> None:
    chain(settings, "stock_candles", "twelvedata", "tiingo")
    sandbox.fault("status", status=500, source="tiingo")

    series = ok("/AAPL/ohlcv", period="all")

    assert skipped(series) == []


# A source that stands still


def test_a_series_that_stands_still_makes_way_for_the_next_source(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/BTC/ohlcv", period="1d")
    sandbox.fault("frozen", source="coinbase")
    forget(redis_client, "BTC")

    with later(sandbox, hours=3):
        series = ok("/BTC/ohlcv", period="1d")

    assert skipped(series) == [("coinbase", "stale")]
    assert series["freshness"] == "live"


def test_where_every_source_stands_still_the_first_is_given_as_stale(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    chain(settings, "coin_candles", "coinbase", "kraken")
    ok("/BTC/ohlcv", period="1d")
    sandbox.fault("frozen")
    forget(redis_client, "BTC")

    with later(sandbox, hours=3):
        series = ok("/BTC/ohlcv", period="1d")

    assert (skipped(series), series["freshness"]) == ([], "stale")


# Seams


def day(number: int, close: float = 100.0, *, closed: bool = True) -> Candle:
    return Candle(number * DAY_S, close, close, close, close, 1.0, closed)


def part(*bars: Candle, currency: str = "USD", **how: Any) -> Part:
    series = Candles(list(bars), Origin.PROVIDER, volume_basis="bar_shares", **how)
    return Part(series, Resolution.DAY, currency)


def test_the_newest_days_of_another_source_are_put_behind_and_named() -> None:
    far = part(*(day(at) for at in range(1, 20)))
    near = part(*(day(at, 100.5) for at in range(15, 22)))

    whole = joined(far, near, "tiingo", "finnhub")

    assert whole is not None
    assert [one.timestamp // DAY_S for one in whole.items] == list(range(1, 22))
    assert [one.close for one in whole.items if isinstance(one, Candle)][-3:] == [
        100,
        100.5,
        100.5,
    ]
    assert [(one.source, one.from_ // DAY_S, one.to // DAY_S) for one in whole.segments] == [
        ("tiingo", 1, 19),
        ("finnhub", 20, 21),
    ]


def test_a_bar_under_way_gives_way_to_the_other_source_s() -> None:
    far = part(day(1), day(2), day(3, closed=False))
    near = part(day(2), day(3), day(4, closed=False))

    whole = joined(far, near, "one", "other")

    assert whole is not None
    assert [bar.closed for bar in whole.items if isinstance(bar, Candle)] == [
        True,
        True,
        True,
        False,
    ]
    assert (whole.segments[0].to, whole.segments[1].from_) == (2 * DAY_S, 3 * DAY_S)


@pytest.mark.parametrize(
    "near",
    [
        part(day(3, 102), day(4, 102), day(5, 102)),
        part(day(4), day(5), currency="USDT"),
        part(day(3), day(4), day(5), adjustment=Adjustment.SPLITS),
        part(day(8), day(9)),
    ],
    ids=["they disagree", "another currency", "adjusted otherwise", "nothing in common"],
)
def test_what_does_not_fit_is_not_joined(near: Part) -> None:
    far = part(*(day(at) for at in range(1, 5)))

    assert joined(far, near, "one", "other") is None


def test_points_are_joined_like_bars() -> None:
    def points(*days: int) -> Part:
        return Part(Points([Point(at * DAY_S, 5.0, None) for at in days]), Resolution.DAY, "USD")

    whole = joined(points(1, 2, 3, 4), points(3, 4, 5), "one", "other")

    assert whole is not None
    assert [one.timestamp // DAY_S for one in whole.items] == [1, 2, 3, 4, 5]
    assert whole.segments[1].from_ == 5 * DAY_S


# Recorded bars


@pytest.fixture
def recorded(sandbox: Sandbox, settings: Any) -> Asset:
    """A stock whose only source's plan refuses bars, and an hour recorded of its latest session."""
    chain(settings, "stock_candles", "finnhub")
    sandbox.control("POST", "plan", {"plan": "free"})
    asset = Asset.objects.get(ref="stock:AAPL")
    series = Series.objects.create(
        asset=asset, source=store.RECORDED, resolution="1", renewed_at=datetime.now(UTC)
    )
    opens = int(latest_session(datetime.now(UTC)).opens.timestamp())
    store.write(
        series.pk,
        [Candle(opens + 60 * at, 200.0, 201.0, 199.0, 200.0, None, True) for at in range(60)],
    )
    return asset


def at_the_close() -> Any:
    return time_machine.travel(latest_session(datetime.now(UTC)).closes + timedelta(minutes=30))


def test_where_a_plan_refuses_candles_those_recorded_are_given(recorded: Asset) -> None:
    with at_the_close():
        series = ok("/AAPL/ohlcv", period="1d")

    assert (series["origin"], series["resolution"], series["count"]) == ("recorded", "5", 12)
    session = latest_session(datetime.now(UTC))
    assert series["coverage"] == 12 / ((session.closes - session.opens) / timedelta(minutes=5))
    assert skipped(series) == [("finnhub", "plan_restricted")]
    assert all(bar["volume"] is None for bar in series["candles"])


def test_a_stock_without_any_bar_is_refused_as_before(recorded: Asset) -> None:
    Bar.objects.all().delete()

    problem(get("/AAPL/ohlcv", period="1d"), 403, "plan_restricted")


def test_a_refusal_stands_in_the_way_of_recorded_bars_for_a_minute_at_most(
    recorded: Asset, redis_client: Redis
) -> None:
    Bar.objects.all().delete()

    problem(get("/AAPL/ohlcv", period="1d"), 403, "plan_restricted")

    assert 0 < redis_client.pttl("failed:ohlcv:AAPL:1d") <= 60_000


def test_a_width_that_a_source_gives_lately_is_not_stood_in_for_by_recorded_bars(
    recorded: Asset, settings: Any
) -> None:
    chain(settings, "stock_candles", "twelvedata")

    with at_the_close():
        body = problem(
            get("/AAPL/ohlcv", period="1y", resolution="1"), 409, "resolution_unavailable"
        )

    assert "1" not in body["available"]


def test_widths_of_recorded_bars_are_among_those_to_be_had(
    recorded: Asset, sandbox: Sandbox, settings: Any
) -> None:
    chain(settings, "stock_candles", "tiingo")

    with at_the_close():
        body = ok("/AAPL/ohlcv", period="1d", resolution="1")

    assert body["resolution"] == "1"


def test_where_a_plan_refuses_history_recorded_prices_are_given(
    recorded: Asset, settings: Any
) -> None:
    chain(settings, "stock_history", "finnhub")
    with at_the_close():
        series = ok("/AAPL/history", period="1d")

    assert (series["origin"], series["resolution"], series["count"]) == ("recorded", "5", 12)
    session = latest_session(datetime.now(UTC))
    assert series["coverage"] == 12 / ((session.closes - session.opens) / timedelta(minutes=5))
    assert skipped(series) == [("finnhub", "plan_restricted")]
    first = series["data"][0]
    assert first["timestamp"] == int(session.opens.timestamp()) + 300
    assert (first["price"], first["volume"]) == (200.0, None)


# All there is, and why it begins where it does


def test_all_that_an_exchange_has_is_cut_where_the_exchange_begins(settings: Any) -> None:
    chain(settings, "coin_candles", "coinbase")

    response = get("/BTC/ohlcv", period="all", resolution="M")

    series = response.json()
    assert (series["truncated"], series["truncated_by"]) == (True, "limit")
    assert series["available_from"] == series["from"]
    assert max_age(response) > 60  # no more is to come


@pytest.mark.parametrize("symbol", ["ABNB", "coingecko:sandbox-newcomer"])
def test_all_of_an_asset_that_began_there_is_cut_by_nothing(settings: Any, symbol: str) -> None:
    chain(settings, "stock_candles", "tiingo")
    chain(settings, "coin_candles", "coingecko")

    series = ok(f"/{symbol}/ohlcv", period="all", resolution="M")

    assert (series["truncated"], series["truncated_by"], series["available_from"]) == (
        False,
        None,
        None,
    )


# What there is instead


def test_a_width_that_a_plan_refuses_is_not_among_those_to_be_had(
    sandbox: Sandbox, settings: Any
) -> None:
    chain(settings, "stock_candles", "finnhub", "tiingo")
    sandbox.control("POST", "plan", {"plan": "free"})

    body = problem(get("/AAPL/ohlcv", period="1y", resolution="1"), 409, "resolution_unavailable")

    assert body["available"] == ["D", "W", "M"]
    for width in body["available"]:
        assert ok("/AAPL/ohlcv", period="1y", resolution=width)["resolution"] == width


def test_where_the_plan_refuses_every_width_it_is_the_plan_that_is_told(
    sandbox: Sandbox, settings: Any
) -> None:
    chain(settings, "stock_candles", "finnhub")
    sandbox.control("POST", "plan", {"plan": "free"})

    problem(get("/AAPL/ohlcv", period="1y", resolution="1"), 403, "plan_restricted")


def test_widths_of_an_exchange_that_does_not_list_a_coin_are_not_to_be_had(settings: Any) -> None:
    chain(settings, "coin_candles", "binance", "coingecko")

    body = problem(
        get("/coingecko:rank-unknown-gold/ohlcv", period="1y", resolution="1"),
        409,
        "resolution_unavailable",
    )

    assert body["available"] == ["D", "W", "M"]


def test_widths_of_a_source_that_is_down_are_not_to_be_had(sandbox: Sandbox, settings: Any) -> None:
    chain(settings, "coin_candles", "binance", "coingecko")
    sandbox.fault("status", status=500, path="/binance/api/v3/klines")

    body = problem(get("/BTC/ohlcv", period="1y", resolution="1"), 409, "resolution_unavailable")

    assert body["available"] == ["D", "W", "M"]
