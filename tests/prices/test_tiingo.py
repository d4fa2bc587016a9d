from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
)
from prices.providers.tiingo import Tiingo
from prices.types import Adjustment, Origin, Resolution, Split, TruncatedBy, Window
from tests.prices.sites import Route, Site
from tests.prices.stock_site import (
    AAPL,
    DAY_S,
    NOW,
    NOW_S,
    OPENS,
    TODAY,
    bar,
    days,
    kept,
    stamps,
    stock,
    when,
    window,
)

DAILY, INTRADAY, IEX = "/tiingo/daily/AAPL/prices", "/iex/AAPL/prices", "/iex/"


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def tiingo(site: Site | Mapping[str, Route]) -> Tiingo:
    site = site if isinstance(site, Site) else Site("", site)
    transport = httpx.MockTransport(site)
    return Tiingo(base_url="https://tiingo.example", api_key="s3cret", transport=transport)


def daily(
    params: Mapping[str, str], *, listed: str = "1980-12-12", splits: Mapping[str, float] = {}
) -> list[dict[str, Any]]:
    """/tiingo/daily/…/prices: oldest first, as traded, today not before the evening."""
    found = []
    for day in days(max(params["startDate"], listed)):
        date = day.date().isoformat()
        if date == "2025-10-08":
            continue
        opening, high, low, close, volume = bar(day.timestamp(), DAY_S)
        adjusted = {f"adj{name}": 1.23 for name in ("Open", "High", "Low", "Close")}
        found.append(
            adjusted
            | {"open": opening, "high": high, "low": low, "close": close, "volume": volume}
            | {"date": f"{date}T00:00:00.000Z", "adjVolume": 7, "divCash": 0.0}
            | {"splitFactor": splits.get(date, 1.0)}
        )
    return found


def intraday(params: Mapping[str, str]) -> list[dict[str, Any]]:
    """/iex/…/prices: oldest first, around the clock, volume only where it is asked for."""
    assert params["columns"] == "open,high,low,close,volume"
    step_s = int(params["resampleFreq"].removesuffix("min")) * 60
    first = datetime.fromisoformat(params["startDate"]).replace(tzinfo=UTC)
    last = datetime.fromisoformat(params["endDate"]).replace(tzinfo=UTC) + timedelta(days=1)
    found = []
    for at in stamps(first.timestamp(), last.timestamp(), step_s):
        opening, high, low, close, volume = bar(at, step_s)
        stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        prices = {"open": opening, "high": high, "low": low, "close": close}
        found.append({"date": stamp, **prices, "volume": volume})
    return found


def row(ticker: str = "AAPL", **fields: Any) -> dict[str, Any]:
    return {
        "ticker": ticker,
        "timestamp": "2025-10-08T15:09:58.123+00:00",
        "lastSaleTimestamp": "2025-10-08T15:09:50+00:00",
        "last": 308.80,
        "tngoLast": 308.82,
        "prevClose": 304.99,
        "open": 306.12,
        "high": 311.4,
        "low": 305.84,
        "volume": 123456,
    } | fields


def test_days_are_the_plain_columns_and_today_s_is_not_there_yet() -> None:
    site = Site("", {DAILY: daily})

    got = tiingo(site).candles(AAPL, window(days=7), Resolution.DAY)

    assert [when(one.timestamp)[:5] for one in got.candles] == [
        *("10-01", "10-02", "10-03", "10-06", "10-07")
    ]
    assert got.candles[0] == kept(got.candles[0].timestamp, DAY_S)
    assert all(one.closed for one in got.candles)
    assert (got.origin, got.truncated_by, got.volume_basis) == (
        Origin.PROVIDER,
        None,
        "bar_shares",
    )
    assert site.params == [{"startDate": "2025-10-01"}]


def test_the_key_travels_in_a_header_alone() -> None:
    site = Site("", {DAILY: daily})
    tiingo(site).candles(AAPL, window(days=7), Resolution.DAY)

    assert site.asked[0].headers["authorization"] == "Token s3cret"
    assert "s3cret" not in str(site.asked[0].url)


def test_days_before_a_split_are_in_today_s_shares_without_dividends_taken_off() -> None:
    splits = {"2025-10-03": 4.0, "2025-10-06": 0.5}
    plain = tiingo({DAILY: daily}).candles(AAPL, window(days=7), Resolution.DAY).candles

    got = tiingo({DAILY: lambda params: daily(params, splits=splits)}).candles(
        AAPL, window(days=7), Resolution.DAY
    )

    # 1 and 2 October come before both, the 3rd before the second alone.
    factors = [2.0, 2.0, 0.5, 1.0, 1.0]
    assert [one.close for one in got.candles] == [
        one.close / factor for one, factor in zip(plain, factors, strict=True)
    ]
    assert [one.volume for one in got.candles] == [20.0, 20.0, 5.0, 10.0, 10.0]
    assert got.dropped == 0


def test_splits_are_told_and_which_bars_are_adjusted_for_them() -> None:
    splits = {"2025-10-03": 4.0, "2025-10-06": 0.5}
    provider = tiingo({DAILY: lambda params: daily(params, splits=splits), INTRADAY: intraday})

    days = provider.candles(AAPL, window(days=7), Resolution.DAY)
    weeks = provider.candles(AAPL, window(days=7), Resolution.WEEK)
    fives = provider.candles(AAPL, TODAY, Resolution.M5)

    told = (Split(date(2025, 10, 3), 4.0), Split(date(2025, 10, 6), 0.5))
    assert days.splits == weeks.splits == told
    assert days.adjustment is weeks.adjustment is Adjustment.SPLITS
    assert (fives.splits, fives.adjustment) == ((), Adjustment.NONE)


def test_a_price_in_today_s_shares_has_no_more_digits_than_a_price_has() -> None:
    answer = [
        fields | {"low": 2125.01, "high": 2125.01, "open": 2125.01, "close": 2125.01}
        for fields in daily({"startDate": "2025-09-01"}, splits={"2025-10-07": 25.0})
    ]

    days = tiingo({DAILY: answer}).candles(AAPL, window(days=30), Resolution.DAY)

    assert days.candles[0].close == 85.0004
    assert 2125.01 / 25.0 != 85.0004


def test_a_split_that_is_none_spoils_the_answer() -> None:
    for factor in (0, None, "4", -2):
        answer = [fields | {"splitFactor": factor} for fields in daily({"startDate": "2025-10-01"})]
        with pytest.raises(UpstreamMalformedError):
            tiingo({DAILY: answer}).candles(AAPL, window(days=7), Resolution.DAY)


def test_a_split_since_the_known_days_has_all_of_them_asked_anew() -> None:
    known = tiingo({DAILY: daily}).candles(AAPL, window(days=90), Resolution.DAY).candles
    after = Site("", {DAILY: lambda params: daily(params, splits={"2025-10-07": 4.0})})

    kept_on = tiingo(after).candles(AAPL, window(days=90), Resolution.DAY, known=known[:-1])

    assert [params["startDate"] for params in after.params] == ["2025-10-06", "2025-07-10"]
    assert [one.close * 4 for one in kept_on.candles[:-1]] == [one.close for one in known[:-1]]


def test_known_days_are_asked_on_from_the_last_one() -> None:
    site = Site("", {DAILY: daily})
    provider = tiingo(site)
    whole = provider.candles(AAPL, window(days=365), Resolution.DAY)
    site.asked.clear()

    got = provider.candles(AAPL, window(days=365), Resolution.DAY, known=whole.candles[:-3])

    assert got == whole
    assert [params["startDate"] for params in site.params] == ["2025-10-02"]


def test_all_days_are_one_call() -> None:
    site = Site("", {DAILY: daily})

    got = tiingo(site).candles(AAPL, Window(None, NOW), Resolution.MONTH)

    assert len(site.asked) == 1
    assert (when(got.candles[-1].timestamp), got.truncated_by) == ("10-01 00:00", None)
    assert datetime.fromtimestamp(got.candles[0].timestamp, UTC).year == 1980


def test_a_stock_younger_than_the_window_says_so() -> None:
    provider = tiingo({DAILY: lambda params: daily(params, listed="2025-06-02")})

    assert (
        provider.candles(AAPL, window(days=365), Resolution.DAY).truncated_by is TruncatedBy.LISTING
    )


def test_intraday_bars_say_that_their_volume_is_of_one_exchange() -> None:
    site = Site("", {INTRADAY: intraday})
    provider = tiingo(site)

    fives = provider.candles(AAPL, TODAY, Resolution.M5)
    hours = provider.candles(AAPL, TODAY, Resolution.H1)

    assert fives.candles[0] == kept(OPENS, 300)
    assert (len(fives.candles), fives.volume_basis) == (21, "bar_shares_iex")
    assert [one.closed for one in fives.candles[-2:]] == [True, False]
    assert [when(one.timestamp) for one in hours.candles] == ["10-08 13:30", "10-08 14:30"]
    assert (fives.origin, hours.origin) == (Origin.PROVIDER, Origin.DERIVED)
    assert site.params[0] == {
        "startDate": "2025-10-08",
        "endDate": "2025-10-08",
        "resampleFreq": "5min",
        "columns": "open,high,low,close,volume",
        "afterHours": "false",
    }


def test_intraday_bars_are_offered_as_far_as_its_newest_2000_reach() -> None:
    provider = tiingo({})

    assert provider.resolutions(window(days=5)) == list(Resolution)
    assert provider.resolutions(window(days=30))[0] is Resolution.M5
    assert provider.resolutions(window(days=90))[0] is Resolution.M15
    assert provider.resolutions(window(days=180))[0] is Resolution.M30
    assert provider.resolutions(window(days=365)) == ["D", "W", "M"]
    assert provider.resolutions(Window(None, NOW)) == ["D", "W", "M"]


def test_known_minutes_are_asked_on_from_the_last_one() -> None:
    site = Site("", {INTRADAY: intraday})
    provider = tiingo(site)
    whole = provider.candles(AAPL, window(days=5), Resolution.M15)
    site.asked.clear()

    known = [one for one in whole.candles if one.closed]
    assert provider.candles(AAPL, window(days=5), Resolution.M15, known=known) == whole
    assert [params["startDate"] for params in site.params] == ["2025-10-08"]


def test_history_says_whose_volume_it_is() -> None:
    day = tiingo({INTRADAY: intraday}).history(AAPL, TODAY, 300)

    assert (day.points[0].timestamp, day.points[-1].timestamp) == (OPENS + 300, NOW_S)
    assert day.volume_basis == "bar_shares_iex"


def test_quotes_of_many_stocks_are_one_call_without_the_volume_of_one_exchange() -> None:
    site = Site("", {IEX: [row(), row("BRK-B", tngoLast=480.5, prevClose=None), row("XYZ")]})

    quotes = tiingo(site).quotes([AAPL, stock("BRK.B")])

    quote = quotes.found["stock:AAPL"]
    assert site.params == [{"tickers": "AAPL,BRK-B"}]
    assert (quote.price, quote.change, quote.change_percent) == (308.82, 3.83, 1.255778878)
    assert (quote.high, quote.low, quote.volume) == (311.4, 305.84, None)
    assert quote.as_of == datetime(2025, 10, 8, 15, 9, 58, 123000, tzinfo=UTC)
    assert (quotes.found["stock:BRK.B"].price, quotes.found["stock:BRK.B"].change) == (480.5, None)
    assert set(quotes.found) == {"stock:AAPL", "stock:BRK.B"}


def test_without_a_reference_price_the_last_trade_is_the_quote() -> None:
    quote = tiingo({IEX: [row(tngoLast=None)]}).quotes([AAPL]).found["stock:AAPL"]

    assert quote.price == 308.80
    assert quote.as_of == datetime(2025, 10, 8, 15, 9, 50, tzinfo=UTC)


def test_a_stock_without_a_price_or_a_time_is_left_out() -> None:
    for fields in ({"tngoLast": None, "last": 0}, {"timestamp": None, "lastSaleTimestamp": None}):
        assert tiingo({IEX: [row(**fields)]}).quotes([AAPL]).found == {}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (httpx.Response(429, text="slow down"), UpstreamRateLimitedError),
        (httpx.Response(401, json={"detail": "Invalid token."}), UpstreamRefusedError),
        (httpx.Response(403, json={"detail": "Please supply a token"}), UpstreamRefusedError),
        (
            httpx.Response(403, json={"detail": "You do not have permission to access this."}),
            PlanRestrictedError,
        ),
        (httpx.Response(404, json={"detail": "Not found."}), UpstreamNotFoundError),
        (httpx.Response(404, text="<html>"), UpstreamError),
        (httpx.Response(403, text="<html>"), UpstreamError),
        (httpx.Response(502), UpstreamError),
        (httpx.Response(200, text="None"), UpstreamMalformedError),
        (httpx.Response(200, json={"detail": "?"}), UpstreamMalformedError),
        (httpx.Response(200, json=[{"date": "2025-10-01"}]), UpstreamMalformedError),
    ],
)
def test_each_failure_is_told_apart(reply: httpx.Response, error: type[PricesError]) -> None:
    with pytest.raises(PricesError) as caught:
        tiingo({DAILY: reply}).candles(AAPL, window(days=7), Resolution.DAY)

    assert type(caught.value) is error
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "words", "wait_s"),
    [
        (200, "Error: You have run over your hourly request allocation.", 50 * 60),
        (429, "Error: You have run over your hourly request allocation.", 50 * 60),
        (200, "Error: You have run over your daily request allocation.", 3600),
    ],
)
def test_a_used_up_allowance_waits_for_the_next(status: int, words: str, wait_s: float) -> None:
    reply = httpx.Response(status, json={"detail": words})
    with pytest.raises(UpstreamRateLimitedError) as caught:
        tiingo({DAILY: reply}).candles(AAPL, window(days=7), Resolution.DAY)

    assert caught.value.retry_after_s == wait_s


def test_what_is_no_ticker_is_never_asked_for() -> None:
    site = Site("", {})
    for name in ("", "..", "A/B", "AAPL?x"):
        with pytest.raises(UpstreamNotFoundError):
            tiingo(site).candles(stock(name), window(days=7), Resolution.DAY)
        with pytest.raises(UpstreamNotFoundError):
            tiingo(site).quotes([stock(name)])
    assert site.asked == []
