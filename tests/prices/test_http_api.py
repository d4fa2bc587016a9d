"""The REST API as a client sees it: Django and DRF, a real Redis, the sandbox over HTTP."""

from __future__ import annotations

import functools
import json
import time
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.test import Client
from redis import Redis

from prices import cache
from prices.answers import QuoteAnswer
from prices.models import Asset
from tests.market import Sandbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

ROOT = "/api/v1/prices"
ENVELOPE = {"source", "as_of", "fetched_at", "cached", "stale", "currency"}
QUOTE = ENVELOPE | {
    *("symbol", "ref", "name", "kind", "price", "change", "change_percent", "high", "low"),
    *("volume", "market_cap", "last_updated", "change_basis", "volume_basis", "alternatives"),
    *("quote_currency", "fallback_from", "freshness", "market", "session", "disputed"),
}
SERIES = ENVELOPE | {
    *("success", "symbol", "ref", "period", "resolution", "count", "from", "to", "truncated"),
    *("truncated_by", "available_from", "volume_basis", "alternatives"),
    *("quote_currency", "fallback_from", "freshness", "market", "adjustment", "segments"),
}
ASSET = {
    *("id", "ref", "symbol", "name", "image", "current_price", "market_cap", "market_cap_rank"),
    *("total_volume", "high_24h", "low_24h", "price_change_24h", "price_change_percentage_24h"),
    *("circulating_supply", "total_supply", "max_supply", "ath", "ath_change_percentage"),
    *("ath_date", "atl", "atl_change_percentage", "atl_date", "last_updated"),
}


@functools.cache
def client() -> Client:
    """Return one client for all tests: the first request of each loads every middleware."""
    return Client()


def get(path: str, **query: Any) -> Any:
    return client().get(f"{ROOT}{path}", query)


def ok(path: str, **query: Any) -> Any:
    response = get(path, **query)
    assert response.status_code == 200, response.content
    return response.json()


def problem(response: Any, status: int, code: str) -> Any:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert {"type", "title", "detail", "instance", "request_id", "errors"} <= body.keys()
    return body


def test_a_coin_s_quote_has_every_field_of_the_contract() -> None:
    quote = ok("/btc")

    assert quote.keys() == QUOTE
    assert (quote["symbol"], quote["ref"], quote["kind"]) == ("BTC", "coingecko:bitcoin", "crypto")
    assert (quote["source"], quote["currency"]) == ("sandbox", "USD")
    assert quote["low"] <= quote["price"] <= quote["high"]
    assert (quote["change_basis"], quote["volume_basis"]) == ("24h", "24h_currency")
    assert quote["last_updated"] == quote["as_of"]


def test_a_stock_s_quote_says_what_its_source_does_not_give_as_null() -> None:
    quote = ok("/AAPL")

    assert quote.keys() == QUOTE
    assert (quote["volume"], quote["market_cap"], quote["volume_basis"]) == (None, None, None)
    assert quote["change_basis"] == "previous_close"


@pytest.mark.parametrize(
    ("asked", "symbol"),
    [
        ("BRK-B", "BRK.B"),
        ("BRK/B", "BRK.B"),
        ("BRK%2FB", "BRK.B"),
        ("crypto:btc", "BTC"),
        ("stock:STX", "stock:STX"),
        ("STX", "STX"),
        ("coingecko:bitcoin", "BTC"),
        ("coingecko%3Abitcoin", "BTC"),
    ],
)
def test_every_form_of_a_symbol_is_accepted_in_a_path(asked: str, symbol: str) -> None:
    assert ok(f"/{asked}")["symbol"] == symbol


@pytest.mark.parametrize(
    ("period", "step_s", "count"),
    [("1d", 300, 288), ("1w", 3600, 168), ("1m", 3600, 720), ("3m", 3600, 2160)],
)
def test_a_coin_s_history_has_the_points_its_period_promises(
    period: str, step_s: int, count: int
) -> None:
    series = ok("/BTC/history", period=period)

    assert series.keys() == SERIES | {"data"}
    stamps = [point["timestamp"] for point in series["data"]]
    assert stamps == sorted(set(stamps))
    assert abs(series["count"] - count) <= (0 if period == "1w" else 1)
    assert len(stamps) == series["count"]
    assert (series["from"], series["to"]) == (stamps[0], stamps[-1])
    assert abs((stamps[-1] - stamps[0]) - (count - 1) * step_s) < 2 * step_s
    assert series["volume_basis"] == "rolling_24h"
    assert series["truncated"] is False


@pytest.mark.parametrize("period", ["6m", "1y", "5y", "all", "ALL", "1Y"])
@pytest.mark.parametrize("symbol", ["BTC", "AAPL"])
def test_long_periods_are_daily_and_period_all_works(symbol: str, period: str) -> None:
    series = ok(f"/{symbol}/history", period=period)

    assert series["period"] == period.lower()
    steps = {
        later["timestamp"] - earlier["timestamp"]
        for earlier, later in zip(series["data"], series["data"][1:], strict=False)
    }
    assert min(steps) > 43_000
    assert all(point["price"] > 0 for point in series["data"])


@pytest.mark.usefixtures("alone")
def test_candle_times_are_opening_times_and_missing_volume_is_null() -> None:
    series = ok("/BTC/ohlcv", period="1w")
    now = time.time()

    assert series.keys() == SERIES | {"origin", "coverage", "dropped", "candles"}
    assert (series["resolution"], series["origin"], series["volume_basis"]) == (
        "240",
        "provider",
        None,
    )
    bars = series["candles"]
    assert {bar["timestamp"] % 14_400 for bar in bars} == {0}
    assert bars[-1]["timestamp"] <= now < bars[-1]["timestamp"] + 14_400
    assert [bar["closed"] for bar in bars] == [True] * (len(bars) - 1) + [False]
    assert {bar["volume"] for bar in bars} == {None}
    assert all(b["low"] <= min(b["open"], b["close"]) for b in bars)
    assert all(b["high"] >= max(b["open"], b["close"]) for b in bars)


@pytest.mark.usefixtures("alone")
def test_daily_candles_of_a_coin_are_made_of_hourly_points() -> None:
    series = ok("/ETH/ohlcv", period="1y")

    assert (series["resolution"], series["origin"]) == ("D", "derived")
    assert series["count"] in {365, 366}
    assert {bar["timestamp"] % 86_400 for bar in series["candles"]} == {0}


@pytest.mark.usefixtures("alone")
def test_days_that_are_over_are_asked_for_once(sandbox: Sandbox, redis_client: Redis) -> None:
    ok("/ETH/ohlcv", period="1y")
    first = _range_calls(sandbox)
    redis_client.delete("ohlcv:ETH:1y")

    ok("/ETH/ohlcv", period="1y")

    assert first == 5
    assert _range_calls(sandbox) - first == 1


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    weeks = ok("/BTC/ohlcv", period="1y", resolution="1W")["candles"]
    months = ok("/BTC/ohlcv", period="1y", resolution="1M")["candles"]

    assert {time.gmtime(bar["timestamp"]).tm_wday for bar in weeks} == {0}
    assert {time.gmtime(bar["timestamp"]).tm_mday for bar in months} == {1}


@pytest.mark.usefixtures("alone")
def test_a_named_resolution_is_given_exactly_or_refused_with_what_there_is() -> None:
    assert ok("/BTC/ohlcv", period="1d", resolution="30m")["resolution"] == "30"

    body = problem(get("/BTC/ohlcv", period="1d", resolution="1m"), 409, "resolution_unavailable")

    assert body["available"] == ["30", "240", "D", "W", "M"]


def test_stock_candles_come_in_every_resolution_with_volume_in_shares() -> None:
    for resolution in ("1", "5", "15", "30", "60", "240", "D", "W", "M"):
        series = ok("/TSLA/ohlcv", period="1m", resolution=resolution)
        assert series["resolution"] == resolution
        assert all(bar["volume"] > 0 for bar in series["candles"])
        assert series["volume_basis"] == "bar_shares"


def test_a_young_coin_s_series_says_since_when_it_is_listed() -> None:
    series = ok("/coingecko:sandbox-newcomer/history", period="1y")

    assert (series["truncated"], series["truncated_by"]) == (True, "listing")
    assert series["available_from"] == series["data"][0]["timestamp"]


def test_a_top_list_is_cut_from_one_stored_list(sandbox: Sandbox, redis_client: Redis) -> None:
    top = ok("/crypto/top", limit=5)
    calls = sandbox.count()
    second = ok("/crypto/top", limit=5, page=2)

    assert (top["count"], top["page"], top["limit"], top["has_more"]) == (5, 1, 5, True)
    assert all(row.keys() == ASSET for row in top["cryptos"])
    ranks = [row["market_cap_rank"] for row in top["cryptos"] + second["cryptos"]]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 10
    assert sandbox.count() == calls
    assert 3500 < redis_client.ttl("crypto:top:5") <= 3600
    assert json.loads(redis_client.get("crypto:top:5") or "")["cryptos"] == top["cryptos"]
    assert not redis_client.keys("crypto:top:5:*")


@pytest.mark.parametrize(
    ("limit", "page", "has_more"),
    [(300, 1, False), (100, 3, False), (100, 2, True), (1, 300, False)],
)
def test_pages_of_the_top_list_end_at_three_hundred(limit: int, page: int, has_more: bool) -> None:
    top = ok("/crypto/top", limit=limit, page=page)

    assert (top["count"], top["has_more"]) == (limit, has_more)


@pytest.mark.parametrize(
    "query", [{"limit": 301}, {"limit": 0}, {"limit": 100, "page": 4}, {"limit": "x"}, {"page": 0}]
)
def test_a_top_list_beyond_three_hundred_is_refused(query: dict[str, Any]) -> None:
    problem(get("/crypto/top", **query), 400, "invalid_parameter")


def test_a_search_gives_the_query_back_as_sent_and_finds_every_doge() -> None:
    found = ok("/crypto/search", q="  DoGe ", limit=50)

    assert found["query"] == "  DoGe "
    names = [row["name"] for row in found["results"]]
    assert names[0] == "Dogecoin"
    assert {"Dogelon Mars", "Baby Doge Coin"} <= set(names)
    assert all(row.keys() == ASSET for row in found["results"])


def test_a_search_asks_for_each_folded_query_once(sandbox: Sandbox) -> None:
    ok("/crypto/search", q="doge")
    calls = sandbox.count()

    assert ok("/crypto/search", q="DOGE ")["cached"] is True
    assert sandbox.count() == calls


def test_a_search_that_finds_nothing_is_an_empty_list() -> None:
    found = ok("/crypto/search", q="no such coin anywhere")

    assert (found["count"], found["results"]) == (0, [])


def test_symbols_of_both_kinds_are_found_by_name_and_ticker() -> None:
    found = ok("/symbols/search", q="app")["results"]
    stocks = ok("/symbols/search", q="app", kind="stock")["results"]

    assert {"symbol", "ref", "name", "kind", "exchange"} == found[0].keys()
    assert {"crypto", "stock"} == {row["kind"] for row in found}
    assert "AAPL" in [row["symbol"] for row in stocks]
    assert {row["kind"] for row in stocks} == {"stock"}


def test_a_coin_keeps_its_id_when_the_catalogue_comes_from_the_cache() -> None:
    first, second = ok("/crypto/mapping"), ok("/crypto/mapping")

    assert (first["cached"], second["cached"]) == (False, True)
    assert first["mapping"] == second["mapping"]
    assert second["mapping"]["BTC"] == "bitcoin"
    assert ok("/crypto:BTC")["ref"] == "coingecko:bitcoin"


def test_a_batch_keeps_order_folds_doubles_and_names_what_failed(sandbox: Sandbox) -> None:
    dead = "coingecko:01coin"
    body = {"symbols": ["eth", "BTC", "AAPL", "btc", "NOPE", "$x", dead, "coingecko:solana"]}

    batch = client().post(f"{ROOT}/batch", body, content_type="application/json").json()

    assert list(batch["data"]) == ["ETH", "BTC", "AAPL", "SOL"]
    assert batch["failed"]["NOPE"] == "unknown_symbol"
    assert batch["failed"]["$x"] == "invalid_symbol"
    assert "not_found" in batch["failed"].values()
    assert batch["resolved"]["coingecko:solana"] == "SOL"
    assert all(quote.keys() == QUOTE for quote in batch["data"].values())
    assert (batch["success"], batch["count"], batch["api_calls"]) == (True, 4, 2)


def test_one_coin_without_a_price_does_not_spoil_a_batch() -> None:
    batch = ok("", symbols="BTC,coingecko:01coin,ETH")

    assert list(batch["data"]) == ["BTC", "ETH"]
    assert list(batch["failed"].values()) == ["not_found"]


def test_a_batch_of_known_quotes_costs_no_upstream_call() -> None:
    ok("", symbols="BTC,ETH")

    again = ok("", symbols="BTC,ETH")

    assert (again["api_calls"], again["cache_hits"], again["cached"]) == (0, 2, True)


@pytest.mark.parametrize(
    "body",
    [
        {"symbols": []},
        {"symbols": [f"S{n}" for n in range(101)]},
        {"symbols": "BTC"},
        {"symbols": [1, None]},
        {"symbols": [["BTC"]]},
        {},
        [],
        "BTC",
    ],
    ids=["none", "too many", "text", "numbers", "nested", "no list", "a list", "a string"],
)
def test_a_batch_of_another_shape_is_refused(body: Any) -> None:
    response = client().post(f"{ROOT}/batch", json.dumps(body), content_type="application/json")

    assert problem(response, 400, "invalid_parameter")["errors"]


@pytest.mark.parametrize(
    ("data", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_parameter"),
        (b"[" * 60_000, "application/json", 400, "invalid_parameter"),
        (b"\xff\xfe", "application/json", 400, "invalid_parameter"),
        (b"symbols=BTC", "text/plain", 415, "unsupported_media_type"),
        (b'{"symbols": ["' + b"A" * 70_000 + b'"]}', "application/json", 413, "too_large"),
    ],
    ids=["broken", "deep", "not utf-8", "form", "large"],
)
def test_a_body_that_cannot_be_read_is_refused(
    data: bytes, content_type: str, status: int, code: str
) -> None:
    response = client().post(f"{ROOT}/batch", data, content_type=content_type)

    problem(response, status, code)


@pytest.mark.parametrize(
    "path",
    ["/stream", "/crypto", "/crypto/what", "/symbols", "/batch/", "/BTC/", "/BTC/what", "/a/b/c"],
)
def test_an_address_that_is_none_is_not_found_and_not_redirected(path: str) -> None:
    problem(get(path), 404, "not_found")


def test_a_coin_called_like_a_word_of_the_path_is_reached_by_its_kind() -> None:
    assert ok("/crypto:STREAM")["symbol"] == "STREAM"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", f"{ROOT}/BTC", 405, "method_not_allowed"),
        ("GET", f"{ROOT}/batch", 405, "method_not_allowed"),
        ("DELETE", f"{ROOT}/crypto/top", 405, "method_not_allowed"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/", 404, "not_found"),
    ],
)
@pytest.mark.parametrize("debug", [True, False])
def test_http_s_own_errors_are_problems_too(
    settings: Any, method: str, path: str, status: int, code: str, debug: bool
) -> None:
    settings.DEBUG = debug

    problem(client().generic(method, path), status, code)


def test_a_format_we_do_not_speak_is_not_acceptable() -> None:
    problem(client().get(f"{ROOT}/BTC", headers={"Accept": "text/csv"}), 406, "not_acceptable")


def test_a_request_id_comes_back_and_a_strange_one_is_replaced() -> None:
    kept = client().get(f"{ROOT}/NOPE", headers={"X-Request-ID": "mine-1"})
    replaced = client().get(f"{ROOT}/NOPE", headers={"X-Request-ID": "<script>"})

    assert (kept["X-Request-ID"], kept.json()["request_id"]) == ("mine-1", "mine-1")
    assert replaced["X-Request-ID"] not in {"<script>", ""}


def test_an_answer_can_be_asked_for_again_by_its_tag() -> None:
    ok("/BTC/history", period="1w")
    first = get("/BTC/history", period="1w")
    again = client().get(f"{ROOT}/BTC/history?period=1w", headers={"If-None-Match": first["ETag"]})

    assert first["ETag"].startswith('"')
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    assert again["Cache-Control"] == first["Cache-Control"]


def test_answers_say_how_long_they_live_and_quotes_at_most_five_seconds() -> None:
    ok("/BTC/history", period="1w")
    ok("/BTC")

    series, quote = get("/BTC/history", period="1w"), get("/BTC")

    assert max_age(series) in range(1700, 1801)
    assert max_age(quote) in range(6)
    assert (series["X-Cache"], quote["X-Cache"]) == ("HIT", "HIT")
    assert get("/ETH")["X-Cache"] == "MISS"


def test_a_forced_refresh_asks_once_in_fifteen_seconds_and_is_kept_by_no_cache(
    sandbox: Sandbox,
) -> None:
    ok("/BTC")
    _age(ref="BTC", by_s=20)
    calls = sandbox.count()

    first = get("/BTC", force_refresh="true")
    second = get("/BTC", force_refresh="true")

    assert sandbox.count() == calls + 1
    assert (first.json()["cached"], second.json()["cached"]) == (False, True)
    assert first["Cache-Control"] == second["Cache-Control"] == "no-store"


def test_any_page_may_ask_and_no_cache_keeps_a_copy_for_each() -> None:
    response = client().get(f"{ROOT}/BTC", headers={"Origin": "http://localhost:3000"})
    preflight = client().options(
        f"{ROOT}/batch",
        headers={
            "Origin": "https://a.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )

    assert response["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response
    assert "origin" not in response.get("Vary", "").lower()
    exposed = {name.strip() for name in response["Access-Control-Expose-Headers"].split(",")}
    assert {"ETag", "Age", "X-Cache", "Retry-After", "X-Request-ID"} <= exposed
    assert preflight["Access-Control-Allow-Origin"] == "*"
    assert "POST" in preflight["Access-Control-Allow-Methods"]


def test_an_answer_to_no_origin_may_be_kept_for_every_page() -> None:
    assert client().get(f"{ROOT}/BTC")["Access-Control-Allow-Origin"] == "*"


def test_only_reading_is_answered_with_not_modified() -> None:
    ok("", symbols="BTC")
    body = {"symbols": ["BTC"]}
    first = client().post(f"{ROOT}/batch", body, content_type="application/json")

    again = client().post(
        f"{ROOT}/batch",
        body,
        content_type="application/json",
        headers={"If-None-Match": first["ETag"]},
    )

    assert again.status_code == 200


def test_a_pin_changes_what_a_ticker_answers_at_once(redis_client: Redis) -> None:
    assert ok("/BTC")["ref"] == "coingecko:bitcoin"
    assert ok("/BTC/history", period="1d")["ref"] == "coingecko:bitcoin"

    Asset.objects.filter(coingecko_id="batcat").update(pinned=True)

    assert redis_client.get("price:BTC") is not None
    assert ok("/BTC")["ref"] == "coingecko:batcat"
    assert ok("/BTC/history", period="1d")["ref"] == "coingecko:batcat"


def test_redis_shows_the_keys_of_the_contract_as_json_with_their_lives(
    redis_client: Redis,
) -> None:
    ok("/BTC")
    ok("/BTC/history", period="1w")
    ok("/BTC/ohlcv", period="1w")
    ok("/BTC/ohlcv", period="1w", resolution="D")
    ok("/crypto/top", limit=10)
    ok("/stock:STX")

    lives = {
        "price:BTC": 60,
        "price:stock:STX": 60,
        "history:BTC:1w": 1800,
        "ohlcv:BTC:1w": 1800,
        "ohlcv:BTC:1w:D": 1800,
        "crypto:top:10": 3600,
    }
    for key, life in lives.items():
        body = json.loads(redis_client.get(key) or "")
        assert (body["cached"], body["stale"], body["source"]) == (True, False, "sandbox")
        assert life - 10 < redis_client.ttl(key) <= life


def _range_calls(sandbox: Sandbox) -> int:
    return sandbox.count("/coingecko/api/v3/coins/ethereum/market_chart/range")


def max_age(response: Any) -> int:
    assert response["Cache-Control"].startswith("public, max-age=")
    return int(response["Cache-Control"].partition("max-age=")[2])


def _age(ref: str, by_s: float) -> None:
    """Make a quote that is held older."""
    held = cache.read(cache.price_key(ref), QuoteAnswer)
    assert held is not None
    older = held.value.fetched_at - timedelta(seconds=by_s)
    cache.store(
        cache.price_key(ref), msgspec.structs.replace(held.value, fetched_at=older), held.life_s
    )
