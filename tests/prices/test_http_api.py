"""What holds for every answer of the REST API: Django and DRF, a real Redis, the sandbox."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from redis import Redis

from prices import cache
from prices.answers import QuoteAnswer
from prices.models import Asset
from tests.market import Sandbox
from tests.prices.rest import ROOT, client, get, max_age, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


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
    ["/crypto", "/crypto/what", "/symbols", "/batch/", "/BTC/", "/BTC/what", "/a/b/c"],
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


def _age(ref: str, by_s: float) -> None:
    """Make a quote that is held older."""
    held = cache.read(cache.price_key(ref), QuoteAnswer)
    assert held is not None
    older = held.value.fetched_at - timedelta(seconds=by_s)
    cache.store(
        cache.price_key(ref), msgspec.structs.replace(held.value, fetched_at=older), held.life_s
    )
