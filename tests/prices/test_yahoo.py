from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import (
    PricesError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
)
from prices.providers.yahoo import Yahoo
from prices.sessions import session_on
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
    stock,
    when,
    window,
)

CHART = "/v8/finance/chart/AAPL"
_STEPS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600}


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def yahoo(site: Site | Mapping[str, Route]) -> Yahoo:
    site = site if isinstance(site, Site) else Site("/v8/finance", site)
    transport = httpx.MockTransport(site)
    return Yahoo(base_url="https://yahoo.example/v8/finance", transport=transport)


def chart(params: Mapping[str, str], *, listed: str = "1980-12-12") -> dict[str, Any]:
    """/chart: columns, of regular sessions alone; a daily bar bears its session's opening."""
    first, last = int(params["period1"]), int(params["period2"])
    interval = params["interval"]
    if interval == "1d":
        found = [(int(day.timestamp()), DAY_S) for day in days(listed)]
        opens = {at: session_on(datetime.fromtimestamp(at, UTC).date()) for at, _ in found}
        rows = [
            (int(session.opens.timestamp()), bar(at, DAY_S))
            for at, session in opens.items()
            if session and first <= at < last
        ]
    else:
        step_s = _STEPS[interval]
        assert last - first <= 8 * DAY_S or interval != "1m"
        rows = [(at, bar(at, step_s)) for at in trading(first, last, step_s)]
    return payload([at for at, _ in rows], [values for _, values in rows], interval)


def trading(first: int, last: int, step_s: int) -> Iterator[int]:
    """Yield when bars open, counted from the start of each session."""
    day = datetime.fromtimestamp(first, UTC).date()
    while day <= NOW.date():
        if session := session_on(day):
            closes = int(min(session.closes, NOW + timedelta(seconds=1)).timestamp())
            for at in range(int(session.opens.timestamp()), closes, step_s):
                if first <= at < last:
                    yield at
        day += timedelta(days=1)


def payload(stamps: list[int], rows: list[Any], interval: str, **meta: Any) -> dict[str, Any]:
    names = ("open", "high", "low", "close", "volume")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
    result: dict[str, Any] = {
        "meta": {"currency": "USD", "symbol": "AAPL", "dataGranularity": interval} | meta,
        "indicators": {"quote": [columns]},
    }
    if stamps:
        result["timestamp"] = stamps
    return {"chart": {"result": [result], "error": None}}


def failing(status: int, code: str, description: str = "…") -> httpx.Response:
    error = {"code": code, "description": description}
    return httpx.Response(status, json={"chart": {"result": None, "error": error}})


META = {
    "regularMarketPrice": 308.82,
    "regularMarketTime": NOW_S - 2,
    "chartPreviousClose": 304.99,
    "regularMarketDayHigh": 311.4,
    "regularMarketDayLow": 305.84,
    "regularMarketVolume": 32129951,
}


def test_a_daily_bar_is_of_the_day_on_which_its_session_opened() -> None:
    site = Site("/v8/finance", {"/chart/AAPL": chart})

    got = yahoo(site).candles(AAPL, window(days=7), Resolution.DAY)

    assert [when(one.timestamp) for one in got.candles] == [
        *("10-01 00:00", "10-02 00:00", "10-03 00:00", "10-06 00:00", "10-07 00:00", "10-08 00:00")
    ]
    assert got.candles[0] == kept(got.candles[0].timestamp, DAY_S)
    assert [one.closed for one in got.candles[-2:]] == [True, False]
    assert (got.origin, got.dropped, got.truncated_by) == (Origin.PROVIDER, 0, None)
    assert got.volume_basis == "bar_shares"
    assert site.params[0] == {
        "interval": "1d",
        "period1": str(int(datetime(2025, 10, 1, tzinfo=UTC).timestamp())),
        "period2": str(NOW_S + DAY_S),
        "includePrePost": "false",
        "events": "splits",
    }


def test_a_chart_s_splits_are_told_with_its_bars() -> None:
    opens = int(datetime(2025, 10, 6, 13, 30, tzinfo=UTC).timestamp())
    row = {"date": opens, "numerator": 3.0, "denominator": 2.0, "splitRatio": "3:2"}

    def split(params: Mapping[str, str]) -> dict[str, Any]:
        answer = chart(params)
        answer["chart"]["result"][0]["events"] = {
            "splits": {str(opens): row, "1": {"date": 1, "numerator": None}}
        }
        return answer

    provider = yahoo(Site("/v8/finance", {"/chart/AAPL": split}))

    days = provider.candles(AAPL, window(days=7), Resolution.DAY)
    minutes = provider.candles(AAPL, window(days=7), Resolution.M1)
    assert days.splits == minutes.splits == (Split(date(2025, 10, 6), 1.5),)
    assert days.adjustment is minutes.adjustment is Adjustment.SPLITS


def test_today_s_bar_may_bear_the_time_of_its_newest_trade() -> None:
    body = payload([OPENS - DAY_S, NOW_S - 3], [bar(0, 60), bar(60, 60)], "1d")

    got = yahoo({"/chart/AAPL": body}).candles(AAPL, window(days=7), Resolution.DAY)

    assert [when(one.timestamp) for one in got.candles] == ["10-07 00:00", "10-08 00:00"]


def test_nulls_are_holes_and_halves_of_bars_are_counted() -> None:
    nothing = (None,) * 5
    rows = [bar(0, 60), nothing, (1.0, 2.0, None, 1.5, 10), bar(60, 60)]
    body = payload([OPENS + 300 * n for n in range(4)], rows, "5m")

    got = yahoo({"/chart/AAPL": body}).candles(AAPL, TODAY, Resolution.M5)

    assert [when(one.timestamp)[6:] for one in got.candles] == ["13:30", "13:45"]
    assert got.dropped == 1


def test_a_span_without_trading_is_empty_and_no_failure() -> None:
    got = yahoo({"/chart/AAPL": payload([], [], "5m")}).candles(AAPL, TODAY, Resolution.M5)

    assert got.candles == []


def test_the_newest_trade_beside_the_grid_belongs_to_the_bar_it_falls_within() -> None:
    rows = [(10.0, 12.0, 9.0, 11.0, 100), (13.0, 13.0, 13.0, 13.0, 0)]
    body = payload([OPENS + 6000, OPENS + 6000 - 300 + 400], rows, "5m")
    body["chart"]["result"][0]["timestamp"] = [NOW_S - NOW_S % 300, NOW_S - NOW_S % 300 + 7]

    got = yahoo({"/chart/AAPL": body}).candles(AAPL, TODAY, Resolution.M5)

    (one,) = got.candles
    assert (one.open, one.high, one.low, one.close, one.volume) == (10.0, 13.0, 9.0, 13.0, 100.0)
    assert not one.closed


def test_hours_count_from_the_start_of_the_session() -> None:
    site = Site("/v8/finance", {"/chart/AAPL": chart})
    provider = yahoo(site)

    hours = provider.candles(AAPL, window(days=1), Resolution.H1)
    fours = provider.candles(AAPL, window(days=1), Resolution.H4)

    assert [when(one.timestamp) for one in hours.candles] == [
        *(f"10-07 {hour}:30" for hour in range(14, 20)),
        *("10-08 13:30", "10-08 14:30"),
    ]
    assert [when(one.timestamp) for one in fours.candles] == [
        *("10-07 13:30", "10-07 17:30", "10-08 13:30")
    ]
    assert (hours.origin, fours.origin) == (Origin.PROVIDER, Origin.DERIVED)
    assert {params["interval"] for params in site.params} == {"1h"}


def test_minutes_are_asked_a_week_a_call() -> None:
    site = Site("/v8/finance", {"/chart/AAPL": chart})

    got = yahoo(site).candles(AAPL, window(days=20), Resolution.M1)

    assert len(site.asked) == 3
    minutes = [one.timestamp for one in got.candles]
    assert minutes == sorted(set(minutes))
    assert len(minutes) == 290 + 13 * 390 + 101


def test_each_width_is_offered_as_far_back_as_it_is_kept() -> None:
    provider = yahoo({})

    assert provider.resolutions(window(days=7)) == list(Resolution)
    assert provider.resolutions(window(days=30))[0] is Resolution.M5
    assert provider.resolutions(window(days=90)) == ["60", "240", "D", "W", "M"]
    assert provider.resolutions(window(days=1825)) == ["D", "W", "M"]
    assert provider.resolutions(Window(None, NOW)) == ["D", "W", "M"]


def test_known_bars_are_asked_on_from_the_last_one() -> None:
    site = Site("/v8/finance", {"/chart/AAPL": chart})
    provider = yahoo(site)
    minutes = provider.candles(AAPL, window(days=20), Resolution.M1)
    days = provider.candles(AAPL, window(days=365), Resolution.DAY)
    site.asked.clear()

    again = provider.candles(
        AAPL, window(days=20), Resolution.M1, known=[one for one in minutes.candles if one.closed]
    )
    day = provider.candles(AAPL, window(days=365), Resolution.DAY, known=days.candles[:-1])

    assert (again, day) == (minutes, days)
    assert len(site.asked) == 2
    assert int(site.params[0]["period1"]) == minutes.candles[-2].timestamp


def test_all_days_are_one_call_and_begin_with_the_listing() -> None:
    site = Site("/v8/finance", {"/chart/AAPL": chart})

    got = yahoo(site).candles(AAPL, Window(None, NOW), Resolution.DAY)

    assert len(site.asked) == 1
    assert datetime.fromtimestamp(got.candles[0].timestamp, UTC).year == 1980
    assert got.truncated_by is None


def test_a_stock_younger_than_the_window_says_so() -> None:
    provider = yahoo({"/chart/AAPL": lambda params: chart(params, listed="2025-06-02")})

    assert (
        provider.candles(AAPL, window(days=365), Resolution.DAY).truncated_by is TruncatedBy.LISTING
    )


def test_wider_bars_than_asked_are_not_passed_off_as_days() -> None:
    body = payload([OPENS], [bar(0, 60)], "1mo")
    with pytest.raises(UpstreamMalformedError):
        yahoo({"/chart/AAPL": body}).candles(AAPL, window(days=7), Resolution.DAY)


def test_history_is_of_closes_at_the_ends_of_their_bars() -> None:
    day = yahoo({"/chart/AAPL": chart}).history(AAPL, TODAY, 300)

    assert (day.points[0].timestamp, day.points[-1].timestamp) == (OPENS + 300, NOW_S)
    assert day.volume_basis == "bar_shares"


def test_a_quote_is_what_a_chart_of_one_day_says_of_the_session() -> None:
    site = Site("/v8/finance", {"/chart/BRK-B": payload([], [], "1d", **META)})

    quote = yahoo(site).quotes([stock("BRK.B")]).found["stock:BRK.B"]

    assert site.params == [{"interval": "1d", "range": "1d"}]
    assert (quote.price, quote.change, quote.change_percent) == (308.82, 3.83, 1.255778878)
    assert (quote.high, quote.low, quote.volume) == (311.4, 305.84, 32129951)
    assert quote.as_of == NOW - timedelta(seconds=2)


def test_a_quote_without_a_price_or_a_time_is_left_out() -> None:
    for fields in ({"regularMarketPrice": None}, {"regularMarketTime": None}):
        body = payload([], [], "1d", **(META | fields))
        assert yahoo({"/chart/AAPL": body}).quotes([AAPL]).found == {}


def test_a_namesake_in_another_currency_is_not_the_stock() -> None:
    with pytest.raises(UpstreamNotFoundError):
        yahoo({"/chart/AAPL": payload([], [], "1d", **META, currency="GBp")}).quotes([AAPL])


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (httpx.Response(429, text="Too Many Requests"), UpstreamRateLimitedError),
        (
            failing(404, "Not Found", "No data found, symbol may be delisted"),
            UpstreamNotFoundError,
        ),
        (httpx.Response(404, text="<html>"), UpstreamError),
        (failing(422, "Unprocessable Entity", "1m data not available"), UpstreamError),
        (failing(400, "Bad Request"), UpstreamError),
        (
            httpx.Response(401, json={"finance": {"error": {"code": "Unauthorized"}}}),
            UpstreamRefusedError,
        ),
        (httpx.Response(403, text="<html>"), UpstreamError),
        (httpx.Response(500), UpstreamError),
        (httpx.Response(200, text="<html>"), UpstreamMalformedError),
        (failing(200, "Not Found"), UpstreamMalformedError),
        (httpx.Response(200, json={"chart": {"result": []}}), UpstreamMalformedError),
    ],
)
def test_each_failure_is_told_apart(reply: httpx.Response, error: type[PricesError]) -> None:
    with pytest.raises(PricesError) as caught:
        yahoo({"/chart/AAPL": reply}).candles(AAPL, window(days=7), Resolution.DAY)

    assert type(caught.value) is error


def test_what_is_no_ticker_is_never_asked_for() -> None:
    site = Site("/v8/finance", {})
    for name in ("", "..", "^GSPC", "EURUSD=X"):
        with pytest.raises(UpstreamNotFoundError):
            yahoo(site).candles(stock(name), window(days=7), Resolution.DAY)
    assert site.asked == []
