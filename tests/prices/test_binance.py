from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
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
)
from prices.providers.binance import Binance
from prices.types import Candle, Origin, Pair, Resolution, TruncatedBy, Window
from tests.prices.sites import Route, Site
from tests.prices.venue_site import (
    DAY_S,
    NOW,
    NOW_S,
    STEP_S,
    bar,
    closed,
    coin,
    stamps,
    when,
    window,
)

BTC = coin("BTCUSDT")
KLINES, TICKER, INFO = "/klines", "/ticker/24hr", "/exchangeInfo"
_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
RESTRICTED = httpx.Response(451, json={"code": 0, "msg": "Service unavailable from a restricted…"})


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def binance(site: Site | Mapping[str, Route]) -> Binance:
    site = site if isinstance(site, Site) else Site("/api/v3", site)
    transport = httpx.MockTransport(site)
    return Binance(base_url="https://binance.example/api/v3", transport=transport)


def rows(params: Mapping[str, str], *, listed: int = 0) -> list[list[Any]]:
    """/klines: texts in rows of twelve, oldest first, at most `limit`."""
    step_s = STEP_S[_MINUTES[params["interval"]]]
    first, last = max(int(params["startTime"]) / 1000, listed), int(params["endTime"]) / 1000
    found: list[list[Any]] = []
    for at in stamps(first, last, step_s):
        opening, high, low, close, volume = (f"{value:.8f}" for value in bar(at, step_s))
        end = (at + step_s) * 1000 - 1
        found.append(
            [at * 1000, opening, high, low, close, volume, end, "1015", 9, "5", "507", "0"]
        )
    return found[: int(params["limit"])]


def row(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "priceChange": "1234.50000000",
        "priceChangePercent": "1.870",
        "lastPrice": "67234.50000000",
        "openPrice": "66000.00000000",
        "highPrice": "68000.10000000",
        "lowPrice": "65900.00000000",
        "volume": "20000.1",
        "quoteVolume": "1330000000.5",
        "openTime": NOW_S * 1000 - 86_400_000,
        "closeTime": NOW_S * 1000 - 1500,
    } | fields


def test_texts_become_bars_with_their_volume_and_the_last_is_open() -> None:
    site = Site("/api/v3", {KLINES: rows})

    got = binance(site).candles(BTC, window(hours=3), Resolution.H1)

    assert [when(one.timestamp)[6:] for one in got.candles] == ["09:00", "10:00", "11:00", "12:00"]
    first = NOW_S - NOW_S % 3600 - 3 * 3600
    assert got.candles[0] == Candle(first, *bar(first, 3600), closed=True)
    assert [one.closed for one in got.candles] == [True, True, True, False]
    assert (got.origin, got.dropped, got.truncated_by) == (Origin.PROVIDER, 0, None)
    assert got.volume_basis == "bar_units"
    assert site.params == [
        {
            "symbol": "BTCUSDT",
            "interval": "1h",
            "startTime": str(first * 1000),
            "endTime": str((first + 3 * 3600) * 1000),
            "limit": "1000",
        }
    ]


def test_a_year_of_hours_is_nine_calls_without_a_bar_twice_or_missing() -> None:
    site = Site("/api/v3", {KLINES: rows})

    got = binance(site).candles(BTC, window(days=365), Resolution.H1)

    assert len(site.asked) == 9
    steps = {b.timestamp - a.timestamp for a, b in zip(got.candles, got.candles[1:], strict=False)}
    assert (len(got.candles), steps) == (365 * 24 + 1, {3600})


@pytest.mark.parametrize("resolution", list(Resolution))
def test_every_width_is_given_with_its_own_openings(resolution: Resolution) -> None:
    site = Site("/api/v3", {KLINES: rows})

    got = binance(site).candles(BTC, window(days=14), resolution)

    starts = [datetime.fromtimestamp(one.timestamp, UTC) for one in got.candles]
    assert resolution in binance(site).resolutions(window(days=14))
    assert starts == sorted(set(starts))
    assert all(one.volume for one in got.candles)
    if resolution is Resolution.MONTH:
        assert {start.day for start in starts} == {1}
    elif resolution is Resolution.WEEK:
        assert {start.weekday() for start in starts} == {0}
    else:
        assert {one.timestamp % (resolution.minutes * 60) for one in got.candles} == {0}


def test_finer_widths_are_offered_as_far_as_24_calls_reach() -> None:
    provider = binance({})

    assert provider.resolutions(window(days=14)) == list(Resolution)
    assert provider.resolutions(window(days=30))[0] is Resolution.M5
    assert provider.resolutions(window(days=180))[0] is Resolution.M15
    assert provider.resolutions(window(days=365))[0] is Resolution.M30
    assert provider.resolutions(window(days=1825))[0] is Resolution.H4
    assert provider.resolutions(Window(None, NOW))[0] is Resolution.H4


def test_all_there_is_begins_with_the_listing() -> None:
    listed = NOW_S - NOW_S % DAY_S - 1200 * DAY_S
    site = Site("/api/v3", {KLINES: lambda params: rows(params, listed=listed)})
    provider = binance(site)

    everything = provider.candles(BTC, Window(None, NOW), Resolution.DAY)
    years = provider.candles(BTC, window(days=1825), Resolution.DAY)

    assert everything.candles[0].timestamp == years.candles[0].timestamp == listed
    assert (everything.truncated_by, years.truncated_by) == (None, TruncatedBy.LISTING)
    # An emptiness is believed when the page before it has it too.
    assert len(site.asked) == 4 + 2


def test_one_empty_page_is_not_the_end_of_a_coin_s_past() -> None:
    def page(params: Mapping[str, str]) -> Any:
        return [] if len(site.asked) == 2 else rows(params)

    site = Site("/api/v3", {KLINES: page})

    series = binance(site).candles(BTC, window(days=3000), Resolution.DAY)

    assert len(site.asked) == 4
    assert series.candles[0].timestamp < NOW_S - 2900 * DAY_S


def test_a_kept_year_of_hours_costs_one_call_an_hour_later() -> None:
    site = Site("/api/v3", {KLINES: rows})
    provider = binance(site)
    before = NOW - timedelta(hours=1)
    with time_machine.travel(before, tick=False):
        year = Window(before - timedelta(days=365), before)
        kept = [one for one in provider.candles(BTC, year, Resolution.H1).candles if one.closed]
    site.asked.clear()

    got = provider.candles(BTC, window(days=365), Resolution.H1, known=kept)

    assert len(site.asked) == 1
    assert int(site.params[0]["startTime"]) == kept[-1].timestamp * 1000
    site.asked.clear()
    assert got == provider.candles(BTC, window(days=365), Resolution.H1)


def test_known_days_serve_weeks_and_months() -> None:
    site = Site("/api/v3", {KLINES: rows})
    today = NOW_S - NOW_S % DAY_S
    known = closed(stamps(today - 800 * DAY_S, today - DAY_S, DAY_S), DAY_S)

    got = binance(site).candles(BTC, window(days=365), Resolution.MONTH, known=known)

    assert len(site.asked) == 1
    assert got == binance(site).candles(BTC, window(days=365), Resolution.MONTH)


def test_bars_that_contradict_themselves_are_left_out_and_counted() -> None:
    def answer(params: Mapping[str, str]) -> list[list[Any]]:
        found = rows(params)
        found[0][1], found[1][2], found[2][4] = "NaN", "-1", "1e99"
        return found

    got = binance({KLINES: answer}).candles(BTC, window(hours=3), Resolution.H1)

    assert (len(got.candles), got.dropped) == (1, 3)


def test_history_is_of_closes_at_the_ends_of_their_bars() -> None:
    provider = binance({KLINES: rows})

    day = provider.history(BTC, window(days=1), 300)
    everything = provider.history(BTC, Window(None, NOW), DAY_S)

    assert (len(day.points), day.points[-1].timestamp, day.volume_basis) == (
        288,
        NOW_S,
        "bar_units",
    )
    assert len(everything.points) == (NOW - datetime(2017, 7, 14, tzinfo=UTC)).days + 1


def test_quotes_of_many_pairs_are_one_call() -> None:
    eth = coin("ETHUSDT", "coingecko:ethereum")
    site = Site("/api/v3", {TICKER: [row(), row("ETHUSDT", lastPrice="66000.1")]})

    quotes = binance(site).quotes([BTC, eth])

    quote = quotes.found[BTC.ref]
    assert json.loads(site.params[0]["symbols"]) == ["BTCUSDT", "ETHUSDT"]
    assert (quote.price, quote.change, quote.change_percent) == (67234.5, 1234.5, 1.87)
    assert quote.as_of == datetime.fromtimestamp(NOW_S - 1.5, UTC)
    assert (quote.high, quote.low, quote.volume) == (68000.1, 65900, 1330000000.5)
    assert quotes.found["coingecko:ethereum"].price == 66000.1


def test_a_pair_without_a_price_or_a_time_is_left_out() -> None:
    for fields in ({"lastPrice": "0.00000000"}, {"closeTime": 0}, {"closeTime": NOW_S * 2000}):
        assert binance({TICKER: [row(**fields)]}).quotes([BTC]).found == {}


def test_a_price_far_beyond_its_own_high_and_low_fails_alone() -> None:
    rows = [row(), row("ETHUSDT", lastPrice="6.7"), row("XRPUSDT", lastPrice="99999")]
    wanted = [coin(name, name) for name in ("BTCUSDT", "ETHUSDT", "XRPUSDT")]

    quotes = binance({TICKER: rows}).quotes(wanted)

    assert set(quotes.found) == {"BTCUSDT"}
    assert {type(error) for error in quotes.failed.values()} == {UpstreamMalformedError}


def test_one_unknown_pair_does_not_spoil_the_others() -> None:
    def answer(params: Mapping[str, str]) -> Any:
        names = json.loads(params["symbols"])
        if "NOPEUSDT" in names:
            return httpx.Response(400, json={"code": -1121, "msg": "Invalid symbol."})
        return [row(name) for name in names]

    names = [*(f"A{n}USDT" for n in range(30)), "NOPEUSDT"]
    quotes = binance({TICKER: answer}).quotes([coin(name, name) for name in names])

    assert sorted(quotes.found) == sorted(names[:-1])
    assert type(quotes.failed["NOPEUSDT"]) is UpstreamNotFoundError


def test_pairs_are_all_symbols_with_whether_they_trade() -> None:
    def symbol(base: str, quote: str, **fields: Any) -> dict[str, Any]:
        told = {"symbol": base + quote, "baseAsset": base, "quoteAsset": quote}
        return told | {"status": "TRADING", "isSpotTradingAllowed": True} | fields

    found = binance(
        {
            INFO: {
                "symbols": [
                    symbol("BTC", "USDT"),
                    symbol("OLD", "USDT", status="BREAK"),
                    symbol("ETH", "USDC", isSpotTradingAllowed=False),
                ]
            }
        }
    ).pairs()

    assert found == [
        Pair("BTCUSDT", "BTC", "USDT", is_trading=True),
        Pair("OLDUSDT", "OLD", "USDT", is_trading=False),
        Pair("ETHUSDC", "ETH", "USDC", is_trading=False),
    ]
    with pytest.raises(UpstreamMalformedError):
        binance({INFO: {"symbols": []}}).pairs()


def test_a_restricted_location_is_a_refusal_of_everything_for_an_hour() -> None:
    provider = binance(Site("/api/v3", {KLINES: RESTRICTED, TICKER: RESTRICTED}))

    with pytest.raises(PlanRestrictedError) as of_bars:
        provider.candles(BTC, window(hours=3), Resolution.H1)
    with pytest.raises(PlanRestrictedError) as of_quotes:
        provider.quotes([BTC])

    assert (of_bars.value.of_source_s, of_quotes.value.of_source_s) == (3600, 3600)
    assert of_bars.value.extra["allowed_by"] == "another location"


def test_a_ban_says_how_long_it_lasts() -> None:
    reply = httpx.Response(418, headers={"Retry-After": "300"}, json={"code": -1003, "msg": "…"})
    with pytest.raises(UpstreamRateLimitedError) as caught:
        binance({KLINES: reply}).candles(BTC, window(hours=3), Resolution.H1)

    assert caught.value.retry_after_s == 300


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (httpx.Response(429, json={"code": -1003, "msg": "…"}), UpstreamRateLimitedError),
        (httpx.Response(418), UpstreamRateLimitedError),
        (httpx.Response(403, text="<html>"), UpstreamRateLimitedError),
        (
            httpx.Response(400, json={"code": -1121, "msg": "Invalid symbol."}),
            UpstreamNotFoundError,
        ),
        (httpx.Response(400, json={"code": -1120, "msg": "Invalid interval."}), UpstreamError),
        (httpx.Response(404, text="<html>"), UpstreamError),
        (httpx.Response(503), UpstreamError),
        (httpx.Response(200, text="<html>"), UpstreamMalformedError),
        (httpx.Response(200, json={"code": 1}), UpstreamMalformedError),
        (httpx.Response(200, json=[[NOW_S]]), UpstreamMalformedError),
        (
            httpx.Response(200, json=[[NOW_S * 1000, "a", "b", "c", "d", "e"]]),
            UpstreamMalformedError,
        ),
    ],
)
def test_each_failure_is_told_apart(reply: httpx.Response, error: type[PricesError]) -> None:
    with pytest.raises(PricesError) as caught:
        binance({KLINES: reply}).candles(BTC, window(hours=3), Resolution.H1)

    assert type(caught.value) is error


def test_what_is_no_name_of_a_pair_is_never_asked_for() -> None:
    site = Site("/api/v3", {})
    for name in ("", 'A","B', "btc usdt"):
        with pytest.raises(UpstreamNotFoundError):
            binance(site).candles(coin(name), window(hours=3), Resolution.H1)
    assert site.asked == []
