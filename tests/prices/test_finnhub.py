from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
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
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
)
from prices.providers.base import Gate
from prices.providers.finnhub import Finnhub
from prices.sessions import session_on
from prices.types import (
    AssetKind,
    Candle,
    Instrument,
    Listing,
    Origin,
    Point,
    Quote,
    Resolution,
    TruncatedBy,
    Window,
)

# A Wednesday in summer time: the session is 13:30 to 20:00 UTC.
NOW = datetime(2025, 10, 8, 15, 10, tzinfo=UTC)
OPENS = int(datetime(2025, 10, 8, 13, 30, tzinfo=UTC).timestamp())
DAY_S = 86_400
AAPL = Instrument("stock:AAPL", AssetKind.STOCK, "AAPL")
TODAY = Window(datetime(2025, 10, 8, 13, 30, tzinfo=UTC), NOW)

QUOTE, CANDLE, SYMBOLS, PROFILE = "/quote", "/stock/candle", "/stock/symbol", "/stock/profile2"

Route = Any | Callable[[Mapping[str, str]], Any]


class Site:
    """A far end of fixed or made answers by path, and what it was asked."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.routes[request.url.path.removeprefix("/api/v1")]
        if callable(reply):
            reply = reply(dict(request.url.params))
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return reply
        return httpx.Response(200, content=json.dumps(reply).encode())

    @property
    def params(self) -> list[dict[str, str]]:
        return [dict(request.url.params) for request in self.asked]


def finnhub(site: Site | Mapping[str, Route], *, gate: Gate | None = None) -> Finnhub:
    site = site if isinstance(site, Site) else Site(site)
    return Finnhub(
        base_url="https://finnhub.example/api/v1",
        api_key="s3cret",
        gate=gate,
        transport=httpx.MockTransport(site),
    )


def stock(ticker: str) -> Instrument:
    return Instrument(f"stock:{ticker}", AssetKind.STOCK, ticker)


def told(**fields: Any) -> dict[str, Any]:
    return {
        "c": 308.82,
        "d": 3.83,
        "dp": 1.2558,
        "h": 311.4,
        "l": 305.84,
        "o": 306.12,
        "pc": 304.99,
        "t": int(NOW.timestamp()) - 5,
    } | fields


ZEROS = {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}
NO_ACCESS = {"error": "You don't have access to this resource."}


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


# Quotes


def test_a_quote_has_what_the_source_says_and_null_for_the_rest() -> None:
    site = Site({QUOTE: told()})

    quotes = finnhub(site).quotes([AAPL])

    assert quotes.failed == {}
    assert quotes.found == {
        "stock:AAPL": Quote(
            price=308.82,
            as_of=NOW - timedelta(seconds=5),
            change=3.83,
            change_percent=1.2558,
            high=311.4,
            low=305.84,
            volume=None,
            market_cap=None,
        )
    }
    assert site.params == [{"symbol": "AAPL"}]
    assert site.asked[0].headers["x-finnhub-token"] == "s3cret"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ZEROS, id="zeros"),
        pytest.param(told(c=0), id="zero price"),
        pytest.param(told(c=None), id="null price"),
        pytest.param(told(t=0), id="no time"),
        pytest.param(told(t=None), id="null time"),
        pytest.param(told(t=int(NOW.timestamp()) + 600), id="from the future"),
    ],
)
def test_zeros_are_no_price(body: Any) -> None:
    quotes = finnhub({QUOTE: body}).quotes([AAPL])

    assert (quotes.found, quotes.failed) == ({}, {})


def test_parts_that_are_zero_are_null() -> None:
    quote = finnhub({QUOTE: told(h=0, l=0, d=None)}).quotes([AAPL]).found["stock:AAPL"]

    assert (quote.price, quote.high, quote.low, quote.change) == (308.82, None, None, None)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(httpx.ReadTimeout("slow"), UpstreamTimeoutError, id="slow"),
        pytest.param(httpx.ConnectError("down"), UpstreamError, id="down"),
        pytest.param(
            httpx.Response(401, json={"error": "Invalid API key."}), UpstreamRefusedError, id="key"
        ),
        pytest.param(httpx.Response(401, json=NO_ACCESS), PlanRestrictedError, id="401 plan"),
        pytest.param(httpx.Response(403, json=NO_ACCESS), PlanRestrictedError, id="403 plan"),
        pytest.param(httpx.Response(403, text="<html>"), UpstreamError, id="403 page"),
        pytest.param(httpx.Response(404, text="<html>"), UpstreamError, id="404 page"),
        pytest.param(
            httpx.Response(429, json={"error": "API limit reached."}),
            UpstreamRateLimitedError,
            id="429",
        ),
        pytest.param(
            httpx.Response(429, text="API limit reached. Please sign up"),
            UpstreamRateLimitedError,
            id="429 text",
        ),
        pytest.param(
            httpx.Response(302, headers={"location": "/"}), UpstreamMalformedError, id="302"
        ),
        pytest.param(httpx.Response(502, text="<html>"), UpstreamError, id="502"),
        pytest.param({}, UpstreamMalformedError, id="object"),
        pytest.param([], UpstreamMalformedError, id="list"),
        pytest.param(told(c="308.82"), UpstreamMalformedError, id="text"),
        pytest.param(told(c=-1), UpstreamMalformedError, id="below zero"),
        pytest.param(told(c=1e10), UpstreamMalformedError, id="absurd"),
        pytest.param(told(c=True), UpstreamMalformedError, id="bool"),
        pytest.param(told(c=False), UpstreamMalformedError, id="false"),
    ],
)
def test_every_failure_is_told_apart(reply: Any, error: type[PricesError]) -> None:
    with pytest.raises(PricesError) as caught:
        finnhub({QUOTE: reply}).quotes([AAPL])

    assert type(caught.value) is error
    assert "s3cret" not in str(caught.value)


def test_what_was_got_comes_with_the_reason_for_the_rest() -> None:
    def answer(params: Mapping[str, str]) -> Any:
        return httpx.Response(429) if params["symbol"] > "B" else told()

    site = Site({QUOTE: answer})

    quotes = finnhub(site).quotes([stock("AA"), *(stock(f"X{n}") for n in range(50))])

    assert set(quotes.found) == {"stock:AA"}
    assert len(quotes.failed) == 50
    assert {type(error) for error in quotes.failed.values()} == {UpstreamRateLimitedError}
    assert len(site.asked) < 15, "a limit that is reached ends the batch"


def test_a_source_that_is_down_is_not_asked_for_every_symbol() -> None:
    site = Site({QUOTE: httpx.ConnectError("down")})

    with pytest.raises(UpstreamError):
        finnhub(site).quotes([stock(f"X{n}") for n in range(50)])

    assert len(site.asked) < 15


def test_one_bad_body_does_not_spoil_a_batch() -> None:
    def answer(params: Mapping[str, str]) -> Any:
        return {"X1": told(c="?"), "X2": ZEROS, "X3": httpx.Response(403, json=NO_ACCESS)}.get(
            params["symbol"], told()
        )

    quotes = finnhub({QUOTE: answer}).quotes([stock(f"X{n}") for n in range(20)])

    assert len(quotes.found) == 17
    assert {ref: type(error) for ref, error in quotes.failed.items()} == {
        "stock:X1": UpstreamMalformedError,
        "stock:X3": PlanRestrictedError,
    }


def test_calls_of_a_batch_are_made_in_the_context_of_who_asks() -> None:
    purpose: ContextVar[str] = ContextVar("purpose", default="nobody's")
    seen: list[str] = []

    class Gatekeeper:
        def admit(self) -> None:
            seen.append(purpose.get())

        def report(self, status: int | None, **outcome: float | None) -> None:
            pass

    purpose.set("a tick's")
    finnhub({QUOTE: told()}, gate=Gatekeeper()).quotes([AAPL, stock("MSFT")])

    assert seen == ["a tick's", "a tick's"]


def test_no_instruments_are_no_calls() -> None:
    assert finnhub({}).quotes([]).found == {}


# Bars


def bars(step_s: int, *, price: float = 100.0) -> Callable[[Mapping[str, str]], Any]:
    """/stock/candle around the clock; every bar is worth one share and one dollar more."""

    def answer(params: Mapping[str, str]) -> Any:
        first, last = int(params["from"]), int(params["to"])
        stamps = list(range(-(-first // step_s) * step_s, last + 1, step_s))
        if not stamps:
            return {"s": "no_data"}
        start = [price + at // step_s % 1000 for at in stamps]
        return {
            "t": stamps,
            "o": start,
            "h": [value + 2 for value in start],
            "l": [value - 1 for value in start],
            "c": [value + 1 for value in start],
            "v": [10] * len(stamps),
            "s": "ok",
        }

    return answer


def when(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%m-%d %H:%M")


def test_only_bars_of_the_regular_session_are_kept_and_the_last_is_open() -> None:
    site = Site({CANDLE: bars(300)})
    window = Window(TODAY.start and TODAY.start - timedelta(hours=1), NOW)

    candles = finnhub(site).candles(AAPL, window, Resolution.M5)

    assert when(candles.candles[0].timestamp) == "10-08 13:30"
    assert when(candles.candles[-1].timestamp) == "10-08 15:10"
    assert len(candles.candles) == 21
    assert [bar.closed for bar in candles.candles[-2:]] == [True, False]
    assert candles.volume_basis == "bar_shares"
    assert (candles.origin, candles.dropped, candles.truncated_by) == (Origin.PROVIDER, 0, None)
    assert site.params[0]["resolution"] == "5"


def test_hours_count_from_the_start_of_the_session() -> None:
    yesterday = datetime(2025, 10, 7, 13, 30, tzinfo=UTC)
    site = Site({CANDLE: bars(1800)})
    provider = finnhub(site)

    hours = provider.candles(AAPL, Window(yesterday, NOW), Resolution.H1)
    fours = provider.candles(AAPL, Window(yesterday, NOW), Resolution.H4)

    assert [when(bar.timestamp) for bar in hours.candles] == [
        *(f"10-07 {hour}:30" for hour in range(13, 20)),
        "10-08 13:30",
        "10-08 14:30",
    ]
    assert [when(bar.timestamp) for bar in fours.candles] == [
        "10-07 13:30",
        "10-07 17:30",
        "10-08 13:30",
    ]
    halves = bars(1800)({"from": str(OPENS - DAY_S), "to": str(OPENS - DAY_S + 1800)})
    assert hours.candles[0] == Candle(
        OPENS - DAY_S,
        halves["o"][0],
        max(halves["h"]),
        min(halves["l"]),
        halves["c"][1],
        20.0,
        True,
    )
    assert hours.candles[6].volume == 10.0, "the last hour of a session is half an hour"
    assert [bar.closed for bar in hours.candles[-2:]] == [True, False]
    assert hours.origin is Origin.DERIVED
    assert {params["resolution"] for params in site.params} == {"30"}


def test_a_half_day_ends_at_its_own_close() -> None:
    # The day after Thanksgiving: 09:30 to 13:00 in New York, winter time.
    opens = datetime(2025, 11, 28, 14, 30, tzinfo=UTC)
    with time_machine.travel(datetime(2025, 11, 29, 12, 0, tzinfo=UTC), tick=False):
        window = Window(opens, opens.replace(hour=18, minute=0))
        candles = finnhub({CANDLE: bars(1800)}).candles(AAPL, window, Resolution.H4)

    assert [(when(bar.timestamp), bar.closed) for bar in candles.candles] == [("11-28 14:30", True)]
    assert candles.candles[0].volume == 70.0


def test_a_month_of_intraday_bars_is_asked_a_call() -> None:
    site = Site({CANDLE: bars(1800)})

    candles = finnhub(site).candles(AAPL, Window(NOW - timedelta(days=90), NOW), Resolution.M30)

    assert len(site.asked) == 4
    spans = [(int(params["from"]), int(params["to"])) for params in site.params]
    assert all(last - first < 30 * DAY_S for first, last in spans)
    assert [bar.timestamp for bar in candles.candles] == sorted(
        {bar.timestamp for bar in candles.candles}
    )


def test_intraday_bars_stop_at_the_limit_of_calls_and_say_so() -> None:
    site = Site({CANDLE: bars(1800)})

    candles = finnhub(site).candles(AAPL, Window(NOW - timedelta(days=1825), NOW), Resolution.H4)

    assert len(site.asked) == 24
    assert candles.truncated_by is TruncatedBy.LIMIT


def daily(first: date) -> Callable[[Mapping[str, str]], Any]:
    """/stock/candle by day for a stock listed on `first`."""

    def answer(params: Mapping[str, str]) -> Any:
        days = []
        day = max(first, datetime.fromtimestamp(int(params["from"]), UTC).date())
        last = datetime.fromtimestamp(int(params["to"]), UTC).date()
        while day <= last:
            if session_on(day):
                days.append(day)
            day += timedelta(days=1)
        if not days:
            return {"s": "no_data"}
        stamps = [
            int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) for day in days
        ]
        return {
            "t": stamps,
            "o": [10] * len(days),
            "h": [12] * len(days),
            "l": [9] * len(days),
            "c": [11] * len(days),
            "v": [1000] * len(days),
            "s": "ok",
        }

    return answer


def test_days_are_stamped_at_midnight_and_today_is_open_while_its_session_is_on() -> None:
    site = Site({CANDLE: daily(date(1990, 1, 1))})
    window = Window(NOW - timedelta(days=7), NOW)

    candles = finnhub(site).candles(AAPL, window, Resolution.DAY)
    with time_machine.travel(NOW.replace(hour=20, minute=1), tick=False):
        evening = finnhub(site).candles(AAPL, window, Resolution.DAY)

    assert [when(bar.timestamp) for bar in candles.candles] == [
        "10-01 00:00",
        "10-02 00:00",
        "10-03 00:00",
        "10-06 00:00",
        "10-07 00:00",
        "10-08 00:00",
    ]
    assert [bar.closed for bar in candles.candles][-2:] == [True, False]
    assert evening.candles[-1].closed
    assert (candles.origin, candles.truncated_by) == (Origin.PROVIDER, None)


def test_weeks_and_months_are_stamped_as_days_are() -> None:
    provider = finnhub({CANDLE: daily(date(1990, 1, 1))})
    window = Window(NOW - timedelta(days=60), NOW)

    weeks = provider.candles(AAPL, window, Resolution.WEEK)
    months = provider.candles(AAPL, window, Resolution.MONTH)

    assert [when(bar.timestamp) for bar in weeks.candles][:2] == ["08-04 00:00", "08-11 00:00"]
    assert weeks.candles[-1] == Candle(
        int(datetime(2025, 10, 6, tzinfo=UTC).timestamp()), 10.0, 12.0, 9.0, 11.0, 3000.0, False
    )
    # Labour Day: four sessions, and the week begins on its Monday all the same.
    assert [bar.volume for bar in weeks.candles if when(bar.timestamp) == "09-01 00:00"] == [4000.0]
    assert [when(bar.timestamp) for bar in months.candles] == [
        "08-01 00:00",
        "09-01 00:00",
        "10-01 00:00",
    ]


def test_a_week_is_over_when_its_last_session_is() -> None:
    saturday = datetime(2025, 10, 11, 12, tzinfo=UTC)
    friday_close = datetime(2025, 10, 10, 20, tzinfo=UTC)
    with time_machine.travel(saturday, tick=False):
        weeks = finnhub({CANDLE: daily(date(1990, 1, 1))}).candles(
            AAPL, Window(friday_close - timedelta(days=7), friday_close), Resolution.WEEK
        )

    assert [bar.closed for bar in weeks.candles] == [True, True]


def test_a_young_stock_is_truncated_by_its_listing() -> None:
    provider = finnhub({CANDLE: daily(date(2025, 9, 1))})

    days = provider.candles(AAPL, Window(NOW - timedelta(days=365), NOW), Resolution.DAY)
    every = provider.candles(AAPL, Window(None, NOW), Resolution.DAY)

    assert (days.truncated_by, every.truncated_by) == (TruncatedBy.LISTING, None)
    assert days.candles == every.candles


def test_bars_that_contradict_themselves_are_dropped_and_counted() -> None:
    body = daily(date(1990, 1, 1))({"from": str(OPENS - 7 * DAY_S), "to": str(OPENS)})
    body["c"][0] = 13  # above the high
    body["l"][1] = None
    body["o"][2] = "10"
    body["v"][3] = None

    candles = finnhub({CANDLE: body}).candles(
        AAPL, Window(NOW - timedelta(days=7), NOW), Resolution.DAY
    )

    assert candles.dropped == 3
    assert candles.candles[0].volume is None


def test_no_data_is_an_empty_list() -> None:
    candles = finnhub({CANDLE: {"s": "no_data"}}).candles(AAPL, TODAY, Resolution.M5)

    assert candles.candles == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"s": "error"},
        {"s": "ok"},
        {"s": "ok", "t": [1], "o": [], "h": [1], "l": [1], "c": [1], "v": [1]},
        {"s": "ok", "t": None, "o": None, "h": None, "l": None, "c": None, "v": None},
        {"s": "ok", "t": ["x"], "o": [1], "h": [1], "l": [1], "c": [1], "v": [1]},
        {"s": "ok", "t": [OPENS], "o": ["1"], "h": ["1"], "l": ["1"], "c": ["1"], "v": [1]},
    ],
)
def test_bars_of_another_shape_are_malformed(body: Any) -> None:
    with pytest.raises(UpstreamMalformedError):
        finnhub({CANDLE: body}).candles(AAPL, TODAY, Resolution.M5)


@pytest.mark.parametrize("resolution", [Resolution.M5, Resolution.H1, Resolution.DAY])
def test_a_plan_without_candles_is_told_as_that(resolution: Resolution) -> None:
    provider = finnhub({CANDLE: httpx.Response(403, json=NO_ACCESS)})

    with pytest.raises(PlanRestrictedError) as caught:
        provider.candles(AAPL, TODAY, resolution)

    assert caught.value.extra == {
        "provider": "finnhub",
        "allowed_by": "a Finnhub plan with stock candles",
    }


def test_minutes_are_for_a_month_at_most() -> None:
    provider = finnhub({})

    assert provider.resolutions(Window(NOW - timedelta(days=30), NOW)) == list(Resolution)
    assert Resolution.M1 not in provider.resolutions(Window(NOW - timedelta(days=90), NOW))
    with pytest.raises(ResolutionUnavailableError):
        provider.candles(AAPL, Window(None, NOW), Resolution.M1)


def test_history_is_of_closing_prices_at_the_moments_they_held() -> None:
    points = finnhub({CANDLE: bars(300)}).history(AAPL, TODAY, 300)

    body = bars(300)({"from": str(OPENS), "to": str(int(NOW.timestamp()))})
    assert points.points[0] == Point(OPENS + 300, body["c"][0], 10.0)
    assert points.points[-1] == Point(int(NOW.timestamp()), body["c"][-1], 10.0)
    assert points.volume_basis == "bar_shares"


def test_a_day_of_history_bears_the_time_of_its_close() -> None:
    window = Window(NOW - timedelta(days=7), NOW)

    points = finnhub({CANDLE: daily(date(1990, 1, 1))}).history(AAPL, window, DAY_S)

    assert [when(point.timestamp) for point in points.points][-2:] == ["10-07 20:00", "10-08 15:10"]


# The catalogue


def symbol_row(**fields: Any) -> dict[str, Any]:
    return {
        "currency": "USD",
        "description": "APPLE INC",
        "displaySymbol": "AAPL",
        "mic": "XNAS",
        "symbol": "AAPL",
        "type": "Common Stock",
    } | fields


def test_the_catalogue_holds_shares_and_funds_in_dollars() -> None:
    rows = [
        symbol_row(),
        symbol_row(symbol="BRK.B", displaySymbol="BRK.B", description="BERKSHIRE", mic="XNYS"),
        symbol_row(symbol="SPY", displaySymbol="SPY", type="ETP", mic="ARCX"),
        symbol_row(symbol="XWT", type="Equity WRT"),
        symbol_row(symbol="EUR", currency="EUR"),
        symbol_row(symbol=None),
        symbol_row(symbol="ODD", displaySymbol="ODD", description="", mic="ZZZZ"),
    ]

    listings = finnhub({SYMBOLS: rows}).listings()

    assert listings == [
        Listing(AssetKind.STOCK, "AAPL", "AAPL", "APPLE INC", "NASDAQ"),
        Listing(AssetKind.STOCK, "BRK.B", "BRK.B", "BERKSHIRE", "NYSE"),
        Listing(AssetKind.STOCK, "SPY", "SPY", "APPLE INC", "NYSE Arca"),
        Listing(AssetKind.STOCK, "ODD", "ODD", "ODD", "ZZZZ"),
    ]


def redirected(location: str) -> tuple[Finnhub, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) == 1:
            return httpx.Response(302, headers={"location": location})
        return httpx.Response(200, json=[symbol_row()])

    transport = httpx.MockTransport(answer)
    return Finnhub(
        base_url="https://finnhub.example/api/v1", api_key="s3cret", transport=transport
    ), asked


@pytest.mark.parametrize(
    "location",
    ["https://static2.finnhub.io/file/us.json?signature=a%2Fb&t=1", "/files/us.json?signature=1"],
)
def test_the_symbol_file_is_fetched_where_it_lies_without_our_key(location: str) -> None:
    provider, asked = redirected(location)

    assert len(provider.listings()) == 1
    assert asked[0].headers["x-finnhub-token"] == "s3cret"
    assert "s3cret" not in str(asked[1].headers) + str(asked[1].url)
    assert str(asked[1].url).endswith(location)


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example/us.json",
        "http://static2.finnhub.io/us.json",
        "http://finnhub.example/us.json",
        "https://finnhub.example:8443/us.json",
        "https://static2.finnhub.io.evil.example/us.json",
        "https://static2.finnhub.io@evil.example/us.json",
        "https://me:pw@static2.finnhub.io/us.json",
        "file:///etc/passwd",
        "https://[",
        "//169.254.169.254/latest",
    ],
)
def test_a_redirect_to_any_other_place_is_not_followed(location: str) -> None:
    provider, asked = redirected(location)

    with pytest.raises(UpstreamMalformedError):
        provider.listings()

    assert len(asked) == 1


def test_a_second_redirect_is_not_followed() -> None:
    site = Site({SYMBOLS: httpx.Response(302, headers={"location": "/api/v1/stock/symbol"})})

    with pytest.raises(UpstreamMalformedError):
        finnhub(site).listings()

    assert len(site.asked) == 2


@pytest.mark.parametrize("body", [[], {}, None, ["AAPL"], [{"symbol": "AAPL"}], NO_ACCESS])
def test_an_empty_or_unreadable_catalogue_is_malformed(body: Any) -> None:
    with pytest.raises(UpstreamMalformedError):
        finnhub({SYMBOLS: body}).listings()


def test_a_lookup_takes_the_name_from_the_profile() -> None:
    profile = {"name": "Apple Inc", "currency": "USD", "exchange": "NASDAQ NMS - GLOBAL MARKET"}

    found = finnhub({QUOTE: told(), PROFILE: profile}).lookup("aapl")

    assert found == [Listing(AssetKind.STOCK, "AAPL", "AAPL", "Apple Inc", "NASDAQ")]


@pytest.mark.parametrize(
    ("quote", "profile", "names"),
    [
        pytest.param(ZEROS, {}, [], id="unknown"),
        pytest.param(told(), {}, ["AAPL"], id="no profile"),
        pytest.param(told(), {"name": "X", "currency": "CAD"}, [], id="not in dollars"),
    ],
)
def test_a_lookup_needs_a_price_in_dollars(quote: Any, profile: Any, names: list[str]) -> None:
    found = finnhub({QUOTE: quote, PROFILE: profile}).lookup("AAPL")

    assert [one.name for one in found] == names
