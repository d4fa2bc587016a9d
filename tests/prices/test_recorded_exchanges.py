"""The sources of candles on bodies that they really sent.

The bodies are not ours to publish. LOKIFI_RECORDED names the folder that holds
them; without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import UpstreamRateLimitedError
from prices.providers.binance import Binance
from prices.providers.coinbase import Coinbase
from prices.providers.twelvedata import TwelveData
from prices.providers.yahoo import Yahoo
from prices.types import AssetKind, Candle, Instrument, Resolution, Window
from tests.prices.sites import Site

FOLDER = Path(os.environ.get("LOKIFI_RECORDED", ""))

pytestmark = pytest.mark.skipif(
    not os.environ.get("LOKIFI_RECORDED") or not (FOLDER / "binance").is_dir(),
    reason="LOKIFI_RECORDED names no folder with recorded answers of the sources.",
)

AAPL = Instrument("stock:AAPL", AssetKind.STOCK, "AAPL")


def sent(name: str, status: int = 200) -> httpx.Response:
    """Return a recorded body byte by byte."""
    return httpx.Response(status, content=(FOLDER / name).read_bytes())


def content(name: str) -> Any:
    return json.loads((FOLDER / name).read_bytes())


def coin(symbol: str) -> Instrument:
    return Instrument("coingecko:bitcoin", AssetKind.CRYPTO, symbol)


def test_binance_s_minutes_are_the_recorded_ones() -> None:
    rows = content("binance/klines_btcusdt_1m_2021.json")
    first, last = rows[0][0] // 1000, rows[-1][0] // 1000
    site = Site("/api/v3", {"/klines": sent("binance/klines_btcusdt_1m_2021.json")})
    now = datetime.fromtimestamp(last + 30, UTC)
    window = Window(datetime.fromtimestamp(first, UTC), now)

    with time_machine.travel(now, tick=False):
        got = Binance(
            base_url="https://binance.example/api/v3", transport=httpx.MockTransport(site)
        ).candles(coin("BTCUSDT"), window, Resolution.M1)

    assert [
        (bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in got.candles
    ] == [(row[0] // 1000, *(float(value) for value in row[1:6])) for row in rows]
    assert [bar.closed for bar in got.candles] == [True] * (len(rows) - 1) + [False]
    assert got.dropped == 0


def test_coinbase_s_hour_is_the_recorded_one_in_our_order() -> None:
    site = Site("", {"/products/BTC-USDT/candles": sent("coinbase/candles_btcusdt_1h_2024.json")})
    now = datetime.fromtimestamp(1710327600 + 900, UTC)

    with time_machine.travel(now, tick=False):
        got = Coinbase(
            base_url="https://coinbase.example", transport=httpx.MockTransport(site)
        ).candles(coin("BTC-USDT"), Window(now - timedelta(minutes=10), now), Resolution.H1)

    assert got.candles == [
        Candle(1710327600, 73243.33, 73402.47, 73241.5, 73370.65, 1.56794406, closed=False)
    ]


def test_yahoo_s_day_is_the_recorded_one_at_midnight() -> None:
    site = Site("/v8/finance", {"/chart/AAPL": sent("yahoo/chart_aapl_2020.json")})
    now = datetime(2020, 1, 2, 22, tzinfo=UTC)

    with time_machine.travel(now, tick=False):
        got = yahoo(site).candles(AAPL, Window(now - timedelta(hours=12), now), Resolution.DAY)

    midnight = int(datetime(2020, 1, 2, tzinfo=UTC).timestamp())
    assert got.candles == [
        Candle(
            midnight,
            74.05999755859375,
            75.1500015258789,
            73.79750061035156,
            75.0875015258789,
            135480400.0,
            closed=True,
        )
    ]


def test_yahoo_s_weekend_has_no_bars_and_is_no_failure() -> None:
    body = sent("yahoo/chart_aapl_1m_weekend_no_timestamp.json")
    now = datetime(2025, 2, 3, 15, tzinfo=UTC)

    with time_machine.travel(now, tick=False):
        got = yahoo(Site("/v8/finance", {"/chart/AAPL": body})).candles(
            AAPL, Window(now - timedelta(minutes=20), now), Resolution.M1
        )

    assert (got.candles, got.dropped) == ([], 0)


def test_yahoo_s_quote_is_that_of_the_recorded_session() -> None:
    # The head of a chart is of the moment it was asked, whatever the chart is of.
    meta = content("yahoo/chart_aapl_1m_weekend_no_timestamp.json")["chart"]["result"][0]["meta"]
    body = sent("yahoo/chart_aapl_1m_weekend_no_timestamp.json")
    now = datetime.fromtimestamp(meta["regularMarketTime"] + 60, UTC)

    with time_machine.travel(now, tick=False):
        quotes = yahoo(Site("/v8/finance", {"/chart/AAPL": body})).quotes([AAPL])

    quote = quotes.found["stock:AAPL"]
    assert (quote.price, quote.change) == (244.87, 0.4)
    assert (quote.high, quote.low, quote.volume) == (246.01, 243.16, 32129951)
    assert quote.as_of == datetime.fromtimestamp(1739998801, UTC)


@pytest.mark.parametrize("status", [200, 429])
def test_twelve_data_s_spent_minute_is_a_limit_whatever_the_status(status: int) -> None:
    site = Site("", {"/quote": sent("twelvedata/error_429_credits_2025.json", status)})
    provider = TwelveData(
        base_url="https://twelvedata.example", api_key="key", transport=httpx.MockTransport(site)
    )

    with pytest.raises(UpstreamRateLimitedError) as caught:
        provider.quotes([AAPL])

    assert caught.value.retry_after_s == 60


def yahoo(site: Site) -> Yahoo:
    return Yahoo(base_url="https://yahoo.example/v8/finance", transport=httpx.MockTransport(site))
