from __future__ import annotations

import logging
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
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
)
from prices.providers.alphavantage import AlphaVantage
from prices.providers.base import OpenGate
from prices.types import Adjustment, Resolution, TruncatedBy, Window
from tests.prices.sites import Route, Site
from tests.prices.stock_site import AAPL, DAY_S, NOW, TODAY, bar, days, kept, stock, when, window


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def alphavantage(site: Site | Route, **options: Any) -> AlphaVantage:
    site = site if isinstance(site, Site) else Site("", {"/query": site})
    transport = httpx.MockTransport(site)
    return AlphaVantage(
        base_url="https://av.example", api_key="s3cret", transport=transport, **options
    )


def daily(params: Mapping[str, str], *, listed: str = "1999-11-01") -> dict[str, Any]:
    """TIME_SERIES_DAILY: texts, newest first, 100 at most; today's is there once it has begun."""
    assert (params["function"], params["outputsize"]) == ("TIME_SERIES_DAILY", "compact")
    names = ("1. open", "2. high", "3. low", "4. close", "5. volume")
    rows = {
        day.date().isoformat(): {
            name: f"{value:.4f}"
            for name, value in zip(names, bar(day.timestamp(), DAY_S), strict=True)
        }
        for day in reversed(list(days(max(listed, "2025-01-02"))))
    }
    newest = dict(list(rows.items())[:100])
    meta = {"2. Symbol": params["symbol"], "5. Time Zone": "US/Eastern"}
    return {"Meta Data": meta, "Time Series (Daily)": newest}


def test_days_are_as_traded_and_say_so() -> None:
    site = Site("", {"/query": daily})

    got = alphavantage(site).candles(AAPL, window(days=7), Resolution.DAY)

    assert [when(one.timestamp)[:5] for one in got.candles] == [
        *("10-01", "10-02", "10-03", "10-06", "10-07", "10-08")
    ]
    assert got.candles[0] == kept(got.candles[0].timestamp, DAY_S)
    assert [one.closed for one in got.candles[-2:]] == [True, False]
    assert (got.adjustment, got.truncated_by, got.volume_basis) == (
        Adjustment.NONE,
        None,
        "bar_shares",
    )


def test_beyond_its_hundred_days_the_plan_is_the_reason() -> None:
    provider = alphavantage(daily)

    year = provider.candles(AAPL, window(days=365), Resolution.DAY)
    everything = provider.candles(AAPL, Window(None, NOW), Resolution.MONTH)

    assert (len(year.candles), year.truncated_by) == (100, TruncatedBy.PLAN)
    assert everything.truncated_by is TruncatedBy.PLAN
    first = datetime.fromtimestamp(year.candles[0].timestamp, UTC)
    assert provider.earliest(Resolution.DAY) < first < NOW - timedelta(days=140)


def test_a_young_stock_is_there_from_its_listing() -> None:
    provider = alphavantage(lambda params: daily(params, listed="2025-09-02"))

    got = provider.candles(AAPL, window(days=365), Resolution.DAY)

    assert (when(got.candles[0].timestamp)[:5], got.truncated_by) == ("09-02", TruncatedBy.LISTING)


def test_it_has_days_and_what_is_made_of_them_alone() -> None:
    provider = alphavantage(daily)

    assert provider.resolutions(TODAY) == ["D", "W", "M"]
    with pytest.raises(ResolutionUnavailableError):
        provider.candles(AAPL, TODAY, Resolution.M5)
    with pytest.raises(PlanRestrictedError):
        provider.quotes([AAPL])


def test_history_is_of_closes() -> None:
    points = alphavantage(daily).history(AAPL, window(days=7), DAY_S).points

    assert [when(one.timestamp) for one in points[-2:]] == ["10-07 20:00", "10-08 15:10"]


def test_a_class_of_shares_is_asked_for_with_a_hyphen() -> None:
    site = Site("", {"/query": daily})
    alphavantage(site).candles(stock("BRK.B"), window(days=7), Resolution.DAY)

    assert site.params[0]["symbol"] == "BRK-B"


def test_the_key_is_in_the_query_and_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    site = Site("", {"/query": daily})
    for logger in ("", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger)

    alphavantage(site).candles(AAPL, window(days=7), Resolution.DAY)

    assert site.params[0]["apikey"] == "s3cret"
    assert "HTTP Request: GET" in caplog.text
    assert "s3cret" not in caplog.text


def test_no_failure_tells_the_key() -> None:
    for reply in (httpx.ConnectError("no"), httpx.Response(500), httpx.Response(302), {"a": 1}):
        with pytest.raises(PricesError) as failed:
            alphavantage(reply).candles(AAPL, window(days=7), Resolution.DAY)
        assert "s3cret" not in str(failed.value)
        assert "av.example" not in str(failed.value)


_PREMIUM = "You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/"
_DAY = {"Information": f"Our standard API rate limit is 25 requests per day. {_PREMIUM}"}
_BURST = {
    "Information": "Please spread out your requests (1 request per second). "
    f"{_PREMIUM} to lift the free key rate limit (25 requests per day)."
}
_OLD = {"Note": "Our standard API call frequency is 5 calls per minute and 500 calls per day."}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (_DAY, UpstreamRateLimitedError),
        (_BURST, UpstreamRateLimitedError),
        (_OLD, UpstreamRateLimitedError),
        ({"Information": f"This is a premium endpoint. {_PREMIUM}"}, PlanRestrictedError),
        ({"Error Message": "the parameter apikey is invalid or missing."}, UpstreamRefusedError),
        ({"Error Message": "Invalid API call for TIME_SERIES_DAILY."}, UpstreamNotFoundError),
        ({}, UpstreamMalformedError),
        ({"Time Series (Daily)": {"2025-10-07": {"1. open": "-"}}}, UpstreamMalformedError),
        (httpx.Response(200, text="<html>"), UpstreamMalformedError),
        (httpx.Response(503), PricesError),
    ],
)
def test_what_it_refuses_means_what_its_words_say(reply: Route, error: type[PricesError]) -> None:
    with pytest.raises(error):
        alphavantage(reply).candles(AAPL, window(days=7), Resolution.DAY)


@pytest.mark.parametrize(("reply", "wait_s"), [(_BURST, 60), (_DAY, 3600), (_OLD, 60)])
def test_a_limit_that_comes_with_200_is_a_429_to_the_gate(reply: Route, wait_s: float) -> None:
    class Gate(OpenGate):
        heard: tuple[int | None, float | None] = (None, None)

        def report(
            self, status: int | None, *, retry_after_s: float | None, seconds: float
        ) -> None:
            self.heard = (status, retry_after_s)

    gate = Gate()
    with pytest.raises(UpstreamRateLimitedError):
        alphavantage(reply, gate=gate).candles(AAPL, window(days=7), Resolution.DAY)

    # An hour is the longest that any source is left alone for.
    assert gate.heard == (429, wait_s)
