"""Replays: two fresh sources that say different prices, as a client and the admin see it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from prices.models import Asset, Dispute
from prices.services import disputes, pairs, quotes
from streaming import demand, tasks
from tests.market import Sandbox
from tests.prices.replays import again, freeze, settle_pairs
from tests.prices.rest import ok

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


def test_two_fresh_sources_that_differ_are_in_dispute_until_they_agree(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    settle_pairs()
    before = ok("/BTC")
    sandbox.fault("times", factor=1.1, path="/binance/api/v3/ticker", only=["BTCUSDT"])

    disputes.check(["BTC"])
    during = again(redis_client)

    assert during["disputed"] is True
    assert during["price"] == pytest.approx(before["price"], rel=0.02)
    assert (during["stale"], during["fallback_from"]) == (False, [])
    row = Dispute.objects.get()
    assert (row.kind, row.source, row.against) == ("sources", "coingecko", "binance")
    assert row.apart_percent == pytest.approx(9, abs=1)

    sandbox.heal()
    disputes.check(["BTC"])

    assert again(redis_client)["disputed"] is False
    assert not Dispute.objects.filter(ended_at=None).exists()


def test_a_second_source_is_asked_once_for_many_coins(sandbox: Sandbox) -> None:
    wanted = ["BTC", "ETH", "SOL", "XRP"]
    for symbol in wanted:
        settle_pairs(symbol)
    quotes.quotes(wanted)
    sandbox.reset()  # The first look at a stand-in for the dollar settles its pair too.

    assert disputes.check(wanted) == len(wanted)

    assert sandbox.count("/binance/api/v3/ticker") == 1
    assert sandbox.count("/coingecko") <= 1


def test_what_is_followed_and_what_is_tracked_is_compared_by_the_beat(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    Asset.objects.filter(tracked=True).update(tracked=False)
    Asset.objects.filter(coingecko_id="ethereum").update(tracked=True)
    redis_client.zadd(demand.WANTED, {"BTC": 4_000_000_000_000})
    for symbol in ("BTC", "ETH", "SOL"):
        settle_pairs(symbol)
    quotes.quotes(["BTC", "ETH", "SOL"])
    sandbox.fault("times", factor=1.1, path="/binance/api/v3/ticker")

    tasks.compare_sources()

    assert {row.asset.ticker for row in Dispute.objects.all()} == {"BTC", "ETH"}


def test_what_is_not_live_is_compared_with_nothing(sandbox: Sandbox, redis_client: Redis) -> None:
    settle_pairs()
    freeze(sandbox, "binance", for_s=1800)
    ok("/BTC")

    disputes.check(["BTC"])

    assert not Dispute.objects.exists()


def test_a_dispute_that_nobody_could_look_at_for_an_hour_is_over(sandbox: Sandbox) -> None:
    settle_pairs()
    ok("/BTC")
    sandbox.fault("times", factor=1.1, path="/binance/api/v3/ticker")
    disputes.check(["BTC"])
    assert Dispute.objects.filter(ended_at=None).count() == 1
    Dispute.objects.update(seen_at=datetime.now(UTC) - disputes.LASTS - timedelta(minutes=1))

    disputes.check([])

    assert not Dispute.objects.filter(ended_at=None).exists()


@pytest.mark.parametrize("factor", [1.04, 1.1])
def test_a_source_that_is_wrong_in_everything_is_not_found_right_by_its_own_rate(
    sandbox: Sandbox, redis_client: Redis, factor: float
) -> None:
    settle_pairs()
    pairs.settled(Asset.objects.get(ref=ok("/USDT")["ref"]), "coinbase")
    redis_client.flushdb()
    sandbox.fault("times", source="coingecko", factor=factor)
    wrong = ok("/BTC"), ok("/USDT")
    assert wrong[1]["price"] == pytest.approx(factor, rel=0.01)

    disputes.check(["BTC"])

    assert again(redis_client)["disputed"] is True
    row = Dispute.objects.get()
    assert (row.asset.ticker, row.against) == ("BTC", "binance")


def test_where_only_the_source_in_question_knows_a_rate_nothing_is_compared_by_it(
    sandbox: Sandbox, settings: Any
) -> None:
    settle_pairs()
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["coingecko", "binance"]}
    quotes.quotes(["BTC", "USDT"])

    assert disputes.check(["BTC"]) == 0
