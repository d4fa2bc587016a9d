from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.prices.sandbox.conftest import TRADING

HOUR_S = 3600
DAY_S = 86_400
THURSDAY = 0  # 1 January 1970


def get(market: httpx.Client, path: str, **query: Any) -> Any:
    response = market.get(path, params=query or None)
    assert response.status_code == 200, response.text
    return response.json()


def coinbase_rows(market: httpx.Client, product: str, step: int, rows: int) -> Any:
    query = {"granularity": step, "start": TRADING - step * rows, "end": TRADING}
    return get(market, f"/coinbase/products/{product}/candles", **query)


# Coinbase


def test_coinbase_lists_its_products_as_the_source_does(market: httpx.Client) -> None:
    products = get(market, "/coinbase/products")
    dollars = [row for row in products if row["quote_currency"] == "USD"]
    assert 130 <= len(dollars) <= 170
    assert {"BTC-USD", "ETH-USD", "DOGE-USD"} <= {row["id"] for row in dollars}
    assert all(row["id"] == f"{row['base_currency']}-{row['quote_currency']}" for row in products)
    halted = [row for row in products if row["trading_disabled"]]
    assert halted
    assert all(row["status"] == "delisted" for row in halted)
    assert get(market, "/coinbase/products/BTC-USD") == products[0]


def test_coinbase_rows_are_low_high_open_close_newest_first(market: httpx.Client) -> None:
    rows = coinbase_rows(market, "BTC-USD", HOUR_S, 48)
    assert 48 <= len(rows) <= 50
    assert all(newer[0] - older[0] == HOUR_S for newer, older in pairwise(rows))
    for _, low, high, opens, closes, volume in rows:
        assert low <= min(opens, closes) <= max(opens, closes) <= high
        assert volume > 0
    assert all(older[4] == newer[3] for newer, older in pairwise(rows))


def test_coinbase_gives_three_hundred_rows_and_refuses_more(market: httpx.Client) -> None:
    assert len(get(market, "/coinbase/products/BTC-USD/candles", granularity=60)) == 300
    query = {"granularity": 60, "start": TRADING - 301 * 60, "end": TRADING}
    refused = market.get("/coinbase/products/BTC-USD/candles", params=query)
    assert refused.status_code == 400
    assert "exceeds 300" in refused.json()["message"]


@pytest.mark.parametrize("granularity", ["61", "7200", "604800", "hour"])
def test_coinbase_has_six_granularities(market: httpx.Client, granularity: str) -> None:
    query = {"granularity": granularity}
    refused = market.get("/coinbase/products/BTC-USD/candles", params=query)
    assert (refused.status_code, refused.json()) == (400, {"message": "Unsupported granularity"})


def test_coinbase_leaves_out_minutes_without_a_trade(market: httpx.Client) -> None:
    rows = coinbase_rows(market, "ELON-USD", 60, 299)
    assert 0 < len(rows) < 200
    assert all(row[5] > 0 for row in rows)


def test_coinbase_may_give_a_row_from_before_the_start(market: httpx.Client) -> None:
    starts = [TRADING - n * HOUR_S for n in range(3, 30)]
    firsts = [
        get(
            market,
            "/coinbase/products/BTC-USD/candles",
            granularity=900,
            start=start,
            end=TRADING,
        )[-1][0]
        for start in starts
    ]
    assert {start - first for start, first in zip(starts, firsts, strict=True)} == {0, 900}


def test_coinbase_tickers_and_stats_are_text(market: httpx.Client) -> None:
    market.post("/_sandbox/faults", json={"kind": "frozen"})
    ticker = get(market, "/coinbase/products/ETH-USD/ticker")
    stats = get(market, "/coinbase/products/ETH-USD/stats")
    assert ticker["time"].startswith("2026-11-23T18:00:0")
    assert ticker["price"] == stats["last"]
    assert float(stats["low"]) <= float(stats["open"]) <= float(stats["high"])
    assert ticker["volume"] == stats["volume"]


def test_coinbase_says_not_found_in_one_word(market: httpx.Client) -> None:
    for path in ("products/NOPE-USD", "products/NOPE-USD/candles", "nowhere"):
        answer = market.get(f"/coinbase/{path}")
        assert (answer.status_code, answer.json()) == (404, {"message": "NotFound"})


# Kraken


def test_kraken_has_names_of_its_own(market: httpx.Client) -> None:
    pairs = get(market, "/kraken/0/public/AssetPairs")["result"]
    bitcoin, doge, solana = pairs["XXBTZUSD"], pairs["XDGUSD"], pairs["SOLUSD"]
    assert (bitcoin["altname"], bitcoin["wsname"]) == ("XBTUSD", "XBT/USD")
    assert (bitcoin["base"], bitcoin["quote"]) == ("XXBT", "ZUSD")
    assert (doge["base"], doge["wsname"]) == ("XXDG", "XDG/USD")
    assert (solana["base"], solana["altname"]) == ("SOL", "SOLUSD")
    assets = get(market, "/kraken/0/public/Assets")["result"]
    assert assets["XXBT"]["altname"] == "XBT"
    assert any(pair["status"] != "online" for pair in pairs.values())


@pytest.mark.parametrize("interval", [1, 60, 1440, 10_080])
def test_kraken_gives_its_latest_720_rows_whatever_was_asked(
    market: httpx.Client, interval: int
) -> None:
    path = "/kraken/0/public/OHLC"
    result = get(market, path, pair="XBTUSD", interval=interval, since=0)["result"]
    rows = result["XXBTZUSD"]
    assert len(rows) == 720 if interval < 10_080 else len(rows) > 600
    assert all(b[0] - a[0] == interval * 60 for a, b in pairwise(rows))
    assert rows[-1][0] == result["last"] + interval * 60
    assert all(row[0] % (interval * 60) == THURSDAY for row in rows)
    for _, opens, high, low, closes, _, volume, trades in rows:
        numbers = [float(text) for text in (low, opens, closes, high)]
        assert numbers[0] <= numbers[1] <= numbers[3]
        assert numbers[0] <= numbers[2] <= numbers[3]
        assert (float(volume) > 0) == (trades > 0)
    since = rows[-3][0]
    later = get(market, path, pair="XBTUSD", interval=interval, since=since)["result"]
    assert [row[0] for row in later["XXBTZUSD"]] == [row[0] for row in rows[-2:]]


def test_kraken_tells_errors_with_status_200(market: httpx.Client) -> None:
    for path in ("OHLC?pair=NOPE", "Ticker?pair=XBTUSD,NOPE", "AssetPairs?pair=NOPE"):
        answer = get(market, f"/kraken/0/public/{path}")
        assert answer == {"error": ["EQuery:Unknown asset pair"]}
    answer = get(market, "/kraken/0/public/OHLC?pair=XBTUSD&interval=7")
    assert answer["error"][0].startswith("EGeneral:Invalid arguments")
    assert get(market, "/kraken/0/public/Nothing")["error"] == ["EGeneral:Unknown method"]


def test_a_kraken_ticker_has_arrays_of_today_and_of_24_hours(market: httpx.Client) -> None:
    result = get(market, "/kraken/0/public/Ticker", pair="XBTUSD,ETH/USD")["result"]
    assert list(result) == ["XXBTZUSD", "XETHZUSD"]
    row = result["XXBTZUSD"]
    sizes = [len(row[name]) for name in ("a", "b", "c", "v", "p", "t", "l", "h")]
    assert sizes == [3, 3, 2, 2, 2, 2, 2, 2]
    assert float(row["l"][1]) <= float(row["c"][0]) <= float(row["h"][1])
    assert float(row["v"][0]) < float(row["v"][1])


# Binance


def klines(market: httpx.Client, symbol: str, interval: str, **query: Any) -> Any:
    return get(market, "/binance/api/v3/klines", symbol=symbol, interval=interval, **query)


def test_binance_trades_against_tethers_and_not_against_dollars(market: httpx.Client) -> None:
    rows = get(market, "/binance/api/v3/exchangeInfo")["symbols"]
    assert {"USDT", "USDC"} <= {row["quoteAsset"] for row in rows}
    assert "USD" not in {row["quoteAsset"] for row in rows}
    assert all(row["symbol"] == row["baseAsset"] + row["quoteAsset"] for row in rows)
    assert {row["status"] for row in rows} == {"TRADING", "BREAK"}
    assert "1000SATS" in {row["baseAsset"] for row in rows}
    one = get(market, "/binance/api/v3/exchangeInfo", symbol="BTCUSDT")["symbols"]
    assert one == rows[:1]


@pytest.mark.parametrize(
    ("interval", "step_s"),
    [("1m", 60), ("5m", 300), ("1h", HOUR_S), ("4h", 4 * HOUR_S), ("1d", DAY_S), ("1w", 7 * DAY_S)],
)
def test_binance_rows_have_twelve_parts_and_end_with_the_open_bar(
    market: httpx.Client, interval: str, step_s: int
) -> None:
    rows = klines(market, "DOGEUSDT", interval, limit=20)
    assert len(rows) == 20
    assert {len(row) for row in rows} == {12}
    assert all(b[0] - a[0] == step_s * 1000 for a, b in pairwise(rows))
    assert all(row[6] == row[0] + step_s * 1000 - 1 for row in rows)
    assert rows[-1][6] > TRADING * 1000 >= rows[-1][0]
    assert all(isinstance(row[place], str) for row in rows for place in (1, 2, 3, 4, 5, 7, 9, 10))


def test_binance_months_are_those_of_the_calendar_and_weeks_begin_on_monday(
    market: httpx.Client,
) -> None:
    months = klines(market, "BTCUSDT", "1M", limit=1000)
    assert months[0][0] == 1_501_545_600_000  # August 2017, in whose middle it opened
    assert {(b[0] - a[0]) // (DAY_S * 1000) for a, b in pairwise(months)} == {28, 29, 30, 31}
    weeks = klines(market, "BTCUSDT", "1w", limit=3)
    assert {(row[0] // (DAY_S * 1000) + 3) % 7 for row in weeks} == {0}


def test_binance_gives_500_rows_and_a_thousand_at_most(market: httpx.Client) -> None:
    assert len(klines(market, "BTCUSDT", "1m")) == 500
    start = int((TRADING - 5000 * 60) * 1000)
    rows = klines(market, "BTCUSDT", "1m", limit=5000, startTime=start)
    assert len(rows) == 1000
    assert rows[0][0] == start
    end = start + 10 * 60_000
    between = klines(market, "BTCUSDT", "1m", startTime=start, endTime=end)
    assert [row[0] for row in between] == [row[0] for row in rows[:11]]
    assert klines(market, "BTCUSDT", "1m", endTime=end, limit=3)[-1][0] == end


def test_binance_tickers_come_for_one_for_some_and_for_all(market: httpx.Client) -> None:
    path = "/binance/api/v3/ticker/24hr"
    one = get(market, path, symbol="ETHUSDT")
    assert float(one["lowPrice"]) <= float(one["lastPrice"]) <= float(one["highPrice"])
    assert one["closeTime"] - one["openTime"] == DAY_S * 1000
    some = get(market, path, symbols=json.dumps(["BTCUSDT", "ETHUSDT"]))
    assert [row["symbol"] for row in some] == ["BTCUSDT", "ETHUSDT"]
    rows = {row["symbol"]: row for row in get(market, path)}
    assert len(rows) > 200
    assert float(rows["WAVESUSDT"]["lastPrice"]) == 0  # halted: no price is a price of zero


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("klines?symbol=NOPE&interval=1m", -1121),
        ("klines?symbol=BTCUSDT&interval=7m", -1120),
        ("klines?symbol=BTCUSDT", -1102),
        ("klines?interval=1m", -1102),
        ('ticker/24hr?symbols=["BTCUSDT","NOPE"]', -1121),
        ("ticker/24hr?symbols=BTCUSDT", -1121),
    ],
)
def test_binance_refuses_with_a_code_below_zero(market: httpx.Client, path: str, code: int) -> None:
    answer = market.get(f"/binance/api/v3/{path}")
    assert answer.status_code == 400
    assert answer.json()["code"] == code


def test_volumes_of_small_bars_add_up_to_those_of_large_ones(market: httpx.Client) -> None:
    start = int((TRADING - 18 * HOUR_S - DAY_S) * 1000)  # yesterday's midnight
    (day,) = klines(market, "DOGEUSDT", "1d", startTime=start, limit=1)
    hours = klines(market, "DOGEUSDT", "1h", startTime=start, limit=24)
    minutes = klines(market, "DOGEUSDT", "1m", startTime=start, limit=60)
    assert sum(float(row[5]) for row in hours) == pytest.approx(float(day[5]))
    assert sum(float(row[5]) for row in minutes) == pytest.approx(float(hours[0][5]))
    assert max(float(row[2]) for row in minutes) == pytest.approx(float(hours[0][2]), rel=1e-3)
