"""A source's switch and budget are charged for what that source itself did, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from prices import failures, gateway, registry
from prices.breaker import FAILURES, Standing
from prices.errors import UpstreamError, UpstreamNotFoundError
from prices.models import Asset, Bar
from prices.services import pairs
from prices.types import AssetKind, Capability
from tests.market import Sandbox
from tests.prices.rest import get, ok

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


def half_open(redis_client: Redis, source: str = "coinbase") -> None:
    """Let a source have failed, and its rest be over."""
    for _ in range(FAILURES):
        registry.breaker(source).failed("no answer in time")
    redis_client.delete(f"breaker:{source}:open")


@pytest.mark.parametrize("status", [500, 429])
def test_what_coingecko_does_while_a_pair_is_settled_is_not_charged_to_the_exchange(
    sandbox: Sandbox, redis_client: Redis, status: int
) -> None:
    sandbox.fault("status", status=status, source="coingecko")

    get("/DOGE/ohlcv", period="1d", resolution="5")

    assert redis_client.keys("breaker:coinbase:*") == []
    assert registry.budget("coinbase").spent().frozen_s == 0


def test_a_failure_that_is_only_remembered_counts_no_second_time(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    doge = Asset.objects.get(coingecko_id="dogecoin")
    failures.remember({f"pair:coinbase:{doge.ref}": UpstreamError("coinbase", "it was away")}, 60)

    for resolution in ("5", "15", "60", "D"):
        series = ok("/DOGE/ohlcv", period="1d", resolution=resolution)
        assert series["fallback_from"][0]["source"] == "sandbox:coinbase"

    assert redis_client.keys("breaker:coinbase:*") == []


def test_a_source_that_failed_is_tried_by_a_question_that_settles_a_pair_first(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    half_open(redis_client)

    series = ok("/DOGE/ohlcv", period="1d", resolution="5")

    assert series["fallback_from"] == []
    assert registry.breaker("coinbase").standing() == Standing()


def test_a_failure_within_a_question_counts_once(sandbox: Sandbox, redis_client: Redis) -> None:
    sandbox.fault("status", status=503, source="coinbase", path="/coinbase/products/DOGE-USD")

    ok("/DOGE/ohlcv", period="1d", resolution="5")

    assert redis_client.get("breaker:coinbase:failures") == "1"


def test_an_answer_without_a_call_does_not_say_that_a_source_is_whole(redis_client: Redis) -> None:
    half_open(redis_client)

    def unknown(_: Any) -> None:
        raise UpstreamNotFoundError("coinbase", "not known there")

    with pytest.raises(UpstreamNotFoundError):
        gateway.call("coinbase", unknown)
    gateway.call("coinbase", lambda _: None)

    assert registry.breaker("coinbase").standing().is_untried
    assert registry.breaker("coinbase").turn().is_trial


def test_pages_that_are_slow_each_are_a_failure_together_and_what_came_is_kept(
    sandbox: Sandbox, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    candles = "/coinbase/products/BTC-USD/candles"
    pairs.settled(Asset.objects.get(coingecko_id="bitcoin"), "coinbase")
    sandbox.fault("delay", delay_s=0.4, path=candles)
    monkeypatch.setattr(gateway, "QUESTION_S", 1.8)

    get("/BTC/ohlcv", period="5y", resolution="D")

    assert redis_client.get("breaker:coinbase:failures") == "1"
    first = sandbox.count(candles)
    kept = Bar.objects.filter(series__source="coinbase", series__resolution="D").count()
    assert 1 <= first <= 5
    sandbox.heal()
    monkeypatch.undo()
    redis_client.flushdb()

    whole = ok("/BTC/ohlcv", period="5y", resolution="D")

    assert whole["fallback_from"] == []
    # The day under way is on the first page, and is not kept.
    assert kept >= 300 * (first - 1) - 1
    pages = -(-whole["count"] // 300)
    # What was kept is not asked for again; the newest days are.
    assert sandbox.count(candles) - first <= pages - (first - 1) + 1


def test_a_source_that_knows_nothing_of_an_asset_is_not_told_to_have_failed() -> None:
    first = registry.chain(AssetKind.CRYPTO, Capability.CANDLES)[0]

    def question(source: Any) -> str:
        if source.name == first:
            raise UpstreamNotFoundError(source.name, "no such pair")
        return "bars"

    got = gateway.ask(AssetKind.CRYPTO, Capability.CANDLES, question)

    assert got.value == "bars"
    assert [one.code for one in got.skipped] == ["not_found"]


QUARTER = {"period": "3m", "resolution": "60"}  # 8 pages at Coinbase


def test_a_source_whose_pages_are_slow_hides_no_other_and_its_switch_opens(
    sandbox: Sandbox, redis_client: Redis, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase", "binance"]}
    ok("/LTC/ohlcv", period="1d")  # settles the pair
    monkeypatch.setattr(gateway, "SHARE_S", 0.4)
    sandbox.fault("delay", delay_s=0.25, path="/coinbase/products/LTC-USD/candles")

    for _ in range(FAILURES):
        series = ok("/LTC/ohlcv", **QUARTER)
        assert series["fallback_from"] == [
            {"source": "sandbox:coinbase", "code": "upstream_unavailable"}
        ]
        redis_client.delete("ohlcv:LTC:3m:60")

    assert registry.breaker("coinbase").standing().is_open


def test_a_source_whose_pages_are_slow_goes_on_where_no_other_answers(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase", "kraken"]}
    ok("/LTC/ohlcv", period="1d")
    monkeypatch.setattr(gateway, "SHARE_S", 0.4)
    sandbox.fault("delay", delay_s=0.12, path="/coinbase/products/LTC-USD/candles")

    series = ok("/LTC/ohlcv", **QUARTER)

    assert series["fallback_from"] == []
    assert series["count"] in (90 * 24, 90 * 24 + 1)


def test_a_price_to_compare_pairs_with_is_waited_for_once(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    sandbox.fault("status", status=503, source="coingecko")
    before = sandbox.count("/coingecko/api/v3/coins/markets")

    get("/XLM/ohlcv", period="1d")

    assert sandbox.count("/coingecko/api/v3/coins/markets") <= before + 1
