"""Replays: sources that freeze, lag, contradict each other and jump, as a client sees it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import time_machine
from redis import Redis

from prices import cache, registry
from prices.answers import QuoteAnswer
from prices.models import Asset, Dispute, ExchangePair, StockSplit
from prices.services import disputes, doubts, pairs, quotes
from streaming import demand, tasks
from tests.market import Sandbox
from tests.prices.rest import ok

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

COINS = "/coingecko/api/v3/coins/markets"


def again(redis_client: Redis, symbol: str = "BTC") -> Any:
    """Let a quote's life be over, and ask for it."""
    redis_client.delete(f"price:{symbol}")
    return ok(f"/{symbol}")


def later(redis_client: Redis, symbol: str = "BTC", by: timedelta = doubts.LOOK_AGAIN) -> Any:
    """The same a while later: whoever looked at what was held back may look again."""
    for key in redis_client.scan_iter("doubt:jump:*"):
        body = redis_client.get(key)
        assert isinstance(body, str)
        one = msgspec.json.decode(body, type=doubts.Suspicion)
        earlier = msgspec.structs.replace(
            one, since=one.since - by, looked_at=one.looked_at - doubts.LOOK_AGAIN
        )
        redis_client.set(key, msgspec.json.encode(earlier))
    return again(redis_client, symbol)


def settle_pairs(symbol: str = "BTC") -> None:
    asset = Asset.objects.get(ticker=symbol, market_cap_rank__lte=50)
    for source in ("binance", "coinbase", "kraken"):
        assert pairs.settled(asset, source).is_settled


def freeze(sandbox: Sandbox, source: str, for_s: float) -> None:
    """Let a source stand still since `for_s` seconds ago."""
    sandbox.control("POST", "clock", {"shift_s": -for_s})
    sandbox.fault("frozen", source=source)
    sandbox.control("POST", "clock", {"shift_s": 0})


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
    sandbox.fault("times", path=COINS, factor=0, names=["price_change_24h"])
    for minutes in (60, 30, 0):
        sandbox.control("POST", "clock", {"shift_s": -minutes * 60})
        quote = again(redis_client, "USDC")

    assert quote["price"] == pytest.approx(1.0, abs=0.01)
    assert quote["freshness"] == "live"


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
    _age_copy(redis_client, "BTC", timedelta(minutes=20))
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
    _age_copy(redis_client, "BTC", timedelta(minutes=6), fetched=False)

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


# --- Jumps --------------------------------------------------------------------------------


@pytest.mark.usefixtures("alone")
def test_a_price_that_jumps_is_held_back_until_a_later_look_shows_it_again(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    before = ok("/BTC")
    sandbox.fault("times", source="coingecko", factor=1.5)

    first = again(redis_client)

    assert first["price"] == before["price"]
    assert first["as_of"] == before["as_of"]
    assert (first["stale"], first["disputed"]) == (True, True)
    assert Dispute.objects.get().kind == "jump"

    sandbox.control("POST", "clock", {"shift_s": 20})
    assert later(redis_client)["disputed"] is True
    sandbox.control("POST", "clock", {"shift_s": 80})
    second = later(redis_client, by=timedelta(seconds=60))

    assert second["price"] == pytest.approx(1.5 * before["price"], rel=0.05)
    assert (second["stale"], second["disputed"]) == (False, False)
    assert Dispute.objects.get().ended_at is not None


@pytest.mark.usefixtures("alone")
def test_a_price_that_jumps_and_comes_back_was_never_told(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    before = ok("/BTC")
    sandbox.fault("times", source="coingecko", factor=0.3, calls=1)
    assert again(redis_client)["price"] == before["price"]

    after = later(redis_client)

    assert after["price"] == pytest.approx(before["price"], rel=0.02)
    assert (after["stale"], after["disputed"]) == (False, False)
    assert not Dispute.objects.filter(ended_at=None).exists()


@pytest.mark.usefixtures("alone")
def test_readers_of_what_is_held_back_cost_no_further_calls(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/BTC")
    sandbox.fault("times", source="coingecko", factor=2)
    again(redis_client)
    asked = sandbox.count()

    for _ in range(5):
        assert again(redis_client)["disputed"] is True

    assert sandbox.count() == asked


@pytest.mark.usefixtures("alone")
def test_the_same_answer_seen_twice_confirms_nothing(sandbox: Sandbox, redis_client: Redis) -> None:
    ok("/BTC")
    sandbox.fault("times", source="coingecko", factor=2)
    sandbox.fault("frozen", source="coingecko")
    again(redis_client)

    assert later(redis_client)["disputed"] is True


def test_a_jump_that_the_next_source_sees_too_is_told_at_once(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    settle_pairs()
    before = ok("/BTC")
    sandbox.fault("times", factor=1.5, path=COINS, only=["bitcoin"])
    sandbox.fault("times", factor=1.5, path="/binance/api/v3/ticker", only=["BTCUSDT"])

    quote = again(redis_client)

    assert quote["price"] == pytest.approx(1.5 * before["price"], rel=0.02)
    assert (quote["stale"], quote["disputed"], quote["fallback_from"]) == (False, False, [])


def test_where_the_next_source_knows_of_no_jump_it_is_used_and_says_why(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    settle_pairs()
    before = ok("/BTC")
    sandbox.fault("times", factor=1.5, path=COINS)

    quote = again(redis_client)

    assert quote["price"] == pytest.approx(before["price"], rel=0.02)
    assert quote["fallback_from"][0] == {"source": "sandbox:coingecko", "code": "jump"}
    assert (quote["stale"], quote["disputed"]) == (False, True)

    sandbox.heal()
    healed = again(redis_client)

    assert (healed["disputed"], healed["fallback_from"]) == (False, [])
    assert not Dispute.objects.filter(ended_at=None).exists()


def test_a_jump_is_not_confirmed_by_its_own_source_while_another_cannot_be_asked(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    settle_pairs()
    before = ok("/BTC")
    sandbox.fault("times", factor=1.5, path=COINS)
    for source in ("binance", "coinbase", "kraken"):
        sandbox.fault("status", status=503, source=source)
    assert again(redis_client)["price"] == before["price"]
    sandbox.control("POST", "clock", {"shift_s": 80})

    assert later(redis_client, by=timedelta(minutes=5))["price"] == before["price"]

    sandbox.control("POST", "clock", {"shift_s": 90})
    at_last = later(redis_client, by=timedelta(minutes=5))
    assert at_last["price"] == pytest.approx(1.5 * before["price"], rel=0.05)


def test_an_older_price_of_a_fallback_does_not_replace_a_newer_one(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["coingecko", "coinbase"]}
    settle_pairs()
    freeze(sandbox, "coinbase", for_s=120)
    before = ok("/BTC")
    sandbox.fault("status", status=503, source="coingecko")

    kept = again(redis_client)

    same = ("price", "as_of", "last_updated")
    assert {name: kept[name] for name in same} == {name: before[name] for name in same}
    assert before["fallback_from"] == []
    assert kept["fallback_from"] == [
        {"source": "sandbox:coingecko", "code": "upstream_unavailable"},
        {"source": "sandbox:coinbase", "code": "older"},
    ]
    assert (kept["stale"], kept["freshness"]) == (False, "live")
    assert kept["fetched_at"] > before["fetched_at"]


def test_a_price_in_doubt_settles_no_pair(sandbox: Sandbox, redis_client: Redis) -> None:
    ok("/BTC")
    sandbox.fault("times", factor=1.5, path=COINS)

    again(redis_client)

    assert not ExchangePair.objects.exists()


@pytest.mark.usefixtures("alone")
def test_a_first_price_is_taken_and_so_is_a_large_move_over_days(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    first = ok("/BTC")
    _age_copy(redis_client, "BTC", timedelta(days=1))
    sandbox.fault("times", source="coingecko", factor=1.8)

    assert again(redis_client)["price"] == pytest.approx(1.8 * first["price"], rel=0.02)


def listed(symbol: str) -> float:
    """Have the list of coins, and return what it says of one."""
    rows = ok("/crypto/top", limit=20)["cryptos"]
    return float(next(row["current_price"] for row in rows if row["symbol"] == symbol))


def test_a_first_price_and_a_first_series_are_held_against_the_list_of_coins(
    sandbox: Sandbox,
) -> None:
    settle_pairs("XRP")
    known = listed("XRP")
    sandbox.fault("times", source="coingecko", factor=1.5)

    first, series = ok("/XRP"), ok("/XRP/history", period="1d")

    assert first["price"] == pytest.approx(known, rel=0.05)
    assert first["disputed"] is True
    assert series["data"][-1]["price"] == pytest.approx(known, rel=0.05)
    for answer in (first, series):
        assert {"source": "sandbox:coingecko", "code": "jump"} in answer["fallback_from"]


@pytest.mark.usefixtures("alone")
def test_a_first_price_far_from_the_list_is_held_back_where_nobody_else_knows(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    known = listed("XRP")
    sandbox.fault("times", source="coingecko", factor=1.5)

    first = ok("/XRP")

    assert first["price"] == pytest.approx(known)
    assert (first["disputed"], first["stale"]) == (True, True)

    sandbox.heal()
    healed = later(redis_client, "XRP")
    assert healed["price"] == pytest.approx(known, rel=0.05)
    assert (healed["disputed"], healed["stale"]) == (False, False)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("is_known", [True, False])
def test_a_split_that_is_known_is_no_jump(redis_client: Redis, is_known: bool) -> None:
    quote = ok("/AAPL")
    _age_copy(redis_client, "AAPL", timedelta(days=1), price=10 * quote["price"])
    if is_known:
        day = datetime.fromisoformat(quote["as_of"]).date()
        stock = Asset.objects.get(ref="stock:AAPL")
        StockSplit.objects.create(asset=stock, day=day, ratio=10, source="test")

    after = again(redis_client, "AAPL")

    assert after["disputed"] is not is_known
    assert (after["price"] == pytest.approx(quote["price"], rel=0.05)) is is_known


@pytest.mark.usefixtures("alone")
def test_with_no_share_set_nothing_is_held_back(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.JUMP_PERCENT = 0
    before = ok("/BTC")
    sandbox.fault("times", source="coingecko", factor=3)

    assert again(redis_client)["price"] == pytest.approx(3 * before["price"], rel=0.02)


# --- Sources that differ --------------------------------------------------------------------


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


def _age_copy(
    redis_client: Redis,
    symbol: str,
    by: timedelta,
    *,
    fetched: bool = True,
    price: float | None = None,
) -> None:
    """Let the copy of a quote be older, and its life be over."""
    body = redis_client.get(f"good:price:{symbol}")
    assert isinstance(body, str)
    old = msgspec.json.decode(body, type=QuoteAnswer)
    at = old.last_updated - by
    aged = msgspec.structs.replace(
        old,
        as_of=at,
        last_updated=at,
        price=price or old.price,
        fetched_at=old.fetched_at - by if fetched else old.fetched_at,
    )
    redis_client.set(f"good:price:{symbol}", cache.encode(aged), ex=1000)
    redis_client.delete(f"price:{symbol}")
