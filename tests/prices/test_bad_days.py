"""What a client sees when sources, Redis or the catalogue misbehave."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from redis import Redis

from prices import cache, failures, redis_clients, registry
from prices.models import Asset, Catalogue
from prices.redis_clients import RedisAwayError
from tests.market import Sandbox
from tests.prices.rest import client, get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("alone")]

PERIOD = {"period": "1w"}


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis refuses every question of this process."""

    def refuse(question: object) -> None:
        raise RedisAwayError

    monkeypatch.setattr(redis_clients, "ask", refuse)


def expire(redis_client: Redis, *keys: str) -> None:
    for key in keys:
        redis_client.delete(key, f"failed:{key}")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 503}),
        ("status", {"status": 401}),
        ("status", {"status": 429, "retry_after": 30}),
        ("status", {"status": 429}),
        ("reset", {}),
        ("truncated", {}),
        ("html", {}),
        ("empty", {}),
        ("not_finite", {}),
        ("redirect_loop", {}),
    ],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("path", ["/BTC", "/BTC/history", "/BTC/ohlcv"])
def test_a_source_that_fails_gives_a_503_and_then_the_last_copy_marked_stale(
    market: Sandbox, redis_client: Redis, path: str, kind: str, options: dict[str, Any]
) -> None:
    key = {"/BTC": "price:BTC", "/BTC/history": "history:BTC:1w", "/BTC/ohlcv": "ohlcv:BTC:1w"}[
        path
    ]
    market.fault(kind, source="coingecko", **options)

    refused = get(path, **PERIOD)

    assert refused.status_code == 503
    assert refused.json()["code"] in {"upstream_unavailable", "upstream_rate_limited"}
    assert int(refused["Retry-After"]) >= 1

    market.heal()
    _thaw(redis_client)
    expire(redis_client, key)
    good = ok(path, **PERIOD)
    expire(redis_client, key)
    market.fault(kind, source="coingecko", **options)

    stale = get(path, **PERIOD)

    assert stale.status_code == 200
    assert (stale.json()["stale"], stale.json()["cached"]) == (True, True)
    assert stale.json()["as_of"] == good["as_of"]
    assert (stale["X-Cache"], stale["Cache-Control"]) == ("STALE", "public, max-age=0")


def test_a_coin_that_was_never_quoted_has_its_listed_price_while_sources_fail(
    market: Sandbox, redis_client: Redis
) -> None:
    rows = {row["ref"]: row for row in ok("/crypto/top", limit=100)["cryptos"]}
    row = rows["coingecko:solana"]
    market.fault("status", status=503)

    alone, several = ok("/SOL"), ok("", symbols="SOL,ETH")

    assert (alone["price"], alone["last_updated"]) == (row["current_price"], row["last_updated"])
    assert (alone["stale"], alone["cached"]) == (True, True)
    assert several["failed"] == {}
    assert several["data"]["SOL"]["price"] == row["current_price"]
    assert redis_client.get("price:SOL") is None


@pytest.mark.parametrize("kind", ["wrong_types", "nulls", "negative", "absurd"])
@pytest.mark.parametrize("symbol", ["BTC", "AAPL"])
def test_what_is_not_a_price_is_never_taken_for_one(
    market: Sandbox, kind: str, symbol: str
) -> None:
    market.fault(kind)

    response = get(f"/{symbol}")

    assert response.status_code in {404, 503}
    assert response.json()["code"] in {"not_found", "upstream_unavailable"}


def test_rate_limit_outage_and_typo_give_different_answers(
    market: Sandbox, redis_client: Redis
) -> None:
    problem(get("/NOPE"), 404, "unknown_symbol")
    market.fault("reset", source="coingecko")
    problem(get("/BTC"), 503, "upstream_unavailable")
    market.heal()
    market.fault("status", status=429, retry_after=30, source="coingecko")
    limited = get("/ETH")

    problem(limited, 503, "upstream_rate_limited")
    assert 25 <= int(limited["Retry-After"]) <= 30


def test_a_search_made_of_stale_figures_says_so_each_time(
    market: Sandbox, redis_client: Redis
) -> None:
    ok("/crypto/top", limit=10)
    expire(redis_client, "list:coins", "crypto:top:10")
    market.fault("status", status=500, source="coingecko")

    answers = [get("/crypto/search", q="doge") for _ in range(2)]

    assert [answer.json()["stale"] for answer in answers] == [True, True]
    assert {answer["Cache-Control"] for answer in answers} == {"public, max-age=0"}


def test_pinning_what_has_the_ticker_anyway_keeps_its_copies(
    market: Sandbox, redis_client: Redis
) -> None:
    from prices.services import symbols

    ok("/BTC")

    symbols.pin(symbols.resolve("BTC").asset)

    assert redis_client.exists("price:BTC", "good:price:BTC") == 2


def test_a_429_leaves_the_source_alone_for_everyone(market: Sandbox) -> None:
    market.fault("status", status=429, retry_after=30, source="coingecko")
    get("/BTC")
    market.heal()
    calls = market.count()

    problem(get("/ETH"), 503, "upstream_rate_limited")

    assert market.count() == calls


def test_an_outage_costs_one_call_for_many_requests(market: Sandbox) -> None:
    market.fault("status", status=500, source="coingecko")
    calls = market.count()

    for _ in range(10):
        problem(get("/BTC"), 503, "upstream_unavailable")

    assert market.count() == calls + 1


def test_when_coingecko_refuses_the_first_call_btc_is_never_asked_at_the_stock_source(
    sandbox: Sandbox,
) -> None:
    cache._local.clear()
    failures._here.clear()
    sandbox.fault("status", status=429, source="coingecko")

    problem(get("/BTC"), 503, "upstream_rate_limited")

    assert sandbox.count("/finnhub") == 0
    assert not Asset.objects.exists()


def test_a_source_that_fails_midway_costs_the_catalogue_nothing(
    market: Sandbox, redis_client: Redis
) -> None:
    listed = Asset.objects.filter(is_active=True).values_list("ref", flat=True)
    before = set(listed)
    market.fault("truncated", path="/coingecko/api/v3/coins/list")

    from prices.services import catalogue

    catalogue.fill_all()

    assert set(listed.all()) == before


def test_filling_a_catalogue_twice_changes_nothing(market: Sandbox) -> None:
    from prices.services import catalogue

    ok("/BTC")
    before = list(Asset.objects.order_by("pk").values_list("pk", "ref", "ticker", "settled"))

    catalogue.fill_all()

    after = list(Asset.objects.order_by("pk").values_list("pk", "ref", "ticker", "settled"))
    assert after == before


def test_an_empty_catalogue_is_filled_by_the_first_request(sandbox: Sandbox) -> None:
    cache._local.clear()
    failures._here.clear()

    assert ok("/AAPL")["ref"] == "stock:AAPL"
    assert Catalogue.objects.count() == 2


def test_a_first_start_in_an_outage_is_not_told_as_a_typo(sandbox: Sandbox) -> None:
    cache._local.clear()
    failures._here.clear()
    sandbox.fault("status", status=500)

    problem(get("", symbols="BTC,AAPL"), 503, "upstream_unavailable")
    problem(get("/BTC"), 503, "upstream_unavailable")


def test_a_catalogue_that_cannot_be_had_is_asked_for_once_in_a_while(sandbox: Sandbox) -> None:
    cache._local.clear()
    failures._here.clear()
    sandbox.fault("status", status=500)

    for _ in range(10):
        problem(get("/stock:AAPL"), 503, "upstream_unavailable")

    assert sandbox.count("/finnhub") == 1


def test_a_chart_that_broke_off_goes_on_where_it_was(
    market: Sandbox, settings: Any, redis_client: Redis
) -> None:
    charts = "/coingecko/api/v3/coins/bitcoin/market_chart/range"
    providers = {name: dict(config) for name, config in settings.PRICE_PROVIDERS.items()}
    limited = providers | {"coingecko": providers["coingecko"] | {"LIMITS": {"per_minute": 3}}}
    settings.PRICE_PROVIDERS = limited
    problem(get("/BTC/ohlcv", period="1y"), 503, "upstream_rate_limited")
    assert market.count(charts) == 3
    settings.PRICE_PROVIDERS = providers
    redis_client.delete("failed:ohlcv:BTC:1y")

    whole = ok("/BTC/ohlcv", period="1y")

    assert whole["count"] in {365, 366}
    assert market.count(charts) - 3 <= 3, "all five windows were asked for again"


def test_a_coin_that_our_catalogue_lacks_is_looked_up_once(market: Sandbox) -> None:
    Asset.objects.filter(coingecko_id="monero").delete()

    assert ok("/XMR")["ref"] == "coingecko:monero"
    assert Asset.objects.filter(coingecko_id="monero").count() == 1


def test_an_unknown_symbol_asks_no_source_again_for_five_minutes(market: Sandbox) -> None:
    problem(get("/QQZZ"), 404, "unknown_symbol")
    calls = market.count()

    for spelling in ("QQZZ", "qqzz", " Qqzz"):
        problem(get(f"/{spelling}"), 404, "unknown_symbol")

    assert market.count() == calls


def test_a_flood_of_unknown_symbols_costs_a_handful_of_lookups(market: Sandbox) -> None:
    calls = market.count()

    for n in range(30):
        problem(get(f"/ZQ{n}"), 404, "unknown_symbol")

    assert market.count() - calls <= 5


@pytest.mark.parametrize("path", ["?symbols=ZQX", "/ZQX/history", "/ZQX/ohlcv"])
def test_only_a_quote_by_itself_is_looked_up(market: Sandbox, path: str) -> None:
    calls = market.count()

    client().get(f"/api/v1/prices{path}")

    assert market.count() == calls


def test_a_plan_without_stock_candles_is_told_and_not_an_empty_chart(market: Sandbox) -> None:
    market.control("POST", "plan", {"plan": "free"})

    body = problem(get("/AAPL/ohlcv"), 403, "plan_restricted")

    assert body["provider"]
    assert body["allowed_by"]
    calls = market.count()
    problem(get("/AAPL/ohlcv"), 403, "plan_restricted")
    assert market.count() == calls, "a plan does not change from one request to the next"


def test_a_batch_where_everything_failed_upstream_is_a_503(market: Sandbox) -> None:
    market.fault("status", status=500, source="coingecko")

    problem(get("", symbols="BTC,ETH"), 503, "upstream_unavailable")

    mixed = ok("", symbols="BTC,ETH,AAPL")
    assert list(mixed["data"]) == ["AAPL"]
    assert mixed["failed"] == {"BTC": "upstream_unavailable", "ETH": "upstream_unavailable"}


def test_without_a_key_stocks_say_which_setting_is_missing(market: Sandbox, settings: Any) -> None:
    providers = {name: dict(config) for name, config in settings.PRICE_PROVIDERS.items()}
    providers["finnhub"]["OPTIONS"] = providers["finnhub"]["OPTIONS"] | {"api_key": ""}
    settings.PRICE_PROVIDERS = providers

    body = problem(get("/AAPL"), 403, "provider_not_configured")

    assert body["setting"] == "FINNHUB_KEY"
    assert ok("/BTC")["price"] > 0


def test_an_unknown_ticker_has_one_answer_whether_or_not_a_call_is_left(
    market: Sandbox, settings: Any, redis_client: Redis
) -> None:
    providers = {name: dict(config) for name, config in settings.PRICE_PROVIDERS.items()}
    providers["finnhub"]["OPTIONS"] = providers["finnhub"]["OPTIONS"] | {"api_key": ""}
    settings.PRICE_PROVIDERS = providers
    Catalogue.objects.filter(kind="stock").delete()

    def ask() -> None:
        problem(get("/ZQX12"), 404, "unknown_symbol")
        problem(get("/ZQX"), 403, "provider_not_configured")

    market.fault("status", status=429, retry_after=30)
    ask()
    ask()
    assert not redis_client.keys("unknown:*"), "what no source was asked is not remembered"
    market.heal()
    redis_client.flushall()
    ask()
    ask()


def test_without_redis_requests_are_answered_from_upstream_and_then_from_copies(
    market: Sandbox, redis_away: None
) -> None:
    first, second = ok("/BTC"), ok("/BTC")

    assert (first["cached"], second["cached"], second["stale"]) == (False, True, False)
    assert ok("/BTC/history", period="1d")["count"] > 280
    assert ok("/crypto/top", limit=3)["count"] == 3


def test_without_redis_and_source_what_is_old_is_marked_stale(
    market: Sandbox, redis_away: None
) -> None:
    ok("/BTC")
    for key, copy in list(cache._local._copies.items()):
        cache._local.put(key, copy.body, -1)
    market.fault("reset")

    assert ok("/BTC")["stale"] is True
    problem(get("/ETH"), 503, "upstream_unavailable")


def test_a_name_from_upstream_is_text_and_nothing_else(market: Sandbox) -> None:
    Asset.objects.filter(coingecko_id="bitcoin").update(name="<script>alert(1)</script>")

    response = Client().get("/api/v1/prices/BTC")

    assert response["Content-Type"] == "application/json"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response.json()["name"] == "<script>alert(1)</script>"


def _thaw(redis_client: Redis) -> None:
    for key in redis_client.keys("budget:*:freeze"):
        redis_client.delete(key)
    registry.forget()
