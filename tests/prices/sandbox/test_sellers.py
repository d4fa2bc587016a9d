"""Twelve Data, Tiingo and Yahoo."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from tests.prices.sandbox.conftest import TRADING

DAY_S = 86_400
SATURDAY = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
TWELVE = {"authorization": "apikey secret"}
TIINGO = {"authorization": "Token secret"}


def aim(market: httpx.Client, when: datetime) -> None:
    market.post("/_sandbox/clock", json={"now": when.timestamp()}).raise_for_status()


def twelve(market: httpx.Client, path: str = "time_series", **query: Any) -> Any:
    return market.get(f"/twelvedata/{path}", params=query, headers=TWELVE).json()


def tiingo(market: httpx.Client, path: str, **query: Any) -> Any:
    return market.get(f"/tiingo/{path}", params=query, headers=TIINGO).json()


def yahoo(market: httpx.Client, symbol: str, **query: Any) -> Any:
    answer = market.get(f"/yahoo/v8/finance/chart/{symbol}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["chart"]["result"][0]


# Twelve Data


def test_twelve_data_writes_text_newest_first_in_new_york_time(market: httpx.Client) -> None:
    answer = twelve(market, symbol="AAPL", interval="5min", outputsize=12)
    assert answer["status"] == "ok"
    assert answer["meta"]["exchange_timezone"] == "America/New_York"
    times = [row["datetime"] for row in answer["values"]]
    assert times == sorted(times, reverse=True)
    assert times[0] == "2026-11-23 13:00:00"
    assert all(isinstance(value, str) for row in answer["values"] for value in row.values())
    utc = twelve(market, symbol="AAPL", interval="5min", outputsize=1, timezone="UTC")
    assert utc["values"][0]["datetime"] == "2026-11-23 18:00:00"


@pytest.mark.parametrize(
    "interval", ["1min", "5min", "15min", "30min", "1h", "1day", "1week", "1month"]
)
def test_twelve_data_gives_as_many_rows_as_were_asked(market: httpx.Client, interval: str) -> None:
    rows = twelve(market, symbol="MSFT", interval=interval, outputsize=100)["values"]
    assert len(rows) == 100
    assert len({row["datetime"] for row in rows}) == 100
    assert len(twelve(market, symbol="MSFT", interval=interval)["values"]) == 30


def test_twelve_data_reaches_back_twenty_years_in_one_call(market: httpx.Client) -> None:
    rows = twelve(market, symbol="AAPL", interval="1day", outputsize=5000)["values"]
    assert len(rows) == 5000
    assert rows[-1]["datetime"] < "2007-02"
    span = {"start_date": "2026-04-01", "end_date": "2026-04-10"}
    closes = [
        float(row["close"])
        for row in twelve(market, symbol="BKNG", interval="1day", **span)["values"]
    ]
    assert max(closes) / min(closes) < 1.5  # its split is applied


def test_twelve_data_answers_a_batch_by_symbol_with_errors_among_it(market: httpx.Client) -> None:
    answer = twelve(market, symbol="AAPL,NOPE", interval="1day", outputsize=1)
    assert answer["AAPL"]["status"] == "ok"
    assert answer["NOPE"]["code"] == 404


def test_twelve_data_tells_errors_in_the_body_with_either_status(market: httpx.Client) -> None:
    statuses = set()
    for symbol in ("NOPE", "FB", "TWTR", "AAPLX", "ZZZZ", "QQQQ"):
        query = {"symbol": symbol, "interval": "1day"}
        answer = market.get("/twelvedata/time_series", params=query, headers=TWELVE)
        assert answer.json()["status"] == "error"
        assert answer.json()["code"] == 404
        statuses.add(answer.status_code)
    assert statuses == {200, 404}
    assert twelve(market, symbol="AAPL", interval="2min")["code"] == 400
    assert twelve(market, symbol="AAPL", interval="1day", outputsize=5001)["code"] == 400
    sunday = {"start_date": "2026-11-22", "end_date": "2026-11-22"}
    assert "No data" in twelve(market, symbol="AAPL", interval="1day", **sunday)["message"]


def test_twelve_data_wants_a_key_in_either_place(market: httpx.Client) -> None:
    for query in ({}, {"apikey": "invalid"}):
        answer = market.get("/twelvedata/quote", params={"symbol": "AAPL", **query})
        assert (answer.status_code, answer.json()["code"]) == (401, 401)
    answer = market.get("/twelvedata/quote", params={"symbol": "AAPL", "apikey": "secret"})
    assert answer.json()["symbol"] == "AAPL"
    keys = market.get("/_sandbox/calls").json()["keys"]
    assert keys["twelvedata:secret"] == 1


def test_a_twelve_data_quote_of_a_closed_day_is_of_the_last_session(market: httpx.Client) -> None:
    market.post("/_sandbox/clock", json={"now": SATURDAY})
    quote = twelve(market, "quote", symbol="AAPL")
    assert quote["is_market_open"] is False
    assert quote["datetime"] == "2026-11-27"
    closed_early = datetime(2026, 11, 27, 17, 59, tzinfo=UTC).timestamp()
    assert quote["last_quote_at"] == closed_early
    stocks = twelve(market, "stocks", country="United States")["data"]
    assert {"AAPL", "BRK.B"} <= {row["symbol"] for row in stocks}


# Tiingo


def test_tiingo_shows_days_as_traded_beside_days_adjusted(market: httpx.Client) -> None:
    span = {"startDate": "2026-04-02", "endDate": "2026-04-07"}
    rows = tiingo(market, "tiingo/daily/BKNG/prices", **span)
    assert [row["splitFactor"] for row in rows] == [1.0, 25.0, 1.0]
    assert rows[0]["date"] == "2026-04-02T00:00:00.000Z"
    assert rows[0]["close"] / rows[1]["close"] > 20
    assert 0.8 < rows[0]["adjClose"] / rows[1]["adjClose"] < 1.2
    assert rows[0]["adjVolume"] == pytest.approx(rows[0]["volume"] * 25, rel=1e-3)


def test_tiingo_leaves_dividends_out_of_adjusted_closes(market: httpx.Client) -> None:
    rows = tiingo(market, "tiingo/daily/AAPL/prices", startDate="2025-11-01")
    paid = [row for row in rows if row["divCash"]]
    assert len(paid) in (4, 5)
    assert rows[0]["adjClose"] < rows[0]["close"]
    assert rows[-1]["adjClose"] == rows[-1]["close"]


def test_a_tiingo_day_is_ready_in_the_evening(market: httpx.Client) -> None:
    newest = tiingo(market, "tiingo/daily/AAPL/prices")
    assert [row["date"][:10] for row in newest] == ["2026-11-20"]
    aim(market, datetime(2026, 11, 23, 22, 29, tzinfo=UTC))
    assert tiingo(market, "tiingo/daily/AAPL")["endDate"] == "2026-11-20"
    aim(market, datetime(2026, 11, 23, 22, 31, tzinfo=UTC))
    assert tiingo(market, "tiingo/daily/AAPL")["endDate"] == "2026-11-23"


def test_tiingo_has_the_trades_of_iex(market: httpx.Client) -> None:
    (row,) = tiingo(market, "iex/aapl")
    assert row["ticker"] == "AAPL"
    assert datetime.fromisoformat(row["timestamp"]).timestamp() - TRADING < 60
    two = tiingo(market, "iex", tickers="aapl,nope,brk-b")
    assert [row["ticker"] for row in two] == ["AAPL", "BRK-B"]
    bars = tiingo(market, "iex/AAPL/prices", resampleFreq="5min", startDate="2026-11-23")
    assert bars[0]["date"] == "2026-11-23T14:30:00.000Z"
    assert list(bars[0]) == ["date", "open", "high", "low", "close"]
    assert (
        len(tiingo(market, "iex/AAPL/prices", resampleFreq="1min", startDate="2020-01-01")) == 2000
    )


def test_tiingo_wants_a_token_and_knows_what_it_does_not_know(market: httpx.Client) -> None:
    assert market.get("/tiingo/tiingo/daily/AAPL").status_code == 403
    refused = market.get("/tiingo/iex/AAPL", params={"token": "invalid"})
    assert refused.status_code == 401
    unknown = market.get("/tiingo/tiingo/daily/NOPE/prices", headers=TIINGO)
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not found."})


# Yahoo


def test_yahoo_has_parallel_arrays_with_noise_and_holes(market: httpx.Client) -> None:
    result = yahoo(
        market, "AAPL", interval="5m", period1=int(TRADING - 30 * DAY_S), period2=int(TRADING)
    )
    quote = result["indicators"]["quote"][0]
    assert {len(quote[name]) for name in quote} == {len(result["timestamp"])}
    assert None in quote["close"]
    assert quote["close"][-1] is not None
    assert any(len(str(price)) > 10 for price in quote["close"])
    assert result["meta"]["dataGranularity"] == "5m"


def test_a_yahoo_day_is_stamped_with_the_opening_of_its_session(market: httpx.Client) -> None:
    result = yahoo(market, "BKNG", interval="1d", range="1y", events="div,splits")
    assert result["timestamp"][-1] == datetime(2026, 11, 23, 14, 30, tzinfo=UTC).timestamp()
    closes = [price for price in result["indicators"]["quote"][0]["close"] if price]
    assert max(closes) / min(closes) < 5
    (split,) = result["events"]["splits"].values()
    assert (split["splitRatio"], split["numerator"]) == ("25:1", 25)
    paying = yahoo(market, "AAPL", interval="1d", range="1y")["indicators"]
    assert paying["adjclose"][0]["adjclose"][0] < paying["quote"][0]["close"][0]


def test_a_yahoo_weekend_has_neither_times_nor_prices(market: httpx.Client) -> None:
    sunday = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    result = yahoo(market, "AAPL", interval="1m", period1=int(sunday), period2=int(sunday) + 40_000)
    assert "timestamp" not in result
    assert result["indicators"]["quote"] == [{}]


@pytest.mark.parametrize(
    ("interval", "days_back", "days", "text"),
    [
        ("1m", 9, 9, "Only 8 days"),
        ("1m", 31, 1, "last 30 days"),
        ("15m", 61, 1, "last 60 days"),
        ("1h", 731, 1, "last 730 days"),
        ("7m", 1, 1, "not supported"),
    ],
)
def test_yahoo_refuses_what_reaches_too_far(
    market: httpx.Client, interval: str, days_back: int, days: int, text: str
) -> None:
    start = int(TRADING - days_back * DAY_S)
    query: dict[str, Any] = {
        "interval": interval,
        "period1": start,
        "period2": start + days * DAY_S,
    }
    answer = market.get("/yahoo/v8/finance/chart/AAPL", params=query)
    assert answer.status_code == 422
    assert text in answer.json()["chart"]["error"]["description"]


def test_yahoo_knows_classes_of_shares_by_a_dash_and_nothing_unknown(market: httpx.Client) -> None:
    assert yahoo(market, "BRK-B")["meta"]["symbol"] == "BRK-B"
    for symbol in ("BRK.B", "NOPE", "FB", "TWTR"):
        answer = market.get(f"/yahoo/v8/finance/chart/{symbol}")
        assert answer.status_code == 404
        error = answer.json()["chart"]["error"]
        assert error["description"] == "No data found, symbol may be delisted"


# Renamed and delisted


def test_a_renamed_stock_has_its_old_ticker_until_the_day(market: httpx.Client) -> None:
    def tickers() -> set[str]:
        return {row["symbol"] for row in twelve(market, "stocks")["data"]} & {"FB", "META"}

    aim(market, datetime(2022, 6, 8, 18, tzinfo=UTC))
    assert tickers() == {"FB"}
    before = float(twelve(market, "quote", symbol="FB")["close"])
    aim(market, datetime(2022, 6, 9, 18, tzinfo=UTC))
    assert tickers() == {"META"}
    quote = twelve(market, "quote", symbol="META")
    assert float(quote["previous_close"]) == pytest.approx(before, rel=0.05)
    history = twelve(market, symbol="META", interval="1day", outputsize=500)["values"]
    assert history[-1]["datetime"] < "2021"


def test_a_delisted_stock_leaves_the_catalogue_after_its_last_day(market: httpx.Client) -> None:
    aim(market, datetime(2022, 10, 27, 18, tzinfo=UTC))
    assert market.get("/finnhub/api/v1/quote?symbol=TWTR").json()["c"] > 0
    aim(market, datetime(2022, 10, 31, 18, tzinfo=UTC))
    assert market.get("/finnhub/api/v1/quote?symbol=TWTR").json()["c"] == 0
    assert tiingo(market, "tiingo/daily/TWTR")["endDate"] == "2022-10-27"
    rows = tiingo(market, "tiingo/daily/TWTR/prices", startDate="2022-10-01")
    assert date.fromisoformat(rows[-1]["date"][:10]) == date(2022, 10, 27)
