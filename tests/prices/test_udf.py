"""TradingView's UDF as its adapter reads it: what it is sent, and what it is told goes wrong."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from redis import Redis

from prices.models import Asset
from prices.services import symbols
from prices.udf import asking
from tests.market import Sandbox
from tests.prices.rest import client, max_age

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

DAY_S = 86_400
NOW = int(time.time())


def ask(name: str, **query: Any) -> Any:
    return client().get(f"/api/udf/{name}", query)


def told(name: str, **query: Any) -> Any:
    response = ask(name, **query)
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/json"
    assert response["Access-Control-Allow-Origin"] == "*"
    return response.json()


def error(response: Any, status: int) -> Any:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    body = response.json()
    assert body["s"] == "error"
    assert body["errmsg"]
    return body


def bars(symbol: str, resolution: str = "1D", /, **query: Any) -> Any:
    query = {"from": NOW - 10 * DAY_S, "to": NOW + 1, **query}
    answer = told("history", symbol=symbol, resolution=resolution, **query)
    if answer["s"] == "ok":
        assert {len(column) for name, column in answer.items() if name != "s"} == {len(answer["t"])}
        assert answer["t"] == sorted(set(answer["t"]))
    return answer


def last_sunday() -> int:
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return int((today - timedelta(days=today.weekday() + 1)).timestamp())


def test_the_configuration_asks_for_search_and_not_for_groups() -> None:
    config = told("config")

    assert (config["supports_search"], config["supports_group_request"]) == (True, False)
    assert config["supported_resolutions"] == [
        *("1", "5", "15", "30", "60", "240", "1D", "1W", "1M")
    ]
    assert {"", "crypto", "stock"} == {one["value"] for one in config["symbols_types"]}
    assert {"", "COINGECKO", "US"} == {one["value"] for one in config["exchanges"]}
    assert config["supports_time"] is True
    assert max_age(ask("config")) == 300


def test_a_coin_is_traded_round_the_clock_with_the_decimals_of_its_price() -> None:
    coin = told("symbols", symbol="BTC")

    assert "s" not in coin
    assert (coin["ticker"], coin["name"], coin["full_name"]) == (
        *("coingecko:bitcoin", "BTC"),
        "COINGECKO:BTC",
    )
    assert (coin["session"], coin["timezone"], coin["type"]) == ("24x7", "Etc/UTC", "crypto")
    assert (coin["pricescale"], coin["minmov"]) == (100, 1)
    assert (coin["has_intraday"], coin["has_daily"]) == (True, True)
    assert "1" in coin["intraday_multipliers"]
    assert coin["visible_plots_set"] == "ohlcv"
    assert coin["data_status"] == "streaming"
    small = told("symbols", symbol="ELON")
    assert small["pricescale"] >= 10**11


def test_a_stock_has_new_york_s_sessions_holidays_and_early_closes() -> None:
    stock = told("symbols", symbol="stock:AAPL")

    assert (stock["ticker"], stock["full_name"]) == ("stock:AAPL", "US:AAPL")
    assert (stock["session"], stock["timezone"]) == ("0930-1600", "America/New_York")
    assert (stock["pricescale"], stock["type"]) == (100, "stock")
    assert {"20261126", "20261225"} <= set(stock["session_holidays"].split(","))
    assert "0930-1300:20261127" in stock["corrections"].split(";")
    assert "20261127" not in stock["session_holidays"]


@pytest.mark.usefixtures("alone")
def test_only_what_can_be_had_is_promised() -> None:
    coin = told("symbols", symbol="BTC")

    assert coin["supported_resolutions"] == ["30", "240", "1D", "1W", "1M"]
    assert coin["intraday_multipliers"] == ["30", "240"]
    assert coin["visible_plots_set"] == "ohlc"


def test_a_symbol_that_is_not_known_is_told_in_the_words_the_adapter_knows() -> None:
    for asked in ("NOPE", "B$C", "", "US:NOPE", "COINGECKO:NOPE", "X:Y:Z"):
        response = ask("symbols", symbol=asked)
        assert response.status_code in {400, 404}
        assert error(response, response.status_code)["errmsg"] == "unknown_symbol"


def test_a_symbol_may_be_called_as_people_and_pages_call_it() -> None:
    for asked, ref in (
        ("btc", "coingecko:bitcoin"),
        ("COINGECKO:BTC", "coingecko:bitcoin"),
        ("COINGECKO:BATCAT", "coingecko:batcat"),
        ("US:AAPL", "stock:AAPL"),
        ("NASDAQ:AAPL", "stock:AAPL"),
        ("BRK/B", "stock:BRK.B"),
        ("crypto:STX", "coingecko:blockstack"),
    ):
        assert asking.resolve(asked).asset.ref == ref


def test_every_hit_of_a_search_is_resolved_by_its_ticker_to_itself() -> None:
    found = told("search", query="STX", type="", exchange="", limit=30)

    assert {"stock:STX", "coingecko:blockstack"} <= {one["ticker"] for one in found}
    assert len({one["full_name"] for one in found}) == len(found)
    for one in found:
        for name in (one["ticker"], one["full_name"]):
            assert asking.resolve(name).asset.ref == one["ticker"]


def test_a_search_is_narrowed_by_type_and_exchange() -> None:
    def kinds(**filters: str) -> set[str]:
        return {one["type"] for one in told("search", query="STX", limit="30", **filters)}

    assert kinds(type="", exchange="") == {"crypto", "stock"}
    assert kinds(type="stock") == {"stock"}
    assert kinds(exchange="COINGECKO") == {"crypto"}
    assert kinds(type="stock", exchange="COINGECKO") == set()
    assert kinds(exchange="LSE") == set()


def test_a_search_for_nothing_and_one_that_finds_nothing_are_empty_lists() -> None:
    assert told("search", query="", type="", exchange="", limit="30") == []
    assert told("search", query="ZZZZZZZZZZ", type="", exchange="", limit="30") == []


def test_two_coins_of_one_ticker_have_charts_of_their_own() -> None:
    ours, other = bars("coingecko:bitcoin"), bars("coingecko:batcat")

    assert ours["c"][-1] > 1000 * other["c"][-1]


def test_a_span_ends_before_to_and_begins_with_from() -> None:
    until = NOW // DAY_S * DAY_S - 3 * DAY_S

    answer = bars("BTC", **{"from": until - 2 * DAY_S, "to": until})

    assert answer["t"] == [until - 2 * DAY_S, until - DAY_S]


def test_countback_outranks_from() -> None:
    until = NOW // DAY_S * DAY_S - 3 * DAY_S

    answer = bars("BTC", **{"from": until - DAY_S, "to": until, "countback": 300})

    assert len(answer["t"]) == 300
    assert answer["t"][-1] == until - DAY_S


@pytest.mark.parametrize("symbol", ["BTC", "AAPL"])
def test_countback_gives_as_many_bars_as_it_says_at_every_width(symbol: str) -> None:
    for resolution in ("1", "60", "1D", "1W", "1M"):
        for count in (2, 90):
            assert len(bars(symbol, resolution, countback=count)["t"]) == count


def test_a_chart_scrolled_back_beyond_its_series_is_given_a_longer_one() -> None:
    first = bars("AAPL", countback=200)["t"][0]

    older = bars("AAPL", **{"from": first - 300 * DAY_S, "to": first, "countback": 200})

    assert len(older["t"]) == 200
    assert older["t"][-1] < first


def test_two_bars_are_told_of_a_stock_at_the_weekend_and_none_is_of_the_weekend() -> None:
    sunday = last_sunday()

    pulse = bars("AAPL", **{"from": sunday - 10 * DAY_S, "to": sunday, "countback": 2})

    assert len(pulse["t"]) == 2
    months = bars("AAPL", "1M", countback=24)["t"]
    days = bars("AAPL", countback=250)["t"]
    assert {datetime.fromtimestamp(at, UTC).weekday() for at in [*days, *months]} <= set(range(5))


@pytest.mark.parametrize("symbol", ["BTC", "stock:AAPL"])
def test_a_bar_s_own_time_as_to_leaves_it_out_and_as_from_begins_with_it(symbol: str) -> None:
    for resolution in ("1D", "1M"):
        times = bars(symbol, resolution, countback=8)["t"]
        # Of eight months in a row at least one begins on a day without trade.
        for before, at in pairwise(times):
            paged = bars(symbol, resolution, to=at, countback=2)["t"]
            assert (paged[-1], len(paged)) == (before, 2)
            assert bars(symbol, resolution, **{"from": at, "to": at + 1})["t"] == [at]
        gap = {"from": times[3] + 1, "to": times[4]}
        assert bars(symbol, resolution, **gap) == {"s": "no_data", "nextTime": times[3]}


def test_no_bars_in_a_span_are_told_with_the_time_of_the_nearest_before() -> None:
    sunday = last_sunday()
    midnight = sunday - sunday % DAY_S

    answer = bars("AAPL", **{"from": midnight, "to": midnight + DAY_S})

    friday = datetime.fromtimestamp(answer["nextTime"], UTC)
    assert answer["s"] == "no_data"
    assert (friday.weekday() <= 4, friday.hour) == (True, 0)
    assert datetime.fromtimestamp(midnight, UTC) - friday <= timedelta(days=4)


def test_before_the_first_bar_there_is_nothing_to_scroll_to() -> None:
    assert bars("BTC", **{"from": 0, "to": DAY_S, "countback": 10}) == {"s": "no_data"}


def test_what_cannot_be_meant_is_an_error() -> None:
    asked = {"symbol": "BTC", "from": NOW - DAY_S, "to": NOW}
    error(ask("history", resolution="3", **asked), 400)
    error(ask("history", resolution="1D", symbol="BTC"), 400)


@pytest.mark.usefixtures("alone")
def test_a_width_that_cannot_be_had_is_an_error() -> None:
    asked = {"symbol": "BTC", "resolution": "1", "to": NOW, "countback": 2}
    assert error(ask("history", **asked), 409)["code"] == "resolution_unavailable"


@pytest.mark.usefixtures("alone")
def test_bars_without_volume_have_no_column_of_it() -> None:
    assert "v" not in bars("BTC", "30", countback=5)
    assert all(volume > 0 for volume in bars("AAPL", countback=5)["v"])


def test_a_source_that_is_down_is_an_error_and_never_no_data(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    bars("SOL", countback=2)
    sandbox.fault("status", status=500)

    assert error(ask("history", symbol="ETH", resolution="1D", to=NOW, countback=2), 503)
    # With an old copy there are bars; where that has none, nobody knows that there are none.
    redis_client.delete("ohlcv:SOL:1y:D")
    assert bars("SOL", countback=2)["s"] == "ok"
    span = {"from": NOW + 50, "to": NOW + 100}
    error(ask("history", symbol="SOL", resolution="1D", **span), 503)


def test_a_symbol_can_be_told_of_while_its_source_is_down(sandbox: Sandbox) -> None:
    sandbox.fault("status", status=500)

    coin = told("symbols", symbol="ETH")

    assert coin["pricescale"] == 10**8
    assert coin["data_status"] == "endofday"


def test_six_polls_of_a_chart_cost_no_call_more_than_the_first(sandbox: Sandbox) -> None:
    bars("BTC", "5", countback=300)
    before = sandbox.count()

    for _ in range(6):
        bars("BTC", "5", **{"from": NOW - 3000, "countback": 2})

    assert sandbox.count() == before


def test_the_open_bar_follows_the_quote_that_is_newer_than_its_series(
    redis_client: Redis,
) -> None:
    bars("BTC", countback=2)
    aged = json.loads(redis_client.get("ohlcv:BTC:1y:D") or "")
    aged["fetched_at"] = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    aged["candles"][-1] |= {"high": 2.0, "low": 1.0, "close": 1.5, "open": 1.5}
    redis_client.set("ohlcv:BTC:1y:D", json.dumps(aged), ex=600)

    pulse = bars("BTC", countback=2)

    price = told("quotes", symbols="BTC")["d"][0]["v"]["lp"]
    assert (pulse["h"][-1], pulse["l"][-1], pulse["c"][-1]) == (price, 1.0, price)


def test_quotes_name_each_symbol_as_it_was_asked_for_and_hold_what_is_known() -> None:
    asked = "btc,US:AAPL,coingecko:batcat,NOPE"

    answer = told("quotes", symbols=asked)

    items = {item["n"]: item for item in answer["d"]}
    assert answer["s"] == "ok"
    assert list(items) == asked.split(",")
    assert items["NOPE"] == {"s": "error", "n": "NOPE", "v": {}}
    coin, stock = items["btc"]["v"], items["US:AAPL"]["v"]
    assert (coin["short_name"], stock["short_name"]) == ("BTC", "AAPL")
    assert stock["lp"] - stock["ch"] == pytest.approx(stock["prev_close_price"])
    assert {"ask", "bid", "spread", "open_price"}.isdisjoint(coin | stock)
    assert None not in [*coin.values(), *stock.values()]


def test_a_watch_list_without_symbols_is_answered() -> None:
    assert told("quotes", symbols="") == {"s": "ok", "d": []}
    assert told("quotes") == {"s": "ok", "d": []}


def test_quotes_that_nobody_can_give_are_an_error(sandbox: Sandbox) -> None:
    sandbox.fault("status", status=500)

    error(ask("quotes", symbols="BTC,AAPL"), 503)
    error(ask("quotes", symbols=",".join(f"A{n}" for n in range(101))), 400)


def test_the_time_is_a_bare_number_that_no_cache_keeps() -> None:
    response = ask("time")

    assert abs(int(response.content) - time.time()) < 60
    assert response["Cache-Control"] == "no-store"


def test_what_is_not_there_is_an_error_as_json() -> None:
    for path in ("", "/", "/marks", "/symbol_info", "/config/", "/history/x"):
        assert error(client().get(f"/api/udf{path}"), 404)["code"] == "not_found"


def test_other_methods_hosts_and_faults_of_ours_are_errors_as_json(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error(client().post("/api/udf/config"), 405)
    error(client().get("/api/udf/config", headers={"host": "elsewhere.example"}), 400)
    headers = {"Cache-Control": "only-if-cached"}
    error(client().get("/api/udf/config", headers=headers), 504)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(asking, "resolve", broken)
    assert error(ask("symbols", symbol="BTC"), 500)["code"] == "internal_error"


def test_whatever_a_page_accepts_it_is_sent_json() -> None:
    response = client().get("/api/udf/config", headers={"Accept": "text/html"})

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")


def test_caches_keep_bars_for_seconds_and_what_a_symbol_is_for_a_minute() -> None:
    query: dict[str, Any] = {"symbol": "BTC", "resolution": "1D", "to": NOW, "countback": 2}
    ask("history", **query)

    assert 0 < max_age(ask("history", **query)) <= 5
    assert 0 < max_age(ask("quotes", symbols="BTC")) <= 5
    assert 0 < max_age(ask("symbols", symbol="BTC")) <= 60
    tag = ask("history", **query)["ETag"]
    again = client().get("/api/udf/history", query, headers={"If-None-Match": tag})
    assert again.status_code == 304


def test_what_was_delisted_still_has_its_days() -> None:
    asset = Asset.objects.get(ref="stock:AAPL")
    bars("AAPL", countback=5)
    Asset.objects.filter(pk=asset.pk).update(
        is_active=False, last_day=datetime.now(UTC).date() - timedelta(days=7)
    )
    symbols.hear()

    stock = told("symbols", symbol="stock:AAPL")

    assert stock["data_status"] == "endofday"
    assert stock["supported_resolutions"] == ["1D", "1W", "1M"]
    assert len(bars("stock:AAPL", countback=20)["t"]) == 20
