"""Searches beyond the catalogue: which sources are asked, and how little that may cost."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from prices.models import Asset, Catalogue
from prices.types import AssetKind
from tests.market import Sandbox
from tests.prices.rest import get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

COINS, STOCKS = "/coingecko/api/v3/search", "/finnhub/api/v1/search"


def asked(sandbox: Sandbox) -> tuple[int, int]:
    return sandbox.count(COINS), sandbox.count(STOCKS)


def refs(**query: Any) -> list[str]:
    return [row["ref"] for row in ok("/symbols/search", **query)["results"]]


def test_what_the_catalogue_knows_costs_no_call(sandbox: Sandbox) -> None:
    assert "stock:AAPL" in refs(q="apple")
    assert ok("/crypto/search", q="doge")["count"] > 0

    assert asked(sandbox) == (0, 0)


def test_a_stock_that_only_the_source_s_search_knows_is_found(sandbox: Sandbox) -> None:
    Asset.objects.filter(ref="stock:TSLA").delete()

    assert refs(q="tesla inc", kind="stock") == ["stock:TSLA"]
    assert asked(sandbox) == (0, 1)
    assert ok("/TSLA")["ref"] == "stock:TSLA"


def test_a_coin_that_only_the_source_s_search_knows_is_found(sandbox: Sandbox) -> None:
    Asset.objects.filter(coingecko_id__startswith="dogelon-mars").delete()

    found = ok("/crypto/search", q="dogelon")["results"]

    assert "dogelon-mars" in [row["id"] for row in found]
    assert asked(sandbox) == (1, 0)


def test_without_a_catalogue_of_stocks_their_source_is_asked(sandbox: Sandbox) -> None:
    Catalogue.objects.filter(kind=AssetKind.STOCK).delete()
    Asset.objects.filter(kind=AssetKind.STOCK).delete()
    sandbox.fault("status", path="/finnhub/api/v1/stock/symbol", status=500)

    assert "stock:AAPL" in refs(q="apple", kind="stock")


def test_twenty_made_up_words_cost_five_look_ups(sandbox: Sandbox) -> None:
    for number in range(20):
        assert refs(q=f"nonsense {number}") == []

    assert sum(asked(sandbox)) == 5


def test_words_that_no_source_knows_are_not_asked_for_again(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    refs(q="no such thing")
    first = asked(sandbox)
    # What the search itself kept is gone; what is known to be unknown is not.
    redis_client.delete("list:search:symbols:any:no such thing")

    assert refs(q="No  Such THING ") == []
    assert first == asked(sandbox) == (1, 1)
    life = redis_client.ttl("unknown:search:crypto:coingecko:no such thing")
    assert 290 < life <= 300


def test_a_failed_search_is_no_empty_list(sandbox: Sandbox) -> None:
    sandbox.fault("status", path=COINS, status=500)

    problem(get("/crypto/search", q="perhaps somewhere"), 503, "upstream_unavailable")
    assert "coingecko:bitcoin" in refs(q="bitcoin")


def test_what_is_gone_is_not_brought_back_by_a_search(sandbox: Sandbox) -> None:
    Asset.objects.filter(ref="stock:TSLA").update(is_active=False, last_day="2026-01-05")

    assert refs(q="tesla inc", kind="stock") == []
    assert not Asset.objects.get(ref="stock:TSLA").is_active


def test_a_chain_of_the_catalogue_alone_asks_nobody(sandbox: Sandbox, settings: Any) -> None:
    alone = {"coin_search": ["catalogue"], "stock_search": ["catalogue"]}
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | alone

    assert refs(q="no such thing") == []
    assert asked(sandbox) == (0, 0)
