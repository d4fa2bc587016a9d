"""?explain=1: why an answer is what it is, for staff and for development."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from prices.models import Asset
from tests.market import Sandbox
from tests.prices.rest import ROOT, get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("explainer", is_staff=True))
    return client


def told(client: Client, path: str, **query: Any) -> Any:
    response = client.get(f"{ROOT}{path}", {**query, "explain": "1"})
    assert response.status_code == 200, response.content
    return response.json()["explain"]


def test_a_miss_tells_who_was_asked_and_what_it_cost(staff: Client) -> None:
    explain = told(staff, "/BTC")

    assert (explain["cache"], explain["key"]) == ("miss", "price:BTC")
    assert [one["source"] for one in explain["sources"]] == ["coingecko"]
    asked = explain["sources"][0]
    assert (asked["status"], asked["calls"], asked["code"]) == (200, 1, None)
    assert asked["latency_ms"] > 0
    budget = explain["budget"]["coingecko"]
    assert budget["after"]["minute"] == budget["before"]["minute"] + 1
    assert "top 300" in explain["resolved_by"]
    assert explain["freshness_by"]


def test_a_hit_asks_nobody(staff: Client) -> None:
    ok("/BTC")

    explain = told(staff, "/BTC")

    assert (explain["cache"], explain["sources"], explain["budget"]) == ("hit", [], {})


def test_a_source_that_was_passed_over_is_told_with_its_status(
    staff: Client, sandbox: Sandbox
) -> None:
    ok("/BTC/ohlcv", period="1w")  # Settles the pair of another source.
    sandbox.fault("status", source="coingecko", status=503)

    sources = told(staff, "/BTC")["sources"]

    assert (sources[0]["source"], sources[0]["status"]) == ("coingecko", 503)
    assert sources[0]["code"] == "upstream_unavailable"
    assert sources[-1]["code"] is None


def test_a_stale_answer_says_so(staff: Client, sandbox: Sandbox, settings: Any) -> None:
    from prices import redis_clients

    settings.PRICE_CHAINS = {**settings.PRICE_CHAINS, "coin_history": ["coingecko"]}
    ok("/BTC/history", period="1d")
    redis_clients.client().delete("history:BTC:1d")
    sandbox.fault("status", source="coingecko", status=500)

    explain = told(staff, "/BTC/history", period="1d")

    assert (explain["cache"], explain["key"]) == ("stale", "history:BTC:1d")


@pytest.mark.parametrize(
    ("path", "query", "key"),
    [
        ("/BTC/history", {"period": "1w"}, "history:BTC:1w"),
        ("/AAPL/ohlcv", {"period": "1d"}, "ohlcv:AAPL:1d"),
        ("/AAPL/at", {"date": "2026-09-13"}, "list:at:AAPL:2026-09-13"),
    ],
)
def test_series_and_past_prices_are_explained_too(
    staff: Client, path: str, query: dict[str, str], key: str
) -> None:
    explain = told(staff, path, **query)

    assert explain["key"] == key
    assert explain["keys"][key] == "miss"
    assert explain["sources"]
    assert explain["freshness_by"]


def test_an_error_tells_who_was_asked(staff: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.PRICE_CHAINS = {**settings.PRICE_CHAINS, "coin_quotes": ["coingecko"]}
    sandbox.fault("status", source="coingecko", status=500)

    response = staff.get(f"{ROOT}/ETH", {"explain": "1"})

    explain = problem(response, 503, "upstream_unavailable")["explain"]
    assert [one["status"] for one in explain["sources"]] == [500]
    assert "explain" not in problem(get("/ETH"), 503, "upstream_unavailable")


def test_what_an_error_tells_staff_is_for_nobody_else_though_the_error_itself_is(
    staff: Client, sandbox: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = {**settings.PRICE_CHAINS, "coin_quotes": ["coingecko"]}
    sandbox.fault("status", source="coingecko", status=500)
    cache_in_front = {"Surrogate-Capability": 'front="Surrogate/1.0"'}

    def marked(**query: str) -> bool:
        answer = staff.get(f"{ROOT}/ETH", query, headers=cache_in_front)
        assert answer["Cache-Control"] == "no-store"
        return answer.headers.get("Surrogate-Control") == "max-age=1"

    assert marked()
    assert not marked(explain="1")
    refused = Client().get(f"{ROOT}/ETH", {"explain": "1"}, headers=cache_in_front)
    assert (refused.status_code, "Surrogate-Control" in refused) == (400, False)
    assert "Surrogate-Control" not in staff.get(f"{ROOT}/ETH")


def test_it_is_kept_by_no_cache_and_by_nobody_s_copy(staff: Client) -> None:
    response = staff.get(f"{ROOT}/BTC", {"explain": "1"})

    assert response["Cache-Control"] == "no-store"
    assert "explain" not in ok("/BTC")


def test_others_are_refused_rather_than_ignored(db: None) -> None:
    visitor = Client()
    visitor.force_login(User.objects.create_user("visitor"))

    for client in (visitor, Client()):
        refused = client.get(f"{ROOT}/BTC", {"explain": "1"})
        assert problem(refused, 400, "invalid_parameter")["errors"][0]["field"] == "explain"
        assert client.get(f"{ROOT}/BTC", {"explain": "0"}).status_code == 200


def test_in_development_everybody_may_ask(settings: Any) -> None:
    settings.DEBUG = True

    assert told(Client(), "/BTC")["key"] == "price:BTC"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("coingecko:bitcoin", "a ref: CoinGecko's id"),
        ("stock:STX", "a ref: the stock"),
        ("crypto:BTC", "this one leads"),
        ("AAPL", "a US stock comes first"),
        ("TSLA", ""),
    ],
)
def test_the_rule_that_resolved_a_ticker_is_told(staff: Client, asked: str, words: str) -> None:
    assert words in told(staff, f"/{asked}")["resolved_by"]


def test_a_pin_is_told_as_such(staff: Client) -> None:
    Asset.objects.filter(coingecko_id="batcat").update(pinned=True)

    assert "pinned" in told(staff, "/BTC")["resolved_by"]
