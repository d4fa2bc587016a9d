"""History and candles as a client of the REST API sees them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from redis import Redis

from prices.sessions import latest_session
from tests.market import Sandbox
from tests.prices.rest import SERIES, get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


@pytest.mark.parametrize(
    ("period", "step_s", "count"),
    [("1d", 300, 288), ("1w", 3600, 168), ("1m", 3600, 720), ("3m", 3600, 2160)],
)
def test_a_coin_s_history_has_the_points_its_period_promises(
    period: str, step_s: int, count: int
) -> None:
    series = ok("/BTC/history", period=period)

    assert series.keys() == SERIES | {"data"}
    stamps = [point["timestamp"] for point in series["data"]]
    assert stamps == sorted(set(stamps))
    assert abs(series["count"] - count) <= (0 if period == "1w" else 1)
    assert len(stamps) == series["count"]
    assert (series["from"], series["to"]) == (stamps[0], stamps[-1])
    assert abs((stamps[-1] - stamps[0]) - (count - 1) * step_s) < 2 * step_s
    assert series["volume_basis"] == "rolling_24h"
    assert series["truncated"] is False


@pytest.mark.parametrize("period", ["6m", "1y", "5y", "all", "ALL", "1Y"])
@pytest.mark.parametrize("symbol", ["BTC", "AAPL"])
def test_long_periods_are_daily_and_period_all_works(symbol: str, period: str) -> None:
    series = ok(f"/{symbol}/history", period=period)

    assert series["period"] == period.lower()
    steps = {
        later["timestamp"] - earlier["timestamp"]
        for earlier, later in zip(series["data"], series["data"][1:], strict=False)
    }
    assert min(steps) > 43_000
    assert all(point["price"] > 0 for point in series["data"])


@pytest.mark.usefixtures("alone")
def test_candle_times_are_opening_times_and_missing_volume_is_null() -> None:
    series = ok("/BTC/ohlcv", period="1w")
    now = time.time()

    assert series.keys() == SERIES | {"dropped", "candles"}
    assert (series["resolution"], series["origin"], series["volume_basis"]) == (
        "240",
        "provider",
        None,
    )
    bars = series["candles"]
    assert {bar["timestamp"] % 14_400 for bar in bars} == {0}
    assert bars[-1]["timestamp"] <= now < bars[-1]["timestamp"] + 14_400
    assert [bar["closed"] for bar in bars] == [True] * (len(bars) - 1) + [False]
    assert {bar["volume"] for bar in bars} == {None}
    assert all(b["low"] <= min(b["open"], b["close"]) for b in bars)
    assert all(b["high"] >= max(b["open"], b["close"]) for b in bars)


@pytest.mark.usefixtures("alone")
def test_daily_candles_of_a_coin_are_made_of_hourly_points() -> None:
    series = ok("/ETH/ohlcv", period="1y")

    assert (series["resolution"], series["origin"]) == ("D", "derived")
    assert series["count"] in {365, 366}
    assert {bar["timestamp"] % 86_400 for bar in series["candles"]} == {0}


@pytest.mark.usefixtures("alone")
def test_days_that_are_over_are_asked_for_once(sandbox: Sandbox, redis_client: Redis) -> None:
    ok("/ETH/ohlcv", period="1y")
    first = _range_calls(sandbox)
    redis_client.delete("ohlcv:ETH:1y")

    ok("/ETH/ohlcv", period="1y")

    assert first == 5
    assert _range_calls(sandbox) - first == 1


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    weeks = ok("/BTC/ohlcv", period="1y", resolution="1W")["candles"]
    months = ok("/BTC/ohlcv", period="1y", resolution="1M")["candles"]

    assert {time.gmtime(bar["timestamp"]).tm_wday for bar in weeks} == {0}
    assert {time.gmtime(bar["timestamp"]).tm_mday for bar in months} == {1}


@pytest.mark.usefixtures("alone")
def test_a_named_resolution_is_given_exactly_or_refused_with_what_there_is() -> None:
    assert ok("/BTC/ohlcv", period="1d", resolution="30m")["resolution"] == "30"

    body = problem(get("/BTC/ohlcv", period="1d", resolution="1m"), 409, "resolution_unavailable")

    assert body["available"] == ["30", "240", "D", "W", "M"]


def test_stock_candles_come_in_every_resolution_with_volume_in_shares() -> None:
    for resolution in ("1", "5", "15", "30", "60", "240", "D", "W", "M"):
        series = ok("/TSLA/ohlcv", period="1m", resolution=resolution)
        assert series["resolution"] == resolution
        assert all(bar["volume"] > 0 for bar in series["candles"])
        assert series["volume_basis"] == "bar_shares"


def test_a_young_coin_s_series_says_since_when_it_is_listed() -> None:
    series = ok("/coingecko:sandbox-newcomer/history", period="1y")

    assert (series["truncated"], series["truncated_by"]) == (True, "listing")
    assert series["available_from"] == series["data"][0]["timestamp"]


def _range_calls(sandbox: Sandbox) -> int:
    return sandbox.count("/coingecko/api/v3/coins/ethereum/market_chart/range")


@pytest.mark.parametrize("resolution", ["60", "D", "W"])
@pytest.mark.parametrize(
    "now", ["2026-11-18T23:00:00Z", "2026-11-22T12:00:00Z", "2026-11-18T18:00:00Z"]
)
def test_a_stock_s_candles_are_of_the_session_s_close_at_every_width(
    sandbox: Sandbox, resolution: str, now: str
) -> None:
    moment = datetime.fromisoformat(now)
    sandbox.control("POST", "clock", {"now": moment.timestamp()})
    with time_machine.travel(moment, tick=False):
        series = ok("/AAPL/ohlcv", period="1m", resolution=resolution)

    as_of = datetime.fromisoformat(series["as_of"])
    assert as_of == min(moment, latest_session(moment).closes)


@pytest.mark.parametrize("now", ["2026-11-18T23:00:00Z", "2026-11-22T12:00:00Z"])
def test_a_stock_s_week_begins_with_the_same_session_at_every_width(
    sandbox: Sandbox, now: str
) -> None:
    moment = datetime.fromisoformat(now)
    sandbox.control("POST", "clock", {"now": moment.timestamp()})
    with time_machine.travel(moment, tick=False):
        days = {
            width: datetime.fromtimestamp(
                ok("/AAPL/ohlcv", period="1w", resolution=width)["from"], UTC
            ).date()
            for width in ("5", "15", "60", "D")
        }
        week = ok("/AAPL/ohlcv", period="1w", resolution="W")["from"]

    assert len(set(days.values())) == 1
    monday = days["D"] - timedelta(days=days["D"].weekday())
    assert datetime.fromtimestamp(week, UTC).date() == monday
