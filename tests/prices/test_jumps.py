"""Replays: prices that jump beyond reason, held back until they are confirmed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from redis import Redis

from prices import redis_clients
from prices.models import Asset, Dispute, ExchangePair, StockSplit
from prices.redis_clients import RedisAwayError
from prices.services import doubts, quotes
from tests.market import Sandbox
from tests.prices.replays import COINS, again, age_copy, freeze, settle_pairs
from tests.prices.rest import ok

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


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
    assert kept["fetched_at"] == before["fetched_at"]


def test_a_price_that_is_kept_for_its_time_is_not_asked_for_at_once_again(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["coingecko", "coinbase"]}
    settle_pairs()
    freeze(sandbox, "coinbase", for_s=200)
    ok("/BTC")
    sandbox.fault("status", status=503, source="coingecko")
    age_copy(redis_client, "BTC", timedelta(seconds=70))
    kept = ok("/BTC")
    asked = sandbox.count("/coinbase")

    forced = ok("/BTC", force_refresh="true")
    tick = quotes.for_tick(["BTC"], followed=[]).data["BTC"]

    assert sandbox.count("/coinbase") == asked
    assert kept["fallback_from"][-1] == {"source": "sandbox:coinbase", "code": "older"}
    assert datetime.now(UTC) - datetime.fromisoformat(kept["fetched_at"]) > timedelta(seconds=70)
    assert (forced["fetched_at"], forced["stale"]) == (kept["fetched_at"], False)
    assert (tick.fetched_at.isoformat()[:19], tick.stale) == (kept["fetched_at"][:19], False)


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
    age_copy(redis_client, "BTC", timedelta(days=1))
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
    age_copy(redis_client, "AAPL", timedelta(days=1), price=10 * quote["price"])
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


def test_without_redis_a_process_forgets_what_it_suspected_when_redis_would(
    monkeypatch: pytest.MonkeyPatch, redis_client: Redis
) -> None:
    now = datetime.now(UTC)
    for ref, ago in (
        ("coingecko:young", timedelta(minutes=59)),
        ("coingecko:old", timedelta(hours=2)),
    ):
        at = now - ago
        doubts.suspect(ref, doubts.Suspicion(1.0, at, at, at))

    def refuse(question: object) -> None:
        raise RedisAwayError

    monkeypatch.setattr(redis_clients, "ask", refuse)

    assert doubts.noted(["coingecko:young", "coingecko:old"]).suspicions.keys() == {
        "coingecko:young"
    }
