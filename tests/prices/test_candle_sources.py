"""The six sources of candles against the sandbox, on good days and on bad ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
)
from prices.providers.base import HttpProvider
from prices.providers.binance import Binance
from prices.providers.coinbase import Coinbase
from prices.providers.exchange import Exchange
from prices.providers.kraken import Kraken
from prices.providers.stock_source import StockSource
from prices.providers.tiingo import Tiingo
from prices.providers.twelvedata import TwelveData
from prices.providers.yahoo import Yahoo
from prices.sessions import latest_session
from prices.types import AssetKind, Candle, Instrument, Resolution, Window

if TYPE_CHECKING:
    from tests.market import Sandbox

EXCHANGES: dict[type[Exchange], tuple[str, str, str]] = {
    Coinbase: ("/coinbase", "BTC-USD", "USD"),
    Kraken: ("/kraken/0/public", "XXBTZUSD", "USD"),
    Binance: ("/binance/api/v3", "BTCUSDT", "USDT"),
}
STOCKS: dict[type[StockSource], tuple[str, str, str]] = {
    TwelveData: ("/twelvedata", "AAPL", "key"),
    Tiingo: ("/tiingo", "AAPL", "key"),
    Yahoo: ("/yahoo/v8/finance", "AAPL", ""),
}
_PLACES = {one.name: how for table in (EXCHANGES, STOCKS) for one, how in table.items()}
EVERY = [*EXCHANGES, *STOCKS]
Source = Exchange | StockSource


@pytest.fixture
def source(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Source]:
    made = make(sandbox, request.param)
    yield made
    made.close()


def make(sandbox: Sandbox, backend: type[Source], key: str | None = None) -> Source:
    prefix, _, usual = _PLACES[backend.name]
    usual = usual if issubclass(backend, StockSource) else ""
    return backend(base_url=sandbox.url + prefix, api_key=usual if key is None else key)


def instrument(source: HttpProvider) -> Instrument:
    if isinstance(source, Exchange):
        return Instrument("coingecko:bitcoin", AssetKind.CRYPTO, EXCHANGES[type(source)][1])
    return Instrument("stock:AAPL", AssetKind.STOCK, "AAPL")


def week(source: HttpProvider) -> Window:
    now = datetime.now(UTC)
    end = now if isinstance(source, Exchange) else min(now, latest_session(now).closes)
    return Window(end - timedelta(days=7), end)


def prices(source: Source) -> list[float]:
    """Return all prices of a quote, a history and a week of bars."""
    asset = instrument(source)
    bars = source.candles(asset, week(source), Resolution.H1).candles
    points = source.history(asset, week(source), 86_400).points
    return [
        *(quote.price for quote in source.quotes([asset]).found.values()),
        *(point.price for point in points),
        *(value for bar in bars for value in (bar.open, bar.high, bar.low, bar.close)),
    ]


every_source = pytest.mark.parametrize(
    "source", EVERY, ids=[one.name for one in EVERY], indirect=True
)


@every_source
@pytest.mark.parametrize("resolution", list(Resolution))
def test_a_week_at_every_width_is_whole_and_in_order_or_refused(
    source: Source, resolution: Resolution
) -> None:
    span = week(source)
    if resolution not in source.resolutions(span):
        with pytest.raises(ResolutionUnavailableError):
            source.candles(instrument(source), span, resolution)
        return

    got = source.candles(instrument(source), span, resolution)

    stamps = [bar.timestamp for bar in got.candles]
    assert stamps == sorted(set(stamps))
    assert span.start is not None
    assert stamps[0] <= span.start.timestamp() + 4 * 86_400
    assert all(bar.closed for bar in got.candles[:-1])
    assert all(bar.volume for bar in got.candles[:-1])  # the last may have begun this second
    assert (got.truncated_by, got.dropped) == (None, 0)
    if isinstance(source, Exchange) and resolution not in (Resolution.WEEK, Resolution.MONTH):
        step_s = resolution.minutes * 60
        assert {later - at for at, later in pairwise(stamps)} <= {step_s}


@every_source
@pytest.mark.parametrize("resolution", [Resolution.H1, Resolution.DAY])
def test_what_is_known_is_asked_for_once(
    sandbox: Sandbox, source: Source, resolution: Resolution
) -> None:
    asset, span = instrument(source), week(source)
    whole = source.candles(asset, span, resolution).candles
    sandbox.control("POST", "reset")

    got = source.candles(
        asset, span, resolution, known=[bar for bar in whole if bar.closed]
    ).candles

    assert sandbox.count() == 1
    assert _closed(got)[: len(_closed(whole))] == _closed(whole)


def _closed(bars: list[Candle]) -> list[Candle]:
    return [bar for bar in bars if bar.closed]


@pytest.mark.parametrize("backend", EXCHANGES, ids=[one.name for one in EXCHANGES])
def test_the_pairs_of_an_exchange_can_be_asked_for(
    sandbox: Sandbox, backend: type[Exchange]
) -> None:
    source = make(sandbox, backend)
    assert isinstance(source, Exchange)
    money = EXCHANGES[backend][2]

    pairs = {(pair.base, pair.quote): pair for pair in source.pairs()}
    wanted = [pairs[base, money] for base in ("BTC", "ETH", "DOGE")]
    quotes = source.quotes([Instrument(one.base, AssetKind.CRYPTO, one.symbol) for one in wanted])

    assert all(one.is_trading for one in wanted)
    assert set(quotes.found) == {"BTC", "ETH", "DOGE"}
    now = datetime.now(UTC)
    assert all(abs(now - one.as_of) < timedelta(minutes=5) for one in quotes.found.values())
    source.close()


@every_source
@pytest.mark.parametrize(
    "kind",
    [
        *("reset", "truncated", "html", "empty", "redirect_loop"),
        *("wrong_types", "nulls", "negative", "absurd", "not_finite", "bad_bars"),
    ],
)
def test_a_bad_answer_never_becomes_a_wrong_price(
    sandbox: Sandbox, source: Source, kind: str
) -> None:
    healthy = prices(source)
    sandbox.fault(kind, source=source.name)

    found: list[float] = []
    with suppress(UpstreamError):
        found = prices(source)

    assert healthy
    assert all(min(healthy) * 0.8 < price < max(healthy) * 1.2 for price in found)


@every_source
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, UpstreamRateLimitedError),
        (500, UpstreamError),
        (503, UpstreamError),
        (404, UpstreamError),
    ],
)
def test_a_status_is_told_apart(
    sandbox: Sandbox, source: Source, status: int, error: type[PricesError]
) -> None:
    sandbox.fault("status", status=status, source=source.name, retry_after=33)

    for ask in (
        lambda: source.candles(instrument(source), week(source), Resolution.DAY),
        lambda: source.quotes([instrument(source)]),
    ):
        with pytest.raises(error):
            ask()


def test_a_location_that_binance_does_not_serve_is_told_as_a_refusal_for_an_hour(
    sandbox: Sandbox,
) -> None:
    sandbox.fault("status", status=451, source="binance")
    source = make(sandbox, Binance)

    with pytest.raises(PlanRestrictedError) as refused:
        source.candles(instrument(source), week(source), Resolution.DAY)

    assert refused.value.of_source_s == 3600
    source.close()


def test_a_ban_of_binance_is_a_limit(sandbox: Sandbox) -> None:
    sandbox.fault("status", status=418, source="binance", retry_after=120)
    source = make(sandbox, Binance)

    with pytest.raises(UpstreamRateLimitedError) as caught:
        source.quotes([instrument(source)])

    assert caught.value.retry_after_s == 120
    source.close()


@pytest.mark.parametrize("backend", [TwelveData, Tiingo], ids=["twelvedata", "tiingo"])
@pytest.mark.parametrize("key", ["", "invalid"])
def test_a_key_that_is_refused_is_said_so(
    sandbox: Sandbox, backend: type[StockSource], key: str
) -> None:
    source = make(sandbox, backend, key)

    with pytest.raises(UpstreamRefusedError):
        source.quotes([instrument(source)])
    source.close()
