"""Both sources on their bad days, over real HTTP: never a wrong price, only errors of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
)
from prices.providers.coingecko import CoinGecko
from prices.providers.finnhub import Finnhub
from prices.sessions import latest_session
from prices.types import AssetKind, Instrument, Resolution, Window

if TYPE_CHECKING:
    from tests.market import Sandbox

BITCOIN = Instrument("coingecko:bitcoin", AssetKind.CRYPTO, "bitcoin")
AAPL = Instrument("stock:AAPL", AssetKind.STOCK, "AAPL")

Ask = Callable[[CoinGecko, Finnhub], list[float]]


@pytest.fixture
def coingecko(sandbox: Sandbox) -> Iterator[CoinGecko]:
    provider = CoinGecko(
        base_url=f"{sandbox.url}/coingecko/api/v3", api_key="sandbox", plan="sandbox"
    )
    yield provider
    provider.close()


@pytest.fixture
def finnhub(sandbox: Sandbox) -> Iterator[Finnhub]:
    provider = Finnhub(base_url=f"{sandbox.url}/finnhub/api/v1", api_key="sandbox", plan="sandbox")
    yield provider
    provider.close()


def week() -> Window:
    now = datetime.now(UTC)
    return Window(now - timedelta(days=7), now)


def trading_week() -> Window:
    closes = min(latest_session(datetime.now(UTC)).closes, datetime.now(UTC))
    return Window(closes - timedelta(days=7), closes)


def coin_quote(coins: CoinGecko, stocks: Finnhub) -> list[float]:
    return [quote.price for quote in coins.quotes([BITCOIN]).found.values()]


def coin_history(coins: CoinGecko, stocks: Finnhub) -> list[float]:
    return [point.price for point in coins.history(BITCOIN, week(), 3600).points]


def coin_bars(coins: CoinGecko, stocks: Finnhub) -> list[float]:
    bars = coins.candles(BITCOIN, week(), Resolution.H4).candles
    return [value for bar in bars for value in (bar.open, bar.high, bar.low, bar.close)]


def coin_days(coins: CoinGecko, stocks: Finnhub) -> list[float]:
    bars = coins.candles(BITCOIN, week(), Resolution.DAY).candles
    return [value for bar in bars for value in (bar.open, bar.high, bar.low, bar.close)]


def coin_top(coins: CoinGecko, stocks: Finnhub) -> list[float]:
    return [coin.current_price for coin in coins.top(1) if coin.current_price is not None]


def stock_quote(coins: CoinGecko, stocks: Finnhub) -> list[float]:
    return [quote.price for quote in stocks.quotes([AAPL]).found.values()]


def stock_bars(coins: CoinGecko, stocks: Finnhub) -> list[float]:
    bars = stocks.candles(AAPL, trading_week(), Resolution.H1).candles
    return [value for bar in bars for value in (bar.open, bar.high, bar.low, bar.close)]


def stock_history(coins: CoinGecko, stocks: Finnhub) -> list[float]:
    return [point.price for point in stocks.history(AAPL, trading_week(), 86_400).points]


EVERY_ASK = pytest.mark.parametrize(
    "ask",
    [
        coin_quote,
        coin_history,
        coin_bars,
        coin_days,
        coin_top,
        stock_quote,
        stock_bars,
        stock_history,
    ],
)


@EVERY_ASK
@pytest.mark.parametrize(
    "kind",
    [
        "reset",
        "truncated",
        "html",
        "empty",
        "wrong_types",
        "nulls",
        "negative",
        "absurd",
        "not_finite",
        "redirect_loop",
    ],
)
def test_a_bad_answer_never_becomes_a_wrong_price(
    sandbox: Sandbox, coingecko: CoinGecko, finnhub: Finnhub, ask: Ask, kind: str
) -> None:
    healthy = ask(coingecko, finnhub)
    sandbox.fault(kind)

    prices: list[float] = []
    with suppress(UpstreamError):
        prices = ask(coingecko, finnhub)

    assert healthy
    assert all(min(healthy) * 0.8 < price < max(healthy) * 1.2 for price in prices)


def test_bars_that_contradict_themselves_are_dropped_and_counted(
    sandbox: Sandbox, coingecko: CoinGecko, finnhub: Finnhub
) -> None:
    good = finnhub.candles(AAPL, trading_week(), Resolution.DAY)
    sandbox.fault("bad_bars")

    bad = finnhub.candles(AAPL, trading_week(), Resolution.DAY)
    bars = coingecko.candles(BITCOIN, week(), Resolution.H4)

    assert len(bad.candles) + bad.dropped == len(good.candles)
    assert bad.dropped > 0
    assert bars.dropped > 0


@EVERY_ASK
@pytest.mark.parametrize(
    ("how", "error"),
    [
        pytest.param({"status": 429, "retry_after": 33}, UpstreamRateLimitedError, id="429"),
        pytest.param({"status": 429, "body": "html"}, UpstreamRateLimitedError, id="429 page"),
        pytest.param({"status": 500, "body": "int"}, UpstreamError, id="500"),
        pytest.param({"status": 502, "body": "empty"}, UpstreamError, id="502"),
        pytest.param({"status": 503, "body": "html"}, UpstreamError, id="503"),
        pytest.param(
            {"status": 401, "body": "string", "text": "Invalid API key."},
            UpstreamRefusedError,
            id="401",
        ),
        pytest.param({"status": 403, "body": "html"}, UpstreamError, id="403 page"),
        pytest.param({"status": 408, "body": "text"}, UpstreamTimeoutError, id="408"),
    ],
)
def test_each_refusal_is_told_apart(
    sandbox: Sandbox,
    coingecko: CoinGecko,
    finnhub: Finnhub,
    ask: Ask,
    how: dict[str, Any],
    error: type[PricesError],
) -> None:
    sandbox.fault("status", **how)

    with pytest.raises(error) as caught:
        ask(coingecko, finnhub)

    if "retry_after" in how:
        assert isinstance(caught.value, UpstreamError)
        assert caught.value.retry_after_s == 33


def test_a_body_of_sixty_megabytes_is_not_taken_in(sandbox: Sandbox, coingecko: CoinGecko) -> None:
    sandbox.fault("huge", size_bytes=60_000_000)

    with pytest.raises(UpstreamMalformedError, match="exceeds"):
        coingecko.quotes([BITCOIN])
    with pytest.raises(UpstreamMalformedError, match="exceeds"):
        coingecko.listings()


def test_an_answer_that_drips_in_is_given_up(sandbox: Sandbox, coingecko: CoinGecko) -> None:
    sandbox.fault("slow_drip", bytes_per_s=20)

    with pytest.raises(UpstreamTimeoutError):
        coingecko.get_json("/coins/markets", {"vs_currency": "usd"}, within_s=1)


@EVERY_ASK
def test_after_a_reset_the_next_answer_is_right(
    sandbox: Sandbox, coingecko: CoinGecko, finnhub: Finnhub, ask: Ask
) -> None:
    sandbox.fault("reset", calls=1)

    with pytest.raises(UpstreamError):
        ask(coingecko, finnhub)

    assert ask(coingecko, finnhub)


@pytest.fixture
def free_plan(sandbox: Sandbox) -> None:
    sandbox.control("POST", "plan", {"plan": "free"})


@pytest.mark.usefixtures("free_plan")
def test_on_a_free_plan_stock_candles_are_refused_by_name(finnhub: Finnhub) -> None:
    with pytest.raises(PlanRestrictedError) as caught:
        finnhub.candles(AAPL, trading_week(), Resolution.DAY)

    assert caught.value.extra["allowed_by"] == "a Finnhub plan with stock candles"


@pytest.mark.usefixtures("free_plan")
def test_on_a_free_plan_every_period_is_answered_within_its_reach(sandbox: Sandbox) -> None:
    provider = CoinGecko(base_url=f"{sandbox.url}/coingecko/api/v3", plan="demo", api_key="demo")
    now = datetime.now(UTC)

    for start in (now - timedelta(days=365), now - timedelta(days=1825), None):
        points = provider.history(BITCOIN, Window(start, now), 86_400)
        assert len(points.points) >= 364
    days = provider.candles(BITCOIN, Window(None, now), Resolution.DAY)
    provider.close()

    assert len(days.candles) >= 364


def test_a_stock_of_a_foreign_exchange_is_refused_by_name(finnhub: Finnhub) -> None:
    toronto = Instrument("stock:SHOP.TO", AssetKind.STOCK, "SHOP.TO")

    with pytest.raises(PlanRestrictedError):
        finnhub.quotes([toronto])


def test_the_symbol_file_is_read_through_its_redirect(finnhub: Finnhub) -> None:
    listings = finnhub.listings()

    assert {"AAPL", "TSLA", "BRK.B", "STX"} <= {listing.ticker for listing in listings}
