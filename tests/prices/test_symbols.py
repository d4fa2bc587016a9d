from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from prices.errors import InvalidSymbolError, UpstreamError
from prices.models import Asset, Catalogue
from prices.services import catalogue, searching, symbols
from prices.types import AssetKind

pytestmark = pytest.mark.django_db


def coin(coin_id: str, ticker: str, rank: int | None = None, **fields: Any) -> Asset:
    return Asset.objects.create(
        ref=f"coingecko:{coin_id}",
        ticker=ticker,
        name=coin_id.title(),
        kind="crypto",
        coingecko_id=coin_id,
        market_cap_rank=rank,
        **fields,
    )


def stock(ticker: str, **fields: Any) -> Asset:
    return Asset.objects.create(
        ref=f"stock:{ticker}",
        ticker=ticker,
        name=ticker.title(),
        kind="stock",
        finnhub_symbol=ticker,
        **fields,
    )


@pytest.fixture(autouse=True)
def filled() -> None:
    """Both catalogues count as filled, so that no source is asked for them."""
    for kind in AssetKind:
        Catalogue.objects.create(kind=kind, source="test", filled_at=datetime.now(UTC), rows=1)


def ref_of(asked: str) -> str | None:
    found = symbols.resolve_many([asked])
    return found.assets[found.found[asked]].asset.ref if asked in found.found else None


def test_the_larger_coin_wins_a_shared_ticker_and_keeps_it() -> None:
    small = coin("batcat", "BTC", 2900)
    coin("bitcoin", "BTC", 1)
    assert ref_of("BTC") == "coingecko:bitcoin"

    Asset.objects.filter(ref="coingecko:bitcoin").update(market_cap_rank=5000)
    Asset.objects.filter(pk=small.pk).update(market_cap_rank=2)

    assert ref_of("BTC") == "coingecko:bitcoin"


def test_a_stock_that_has_its_ticker_is_found_while_the_coins_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stock("ACME")
    stock("NEWS")
    assert ref_of("ACME") == "stock:ACME"
    symbols._index.clear()
    Catalogue.objects.filter(kind=AssetKind.CRYPTO).delete()

    def missing(kind: AssetKind) -> bool:
        if kind is AssetKind.CRYPTO:
            raise UpstreamError("coingecko", "no answer in time")
        return False

    monkeypatch.setattr(catalogue, "ensure", missing)

    assert symbols.resolve("ACME").asset.ref == "stock:ACME"
    with pytest.raises(UpstreamError):
        symbols.resolve("NEWS")  # A coin of the top might have it.


@pytest.mark.parametrize("first", ["coin", "stock"])
def test_a_ticker_of_a_top_coin_and_a_stock_means_the_coin(first: str) -> None:
    if first == "stock":
        stock("STX")
    coin("blockstack", "STX", 50)
    if first == "coin":
        stock("STX")

    assert ref_of("stx") == "coingecko:blockstack"
    assert ref_of("stock:STX") == "stock:STX"
    assert symbols.resolve_many(["stock:STX"]).found == {"stock:STX": "stock:STX"}


def test_a_ticker_of_a_small_coin_and_a_stock_means_the_stock() -> None:
    coin("tiny", "ABC", 301)
    stock("ABC")

    assert ref_of("ABC") == "stock:ABC"
    assert symbols.resolve_many(["crypto:ABC"]).found == {"crypto:ABC": "crypto:ABC"}
    assert ref_of("crypto:ABC") == "coingecko:tiny"


@pytest.mark.parametrize("rank", [3, 400], ids=["top", "small"])
def test_a_tokenised_stock_never_wins_the_ticker_of_the_stock(rank: int) -> None:
    coin("apple-xstock", "AAPL", rank, is_derivative=True)
    stock("AAPL")

    assert ref_of("AAPL") == "stock:AAPL"


def test_a_bridged_coin_never_wins_the_ticker_of_the_original() -> None:
    coin("bridged-ether", "ETH", 20, is_derivative=True)
    coin("ethereum", "ETH", 900)

    assert ref_of("ETH") == "coingecko:ethereum"
    assert ref_of("crypto:ETH") == "coingecko:ethereum"


def test_among_coins_without_rank_the_larger_then_the_busier_then_the_id_decides() -> None:
    coin("zeta", "ONE", None, market_cap=5.0)
    coin("beta", "ONE", None, market_cap=9.0, volume=1.0)
    coin("alpha", "ONE", None, market_cap=9.0, volume=2.0)

    found = symbols.resolve_many(["ONE"]).assets["ONE"]

    assert found.asset.ref == "coingecko:alpha"
    assert [other.ref for other in found.alternatives] == ["coingecko:beta", "coingecko:zeta"]


def test_a_pin_outdoes_what_was_settled_until_it_is_taken_away() -> None:
    coin("bitcoin", "BTC", 1)
    other = coin("batcat", "BTC", 2900)
    assert ref_of("BTC") == "coingecko:bitcoin"

    symbols.pin(other)
    assert ref_of("BTC") == "coingecko:batcat"
    assert ref_of("crypto:BTC") == "coingecko:batcat"

    symbols.unpin(other)
    assert ref_of("BTC") == "coingecko:bitcoin"


def test_a_ticker_whose_owner_is_gone_is_free_again() -> None:
    coin("first", "ONE", 1)
    coin("second", "ONE", 2)
    assert ref_of("ONE") == "coingecko:first"

    Asset.objects.filter(ref="coingecko:first").update(is_active=False)

    assert ref_of("ONE") == "coingecko:second"
    assert Asset.objects.get(settled=True).ref == "coingecko:second"


@pytest.mark.parametrize("asked", ["BRK.B", "BRK-B", "brk/b", "stock:BRK-B", "STOCK:brk.b"])
def test_a_share_class_may_be_written_in_three_ways(asked: str) -> None:
    stock("BRK.B")

    assert ref_of(asked) == "stock:BRK.B"


def test_a_ticker_that_really_has_a_hyphen_is_found_as_it_is() -> None:
    coin("odd", "A-B", 10)
    coin("dotted", "A.B", 5)

    assert ref_of("A-B") == "coingecko:odd"


@pytest.mark.parametrize(
    "asked",
    [
        "",
        " ",
        "$BTC",
        "BTC!",
        "B" * 21,
        "-BTC",
        "stock:",
        "coingecko:",
        "bond:X",
        "\u0412\u0422\u0421",
        "ß",
        "A/B/C",
    ],
)
def test_what_cannot_be_a_symbol_is_refused_by_name(asked: str) -> None:
    with pytest.raises(InvalidSymbolError):
        symbols.resolve(asked)

    assert symbols.resolve_many([asked]).rejected == {asked: "invalid_symbol"}


def test_a_coin_is_found_by_its_id_case_and_all() -> None:
    coin("Odd Coin_1", "ODD", 10)

    assert ref_of("coingecko:Odd Coin_1") == "coingecko:Odd Coin_1"
    assert ref_of("coingecko:odd coin_1") is None


def test_a_coin_that_no_ticker_leads_to_goes_by_its_ref() -> None:
    coin("bitcoin", "BTC", 1)
    coin("batcat", "BTC", 2900)
    coin("no-ticker", "", 10)
    coin("cyrillic", "\u0412\u0422\u0421", 10)
    refs = [f"coingecko:{name}" for name in ("batcat", "no-ticker", "cyrillic")]

    assert symbols.resolve_many(refs).found == dict(zip(refs, refs, strict=True))


def test_what_differs_from_what_was_asked_is_told() -> None:
    coin("bitcoin", "BTC", 1)
    stock("BRK.B")

    found = symbols.resolve_many(["btc", "coingecko:bitcoin", "brk-b", "NOPE"])

    assert found.resolved == {"coingecko:bitcoin": "BTC", "brk-b": "BRK.B"}
    assert found.rejected == {"NOPE": "unknown_symbol"}
    assert list(found.assets) == ["BTC", "BRK.B"]


def test_the_mapping_says_what_a_forced_coin_gives() -> None:
    coin("batcat", "BTC", 2900)
    coin("bitcoin", "BTC", 1)
    coin("bridged", "ETH", 20, is_derivative=True)
    coin("ethereum", "ETH", 900)
    coin("gone", "GONE", 5, is_active=False)

    mapping = symbols.coin_mapping()

    assert mapping == {"BTC": "bitcoin", "ETH": "ethereum"}
    for ticker, coin_id in mapping.items():
        assert ref_of(f"crypto:{ticker}") == f"coingecko:{coin_id}"


def test_a_search_puts_the_exact_ticker_first_and_then_the_larger(
    django_assert_max_num_queries: Any,
) -> None:
    coin("dogelon-mars", "ELON", 200)
    coin("dogecoin", "DOGE", 8)
    coin("baby-doge-coin", "BABYDOGE", 150)
    coin("dog-go-to-the-moon", "DOG", 300)
    stock("DOG")

    with django_assert_max_num_queries(20):  # most of them settle tickers, once
        hits = [one.asset.ref for one in searching.search("doge", None, 10)]

    assert hits == ["coingecko:dogecoin", "coingecko:dogelon-mars", "coingecko:baby-doge-coin"]
    assert [one.symbol for one in searching.search("dog", AssetKind.STOCK, 10)] == ["stock:DOG"]


def test_many_symbols_take_few_queries(django_assert_max_num_queries: Any) -> None:
    for n in range(50):
        coin(f"coin-{n}", f"C{n}", n + 1)
    wanted = [f"C{n}" for n in range(50)]
    symbols.resolve_many(wanted)

    with django_assert_max_num_queries(2):
        assert len(symbols.resolve_many(wanted).found) == 50
