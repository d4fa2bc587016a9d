"""GET /api/v1/sources: state, plan, attribution."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from prices import gateway, registry
from prices.breaker import FAILURES
from prices.errors import UpstreamError
from prices.models import Asset
from prices.types import Window
from tests.market import Sandbox
from tests.prices.rest import client, ok
from tests.prices.test_schema import assert_as_described

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


def listed() -> dict[str, Any]:
    response = client().get("/api/v1/sources")
    assert response.status_code == 200, response.content
    assert_as_described(response, "sources")
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
        "terms": "https://brand.coingecko.com/resources/attribution-guide",
        "use": None,
    }
    for row in rows.values():
        assert row["attribution"]["text"].startswith("Data provided by ")
        assert row["attribution"]["link"].startswith("https://")
        is_read = row["attribution"]["terms"] is not None
        assert row["attribution"]["required"] is (True if is_read else None)


def test_what_is_known_of_a_source_s_terms_is_told_and_in_the_docs_too() -> None:
    rows = listed()
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()

    told = {name for name, row in rows.items() if row["attribution"]["use"]}
    assert {"finnhub", "tiingo"} <= told <= {"finnhub", "tiingo", "yahoo"}
    for row in rows.values():
        named = row["attribution"]
        line = next(one for one in page.splitlines() if f"| {named['text']} |" in one)
        assert named["link"] in line
        assert (named["terms"] or "not known") in line
        assert ("| nothing" in line) == (named["use"] is None)


def test_a_source_that_fails_is_told_as_open_until_it_is_asked_again() -> None:
    for _ in range(FAILURES):
        registry.breaker("kraken").failed()

    row = listed()["kraken"]

    assert (row["state"], row["reason"]) == ("open", "it failed")
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

    row = listed()["coingecko"]

    assert (row["state"], row["reason"]) == (
        "rate_limited",
        "its calls of this minute are used up",
    )
    assert 50 < wait_s(row) <= 61


def wait_s(row: dict[str, Any]) -> float:
    return (datetime.fromisoformat(row["retry_at"]) - datetime.now(UTC)).total_seconds()


def test_a_source_that_refuses_our_place_is_told_as_restricted_and_asked_once(
    sandbox: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["binance", "coingecko"]}
    ok("/BTC")
    sandbox.reset()
    sandbox.fault("status", source="binance", status=451)

    for symbol in ("ETH", "DOGE"):
        assert ok(f"/{symbol}")["fallback_from"] == [
            {"source": "sandbox:binance", "code": "plan_restricted"}
        ]

    row = listed()["binance"]
    assert (row["state"], row["reason"]) == (
        "restricted",
        "binance: it does not serve this location",
    )
    assert 3500 < wait_s(row) <= 3600
    assert sandbox.count("/binance") == 1


def test_a_source_that_failed_and_was_not_asked_since_is_not_told_as_well(
    redis_client: Redis,
) -> None:
    for _ in range(FAILURES):
        registry.breaker("kraken").failed("no answer in time")
    redis_client.delete("breaker:kraken:open")

    row = listed()["kraken"]

    assert (row["state"], row["reason"], row["retry_at"]) == ("trying", "no answer in time", None)


@pytest.mark.parametrize("status", [429, 404])
def test_a_source_that_answers_its_trial_with_a_no_is_whole_again(
    sandbox: Sandbox, redis_client: Redis, status: int
) -> None:
    instrument = Asset.objects.get(ref="coingecko:bitcoin").instrument
    window = Window(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC))
    for _ in range(FAILURES):
        registry.breaker("coingecko").failed()
    redis_client.delete("breaker:coingecko:open")
    sandbox.fault("status", source="coingecko", status=status, body="status", text="coin not found")

    with pytest.raises(UpstreamError):
        gateway.call("coingecko", lambda source: source.history(instrument, window, 300))

    assert listed()["coingecko"]["state"] == ("rate_limited" if status == 429 else "ok")


def test_the_list_asks_no_source_and_may_be_kept_for_seconds(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    response = client().get("/api/v1/sources")

    assert sandbox.count() == 0
    assert response["Cache-Control"] in {"public, max-age=5", "public, max-age=4"}
