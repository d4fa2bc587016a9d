from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import time_machine

from prices.errors import (
    UpstreamMalformedError,
)
from prices.providers.coingecko import is_derivative
from prices.types import (
    AssetKind,
    Listing,
)
from tests.prices.coingecko_site import (
    MARKETS,
    NOW,
    coingecko,
    far_end,
    row,
)


@pytest.fixture(autouse=True)
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def test_the_top_list_is_cut_and_free_of_doubles() -> None:
    def page(params: Mapping[str, str]) -> Any:
        first = (int(params["page"]) - 1) * 250
        return [row(f"c{max(0, n - (n == 250))}") for n in range(first, first + 250)]

    site = far_end({MARKETS: page})

    coins = coingecko(site).top(300)

    assert [params["page"] for params in site.params] == ["1", "2"]
    assert len(coins) == 300
    assert len({coin.id for coin in coins}) == 300


def test_a_short_page_is_the_last() -> None:
    site = far_end({MARKETS: [row("a"), row("b")]})

    assert [coin.id for coin in coingecko(site).top(300)] == ["a", "b"]
    assert len(site.asked) == 1


def test_a_coin_keeps_null_for_what_is_not_known() -> None:
    body = [
        row(
            "old",
            current_price=None,
            market_cap=0,
            market_cap_rank=None,
            max_supply=None,
            circulating_supply=0.0,
            image="http://assets.coingecko.com/x.png",
            ath_date="never",
        ),
        row("x", name=None),
    ]

    coins = coingecko({MARKETS: body}).coins(["old", "x"])

    assert [coin.id for coin in coins] == ["old"]
    assert coins[0].current_price is None
    assert coins[0].market_cap is None
    assert coins[0].circulating_supply is None
    assert coins[0].image is None
    assert coins[0].ath_date is None


@pytest.mark.parametrize(
    ("image", "kept"),
    [
        ("https://assets.coingecko.com/coins/images/1/large/bitcoin.png?1", True),
        ("https://coin-images.coingecko.com/coins/images/1.png", True),
        ("https://elsewhere.example/1.png", False),
        ("https://assets.coingecko.com.evil.example/1.png", False),
        ("javascript:alert(1)", False),
        ("https://[", False),
        (7, False),
    ],
)
def test_only_pictures_of_the_source_itself_are_passed_on(image: Any, kept: bool) -> None:
    coins = coingecko({MARKETS: [row(image=image)]}).coins(["bitcoin"])

    assert coins[0].image == (image if kept else None)


def test_the_catalogue_keeps_odd_tickers_and_skips_rows_without_a_name() -> None:
    rows = [
        {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"},
        {"id": "wrapped-bitcoin", "symbol": "wbtc", "name": "Wrapped Bitcoin"},
        {"id": "nameless", "symbol": "x", "name": ""},
        {"id": "", "symbol": "x", "name": "No id"},
        {"id": "japanese", "symbol": "柴犬", "name": "Shiba"},
        {"id": "empty", "symbol": "", "name": "Empty"},
    ]

    listings = coingecko({"/coins/list": rows}).listings()

    assert listings == [
        Listing(AssetKind.CRYPTO, "bitcoin", "btc", "Bitcoin"),
        Listing(AssetKind.CRYPTO, "wrapped-bitcoin", "wbtc", "Wrapped Bitcoin", is_derivative=True),
        Listing(AssetKind.CRYPTO, "japanese", "柴犬", "Shiba"),
        Listing(AssetKind.CRYPTO, "empty", "", "Empty"),
    ]


@pytest.mark.parametrize("body", [[], {}, None, [{"id": 1}], ["bitcoin"]])
def test_an_empty_or_unreadable_catalogue_is_malformed(body: Any) -> None:
    with pytest.raises(UpstreamMalformedError):
        coingecko({"/coins/list": body}).listings()


def test_a_search_finds_ids_with_their_ranks() -> None:
    coins = [
        {"id": "dogecoin", "name": "Dogecoin", "symbol": "DOGE", "market_cap_rank": 9},
        {"id": "dog", "name": "Dog", "symbol": "DOGE", "market_cap_rank": None},
    ]
    site = far_end({"/search": {"coins": coins}})

    found = coingecko(site).lookup("doge & co")

    assert [(one.upstream_id, one.market_cap_rank) for one in found] == [
        ("dogecoin", 9),
        ("dog", None),
    ]
    assert site.params == [{"query": "doge & co"}]


def test_a_search_without_hits_is_an_empty_list() -> None:
    assert coingecko({"/search": {"coins": []}}).lookup("zzz") == []


@pytest.mark.parametrize(
    ("coin_id", "name", "expected"),
    [
        ("bitcoin", "Bitcoin", False),
        ("wrapped-bitcoin", "Wrapped Bitcoin", True),
        ("coinbase-wrapped-btc", "Coinbase Wrapped BTC", True),
        ("bridged-usdc-polygon-pos-bridge", "Bridged USDC (Polygon PoS Bridge)", True),
        ("binance-peg-dogecoin", "Binance-Peg Dogecoin", True),
        ("apple-xstock", "Apple xStock", True),
        ("apple-ondo-tokenized-stock", "Apple (Ondo Tokenized Stock)", True),
        ("dinari-aapl-dshares", "Dinari AAPL", True),
        ("staked-ether", "Lido Staked Ether", True),
        ("sol-wormhole", "SOL (Wormhole)", True),
        ("wormhole", "Wormhole", False),
        ("ondo-finance", "Ondo", False),
        ("pepe", "Pepe", False),
        ("tokenize-xchange", "Tokenize Xchange", False),
        ("barnbridge", "BarnBridge", False),
        ("rootstock", "Rootstock RSK", False),
    ],
)
def test_what_stands_for_another_asset_is_recognised(
    coin_id: str, name: str, expected: bool
) -> None:
    assert is_derivative(coin_id, name) is expected
