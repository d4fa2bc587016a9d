"""Replays: sources that freeze and lag, and a chain that goes on, as a client sees it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from redis import Redis

from prices import freshness, registry
from prices.models import Asset, ExchangePair
from prices.services import quotes, sourcing
from prices.types import AssetKind, Resolution
from tests.market import Sandbox
from tests.prices.replays import COINS, again, age_copy, freeze, settle_pairs
from tests.prices.rest import get, max_age, ok

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


# --- Freshness --------------------------------------------------------------------------


def test_a_coin_is_live_while_its_source_s_time_moves() -> None:
    quote = ok("/BTC")

    assert (quote["freshness"], quote["market"], quote["session"]) == ("live", None, None)
    assert quote["disputed"] is False


@pytest.mark.usefixtures("alone")
def test_a_frozen_feed_is_stale_after_its_source_s_cadence(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    freeze(sandbox, "coingecko", for_s=240)
    assert ok("/BTC")["freshness"] == "live"
    redis_client.delete("good:price:BTC")  # of a later time than what comes
    sandbox.heal()
    freeze(sandbox, "coingecko", for_s=400)

    frozen = again(redis_client)

    assert (frozen["freshness"], frozen["stale"]) == ("stale", False)
    age = datetime.now(UTC) - datetime.fromisoformat(frozen["as_of"])
    assert timedelta(seconds=395) < age < timedelta(seconds=430)


@pytest.mark.usefixtures("alone")
def test_a_price_that_repeats_is_live_as_long_as_its_time_moves(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    sandbox.fault("repeats", path=COINS, value=1.0, names=["current_price"])
    looks = []
    for minutes in (60, 30, 0):
        sandbox.control("POST", "clock", {"shift_s": -minutes * 60})
        with time_machine.travel(datetime.now(UTC) - timedelta(minutes=minutes)):
            looks.append(again(redis_client, "USDC"))

    assert [one["price"] for one in looks] == [1.0, 1.0, 1.0]
    assert [one["freshness"] for one in looks] == ["live", "live", "live"]
    assert len({one["as_of"] for one in looks}) == 3


def test_a_series_that_is_no_longer_live_is_renewed_though_its_key_still_lives(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    asked = {"period": "1d", "resolution": "1"}
    new = ok("/BTC/ohlcv", **asked)
    assert new["freshness"] == "live"
    assert redis_client.ttl("ohlcv:BTC:1d:1") > 1700
    assert 0 < redis_client.ttl("sent:ohlcv:BTC:1d:1") <= 12 * 60
    _age_series(redis_client, "ohlcv:BTC:1d:1", minutes=29)
    old = json.loads(redis_client.get("ohlcv:BTC:1d:1") or "")

    again = ok("/BTC/ohlcv", **asked)

    assert (again["freshness"], again["cached"]) == ("live", False)
    assert again["to"] > old["to"]


def test_a_series_that_cannot_be_renewed_says_how_fresh_it_is_by_now(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    asked = {"period": "1d", "resolution": "1"}
    ok("/BTC/ohlcv", **asked)
    _age_series(redis_client, "ohlcv:BTC:1d:1", minutes=29)
    sandbox.fault("status", status=500)

    told = ok("/BTC/ohlcv", **asked)

    assert (told["freshness"], told["cached"]) == ("stale", True)


@pytest.mark.parametrize("name", ["ohlcv", "history"])
def test_a_series_whose_newest_bar_is_over_is_renewed_and_no_cache_keeps_it_so_long(
    sandbox: Sandbox, redis_client: Redis, name: str
) -> None:
    path = f"/BTC/{name}"
    new = get(path, period="1d")
    assert new.json()["resolution"] == "5"
    assert 0 < max_age(new) <= 300
    assert 0 < redis_client.ttl(f"sent:{name}:BTC:1d") <= 300
    before = sandbox.count()
    assert ok(path, period="1d")["cached"] is True
    assert sandbox.count() == before
    _age_series(redis_client, f"{name}:BTC:1d", minutes=6)

    again = ok(path, period="1d")

    assert (again["cached"], again["to"] >= new.json()["to"]) == (False, True)
    # Where that fails it is as good as it was: it is within its life, and fresh.
    _age_series(redis_client, f"{name}:BTC:1d", minutes=6)
    sandbox.fault("status", status=500)
    told = ok(path, period="1d")
    assert (told["freshness"], told["stale"], told["cached"]) == ("live", False, True)


def test_a_series_is_worth_a_call_once_a_minute_or_a_twentieth_of_a_bar_while_there_is_trade() -> (
    None
):
    def wait(kind: AssetKind, opened: str, width: Resolution, fetched: str) -> str | None:
        last, at = (datetime.fromisoformat(f"2026-{text}Z") for text in (opened, fetched))
        due = freshness.worth_renewing_at(kind, last, width, at)
        return f"{due:%m-%dT%H:%M}" if due else None

    coin, stock = AssetKind.CRYPTO, AssetKind.STOCK
    assert wait(coin, "11-25T12:00", Resolution.M5, "11-25T12:01") == "11-25T12:05"
    assert wait(coin, "11-25T12:00", Resolution.M5, "11-25T12:09") == "11-25T12:10"
    assert wait(coin, "11-25T11:00", Resolution.H1, "11-25T12:09") == "11-25T12:12"
    assert wait(coin, "11-01T00:00", Resolution.MONTH, "11-25T12:09") == "12-01T00:00"
    assert wait(stock, "11-25T15:00", Resolution.M5, "11-25T15:02") == "11-25T15:05"
    # The session's last bar; what comes next comes when the market opens.
    assert wait(stock, "11-25T20:55", Resolution.M5, "11-25T20:58") is None


def _age_series(redis_client: Redis, key: str, minutes: int) -> None:
    """Let a series have been stored, and its newest bar been opened, so long ago."""
    body = json.loads(redis_client.get(key) or "")
    fetched_at = datetime.fromisoformat(body["fetched_at"]) - timedelta(minutes=minutes)
    body |= {"fetched_at": fetched_at.isoformat(), "to": body["to"] - minutes * 60}
    redis_client.set(key, json.dumps(body), ex=60)
    redis_client.delete(f"sent:{key}")


@pytest.mark.parametrize(
    ("now", "state", "next_change_at"),
    [
        # The half day after Thanksgiving, in its session and after it.
        ("2026-11-27T17:30:00+00:00", "open", "2026-11-27T18:00:00Z"),
        ("2026-11-27T19:00:00+00:00", "post", "2026-11-27T22:00:00Z"),
        ("2026-11-28T15:00:00+00:00", "closed", "2026-11-30T09:00:00Z"),
    ],
)
@pytest.mark.usefixtures("alone")
def test_a_stock_says_what_new_york_does_and_when_that_changes(
    sandbox: Sandbox, now: str, state: str, next_change_at: str
) -> None:
    at = datetime.fromisoformat(now)
    sandbox.control("POST", "clock", {"now": at.timestamp()})
    with time_machine.travel(at):
        quote = ok("/AAPL")

    assert quote["market"] == {"state": state, "next_change_at": next_change_at}
    assert quote["session"] == "regular"  # The last trade that the source tells is of it.


@pytest.mark.parametrize("now", ["2026-11-27T17:30:00+00:00", "2026-11-27T19:00:00+00:00"])
@pytest.mark.usefixtures("alone")
def test_a_series_of_a_stock_is_of_regular_sessions_by_its_own_newest_price(
    sandbox: Sandbox, now: str
) -> None:
    at = datetime.fromisoformat(now)
    sandbox.control("POST", "clock", {"now": at.timestamp()})
    with time_machine.travel(at):
        series = [
            ok("/AAPL/history", period="1d"),
            ok("/AAPL/history", period="1y"),
            *(ok("/AAPL/ohlcv", period="3m", resolution=width) for width in ("60", "D", "W", "M")),
        ]
        coin = ok("/BTC/history", period="1d")

    assert [one["session"] for one in series] == ["regular"] * 6
    times = [(one["as_of"], one["fetched_at"]) for one in series]
    assert all(datetime.fromisoformat(a) <= datetime.fromisoformat(b) for a, b in times)
    assert coin["session"] is None


@pytest.mark.usefixtures("alone")
def test_a_stock_of_two_weeks_ago_is_stale_whatever_the_hour(sandbox: Sandbox) -> None:
    sandbox.control("POST", "clock", {"shift_s": -14 * 86_400})

    quote = ok("/AAPL")

    assert (quote["freshness"], quote["stale"]) == ("stale", False)


def test_a_source_without_a_time_of_its_own_is_told_as_unknown(settings: Any) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["kraken"]}

    assert ok("/BTC")["freshness"] == "unknown"


@pytest.mark.usefixtures("alone")
def test_a_copy_is_judged_when_it_is_given_and_not_when_it_was_fetched(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/BTC")
    age_copy(redis_client, "BTC", timedelta(minutes=20))
    sandbox.fault("status", status=500, source="coingecko")

    copy = ok("/BTC")

    assert (copy["stale"], copy["freshness"]) == (True, "stale")
    assert quotes.for_tick(["BTC"]).data["BTC"].freshness == "stale"


@pytest.mark.usefixtures("alone")
def test_a_tick_s_old_copy_is_judged_when_it_is_given(settings: Any, redis_client: Redis) -> None:
    providers = {name: dict(config) for name, config in settings.PRICE_PROVIDERS.items()}
    providers["coingecko"] |= {"LIMITS": {"per_month": 1}, "REFRESH_S": 60}
    settings.PRICE_PROVIDERS = providers
    quotes.for_tick(["BTC"], followed=[])
    age_copy(redis_client, "BTC", timedelta(minutes=6), fetched=False)

    quote = quotes.for_tick(["BTC"], followed=[]).data["BTC"]

    assert (quote.cached, quote.freshness) == (True, "stale")


def test_no_stored_quote_outlives_what_it_says_of_the_market(redis_client: Redis) -> None:
    held = ok("/AAPL")
    change = datetime.fromisoformat(held["market"]["next_change_at"])

    life_s = redis_client.pttl("price:AAPL") / 1000

    assert life_s <= (change - datetime.now(UTC)).total_seconds() + 1


def test_what_is_about_to_be_untrue_is_not_kept(
    settings: Any, sandbox: Sandbox, redis_client: Redis
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["coingecko"]}
    freeze(sandbox, "coingecko", for_s=280)

    assert ok("/BTC")["freshness"] == "live"

    assert 0 < redis_client.ttl("price:BTC") <= 21


# --- The chain goes on ------------------------------------------------------------------


def test_where_the_first_source_stands_still_the_next_one_is_asked_and_it_says_so(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    settle_pairs()
    freeze(sandbox, "coingecko", for_s=1800)

    quote = again(redis_client)

    assert (quote["freshness"], quote["stale"]) == ("live", False)
    assert quote["fallback_from"][0] == {"source": "sandbox:coingecko", "code": "stale"}


def test_where_nobody_knows_better_the_first_is_given_and_nobody_asked_for_a_while(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    settle_pairs()
    sandbox.control("POST", "clock", {"shift_s": -3600})
    for source in ("coinbase", "kraken"):
        sandbox.fault("status", status=503, source=source)
    first = again(redis_client)
    asked = sandbox.count("/binance")

    second = again(redis_client)

    assert (first["freshness"], first["fallback_from"]) == ("stale", [])
    assert (second["freshness"], sandbox.count("/binance")) == ("stale", asked)


def test_a_price_is_hopeless_no_longer_than_a_source_that_was_not_heard_is_to_rest(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    settle_pairs()
    sandbox.control("POST", "clock", {"shift_s": -3600})
    sandbox.fault("status", status=503, source="kraken")  # whose time would be unknown
    registry.budget("binance").freeze(20)

    stale = again(redis_client)

    assert stale["freshness"] == "stale"
    assert 0 < redis_client.ttl(f"doubt:stale:{stale['ref']}") <= 20


def test_a_market_that_stands_still_does_not_have_hundreds_of_pairs_settled(
    sandbox: Sandbox,
) -> None:
    rows = Asset.objects.filter(kind="crypto", is_active=True, market_cap_rank__lte=60)
    wanted = [asset.ref for asset in rows]
    freeze(sandbox, "coingecko", for_s=1800)

    batch = quotes.for_tick(wanted)

    assert len(batch.data) > 50
    assert batch.api_calls < 80


def test_while_a_market_stands_still_each_load_gives_more_of_its_coins_their_turn(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    rows = Asset.objects.filter(kind="crypto", is_active=True, market_cap_rank__lte=60)
    wanted = [asset.ref for asset in rows]
    freeze(sandbox, "coingecko", for_s=1800)

    def live() -> set[str]:
        batch = quotes.quotes(wanted)
        return {one.ref for one in batch.data.values() if one.freshness == "live"}

    first = live()
    waiting = set(wanted) - set(ExchangePair.objects.values_list("asset__ref", flat=True))
    assert len(waiting) > 30
    for ref in waiting:
        assert 0 < redis_client.ttl(f"doubt:stale:{ref}") <= sourcing.SETTLE_LATER_S

    # What lapses within a minute.
    redis_client.delete(*(f"doubt:stale:{ref}" for ref in waiting))
    redis_client.delete(*redis_client.scan_iter("price:*"))
    second = live()

    assert first
    assert len(second) > len(first)
