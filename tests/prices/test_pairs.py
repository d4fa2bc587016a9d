"""Which coin has a pair of an exchange, where several bear its ticker and some its price too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db import IntegrityError, transaction

from prices.errors import NotListedError
from prices.models import Asset, ExchangePair
from prices.services import pairs
from tests.market import Sandbox
from tests.prices.rest import ok

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

COPY = "coingecko:bridged-wrapped-ether-starkgate"


def coin(ref: str) -> Asset:
    return Asset.objects.get(ref=ref)


def held(asset: Asset, *, is_settled: bool = True, source: str = "coinbase") -> ExchangePair:
    return ExchangePair.objects.create(
        asset=asset,
        source=source,
        symbol="ETH-USD",
        quote="USD",
        is_settled=is_settled,
        apart_percent=0.1,
        checked_at=datetime.now(UTC) - timedelta(days=8),
    )


def test_a_bridged_coin_of_the_same_price_does_not_take_its_original_s_pair(
    sandbox: Sandbox,
) -> None:
    calls = sandbox.count("/coinbase")

    with pytest.raises(NotListedError):
        pairs.settled(coin(COPY), "coinbase")

    assert sandbox.count("/coinbase") == calls
    assert pairs.settled(coin("coingecko:ethereum"), "coinbase").symbol == "ETH-USD"


def test_a_bridged_coin_has_no_candles_of_its_original(sandbox: Sandbox) -> None:
    series = ok(f"/{COPY}/ohlcv", period="1d")

    passed_over = [one["source"] for one in series["fallback_from"]]
    assert passed_over == ["sandbox:coinbase", "sandbox:binance", "sandbox:kraken"]


def test_a_copy_that_has_a_pair_loses_it_at_the_next_look() -> None:
    row = held(coin(COPY))

    with pytest.raises(NotListedError):
        pairs.settled(row.asset, "coinbase")


def test_the_first_of_a_ticker_takes_its_pair_from_who_has_it() -> None:
    row = held(coin(COPY))

    assert pairs.settled(coin("coingecko:ethereum"), "coinbase").symbol == "ETH-USD"

    row.refresh_from_db()
    assert (row.is_settled, row.refusals) == (False, 1)


def test_a_coin_keeps_its_pair_though_another_original_of_its_ticker_is_ranked_higher() -> None:
    row = held(coin("coingecko:ethereum"))
    Asset.objects.filter(ref=COPY).update(market_cap_rank=1, is_derivative=False)
    Asset.objects.filter(pk=row.asset_id).update(market_cap_rank=5)

    assert pairs.settled(row.asset, "coinbase").checked_at > row.checked_at


def test_the_coin_that_is_pinned_on_a_ticker_has_its_pair_whatever_its_rank() -> None:
    Asset.objects.filter(ref=COPY).update(pinned=True)

    assert pairs.settled(coin(COPY), "coinbase").symbol == "ETH-USD"
    with pytest.raises(NotListedError):
        pairs.settled(coin("coingecko:ethereum"), "coinbase")


def test_the_database_lets_no_pair_be_that_of_two_coins() -> None:
    held(coin("coingecko:ethereum"))
    held(coin(COPY), is_settled=False)

    with pytest.raises(IntegrityError), transaction.atomic():
        ExchangePair.objects.filter(asset__ref=COPY).update(is_settled=True)


def test_an_upgrade_lets_go_of_the_pairs_that_copies_hold() -> None:
    mine, copy_s = held(coin("coingecko:ethereum")), held(coin(COPY), source="binance")

    import_module("prices.migrations.0005_one_coin_per_pair").let_go(apps, None)

    assert list(ExchangePair.objects.all()) == [mine]
    assert copy_s.pk != mine.pk


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_coin_that_is_gone_has_a_pair_only_while_nothing_else_bears_its_ticker(
    is_taken: bool,
) -> None:
    Asset.objects.filter(ticker="ETH").exclude(ref=COPY).update(is_active=is_taken)
    Asset.objects.filter(ref=COPY).update(is_active=False)

    if is_taken:
        with pytest.raises(NotListedError):
            pairs.settled(coin(COPY), "coinbase")
    else:
        assert pairs.settled(coin(COPY), "coinbase").symbol == "ETH-USD"
