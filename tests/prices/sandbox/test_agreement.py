"""All sources speak of one market: their prices are a little apart and no more."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from prices.sandbox.market import coin_series
from prices.sandbox.venues import TRAPS, pairs
from tests.prices.sandbox.conftest import TRADING

DAY_S = 86_400
KEYS = {"twelvedata": {"authorization": "apikey k"}, "tiingo": {"authorization": "Token k"}}


@pytest.fixture
def still(market: httpx.Client) -> httpx.Client:
    """A market whose time stands still: questions one after another are of one moment."""
    market.post("/_sandbox/faults", json={"kind": "frozen"}).raise_for_status()
    return market


def get(market: httpx.Client, path: str, source: str = "") -> Any:
    return market.get(path, headers=KEYS.get(source, {})).raise_for_status().json()


def test_tether_stays_within_a_thousandth_of_a_dollar() -> None:
    tether = coin_series("tether")
    assert tether is not None
    for year in range(2018, 2027):
        start = (year - 1970) * 365.25 * DAY_S
        high, low = tether.extremes(start, start + 365 * DAY_S)
        assert 0.999 < low < 1 < high < 1.001


@pytest.mark.parametrize(
    ("coin", "ticker", "kraken"),
    [
        ("bitcoin", "BTC", "XXBTZUSD"),
        ("ethereum", "ETH", "XETHZUSD"),
        ("dogecoin", "DOGE", "XDGUSD"),
        ("pepe", "PEPE", "PEPEUSD"),
        ("dogelon-mars", "ELON", "ELONUSD"),
    ],
)
def test_exchanges_agree_with_coingecko(
    still: httpx.Client, coin: str, ticker: str, kraken: str
) -> None:
    gecko = "/coingecko/api/v3/simple/price?vs_currencies=usd&precision=full"
    told = get(still, f"{gecko}&ids={coin},tether")
    dollars = told[coin]["usd"]
    binance = get(still, f"/binance/api/v3/ticker/24hr?symbol={ticker}USDT")["lastPrice"]
    row = get(still, f"/kraken/0/public/Ticker?pair={kraken}")["result"][kraken]
    candle = get(still, f"/coinbase/products/{ticker}-USD/candles?granularity=86400")[0]
    seen = [
        float(get(still, f"/coinbase/products/{ticker}-USD/ticker")["price"]),
        candle[4],
        float(row["c"][0]),
        float(binance) * told["tether"]["usd"],
    ]
    assert seen == pytest.approx([dollars] * 4, rel=0.001)
    assert len({round(price / dollars, 7) for price in seen}) > 2  # and yet not the same


def test_candles_of_a_past_day_agree(market: httpx.Client) -> None:
    day = int(TRADING // DAY_S * DAY_S) - 100 * DAY_S
    span = f"granularity=86400&start={day}&end={day}"
    coinbase = get(market, f"/coinbase/products/ETH-USD/candles?{span}")
    binance = get(
        market,
        f"/binance/api/v3/klines?symbol=ETHUSDT&interval=1d&startTime={day * 1000}&limit=1",
    )
    kraken = get(market, f"/kraken/0/public/OHLC?pair=ETHUSD&interval=1440&since={day - 1}")
    _, low, high, opens, closes, _ = coinbase[0]
    for row in (binance[0], kraken["result"]["XETHZUSD"][0]):
        levels = [float(text) for text in row[1:5]]
        assert levels == pytest.approx([opens, high, low, closes], rel=0.005)


@pytest.mark.parametrize("symbol", ["AAPL", "BKNG", "SPY", "F"])
def test_sellers_of_stock_data_agree_with_finnhub(still: httpx.Client, symbol: str) -> None:
    price = get(still, f"/finnhub/api/v1/quote?symbol={symbol}")["c"]
    quote = get(still, f"/twelvedata/quote?symbol={symbol}", "twelvedata")
    (row,) = get(still, f"/tiingo/iex/{symbol}", "tiingo")
    chart = get(still, f"/yahoo/v8/finance/chart/{symbol}?interval=5m&range=1d")["chart"]
    bar = chart["result"][0]["indicators"]["quote"][0]
    seen = [float(quote["close"]), row["last"], bar["close"][-1]]
    assert seen == pytest.approx([price] * 3, rel=0.002)


@pytest.mark.parametrize("venue", ["coinbase", "kraken", "binance"])
def test_each_exchange_has_a_pair_that_is_another_coin(venue: Any) -> None:
    ((ticker, namesake),) = TRAPS[venue].items()
    listed = {pair.base: pair for pair in pairs(venue, TRADING)}
    assert listed[ticker].coin.id == namesake
    well_known = {"TON": "the-open-network", "APE": "apecoin", "UNI": "uniswap"}[ticker]
    expected = coin_series(well_known)
    assert expected is not None
    assert abs(listed[ticker].at(TRADING) / expected.at(TRADING) - 1) > 0.4
