"""Top lists, searches and the mapping as a client of the REST API sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from tests.market import Sandbox
from tests.prices.rest import ASSET, get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


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
    kept = json.loads(redis_client.get("crypto:top:5") or "")["cryptos"]
    assert kept == [row | {"freshness": None} for row in top["cryptos"]]
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
