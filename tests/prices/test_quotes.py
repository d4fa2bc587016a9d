from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
import time_machine
from pytest_django import Settings
from redis import Redis

from prices import cache, cadences, registry
from prices.answers import QuoteAnswer
from prices.breaker import FAILURES
from prices.models import Asset
from prices.services import quotes, symbols
from prices.types import AssetKind, Freshness
from tests.market import Sandbox

pytestmark = [pytest.mark.django_db]

MARKETS = "/coingecko/api/v3/coins/markets"


def symbols_of(kind: str, count: int) -> list[str]:
    found = Asset.objects.filter(kind=kind, is_active=True)[:count]
    return [one.symbol for one in symbols.named(list(found)).values()]


def test_a_tick_over_three_hundred_coins_takes_two_calls(market: Sandbox) -> None:
    wanted = symbols_of("crypto", 300)

    batch = quotes.for_tick(wanted)

    assert len(batch.data) > 290
    assert market.count(MARKETS) == batch.api_calls == 2


def test_what_is_followed_and_what_is_only_tracked_is_fetched_in_one_call(market: Sandbox) -> None:
    batch = quotes.for_tick(["BTC", "ETH", "SOL"], followed=["BTC"])

    assert set(batch.data) == {"BTC", "ETH", "SOL"}
    assert market.count() == 1


def test_the_first_tick_after_every_source_is_whole_again_is_whole(
    market: Sandbox, redis_client: Redis
) -> None:
    wanted = ["BTC", "ETH", "AAPL"]
    quotes.for_tick(wanted)
    for symbol in wanted:
        _age(symbol, 45)
    market.fault("status", status=503)
    assert {quote.stale or quote.cached for quote in quotes.for_tick(wanted).data.values()} == {
        True
    }
    for source in ("coingecko", "binance", "coinbase", "kraken", "finnhub", "twelvedata", "tiingo"):
        for _ in range(FAILURES):
            registry.breaker(source).failed("no answer in time")
        redis_client.delete(f"breaker:{source}:ticked")  # as after a usual interval
    assert quotes.quotes(wanted, max_age_s=1).api_calls == 0
    market.heal()

    batch = quotes.for_tick(wanted)

    assert {(quote.stale, quote.cached) for quote in batch.data.values()} == {(False, False)}
    assert batch.errors == {}
    assert quotes.quotes(["SOL"]).api_calls == 1


@pytest.mark.usefixtures("market")
def test_what_a_tick_carries_again_is_the_same_until_time_makes_another_of_it() -> None:
    quote = msgspec.structs.replace(quotes.for_tick(["BTC"]).data["BTC"], source="coingecko")
    now = quote.last_updated
    patience = cadences.of("coingecko").patience

    def carried() -> QuoteAnswer:
        return quotes._as_kept({"BTC": quote})["BTC"]

    with time_machine.travel(now, tick=False) as clock:
        first = carried()
        assert (first.freshness, first.stale, first.cached) == (Freshness.LIVE, False, True)
        assert carried() is first
        clock.move_to(now + patience)
        at_the_end = carried().freshness
        clock.move_to(now + patience + timedelta(microseconds=1))
        later = carried()

    assert at_the_end is Freshness.LIVE
    assert later.freshness is not Freshness.LIVE


@pytest.mark.usefixtures("market")
def test_what_a_tick_carries_turns_stale_and_is_judged_by_another_cadence_at_once(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    quote = msgspec.structs.replace(quotes.for_tick(["BTC"]).data["BTC"], source="coingecko")
    past: dict[str, float] = {}
    monkeypatch.setattr(quotes, "_too_old", lambda *_: past)

    def carried() -> QuoteAnswer:
        return quotes._as_kept({"BTC": quote})["BTC"]

    with time_machine.travel(quote.last_updated + timedelta(seconds=30), tick=False):
        assert not carried().stale
        past["BTC"] = 61.0
        assert carried().stale
        past.clear()
        assert (carried().stale, carried().freshness) == (False, Freshness.LIVE)
        config = settings.PRICE_PROVIDERS["coingecko"] | {"CHANGES_S": 1, "DELAY_S": 0}
        settings.PRICE_PROVIDERS = settings.PRICE_PROVIDERS | {"coingecko": config}
        assert carried().freshness is Freshness.STALE


@pytest.mark.parametrize(("age_s", "calls"), [(10, 0), (45, 1)])
def test_a_tick_renews_what_is_older_than_its_interval(
    market: Sandbox, age_s: float, calls: int
) -> None:
    quotes.for_tick(["BTC"])
    _age("BTC", age_s)
    before = market.count()

    quotes.for_tick(["BTC"])

    assert market.count() - before == calls


def test_a_source_with_a_limit_is_asked_no_sooner_than_its_data_change(
    market: Sandbox, settings: Any
) -> None:
    _limit(settings)
    quotes.for_tick(["BTC"])
    _age("BTC", 45)
    before = market.count()

    quotes.for_tick(["BTC"])

    assert market.count() == before


def test_what_nobody_follows_is_renewed_as_rarely_as_the_month_allows(
    market: Sandbox, settings: Any, redis_client: Redis
) -> None:
    _limit(settings)
    quotes.for_tick(["BTC", "ETH"], followed=["BTC"])
    for symbol in ("BTC", "ETH"):
        _age(symbol, 100)

    batch = quotes.for_tick(["BTC", "ETH"], followed=["BTC"])

    assert batch.data["BTC"].cached is False
    assert batch.data["ETH"].cached is True


def test_an_idle_quote_past_its_life_is_not_renewed_before_its_time(
    market: Sandbox, settings: Any, redis_client: Redis
) -> None:
    _limit(settings)
    quotes.for_tick(["BTC"], followed=[])
    redis_client.delete("price:BTC")
    before = market.count()

    batch = quotes.for_tick(["BTC"], followed=[])

    assert market.count() == before
    assert batch.data["BTC"].price > 0
    assert batch.data["BTC"].stale is True


def test_a_tick_leaves_readers_their_part_of_a_source_s_minute(
    market: Sandbox, settings: Any
) -> None:
    providers = {name: dict(config) for name, config in settings.PRICE_PROVIDERS.items()}
    providers["finnhub"] |= {"LIMITS": {"per_minute": 60}, "REFRESH_S": 60}
    settings.PRICE_PROVIDERS = providers
    wanted = symbols_of("stock", 40)

    first, second = quotes.for_tick(wanted), quotes.for_tick(wanted)

    assert (first.api_calls, second.api_calls) == (24, 16)
    assert len(first.data) == 24
    assert len(second.data) == 40


def test_a_source_is_renewed_at_the_tick_at_which_its_data_change(
    market: Sandbox, settings: Any
) -> None:
    _limit(settings)
    quotes.for_tick(["BTC"])
    _age("BTC", 59.9)
    before = market.count()

    quotes.for_tick(["BTC"])

    assert market.count() - before == 1


def test_what_is_cached_is_read_without_asking_anyone(market: Sandbox) -> None:
    quotes.quotes(["BTC"])
    before = market.count()

    assert set(quotes.cached(["BTC", "ETH"])) == {"BTC"}
    assert market.count() == before


def test_tracked_symbols_are_tracked_with_the_first_catalogue_and_left_alone_after_that(
    sandbox: Sandbox,
) -> None:
    symbols.fill_missing()
    assert set(quotes.tracked()) == {"BTC", "ETH", "SOL", "AAPL", "MSFT", "TSLA"}
    Asset.objects.update(tracked=False)

    symbols.fill(AssetKind)

    assert quotes.tracked() == []


def test_a_first_start_in_an_outage_is_made_good_for(sandbox: Sandbox, redis_client: Redis) -> None:
    sandbox.fault("status", status=500, source="finnhub")
    symbols.fill_missing()
    assert set(quotes.tracked()) == {"BTC", "ETH", "SOL"}
    sandbox.heal()

    symbols.fill_missing()

    assert set(quotes.tracked()) == {"BTC", "ETH", "SOL", "AAPL", "MSFT", "TSLA"}


def _limit(settings: Any) -> None:
    """Let CoinGecko's plan be the free one, as far as our own manners go."""
    providers = {name: dict(config) for name, config in settings.PRICE_PROVIDERS.items()}
    providers["coingecko"] |= {
        "LIMITS": {"per_second": None, "per_minute": 30, "per_month": 10_000},
        "REFRESH_S": 60,
    }
    settings.PRICE_PROVIDERS = providers


def _age(symbol: str, by_s: float) -> None:
    """Make a quote that is held older, and keep it within its life."""
    held = cache.read(cache.price_key(symbol), QuoteAnswer)
    assert held is not None
    older = held.value.fetched_at - timedelta(seconds=by_s)
    value = msgspec.structs.replace(held.value, fetched_at=older)
    cache.store(cache.price_key(symbol), value, 120)
