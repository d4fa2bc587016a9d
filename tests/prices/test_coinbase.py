from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import (
    PricesError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
)
from prices.providers.coinbase import Coinbase
from prices.types import Candle, Origin, Pair, Resolution, TruncatedBy, Window
from tests.prices.sites import Route, Site
from tests.prices.venue_site import DAY_S, NOW, NOW_S, bar, closed, coin, stamps, when, window

BTC = coin("BTC-USD")
CANDLES, TICKER, STATS = (f"/products/BTC-USD/{what}" for what in ("candles", "ticker", "stats"))


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def coinbase(site: Site | Mapping[str, Route]) -> Coinbase:
    site = site if isinstance(site, Site) else Site("", site)
    return Coinbase(base_url="https://exchange.example", transport=httpx.MockTransport(site))


def rows(params: Mapping[str, str], *, listed: int = 0) -> list[list[float]]:
    """/candles, newest first; the bar before `start` comes too, as it may."""
    step_s = int(params["granularity"])
    start, end = (datetime.fromisoformat(params[name]).timestamp() for name in ("start", "end"))
    assert (end - start) / step_s + 1 <= 300, "more than 300 would be rejected"
    found = []
    for at in stamps(max(start - step_s, listed), end, step_s):
        opening, high, low, close, volume = bar(at, step_s)
        found.append([at, low, high, opening, close, volume])
    return found[::-1]


def ticker(**fields: Any) -> dict[str, Any]:
    told = {"price": "67234.5", "time": "2025-10-06T12:19:58.123456Z", "volume": "8123.1"}
    return told | fields


DAY = {"open": "66000", "high": "68000.1", "low": "65900", "last": "67234.4", "volume": "8123.1"}


def test_rows_of_low_high_open_close_become_bars_in_order_with_their_volume() -> None:
    site = Site("", {CANDLES: rows})

    got = coinbase(site).candles(BTC, window(hours=3), Resolution.H1)

    assert [when(one.timestamp) for one in got.candles] == [
        *("10-06 09:00", "10-06 10:00", "10-06 11:00", "10-06 12:00")
    ]
    first = NOW_S - NOW_S % 3600 - 3 * 3600
    assert got.candles[0] == Candle(first, *bar(first, 3600), closed=True)
    assert [one.closed for one in got.candles] == [True, True, True, False]
    assert (got.origin, got.dropped, got.truncated_by) == (Origin.PROVIDER, 0, None)
    assert got.volume_basis == "bar_units"
    assert site.params == [
        {"granularity": "3600", "start": "2025-10-06T09:00:00Z", "end": "2025-10-06T12:00:00Z"}
    ]


def test_a_quarter_of_days_is_one_call_and_a_quarter_of_hours_eight() -> None:
    site = Site("", {CANDLES: rows})
    provider = coinbase(site)

    days = provider.candles(BTC, window(days=90), Resolution.DAY)
    hours = provider.candles(BTC, window(days=90), Resolution.H1)

    assert (len(days.candles), len(hours.candles)) == (91, 90 * 24 + 1)
    assert len(site.asked) == 1 + 8
    assert len({one.timestamp for one in hours.candles}) == len(hours.candles)


@pytest.mark.parametrize(
    ("resolution", "asked", "members"),
    [(Resolution.M30, 900, 2), (Resolution.H4, 3600, 4)],
)
def test_widths_it_lacks_are_made_of_those_that_divide_them(
    resolution: Resolution, asked: int, members: int
) -> None:
    site = Site("", {CANDLES: rows})

    got = coinbase(site).candles(BTC, window(days=2), resolution)

    first = got.candles[0]
    parts = [bar(first.timestamp + at * asked, asked) for at in range(members)]
    assert first.timestamp % (asked * members) == 0
    assert (first.open, first.close) == (parts[0][0], parts[-1][3])
    assert first.high == max(part[1] for part in parts)
    assert first.low == min(part[2] for part in parts)
    assert first.volume == 10.0 * members
    assert got.origin is Origin.DERIVED
    assert {params["granularity"] for params in site.params} == {str(asked)}
    assert [one.closed for one in got.candles[-2:]] == [True, False]


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    provider = coinbase({CANDLES: rows})

    weeks = provider.candles(BTC, window(days=30), Resolution.WEEK)
    months = provider.candles(BTC, window(days=90), Resolution.MONTH)

    assert [when(one.timestamp) for one in weeks.candles] == [
        *("09-01 00:00", "09-08 00:00", "09-15 00:00", "09-22 00:00", "09-29 00:00", "10-06 00:00")
    ]
    assert [when(one.timestamp) for one in months.candles] == [
        *("07-01 00:00", "08-01 00:00", "09-01 00:00", "10-01 00:00")
    ]
    assert [one.volume for one in months.candles[:3]] == [310.0, 310.0, 300.0]
    assert weeks.origin is Origin.DERIVED


def test_only_what_a_bounded_number_of_calls_gives_is_offered() -> None:
    provider = coinbase({})

    assert provider.resolutions(window(days=1)) == list(Resolution)
    assert provider.resolutions(window(days=90))[0] is Resolution.M15
    assert provider.resolutions(window(days=365)) == ["60", "240", "D", "W", "M"]
    assert provider.resolutions(Window(None, NOW)) == ["D", "W", "M"]
    with pytest.raises(ResolutionUnavailableError) as caught:
        provider.candles(BTC, window(days=365), Resolution.M1)
    assert caught.value.extra["available"] == ["60", "240", "D", "W", "M"]


def test_all_there_is_begins_with_the_first_trade_and_asks_little_beyond_it() -> None:
    listed = NOW_S - NOW_S % DAY_S - 400 * DAY_S
    site = Site("", {CANDLES: lambda params: rows(params, listed=listed)})

    got = coinbase(site).candles(BTC, Window(None, NOW), Resolution.DAY)

    assert got.candles[0].timestamp == listed
    assert got.truncated_by is None
    assert len(site.asked) == 2 + 4


def test_a_pair_younger_than_the_window_says_so() -> None:
    listed = NOW_S - NOW_S % DAY_S - 40 * DAY_S
    provider = coinbase({CANDLES: lambda params: rows(params, listed=listed)})

    assert (
        provider.candles(BTC, window(days=90), Resolution.DAY).truncated_by is TruncatedBy.LISTING
    )


def test_two_years_without_a_trade_are_no_end_of_the_past() -> None:
    halted = range(NOW_S - 1200 * DAY_S, NOW_S - 400 * DAY_S)
    provider = coinbase({CANDLES: lambda p: [row for row in rows(p) if row[0] not in halted]})

    got = provider.candles(BTC, window(days=1825), Resolution.DAY)

    assert len(got.candles) == 1826 - 800


def test_intervals_without_a_trade_have_no_bar() -> None:
    provider = coinbase({CANDLES: lambda params: rows(params)[::2]})

    got = provider.candles(BTC, window(hours=5), Resolution.H1)

    assert [when(one.timestamp)[6:] for one in got.candles] == ["08:00", "10:00", "12:00"]


def test_only_the_missing_end_is_asked_and_the_last_known_bar_again() -> None:
    site = Site("", {CANDLES: rows})
    provider = coinbase(site)
    hour = NOW_S - NOW_S % 3600
    known = closed(stamps(hour - 720 * 3600, hour - 2 * 3600, 3600), 3600)
    early = [*known[:-1], Candle(known[-1].timestamp, 1, 1, 1, 1, 0.1, closed=True)]

    got = provider.candles(BTC, window(days=30), Resolution.H1, known=early)

    assert got == provider.candles(BTC, window(days=30), Resolution.H1)
    assert site.params[0]["start"] == "2025-10-06T10:00:00Z"
    assert len(site.asked) == 1 + 3


def test_what_lies_before_the_known_bars_is_asked_too() -> None:
    site = Site("", {CANDLES: rows})
    today = NOW_S - NOW_S % DAY_S
    known = closed(stamps(today - 10 * DAY_S, today - DAY_S, DAY_S), DAY_S)

    got = coinbase(site).candles(BTC, window(days=300), Resolution.WEEK, known=known)

    assert [params["start"][:10] for params in site.params] == ["2025-10-05", "2024-12-09"]
    assert [params["end"][:10] for params in site.params] == ["2025-10-06", "2025-09-25"]
    assert len(got.candles) == 44


def test_what_one_page_holds_is_one_call_whatever_is_known_within() -> None:
    site = Site("", {CANDLES: rows})
    today = NOW_S - NOW_S % DAY_S
    known = closed(stamps(today - 10 * DAY_S, today - DAY_S, DAY_S), DAY_S)

    got = coinbase(site).candles(BTC, window(days=30), Resolution.WEEK, known=known)

    assert [params["start"][:10] for params in site.params] == ["2025-09-01"]
    assert len(got.candles) == 6


def test_a_series_that_breaks_off_hands_on_the_pages_that_came() -> None:
    def answer(params: Mapping[str, str]) -> list[list[float]]:
        if params["start"] < "2024-11":
            raise ConnectionResetError
        return rows(params)

    with pytest.raises(UpstreamError) as caught:
        coinbase({CANDLES: answer}).candles(BTC, window(days=600), Resolution.DAY)

    assert len(caught.value.got) == 300
    assert [bar.closed for bar in caught.value.got[-2:]] == [True, False]


def test_bars_that_contradict_themselves_are_left_out_and_counted() -> None:
    def answer(params: Mapping[str, str]) -> list[list[float]]:
        found = rows(params)
        found[1][1] = found[1][2] + 1  # the low above the high
        return found

    got = coinbase({CANDLES: answer}).candles(BTC, window(hours=3), Resolution.H1)

    assert (len(got.candles), got.dropped) == (3, 1)


def test_history_is_of_closes_at_the_ends_of_their_bars() -> None:
    provider = coinbase({CANDLES: rows})

    week = provider.history(BTC, window(days=7), 3600)
    years = provider.history(BTC, window(days=1825), DAY_S)

    assert len(week.points) == 168
    assert week.points[-1].timestamp == NOW_S
    assert week.points[-2].timestamp == NOW_S - NOW_S % 3600
    assert week.points[-2].price == bar(NOW_S - NOW_S % 3600 - 3600, 3600)[3]
    assert (week.points[0].volume, week.volume_basis) == (10.0, "bar_units")
    assert len(years.points) == 1825


def test_a_quote_is_the_newest_trade_with_the_change_of_24_hours() -> None:
    site = Site("", {TICKER: ticker(), STATS: DAY})

    quote = coinbase(site).quotes([BTC]).found[BTC.ref]

    assert quote.price == 67234.5
    assert quote.as_of == datetime(2025, 10, 6, 12, 19, 58, 123456, tzinfo=UTC)
    assert (quote.change, quote.change_percent) == (1234.5, 1.870454545)
    assert (quote.high, quote.low, quote.volume, quote.market_cap) == (68000.1, 65900, None, None)


def test_a_product_without_a_price_or_a_time_is_left_out() -> None:
    for told in (ticker(price="0"), ticker(price=None), ticker(time="soon")):
        assert coinbase({TICKER: told, STATS: DAY}).quotes([BTC]).found == {}


def test_a_quote_that_fails_leaves_the_others() -> None:
    site = Site(
        "",
        {
            TICKER: ticker(),
            STATS: DAY,
            "/products/ETH-USD/ticker": httpx.Response(404, json={"message": "NotFound"}),
        },
    )

    quotes = coinbase(site).quotes([BTC, coin("ETH-USD", "coingecko:ethereum")])

    assert list(quotes.found) == [BTC.ref]
    assert type(quotes.failed["coingecko:ethereum"]) is UpstreamNotFoundError


def test_pairs_are_all_products_with_whether_they_trade() -> None:
    def product(name: str, **fields: Any) -> dict[str, Any]:
        base, quote = name.split("-")
        told = {"id": name, "base_currency": base, "quote_currency": quote, "status": "online"}
        return told | {"trading_disabled": False, "cancel_only": False} | fields

    provider = coinbase(
        {
            "/products": [
                product("BTC-USD"),
                product("ETH-EUR"),
                product("OLD-USD", status="delisted"),
                product("XRP-USD", trading_disabled=True),
                product("END-USD", cancel_only=True),
            ]
        }
    )

    assert provider.pairs() == [
        Pair("BTC-USD", "BTC", "USD", is_trading=True),
        Pair("ETH-EUR", "ETH", "EUR", is_trading=True),
        Pair("OLD-USD", "OLD", "USD", is_trading=False),
        Pair("XRP-USD", "XRP", "USD", is_trading=False),
        Pair("END-USD", "END", "USD", is_trading=False),
    ]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (
            httpx.Response(429, json={"message": "Public rate limit exceeded"}),
            UpstreamRateLimitedError,
        ),
        (httpx.Response(404, json={"message": "NotFound"}), UpstreamNotFoundError),
        (httpx.Response(404, text="<html>"), UpstreamError),
        (httpx.Response(403, text="<html>"), UpstreamError),
        (httpx.Response(400, json={"message": "Unsupported granularity"}), UpstreamError),
        (httpx.Response(500, text=""), UpstreamError),
        (httpx.Response(200, text="<html>"), UpstreamMalformedError),
        (httpx.Response(200, json={"message": "?"}), UpstreamMalformedError),
        (httpx.Response(200, json=[[1, 2, 3]]), UpstreamMalformedError),
        (httpx.Response(200, json=[[NOW_S, None, None, None, None, None]]), UpstreamMalformedError),
        (httpx.ReadTimeout("slow"), UpstreamTimeoutError),
        (httpx.ConnectError("down"), UpstreamError),
    ],
)
def test_each_failure_is_told_apart(reply: Any, error: type[PricesError]) -> None:
    with pytest.raises(PricesError) as caught:
        coinbase({CANDLES: reply}).candles(BTC, window(hours=3), Resolution.H1)

    assert type(caught.value) is error
    assert "http" not in str(caught.value).replace("HTTP ", "")


def test_an_empty_list_of_products_is_no_list() -> None:
    bodies: list[Any] = [[], {}, [{"id": "BTC-USD"}]]
    for body in bodies:
        with pytest.raises(UpstreamMalformedError):
            coinbase({"/products": body}).pairs()


def test_what_is_no_name_of_a_product_is_never_asked_for() -> None:
    site = Site("", {})
    for name in ("..", "BTC/USD", "../x-USD", ""):
        with pytest.raises(UpstreamNotFoundError):
            coinbase(site).candles(coin(name), window(hours=3), Resolution.H1)
    assert site.asked == []


def test_a_bar_is_open_until_the_last_trades_have_come_in() -> None:
    with time_machine.travel(NOW - timedelta(minutes=20) + timedelta(seconds=5), tick=False):
        got = coinbase({CANDLES: lambda params: rows(params)[1:]}).candles(
            BTC, window(hours=4), Resolution.H1
        )

    assert when(got.candles[-1].timestamp) == "10-06 11:00"
    assert [one.closed for one in got.candles[-2:]] == [True, False]
