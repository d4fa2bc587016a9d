"""Newer quotes over the rows of coin lists."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from redis import Redis

from prices import cache, redis_clients
from prices.answers import QuoteAnswer, TopAnswer
from prices.redis_clients import RedisAwayError
from prices.services import doubts, ranking
from tests.market import Sandbox
from tests.prices.rest import ROOT, client, get, max_age, ok

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

FIGURES = {
    "current_price": "price",
    "price_change_24h": "change",
    "price_change_percentage_24h": "change_percent",
    "high_24h": "high",
    "low_24h": "low",
    "market_cap": "market_cap",
    "total_volume": "volume",
    "last_updated": "last_updated",
}


def first(**query: Any) -> Any:
    return ok("/crypto/top", limit=1, **query)["cryptos"][0]


def old_list() -> None:
    """Let the stored list be of an hour ago, at other figures."""
    ok("/crypto/top", limit=1)
    held = cache.read(ranking.KEY, TopAnswer)
    assert held is not None
    hour = timedelta(hours=1)
    rows = [
        msgspec.structs.replace(
            row,
            current_price=row.current_price and row.current_price * 0.9,
            last_updated=row.last_updated and row.last_updated - hour,
        )
        for row in held.value.cryptos
    ]
    cache.store(ranking.KEY, msgspec.structs.replace(held.value, cryptos=rows), 600)
    redis_clients.client().delete("crypto:top:1")


def quote(**fields: Any) -> None:
    """Have a quote of bitcoin, changed."""
    ok("/BTC")
    held = cache.read("price:BTC", QuoteAnswer)
    assert held is not None
    cache.store("price:BTC", msgspec.structs.replace(held.value, **fields), 60)


def test_a_price_above_the_highest_ever_is_the_highest_ever() -> None:
    old_list()
    ath = first()["ath"]
    quote(price=ath * 1.1)

    row = first()

    assert (row["ath"], row["ath_change_percentage"]) == (row["current_price"], 0)
    assert (row["ath"], row["ath_date"]) == (pytest.approx(ath * 1.1), row["last_updated"])
    assert row["atl"] < row["current_price"]


def test_a_newer_quote_brings_all_its_figures_into_the_list(redis_client: Redis) -> None:
    old_list()
    before = first()
    quote()

    row, held = first(), ok("/BTC")

    assert {name: row[name] for name in FIGURES} == {
        name: held[of_quote] for name, of_quote in FIGURES.items()
    }
    assert row["current_price"] != before["current_price"]
    assert row["ath_change_percentage"] == pytest.approx(
        100 * (row["current_price"] / row["ath"] - 1), abs=1e-4
    )
    others = before.keys() - FIGURES.keys() - {"freshness"}
    assert {name: row[name] for name in others} == {
        name: row[name] if name.endswith("change_percentage") else before[name] for name in others
    }


def test_the_stored_list_stays_as_it_is(redis_client: Redis) -> None:
    old_list()
    before = first()
    quote()

    first()

    kept = json.loads(redis_client.get("crypto:top:1") or "")["cryptos"]
    assert kept == [before | {"freshness": None}]


@pytest.mark.parametrize(
    ("path", "query"), [("/crypto/top", {"limit": 1}), ("/crypto/search", {"q": "bitcoin"})]
)
def test_lists_that_any_quote_may_change_are_kept_for_seconds(
    path: str, query: dict[str, Any]
) -> None:
    ok(path, **query)
    assert max_age(get(path, **query)) == 5
    quote()

    assert max_age(get(path, **query)) == 5


def tags(path: str, **query: Any) -> dict[str, str]:
    """Return what a list tells a cache in front of it: tags, each with its version."""
    response = client().get(
        f"{ROOT}{path}", query, headers={"Surrogate-Capability": 'front="Surrogate/1.0"'}
    )
    assert response.status_code == 200, response.content
    return dict(word.split("=") for word in response["Surrogate-Key"].split(" "))


def version(body: Any) -> str:
    at = datetime.fromisoformat(body["fetched_at"])
    return str(int(at.timestamp() * 1_000_000))


@pytest.mark.parametrize("is_newer", [True, False], ids=["newer", "not newer"])
def test_lists_name_the_quotes_that_they_may_change_with(is_newer: bool) -> None:
    if is_newer:
        old_list()
        quote()
    else:
        quote(last_updated=datetime.now(UTC) - timedelta(days=1))
    ok("/ETH")
    held = ok("/BTC")

    top = tags("/crypto/top", limit=1)
    assert top == {"crypto:top:1": version(ok("/crypto/top", limit=1)), "price:BTC": version(held)}
    found = tags("/crypto/search", q="bitcoin", limit=1)
    assert found == {"search:coins": "0", "price:BTC": version(held)}


def test_a_list_knows_its_tag_again_until_a_newer_quote_is_held() -> None:
    old_list()
    before = get("/crypto/top", limit=1)["ETag"]

    def asked() -> Any:
        return client().get(f"{ROOT}/crypto/top?limit=1", headers={"If-None-Match": before})

    assert (asked().status_code, asked().content) == (304, b"")
    quote()
    assert (asked().status_code, asked()["ETag"] == before) == (200, False)


def test_an_older_quote_changes_nothing() -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    quote(last_updated=yesterday)
    before = first()
    quote(last_updated=yesterday, price=1.0)

    assert first() == before


@pytest.mark.parametrize(
    "fields",
    [{"market_cap": None}, {"high": None}, {"change": None}, {"disputed": True}],
    ids=["no cap", "no high", "no change", "disputed"],
)
def test_half_a_quote_is_laid_over_nothing(fields: dict[str, Any]) -> None:
    old_list()
    before = first()
    quote(**fields)

    assert first() == before


@pytest.mark.parametrize("kind", ["disputed", "jump"])
def test_a_quote_that_came_into_doubt_after_it_was_stored_is_laid_over_nothing(kind: str) -> None:
    old_list()
    before = first()
    quote()
    now = datetime.now(UTC)
    if kind == "jump":
        doubts.suspect("coingecko:bitcoin", doubts.Suspicion(1.0, now, now, now))
    else:
        doubts.note(kind, "coingecko:bitcoin", 60)

    assert first() == before
    doubts.trust(kind, "coingecko:bitcoin")
    assert first()["current_price"] == ok("/BTC")["price"]


def test_the_quote_of_another_coin_with_the_ticker_is_not_taken() -> None:
    old_list()
    before = first()
    quote(ref="coingecko:batcat")

    assert first() == before
    assert "price:BTC" not in tags("/crypto/top", limit=1)


def test_rows_of_a_search_are_as_new_as_those_of_the_list() -> None:
    old_list()
    quote()

    found = ok("/crypto/search", q="bitcoin", limit=1)["results"][0]

    assert found["current_price"] == ok("/BTC")["price"]


def test_newer_quotes_cost_no_call(sandbox: Sandbox) -> None:
    old_list()
    quote()
    calls = sandbox.count()

    first()

    assert sandbox.count() == calls


def test_without_redis_a_list_keeps_the_newer_quotes_that_this_process_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old_list()
    quote()
    before = first()

    def refuse(question: object) -> None:
        raise RedisAwayError

    monkeypatch.setattr(redis_clients, "ask", refuse)

    assert {name: first()[name] for name in FIGURES} == {name: before[name] for name in FIGURES}


def test_each_row_says_how_fresh_it_is_when_it_is_given(redis_client: Redis) -> None:
    assert first()["freshness"] == "live"
    old_list()

    assert first()["freshness"] == "stale"  # of an hour ago
    assert ok("/crypto/search", q="ethereum")["results"][0]["freshness"] == "stale"
    kept = redis_client.get("crypto:top:1")
    assert isinstance(kept, str)
    assert json.loads(kept)["cryptos"][0]["freshness"] is None  # nobody judges a kept copy
    quote()
    assert first()["freshness"] == "live"
