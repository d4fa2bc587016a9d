from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.prices.sandbox.conftest import TRADING

DAY_S = 86_400
SYMBOL_FIELDS = (
    "currency description displaySymbol figi figiComposite isin mic shareClassFIGI symbol"
    " symbol2 type"
)
SATURDAY = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
HALF_DAYS_END = datetime(2026, 11, 27, 18, tzinfo=UTC).timestamp()


def get(client: httpx.Client, path: str, **query: Any) -> Any:
    response = client.get(path, params={name.rstrip("_"): value for name, value in query.items()})
    assert response.status_code == 200, response.text
    return response.json()


def candles(client: httpx.Client, symbol: str, resolution: str, days: float) -> Any:
    start, end = int(TRADING - days * DAY_S), int(TRADING) + 60
    query = {"symbol": symbol, "resolution": resolution, "from_": start, "to": end}
    return get(client, "stock/candle", **query)


def aim(market: httpx.Client, when: float) -> None:
    market.post("/_sandbox/clock", json={"now": when}).raise_for_status()


def test_a_quote_has_the_sources_eight_fields(finn: httpx.Client) -> None:
    quote = get(finn, "quote", symbol="AAPL")
    assert list(quote) == ["c", "d", "dp", "h", "l", "o", "pc", "t"]
    assert quote["l"] <= quote["c"] <= quote["h"]
    assert quote["d"] == pytest.approx(quote["c"] - quote["pc"], abs=0.006)
    assert quote["dp"] == pytest.approx(quote["d"] / quote["pc"] * 100, abs=0.001)
    assert abs(quote["t"] - TRADING) < 60


def test_the_quote_is_the_newest_bar(market: httpx.Client, finn: httpx.Client) -> None:
    market.post("/_sandbox/faults", json={"kind": "frozen"})
    for symbol in ("TSLA", "BRK.B", "STX", "BKNG"):
        quote, day = get(finn, "quote", symbol=symbol), candles(finn, symbol, "D", 10)
        minute = candles(finn, symbol, "1", 0.2)
        assert quote["c"] == day["c"][-1] == minute["c"][-1]
        assert (quote["h"], quote["l"], quote["o"]) == (day["h"][-1], day["l"][-1], day["o"][-1])
        assert quote["pc"] == day["c"][-2]


def test_an_unknown_stock_is_all_zeros_and_two_nulls(finn: httpx.Client) -> None:
    text = finn.get("quote", params={"symbol": "NOSUCH"}).text
    assert text == '{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}'


def test_on_a_closed_day_the_quote_is_that_of_the_last_close(
    market: httpx.Client, finn: httpx.Client
) -> None:
    aim(market, SATURDAY)
    first = get(finn, "quote", symbol="AAPL")
    aim(market, SATURDAY + 7200)
    assert get(finn, "quote", symbol="AAPL") == first
    assert first["t"] == HALF_DAYS_END


def test_listings_abroad_are_refused_but_found_by_search(finn: httpx.Client) -> None:
    for path in ("quote", "stock/profile2"):
        response = finn.get(path, params={"symbol": "SHOP.TO"})
        assert response.status_code == 403
        assert response.json() == {"error": "You don't have access to this resource."}
    found = [row["symbol"] for row in get(finn, "search", q="apple")["result"]]
    assert found[0] == "AAPL"
    assert "APC.DE" in found
    at_home = get(finn, "search", q="apple", exchange="US")["result"]
    assert all("." not in row["symbol"] for row in at_home)


def test_search_counts_and_escapes_as_the_source_does(finn: httpx.Client) -> None:
    response = finn.get("search", params={"q": "procter"})
    assert r"Procter \u0026 Gamble" in response.text
    assert response.json()["count"] == 1
    assert get(finn, "search", q="zzzzzz") == {"count": 0, "result": []}


@pytest.mark.parametrize(
    ("resolution", "step_s"),
    [("1", 60), ("5", 300), ("15", 900), ("30", 1800), ("60", 3600)],
)
def test_intraday_bars_start_with_the_session(
    finn: httpx.Client, resolution: str, step_s: int
) -> None:
    bars = candles(finn, "MSFT", resolution, 0.5)
    opening = datetime(2026, 11, 23, 14, 30, tzinfo=UTC).timestamp()
    assert bars["s"] == "ok"
    assert bars["t"][0] == opening
    assert {b - a for a, b in pairwise(bars["t"])} == {step_s}
    assert len({len(bars[name]) for name in "chlotv"}) == 1


def test_intraday_bars_reach_back_a_month_a_call(finn: httpx.Client) -> None:
    bars = candles(finn, "MSFT", "30", 300)
    assert 28 * DAY_S < bars["t"][-1] - bars["t"][0] <= 31 * DAY_S
    daily = candles(finn, "MSFT", "D", 300)
    assert daily["t"][-1] - daily["t"][0] > 290 * DAY_S


def test_no_bars_are_told_by_a_word_alone(finn: httpx.Client) -> None:
    sunday = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    query = {"resolution": "5", "from_": int(sunday), "to": int(sunday) + DAY_S // 2}
    assert get(finn, "stock/candle", symbol="AAPL", **query) == {"s": "no_data"}
    assert get(finn, "stock/candle", symbol="NOSUCH", **query) == {"s": "no_data"}


def test_daily_bars_reach_back_decades_and_stop_at_no_split(finn: httpx.Client) -> None:
    bars = candles(finn, "BKNG", "D", 20_000)
    assert len(bars["t"]) > 6700
    steps = [b / a for a, b in pairwise(bars["c"])]
    assert max(steps) < 2
    assert min(steps) > 0.5


def test_a_wrong_resolution_is_refused(finn: httpx.Client) -> None:
    query: dict[str, Any] = {"symbol": "AAPL", "resolution": "240", "to": TRADING}
    assert finn.get("stock/candle", params=query).status_code == 422


def test_the_symbol_file_is_one_redirect_away_and_signed(
    market: httpx.Client, finn: httpx.Client
) -> None:
    response = finn.get("stock/symbol", params={"exchange": "US"})
    assert response.status_code == 302
    location = response.headers["location"]
    rows = httpx.get(location).json()
    assert {"AAPL", "TSLA", "MSFT", "BRK.B", "STX"} <= {row["symbol"] for row in rows}
    assert list(rows[0]) == SYMBOL_FIELDS.split()
    assert len(rows) > 110
    assert httpx.get(location.partition("&Signature")[0]).status_code == 403
    assert market.get("/_sandbox/calls").json()["keys_sent_to_file_host"] == 0


def test_a_key_sent_to_the_file_host_is_told_on(market: httpx.Client, finn: httpx.Client) -> None:
    finn.get(
        "stock/symbol",
        params={"exchange": "US"},
        headers={"x-finnhub-token": "secret"},
        follow_redirects=True,
    )
    assert market.get("/_sandbox/calls").json()["keys_sent_to_file_host"] == 1


def test_other_exchanges_are_not_ours_to_list(finn: httpx.Client) -> None:
    assert finn.get("stock/symbol", params={"exchange": "DE"}).status_code == 401


def test_profiles_tell_millions_and_nothing_of_the_unknown(finn: httpx.Client) -> None:
    profile = get(finn, "stock/profile2", symbol="AAPL")
    assert profile["exchange"] == "NASDAQ NMS - GLOBAL MARKET"
    price = get(finn, "quote", symbol="AAPL")["c"]
    worth = price * profile["shareOutstanding"]
    assert profile["marketCapitalization"] == pytest.approx(worth, rel=0.01)
    assert get(finn, "stock/profile2", symbol="NOSUCH") == {}


@pytest.mark.parametrize(
    ("when", "session", "is_open", "holiday"),
    [
        ("2026-11-23T18:00", "regular", True, None),
        ("2026-11-23T13:00", "pre-market", False, None),
        ("2026-11-23T22:00", "post-market", False, None),
        ("2026-11-23T06:00", None, False, None),
        ("2026-11-26T18:00", None, False, "Thanksgiving Day"),
    ],
)
def test_the_market_status_knows_the_part_of_the_day(
    market: httpx.Client,
    finn: httpx.Client,
    when: str,
    session: str | None,
    is_open: bool,
    holiday: str | None,
) -> None:
    aim(market, datetime.fromisoformat(when + "+00:00").timestamp())
    status = get(finn, "stock/market-status", exchange="US")
    assert status["session"] == session
    assert status["isOpen"] is is_open
    assert status["holiday"] == holiday


def test_holidays_come_newest_first_with_their_hours(finn: httpx.Client) -> None:
    answer = get(finn, "stock/market-holiday", exchange="US")
    rows = {row["atDate"]: row for row in answer["data"]}
    assert rows["2026-11-26"]["tradingHour"] == ""
    assert rows["2026-11-27"]["tradingHour"] == "09:30-13:00"
    assert list(rows) == sorted(rows, reverse=True)


def test_an_invalid_key_and_a_wrong_path_are_told_apart(finn: httpx.Client) -> None:
    refused = finn.get("quote", params={"symbol": "AAPL", "token": "invalid"})
    assert (refused.status_code, refused.json()) == (401, {"error": "Invalid API key."})
    assert finn.get("nowhere").status_code == 404


def test_the_free_plan_has_no_stock_candles(market: httpx.Client, finn: httpx.Client) -> None:
    market.post("/_sandbox/plan", json={"plan": "free"})
    query: dict[str, Any] = {"symbol": "AAPL", "resolution": "D", "from": 0, "to": TRADING}
    response = finn.get("stock/candle", params=query)
    assert response.status_code == 403
    assert response.json() == {"error": "You don't have access to this resource."}
    assert get(finn, "quote", symbol="AAPL")["c"] > 0
