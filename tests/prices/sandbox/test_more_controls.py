"""Limits and faults of the exchanges and of the sellers of stock data."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

AAPL = "/twelvedata/time_series?symbol=AAPL&interval=1day&outputsize=4&apikey=k"
BARS = {
    "coinbase": "/coinbase/products/BTC-USD/candles?granularity=3600",
    "kraken": "/kraken/0/public/OHLC?pair=XBTUSD&interval=60",
    "binance": "/binance/api/v3/klines?symbol=BTCUSDT&interval=1h",
    "twelvedata": AAPL,
    "tiingo": "/tiingo/tiingo/daily/AAPL/prices?startDate=2026-11-01&token=k",
    "yahoo": "/yahoo/v8/finance/chart/AAPL?interval=1d&range=1mo",
}


def plan(market: httpx.Client, **limits: int | None) -> None:
    body: dict[str, Any] = {"plan": "free", "limits": limits}
    market.post("/_sandbox/plan", json=body).raise_for_status()


def fail(market: httpx.Client, **fault: Any) -> None:
    market.post("/_sandbox/faults", json=fault).raise_for_status()


def first_bar(source: str, content: Any) -> tuple[Any, Any, Any]:
    """Return the first bar's time, high and close."""
    match source:
        case "coinbase":
            return content[0][0], content[0][2], content[0][4]
        case "kraken":
            row = content["result"]["XXBTZUSD"][0]
            return row[0], row[2], row[4]
        case "binance":
            return content[0][0], content[0][2], content[0][4]
        case "twelvedata":
            row = content["values"][0]
            return row["datetime"], row["high"], row["close"]
        case "tiingo":
            return content[0]["date"], content[0]["high"], content[0]["close"]
    result = content["chart"]["result"][0]
    quote = result["indicators"]["quote"][0]
    return result["timestamp"][0], quote["high"][0], quote["close"][0]


# Limits


def test_everything_is_allowed_without_limits(market: httpx.Client) -> None:
    for source in ("coinbase", "kraken", "twelvedata", "tiingo"):
        assert {market.get(BARS[source]).status_code for _ in range(70)} == {200}


def test_coinbase_answers_ten_a_second(market: httpx.Client) -> None:
    plan(market, coinbase_second=3)
    answers = [market.get("/coinbase/time") for _ in range(40)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused[0].json() == {"message": "Public rate limit exceeded"}
    assert market.get("/_sandbox/state").json()["limits"]["coinbase_second"] == 3


def test_kraken_refuses_with_status_200(market: httpx.Client) -> None:
    plan(market, kraken_minute=2)
    answers = [market.get(BARS["kraken"]) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert [bool(answer.json()["error"]) for answer in answers] == [False, False, True]
    assert answers[-1].json() == {"error": ["EAPI:Rate limit exceeded"]}
    market.post("/_sandbox/clock", json={"by_s": 61})
    assert market.get(BARS["kraken"]).json()["error"] == []


def test_binance_counts_weights_warns_and_bans(market: httpx.Client) -> None:
    plan(market, binance_weight=24)
    weights = [
        market.get(path).headers["x-mbx-used-weight-1m"]
        for path in ("/binance/api/v3/ping", BARS["binance"], "/binance/api/v3/exchangeInfo")
    ]
    assert weights == ["1", "3", "23"]
    answers = [market.get(BARS["binance"]) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [429, 429, 429, 418, 418]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    market.post("/_sandbox/clock", json={"by_s": 130})
    assert market.get(BARS["binance"]).status_code == 200


def test_twelve_data_takes_a_credit_a_symbol(market: httpx.Client) -> None:
    plan(market)
    batch = {"symbol": "AAPL,MSFT,TSLA,F", "interval": "1day", "apikey": "k"}
    answers = [market.get("/twelvedata/time_series", params=batch) for _ in range(4)]
    assert ["code" in answer.json() for answer in answers] == [False, False, True, True]
    assert answers[2].json()["status"] == "error"
    assert (
        "12 API credits were used, with the current limit being 8" in answers[2].json()["message"]
    )
    other = market.get("/twelvedata/quote?symbol=AAPL&apikey=other")
    assert other.json()["symbol"] == "AAPL"


def test_twelve_data_refuses_with_status_200_or_429(market: httpx.Client) -> None:
    plan(market, twelvedata_minute=1)
    answers = [market.get(AAPL) for _ in range(5)]
    assert {answer.status_code for answer in answers[1:]} == {200, 429}
    assert {answer.json()["code"] for answer in answers[1:]} == {429}
    plan(market, twelvedata_day=1, twelvedata_minute=None)
    market.get(AAPL)
    assert "for the day" in market.get(AAPL).json()["message"]


def test_tiingo_answers_so_many_an_hour_and_a_day(market: httpx.Client) -> None:
    plan(market, tiingo_hour=2)
    statuses = [market.get(BARS["tiingo"]).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    market.post("/_sandbox/clock", json={"by_s": 3601})
    assert market.get(BARS["tiingo"]).status_code == 200
    plan(market, tiingo_hour=None, tiingo_day=1)
    market.get(BARS["tiingo"])
    assert "daily" in market.get(BARS["tiingo"]).json()["detail"]


# Faults


@pytest.mark.parametrize("source", BARS)
def test_every_source_is_counted_and_fails_alone(market: httpx.Client, source: str) -> None:
    fail(market, kind="status", source=source, status=503, calls=1)
    others = [other for other in BARS if other != source]
    assert {market.get(BARS[other]).status_code for other in others} == {200}
    assert [market.get(BARS[source]).status_code for _ in range(2)] == [503, 200]
    assert market.get("/_sandbox/calls").json()["total"][source] == 2


@pytest.mark.parametrize(
    ("source", "status", "body"),
    [
        ("coinbase", 429, {"message": "Public rate limit exceeded"}),
        ("coinbase", 400, {"message": "no"}),
        ("kraken", 200, {"error": ["no"]}),
        ("kraken", 429, {"error": ["EAPI:Rate limit exceeded"]}),
        ("binance", 400, {"code": -1000, "msg": "no"}),
        ("tiingo", 404, {"detail": "no"}),
        ("twelvedata", 400, {"code": 400, "message": "no", "status": "error"}),
    ],
)
def test_a_status_comes_in_the_sources_own_form(
    market: httpx.Client, source: str, status: int, body: dict[str, Any]
) -> None:
    fail(market, kind="status", source=source, status=status, text="no")
    answer = market.get(BARS[source])
    assert (answer.status_code, answer.json()) == (status, body)


def test_a_restricted_place_a_ban_and_a_plain_429_can_be_had(market: httpx.Client) -> None:
    fail(market, kind="status", source="binance", status=451, calls=1)
    answer = market.get(BARS["binance"])
    assert (answer.status_code, answer.json()["code"]) == (451, 0)
    assert answer.json()["msg"].startswith("Service unavailable from a restricted location")
    fail(market, kind="status", source="binance", status=418, retry_after=120, calls=1)
    assert market.get(BARS["binance"]).headers["retry-after"] == "120"
    fail(market, kind="status", source="twelvedata", status=200, calls=1)
    hidden = market.get(AAPL)
    assert (hidden.status_code, hidden.json()["code"]) == (200, 429)
    fail(market, kind="status", source="yahoo", status=429, calls=1)
    assert market.get(BARS["yahoo"]).text.strip() == "Too Many Requests"


@pytest.mark.parametrize("source", BARS)
@pytest.mark.parametrize(
    ("kind", "is_wrong"),
    [
        ("wrong_types", lambda value: value == "n/a"),
        ("nulls", lambda value: value is None),
        ("negative", lambda value: float(value) < 0),
        ("absurd", lambda value: float(value) > 1e12),
        ("repeats", lambda value: float(value) == 1.0),
        ("not_finite", lambda value: math.isnan(float(value))),
    ],
)
def test_values_are_spoiled_and_times_are_not(
    market: httpx.Client, source: str, kind: str, is_wrong: Any
) -> None:
    when = first_bar(source, market.get(BARS[source]).json())[0]
    fail(market, kind=kind, source=source)
    stamp, high, close = first_bar(source, market.get(BARS[source]).json())
    assert stamp == when
    assert is_wrong(high)
    assert is_wrong(close)


@pytest.mark.parametrize("source", BARS)
def test_bad_bars_close_above_their_high_everywhere(market: httpx.Client, source: str) -> None:
    fail(market, kind="bad_bars", source=source)
    _, high, close = first_bar(source, market.get(BARS[source]).json())
    assert float(close) > float(high)


def test_one_pair_can_be_spoiled_alone(market: httpx.Client) -> None:
    fail(market, kind="absurd", source="binance", only=["BTCUSDT"])
    rows = market.get('/binance/api/v3/ticker/24hr?symbols=["BTCUSDT","ETHUSDT"]').json()
    assert [float(row["lastPrice"]) > 1e12 for row in rows] == [True, False]
    fail(market, kind="nulls", source="coinbase", only=["BTC-USD"])
    assert market.get("/coinbase/products/BTC-USD/ticker").json()["price"] is None
    assert float(market.get("/coinbase/products/ETH-USD/ticker").json()["price"]) > 0
    fail(market, kind="nulls", source="kraken", only=["XXBTZUSD"])
    result = market.get("/kraken/0/public/Ticker?pair=XBTUSD,ETHUSD").json()["result"]
    assert result["XXBTZUSD"]["c"] == [None, None]
    assert float(result["XETHZUSD"]["c"][0]) > 0


def test_a_frozen_exchange_stands_still_while_others_move(market: httpx.Client) -> None:
    fail(market, kind="frozen", source="coinbase")
    before = {name: market.get(BARS[name]).json() for name in ("coinbase", "kraken")}
    market.post("/_sandbox/clock", json={"by_s": 7200})
    assert market.get(BARS["coinbase"]).json() == before["coinbase"]
    assert market.get(BARS["kraken"]).json() != before["kraken"]
