from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
)
from prices.providers.finnhub import Finnhub
from prices.types import (
    AssetKind,
    Listing,
    Quote,
)
from tests.prices.finnhub_site import (
    AAPL,
    NO_ACCESS,
    NOW,
    PROFILE,
    QUOTE,
    SYMBOLS,
    ZEROS,
    far_end,
    finnhub,
    stock,
    told,
)


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


# Quotes


def test_a_quote_has_what_the_source_says_and_null_for_the_rest() -> None:
    site = far_end({QUOTE: told()})

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

    site = far_end({QUOTE: answer})

    quotes = finnhub(site).quotes([stock("AA"), *(stock(f"X{n}") for n in range(50))])

    assert set(quotes.found) == {"stock:AA"}
    assert len(quotes.failed) == 50
    assert {type(error) for error in quotes.failed.values()} == {UpstreamRateLimitedError}
    assert len(site.asked) < 15, "a limit that is reached ends the batch"


def test_a_source_that_is_down_is_not_asked_for_every_symbol() -> None:
    site = far_end({QUOTE: httpx.ConnectError("down")})

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
    site = far_end({SYMBOLS: httpx.Response(302, headers={"location": "/api/v1/stock/symbol"})})

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
