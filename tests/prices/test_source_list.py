"""GET /api/v1/sources: state, plan, attribution."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from prices import registry
from prices.breaker import FAILURES
from tests.market import Sandbox
from tests.prices.rest import client, ok
from tests.prices.test_schema import assert_as_described, operations

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


def listed() -> dict[str, Any]:
    response = client().get("/api/v1/sources")
    assert response.status_code == 200, response.content
    assert_as_described(response, operations()["sources"])
    return {row["name"]: row for row in response.json()["sources"]}


def test_every_source_of_a_chain_is_listed_with_what_it_gives(settings: Any) -> None:
    rows = listed()

    in_chains = {name for chain in settings.PRICE_CHAINS.values() for name in chain}
    assert in_chains & set(settings.PRICE_PROVIDERS) <= set(rows)
    assert {"quotes", "history", "candles", "listings"} <= set(rows["coingecko"]["capabilities"])
    assert {row["state"] for row in rows.values()} == {"ok"}
    assert {row["source"] for row in rows.values()} == {"sandbox"}


def test_every_source_says_how_it_is_to_be_named() -> None:
    rows = listed()

    assert rows["coingecko"]["attribution"] == {
        "text": "Data provided by CoinGecko",
        "link": "https://www.coingecko.com",
        "required": True,
    }
    for row in rows.values():
        assert row["attribution"]["text"].startswith("Data provided by ")
        assert row["attribution"]["link"].startswith("https://")


def test_a_source_that_fails_is_told_as_open_until_it_is_asked_again() -> None:
    for _ in range(FAILURES):
        registry.breaker("kraken").failed()

    row = listed()["kraken"]

    assert row["state"] == "open"
    assert datetime.fromisoformat(row["retry_at"]) > datetime.now(UTC)


def test_a_source_that_asked_for_quiet_is_told_as_limited_until_then() -> None:
    registry.budget("binance").freeze(40)

    row = listed()["binance"]

    assert row["state"] == "rate_limited"
    wait_s = (datetime.fromisoformat(row["retry_at"]) - datetime.now(UTC)).total_seconds()
    assert 30 < wait_s <= 40


def test_a_source_without_its_key_names_the_setting(settings: Any) -> None:
    providers = copy.deepcopy(settings.PRICE_PROVIDERS)
    providers["tiingo"]["OPTIONS"]["api_key"] = ""
    settings.PRICE_PROVIDERS = providers

    row = listed()["tiingo"]

    assert (row["state"], row["setting"], row["left"]) == (
        "not_configured",
        "TIINGO_KEY",
        None,
    )


def test_what_is_left_of_a_plan_is_counted(settings: Any) -> None:
    providers = copy.deepcopy(settings.PRICE_PROVIDERS)
    providers["coingecko"]["LIMITS"] = {"per_minute": 3, "per_month": 100}
    settings.PRICE_PROVIDERS = providers
    ok("/BTC")

    row = listed()["coingecko"]

    assert row["left"] == {"minute": {"limit": 3, "left": 2}, "month": {"limit": 100, "left": 99}}
    assert row["state"] == "ok"


def test_a_plan_that_is_used_up_is_told_as_limited(settings: Any) -> None:
    providers = copy.deepcopy(settings.PRICE_PROVIDERS)
    providers["coingecko"]["LIMITS"] = {"per_minute": 1}
    settings.PRICE_PROVIDERS = providers
    ok("/BTC")

    assert listed()["coingecko"]["state"] == "rate_limited"


def test_the_list_asks_no_source_and_may_be_kept_for_seconds(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    response = client().get("/api/v1/sources")

    assert sandbox.count() == 0
    assert response["Cache-Control"] in {"public, max-age=5", "public, max-age=4"}
