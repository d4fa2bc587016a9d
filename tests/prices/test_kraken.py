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
from prices.providers import deadline
from prices.providers.base import Gate
from prices.providers.kraken import Kraken
from prices.types import Candle, Origin, Pair, Resolution, TruncatedBy, Window
from tests.prices.sites import Route, Site
from tests.prices.venue_site import DAY_S, NOW, NOW_S, bar, closed, coin, stamps, when, window

BTC = coin("XXBTZUSD")
OHLC, TICKER, PAIRS = "/OHLC", "/Ticker", "/AssetPairs"


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def kraken(site: Site | Mapping[str, Route], gate: Gate | None = None) -> Kraken:
    site = site if isinstance(site, Site) else Site("/0/public", site)
    transport = httpx.MockTransport(site)
    return Kraken(base_url="https://kraken.example/0/public", gate=gate, transport=transport)


def rows(params: Mapping[str, str], *, listed: int = 0, key: str = "XXBTZUSD") -> dict[str, Any]:
    """/OHLC: texts, the newest 720 after `since`, the last one always there."""
    step_s = int(params["interval"]) * 60
    first = max(NOW_S - 720 * step_s + 1, int(params["since"]) + 1, listed)
    found = []
    for at in stamps(first, NOW_S, step_s):
        opening, high, low, close, volume = (f"{value:.5f}" for value in bar(at, step_s))
        found.append([at, opening, high, low, close, "101.5", volume, 12])
    return {"error": [], "result": {key: found, "last": NOW_S - NOW_S % step_s - step_s}}


def failing(*errors: str) -> httpx.Response:
    return httpx.Response(200, json={"error": list(errors)})


def row(**fields: Any) -> dict[str, Any]:
    return {
        "a": ["67235.0", "1", "1.000"],
        "b": ["67234.0", "1", "1.000"],
        "c": ["67234.50000", "0.0002"],
        "v": ["1000.5", "2000.0"],
        "p": ["67000.0", "66500.0"],
        "t": [10000, 20000],
        "l": ["66900.0", "65900.0"],
        "h": ["67900.0", "68000.1"],
        "o": "67100.0",
    } | fields


def told(result: dict[str, Any]) -> httpx.Response:
    headers = {"Date": "Mon, 06 Oct 2025 12:19:59 GMT"}
    return httpx.Response(200, json={"error": [], "result": result}, headers=headers)


def test_texts_become_bars_with_their_volume_and_the_last_is_open() -> None:
    site = Site("/0/public", {OHLC: rows})

    got = kraken(site).candles(BTC, window(hours=3), Resolution.H1)

    assert [when(one.timestamp)[6:] for one in got.candles] == ["09:00", "10:00", "11:00", "12:00"]
    first = NOW_S - NOW_S % 3600 - 3 * 3600
    assert got.candles[0] == Candle(first, *bar(first, 3600), closed=True)
    assert [one.closed for one in got.candles] == [True, True, True, False]
    assert (got.origin, got.dropped, got.truncated_by) == (Origin.PROVIDER, 0, None)
    assert got.volume_basis == "bar_units"
    assert site.params == [{"pair": "XXBTZUSD", "interval": "60", "since": str(first - 1)}]


def test_the_pair_may_be_called_otherwise_in_the_answer() -> None:
    got = kraken({OHLC: rows}).candles(coin("XBTUSD"), window(hours=3), Resolution.H1)

    assert len(got.candles) == 4


def test_only_what_720_bars_reach_is_offered() -> None:
    provider = kraken({})

    assert provider.resolutions(window(hours=11)) == list(Resolution)
    assert provider.resolutions(window(days=1))[0] is Resolution.M5
    assert provider.resolutions(window(days=7))[0] is Resolution.M15
    assert provider.resolutions(window(days=29))[0] is Resolution.H1
    assert provider.resolutions(window(days=90))[0] is Resolution.H4
    assert provider.resolutions(window(days=365)) == ["D", "W", "M"]
    assert provider.resolutions(window(days=1825)) == []
    assert provider.resolutions(Window(None, NOW)) == []
    with pytest.raises(ResolutionUnavailableError):
        provider.history(BTC, window(days=90), 3600)


def test_its_reach_counts_from_now_wherever_the_window_ends() -> None:
    past = Window(NOW - timedelta(days=700, hours=1), NOW - timedelta(days=700))

    assert kraken({}).resolutions(past) == ["D", "W", "M"]


@pytest.mark.parametrize("resolution", list(Resolution))
def test_every_width_it_offers_is_given_from_one_call(resolution: Resolution) -> None:
    site = Site("/0/public", {OHLC: rows})
    span = window(seconds=min(700 * resolution.minutes * 60, 700 * DAY_S))

    got = kraken(site).candles(BTC, span, resolution)

    assert len(site.asked) == 1
    assert got.truncated_by is None
    assert got.candles[-1].timestamp + resolution.minutes * 60 > NOW_S
    assert [one.closed for one in got.candles[-2:]] == [True, False]
    assert site.params[0]["interval"] in {"1", "5", "15", "30", "60", "240", "1440"}


def test_known_bars_change_nothing() -> None:
    site = Site("/0/public", {OHLC: rows})
    today = NOW_S - NOW_S % DAY_S
    known = closed(stamps(today - 10 * DAY_S, today - DAY_S, DAY_S), DAY_S)

    got = kraken(site).candles(BTC, window(days=30), Resolution.DAY, known=known)

    assert len(site.asked) == 1
    assert got == kraken(site).candles(BTC, window(days=30), Resolution.DAY)


def test_a_pair_younger_than_the_window_says_so() -> None:
    listed = NOW_S - 40 * DAY_S
    provider = kraken({OHLC: lambda params: rows(params, listed=listed)})

    assert (
        provider.candles(BTC, window(days=90), Resolution.DAY).truncated_by is TruncatedBy.LISTING
    )


def test_a_month_of_history_is_hourly_closes() -> None:
    month = kraken({OHLC: rows}).history(BTC, window(days=29), 3600)

    assert len(month.points) == 29 * 24
    assert (month.points[-1].timestamp, month.volume_basis) == (NOW_S, "bar_units")


def test_quotes_of_many_pairs_are_one_call_at_their_server_s_time() -> None:
    eth = coin("ETHUSD", "coingecko:ethereum")
    # Asked for by its short name, answered by its long one.
    site = Site("/0/public", {TICKER: told({"XXBTZUSD": row(), "XETHZUSD": row(c=["66000", "1"])})})

    quotes = kraken(site).quotes([BTC, eth])

    quote = quotes.found[BTC.ref]
    assert site.params == [{"pair": "ETHUSD,XXBTZUSD"}]
    assert (quote.price, quote.high, quote.low) == (67234.5, 68000.1, 65900)
    assert quote.as_of == datetime(2025, 10, 6, 12, 19, 59, tzinfo=UTC)
    assert quote.volume == 2000 * 66500
    assert (quote.change, quote.change_percent, quote.market_cap) == (None, None, None)
    assert quotes.found["coingecko:ethereum"].price == 66000


def test_a_pair_that_nobody_traded_for_a_day_has_no_quote() -> None:
    for fields in ({"t": [0, 0]}, {"c": ["0", "0"]}, {"c": [None, "0"]}):
        assert kraken({TICKER: told({"XXBTZUSD": row(**fields)})}).quotes([BTC]).found == {}


def test_an_answer_without_a_time_is_no_quote() -> None:
    late = httpx.Response(
        200,
        json={"error": [], "result": {"XXBTZUSD": row()}},
        headers={"Date": "Mon, 06 Oct 2025 14:00:00 GMT"},
    )
    bare = httpx.Response(200, json={"error": [], "result": {"XXBTZUSD": row()}})
    for reply in (bare, late):
        with pytest.raises(UpstreamMalformedError):
            kraken({TICKER: reply}).quotes([BTC])


def test_one_unknown_pair_does_not_spoil_the_others() -> None:
    def answer(params: Mapping[str, str]) -> httpx.Response:
        names = params["pair"].split(",")
        if "NOPEUSD" in names:
            return failing("EQuery:Unknown asset pair")
        return told({name: row() for name in names})

    names = ["AUSD", "BUSD", "CUSD", "NOPEUSD", "ZUSD"]
    quotes = kraken({TICKER: answer}).quotes([coin(name, f"coingecko:{name}") for name in names])

    assert sorted(quotes.found) == [f"coingecko:{name}" for name in names if name != "NOPEUSD"]
    assert type(quotes.failed["coingecko:NOPEUSD"]) is UpstreamNotFoundError


def test_pairs_bear_the_usual_tickers() -> None:
    def pair(wsname: str, **fields: Any) -> dict[str, Any]:
        return {"altname": wsname.replace("/", ""), "wsname": wsname, "status": "online"} | fields

    provider = kraken(
        {
            PAIRS: {
                "error": [],
                "result": {
                    "XXBTZUSD": pair("XBT/USD"),
                    "XDGUSD": pair("XDG/USD", status="cancel_only"),
                    "XETHXXBT": pair("ETH/XBT"),
                    "XXBTZUSD.d": {"altname": "XBTUSD.d"},
                },
            }
        }
    )

    assert provider.pairs() == [
        Pair("XXBTZUSD", "BTC", "USD", is_trading=True),
        Pair("XDGUSD", "DOGE", "USD", is_trading=False),
        Pair("XETHXXBT", "ETH", "BTC", is_trading=True),
    ]
    with pytest.raises(UpstreamMalformedError):
        kraken({PAIRS: {"error": [], "result": {}}}).pairs()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (failing("EAPI:Rate limit exceeded"), UpstreamRateLimitedError),
        (failing("EGeneral:Too many requests"), UpstreamRateLimitedError),
        (failing("EQuery:Unknown asset pair"), UpstreamNotFoundError),
        (failing("EService:Unavailable"), UpstreamError),
        (failing("EService:Busy"), UpstreamError),
        (failing("EGeneral:Invalid arguments"), UpstreamError),
        (httpx.Response(429), UpstreamRateLimitedError),
        (httpx.Response(404, text="<html>"), UpstreamError),
        (httpx.Response(403, text="<html>"), UpstreamError),
        (httpx.Response(520, text="<html>"), UpstreamError),
        (httpx.Response(200, text="<html>"), UpstreamMalformedError),
        (httpx.Response(200, json={"error": []}), UpstreamMalformedError),
        (httpx.Response(200, json={"error": [], "result": {"last": 1}}), UpstreamMalformedError),
        (
            httpx.Response(200, json={"error": [], "result": {"X": [[NOW_S, "1"]], "last": 1}}),
            UpstreamMalformedError,
        ),
    ],
)
def test_each_failure_is_told_apart(reply: httpx.Response, error: type[PricesError]) -> None:
    with pytest.raises(PricesError) as caught:
        kraken({OHLC: reply}).candles(BTC, window(hours=3), Resolution.H1)

    assert type(caught.value) is error


def test_a_mere_warning_is_no_error() -> None:
    def answer(params: Mapping[str, str]) -> dict[str, Any]:
        return rows(params) | {"error": ["WDatabase:No change"]}

    assert kraken({OHLC: answer}).candles(BTC, window(hours=3), Resolution.H1).candles


def test_the_gate_hears_of_a_limit_that_came_with_status_200() -> None:
    class Note:
        said: list[int | None] = []  # noqa: RUF012 - one test long

        def admit(self) -> None:
            pass

        def report(
            self, status: int | None, *, retry_after_s: float | None, seconds: float
        ) -> None:
            self.said.append(status)

    gate = Note()
    with pytest.raises(UpstreamRateLimitedError):
        kraken({OHLC: failing("EAPI:Rate limit exceeded")}, gate).candles(
            BTC, window(hours=3), Resolution.H1
        )
    assert gate.said == [429]


def test_what_is_no_name_of_a_pair_is_never_asked_for() -> None:
    site = Site("/0/public", {})
    for name in ("", "XBTUSD,ETHUSD", "a b"):
        with pytest.raises(UpstreamNotFoundError):
            kraken(site).candles(coin(name), window(hours=3), Resolution.H1)
    assert site.asked == []


def test_prices_are_not_asked_for_either_when_the_question_has_taken_its_time() -> None:
    site = Site("/0/public", {})

    with deadline.question(0), pytest.raises(UpstreamTimeoutError):
        kraken(site).quotes([BTC])

    assert site.asked == []
