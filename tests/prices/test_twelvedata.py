from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
)
from prices.providers.base import Gate
from prices.providers.twelvedata import TwelveData
from prices.types import Origin, Resolution, TruncatedBy, Window
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

SERIES, QUOTE = "/time_series", "/quote"


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def twelvedata(site: Site | Mapping[str, Route], gate: Gate | None = None) -> TwelveData:
    site = site if isinstance(site, Site) else Site("", site)
    return TwelveData(
        base_url="https://twelvedata.example",
        api_key="s3cret",
        gate=gate,
        transport=httpx.MockTransport(site),
    )


def series(params: Mapping[str, str], *, listed: str = "1980-12-12", split: float = 1) -> Any:
    """/time_series: texts, newest first, at most `outputsize` of the newest; around the clock."""
    found: list[tuple[str, int, int]] = []
    if params["interval"] == "1day":
        last = params.get("end_date", "9")
        for day in days(max(params["start_date"], listed)):
            if (text := day.date().isoformat()) <= last:
                found.append((text, int(day.timestamp()), DAY_S))
    else:
        assert params["timezone"] == "UTC"
        step_s = int(params["interval"].removesuffix("min")) * 60
        first, last_at = (
            datetime.fromisoformat(params[name] + "Z").timestamp()
            for name in ("start_date", "end_date")
        )
        for at in stamps(first, last_at, step_s):
            found.append(
                (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S"), at, step_s)
            )
    values = []
    for text, at, step_s in found[::-1][: int(params["outputsize"])]:
        *ohlc, volume = bar(at, step_s)
        names = zip(("open", "high", "low", "close"), ohlc, strict=True)
        row = {name: f"{value / split:.5f}" for name, value in names}
        values.append({"datetime": text, **row, "volume": f"{volume:.0f}"})
    return {"meta": {"symbol": "AAPL", "currency": "USD"}, "values": values, "status": "ok"}


def told(**fields: Any) -> dict[str, Any]:
    return {
        "symbol": "AAPL",
        "currency": "USD",
        "datetime": "2025-10-08",
        "timestamp": OPENS,
        "last_quote_at": NOW_S - 30,
        "open": "306.12",
        "high": "311.40",
        "low": "305.84",
        "close": "308.82",
        "volume": "51234567",
        "previous_close": "304.99",
        "change": "3.83",
        "percent_change": "1.25578",
    } | fields


def failing(code: int, message: str, status: int = 200) -> httpx.Response:
    body = {"code": code, "message": message, "status": "error"}
    return httpx.Response(status, json=body)


def test_days_are_read_oldest_first_and_today_is_open() -> None:
    site = Site("", {SERIES: series})

    got = twelvedata(site).candles(AAPL, window(days=7), Resolution.DAY)

    assert [when(one.timestamp) for one in got.candles] == [
        *("10-01 00:00", "10-02 00:00", "10-03 00:00", "10-06 00:00", "10-07 00:00", "10-08 00:00")
    ]
    first = got.candles[0].timestamp
    assert got.candles[0] == kept(first, DAY_S)
    assert [one.closed for one in got.candles[-2:]] == [True, False]
    assert (got.origin, got.dropped, got.truncated_by) == (Origin.PROVIDER, 0, None)
    assert got.volume_basis == "bar_shares"
    assert site.params == [
        {"symbol": "AAPL", "interval": "1day", "outputsize": "5000", "start_date": "2025-10-01"}
    ]


def test_the_key_travels_in_a_header_alone() -> None:
    site = Site("", {SERIES: series})
    twelvedata(site).candles(AAPL, window(days=7), Resolution.DAY)

    assert site.asked[0].headers["authorization"] == "apikey s3cret"
    assert "s3cret" not in str(site.asked[0].url)


def test_all_days_are_asked_page_by_page() -> None:
    site = Site("", {SERIES: series})

    got = twelvedata(site).candles(AAPL, Window(None, NOW), Resolution.DAY)

    assert len(site.asked) == 3
    assert datetime.fromtimestamp(got.candles[0].timestamp, UTC).year == 1980
    assert [one.timestamp for one in got.candles] == [
        int(day.timestamp()) for day in days("1980-12-12")
    ]
    assert got.truncated_by is None


def test_a_stock_younger_than_the_window_says_so() -> None:
    provider = twelvedata({SERIES: lambda params: series(params, listed="2025-06-02")})

    got = provider.candles(AAPL, window(days=365), Resolution.DAY)

    assert (when(got.candles[0].timestamp), got.truncated_by) == (
        "06-02 00:00",
        TruncatedBy.LISTING,
    )


def test_weeks_and_months_are_made_of_days() -> None:
    provider = twelvedata({SERIES: series})

    weeks = provider.candles(AAPL, window(days=28), Resolution.WEEK)
    months = provider.candles(AAPL, window(days=80), Resolution.MONTH)

    assert [when(one.timestamp)[:5] for one in weeks.candles] == [
        *("09-08", "09-15", "09-22", "09-29", "10-06")
    ]
    assert [when(one.timestamp)[:5] for one in months.candles] == [
        *("07-01", "08-01", "09-01", "10-01")
    ]
    assert [one.closed for one in months.candles] == [True, True, True, False]
    assert months.candles[2].volume == 21 * 10.0
    assert weeks.origin is Origin.DERIVED


def test_intraday_bars_are_of_the_regular_session_and_count_from_its_start() -> None:
    site = Site("", {SERIES: series})
    provider = twelvedata(site)
    yesterday = Window(NOW - timedelta(days=1), NOW)

    fives = provider.candles(AAPL, TODAY, Resolution.M5)
    hours = provider.candles(AAPL, yesterday, Resolution.H1)

    assert (when(fives.candles[0].timestamp), when(fives.candles[-1].timestamp)) == (
        "10-08 13:30",
        "10-08 15:10",
    )
    assert fives.candles[0] == kept(OPENS, 300)
    assert [when(one.timestamp) for one in hours.candles] == [
        *(f"10-07 {hour}:30" for hour in range(14, 20)),
        "10-08 13:30",
        "10-08 14:30",
    ]
    assert [one.closed for one in hours.candles[-2:]] == [True, False]
    assert hours.candles[5].volume == 10.0, "the last hour of a session is half an hour"
    assert (fives.origin, hours.origin) == (Origin.PROVIDER, Origin.DERIVED)
    assert [params["interval"] for params in site.params] == ["5min", "30min"]


def test_many_minutes_are_asked_page_by_page() -> None:
    site = Site("", {SERIES: series})

    got = twelvedata(site).candles(AAPL, window(days=5), Resolution.M1)

    # The far end trades around the clock: 7,200 minutes.
    assert len(site.asked) == 2
    minutes = [one.timestamp for one in got.candles]
    assert len(minutes) == len(set(minutes)) == (20 * 60 - 15 * 60 - 10) + 2 * 390 + 100 + 1


def test_finer_widths_are_offered_as_far_as_four_calls_reach() -> None:
    provider = twelvedata({})

    assert provider.resolutions(window(days=60)) == list(Resolution)
    assert provider.resolutions(window(days=180))[0] is Resolution.M5
    assert provider.resolutions(window(days=365))[0] is Resolution.M5
    assert provider.resolutions(window(days=1825))[0] is Resolution.M30
    assert provider.resolutions(window(days=2500)) == ["D", "W", "M"]
    assert provider.resolutions(Window(None, NOW)) == ["D", "W", "M"]
    with pytest.raises(ResolutionUnavailableError):
        provider.candles(AAPL, window(days=365), Resolution.M1)


def test_known_days_are_asked_on_from_the_last_one() -> None:
    site = Site("", {SERIES: series})
    provider = twelvedata(site)
    whole = provider.candles(AAPL, Window(None, NOW), Resolution.DAY)
    year = provider.candles(AAPL, window(days=365), Resolution.DAY)
    site.asked.clear()

    known = [one for one in year.candles if one.closed]
    got = provider.candles(AAPL, window(days=365), Resolution.DAY, known=known)
    again = provider.candles(AAPL, window(days=360), Resolution.WEEK, known=whole.candles[:-1])

    assert got == year
    assert again == provider.candles(AAPL, window(days=360), Resolution.WEEK)
    assert [params["start_date"] for params in site.params[:2]] == ["2025-10-07", "2025-10-07"]


def test_known_minutes_save_calls() -> None:
    site = Site("", {SERIES: series})
    provider = twelvedata(site)
    whole = provider.candles(AAPL, window(days=6), Resolution.M1)
    assert len(site.asked) == 2
    site.asked.clear()

    known = [one for one in whole.candles if one.closed]
    assert provider.candles(AAPL, window(days=6), Resolution.M1, known=known) == whole
    assert len(site.asked) == 1


def test_a_split_since_the_known_days_has_all_of_them_asked_anew() -> None:
    before = Site("", {SERIES: series})
    known = twelvedata(before).candles(AAPL, window(days=90), Resolution.DAY).candles[:-1]
    after = Site("", {SERIES: lambda params: series(params, split=4)})

    got = twelvedata(after).candles(AAPL, window(days=90), Resolution.DAY, known=known)

    assert [params["start_date"] for params in after.params] == ["2025-10-07", "2025-07-10"]
    assert [one.close * 4 for one in got.candles[:-1]] == [one.close for one in known]


def test_known_days_that_begin_later_than_the_window_are_not_enough() -> None:
    site = Site("", {SERIES: series})
    provider = twelvedata(site)
    known = provider.candles(AAPL, window(days=30), Resolution.DAY).candles[:-1]

    got = provider.candles(AAPL, window(days=90), Resolution.DAY, known=known)

    assert got == provider.candles(AAPL, window(days=90), Resolution.DAY)


def test_no_data_on_the_dates_is_no_failure() -> None:
    reply = failing(400, "No data is available on the specified dates. Try setting different…")
    got = twelvedata({SERIES: reply}).candles(AAPL, TODAY, Resolution.M5)

    assert got.candles == []


def test_history_is_of_closes_at_the_ends_of_their_bars() -> None:
    day = twelvedata({SERIES: series}).history(AAPL, TODAY, 300)

    assert day.points[0].timestamp == OPENS + 300
    assert (day.points[-1].timestamp, day.volume_basis) == (NOW_S, "bar_shares")
    assert day.points[0].volume == 10.0


def test_a_quote_bears_the_time_of_its_last_trade() -> None:
    site = Site("", {QUOTE: told()})

    quote = twelvedata(site).quotes([AAPL]).found[AAPL.ref]

    assert site.params == [{"symbol": "AAPL"}]
    assert (quote.price, quote.change, quote.change_percent) == (308.82, 3.83, 1.25578)
    assert (quote.high, quote.low, quote.volume) == (311.4, 305.84, 51234567)
    assert quote.as_of == NOW - timedelta(seconds=30)


def test_a_quote_without_a_price_or_a_time_is_left_out() -> None:
    for fields in (
        {"close": None},
        {"close": "0"},
        {"last_quote_at": None, "timestamp": None},
        {"last_quote_at": NOW_S + 3600, "timestamp": NOW_S + 3600},
    ):
        assert twelvedata({QUOTE: told(**fields)}).quotes([AAPL]).found == {}


def test_a_namesake_on_another_market_is_not_the_stock() -> None:
    provider = twelvedata({QUOTE: told(currency="EUR"), SERIES: {"meta": {"currency": "EUR"}}})

    with pytest.raises(UpstreamNotFoundError):
        provider.quotes([AAPL])
    with pytest.raises(UpstreamNotFoundError):
        provider.candles(AAPL, window(days=7), Resolution.DAY)


def test_a_limit_ends_the_batch_and_leaves_what_was_found() -> None:
    def answer(params: Mapping[str, str]) -> Any:
        if params["symbol"] == "AAPL":
            return told()
        return failing(429, "You have run out of API credits for the current minute. …")

    quotes = twelvedata({QUOTE: answer}).quotes([AAPL, *(stock(f"S{n}") for n in range(12))])

    assert list(quotes.found) == ["stock:AAPL"]
    assert {type(error) for error in quotes.failed.values()} == {UpstreamRateLimitedError}
    assert len(quotes.failed) == 12


@pytest.mark.parametrize("status", [200, 429])
def test_a_limit_in_the_body_waits_as_long_as_it_lasts_and_the_gate_hears_of_it(
    status: int,
) -> None:
    class Note:
        def __init__(self) -> None:
            self.said: list[tuple[int | None, float | None]] = []

        def admit(self) -> None:
            pass

        def report(
            self, status: int | None, *, retry_after_s: float | None, seconds: float
        ) -> None:
            self.said.append((status, retry_after_s))

    gate = Note()
    minute = failing(429, "You have run out of API credits for the current minute. …", status)
    day = failing(429, "You have run out of API credits for the day. …", status)
    waits = []
    for reply in (minute, day):
        with pytest.raises(UpstreamRateLimitedError) as caught:
            twelvedata({SERIES: reply}, gate).candles(AAPL, window(days=7), Resolution.DAY)
        waits.append(caught.value.retry_after_s)

    assert waits == [60, 3600]
    assert gate.said == [(429, None), (429, 3600)]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (failing(401, "**apikey** parameter is incorrect or not specified."), UpstreamRefusedError),
        (failing(401, "**apikey** parameter is incorrect.", 401), UpstreamRefusedError),
        (
            failing(403, "/time_series is available exclusively with pro plans."),
            PlanRestrictedError,
        ),
        (
            failing(404, "This symbol is available starting with Grow. Consider upgrading"),
            PlanRestrictedError,
        ),
        (failing(404, "**symbol** not found: NOPE."), UpstreamNotFoundError),
        (failing(400, "**symbol** not found: NOPE. Please specify"), UpstreamNotFoundError),
        (failing(400, "**interval** is invalid"), UpstreamError),
        (failing(500, "Internal error"), UpstreamError),
        (failing(7, "?"), UpstreamMalformedError),
        (httpx.Response(404, text="<html>"), UpstreamError),
        (httpx.Response(200, text="<html>"), UpstreamMalformedError),
        (httpx.Response(200, json={"status": "ok"}), UpstreamMalformedError),
        (httpx.Response(200, json={"values": [{"datetime": "x"}]}), UpstreamMalformedError),
    ],
)
def test_each_failure_is_told_apart(reply: httpx.Response, error: type[PricesError]) -> None:
    with pytest.raises(PricesError) as caught:
        twelvedata({SERIES: reply}).candles(AAPL, window(days=7), Resolution.DAY)

    assert type(caught.value) is error
    assert "s3cret" not in str(caught.value)


def test_bars_that_contradict_themselves_are_left_out_and_counted() -> None:
    def answer(params: Mapping[str, str]) -> Any:
        body = series(params)
        body["values"][1]["low"] = "9999"
        body["values"][2]["close"] = "n/a"
        return body

    got = twelvedata({SERIES: answer}).candles(AAPL, window(days=7), Resolution.DAY)

    assert (len(got.candles), got.dropped) == (4, 2)


def test_what_is_no_ticker_is_never_asked_for() -> None:
    site = Site("", {})
    for name in ("", "AAPL,MSFT", "EUR/USD", "aapl"):
        with pytest.raises(UpstreamNotFoundError):
            twelvedata(site).candles(stock(name), window(days=7), Resolution.DAY)
    assert site.asked == []


def test_a_window_without_a_session_has_no_bars_and_costs_nothing() -> None:
    site = Site("", {})
    sunday = datetime(2025, 10, 5, tzinfo=UTC)

    got = twelvedata(site).candles(
        AAPL, Window(sunday, sunday + timedelta(hours=20)), Resolution.M5
    )

    assert (got.candles, site.asked) == ([], [])
