"""What speaks against a price: the rules at fixed figures, and how second sources are asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from redis import Redis

from prices import redis_clients
from prices.budget import Limits
from prices.models import Asset, Dispute
from prices.redis_clients import RedisAwayError
from prices.services import disputes, doubts, pairs, quotes
from prices.services.doubts import Suspicion
from tests.market import Sandbox
from tests.processes import until

NOW = datetime(2026, 11, 23, 17, tzinfo=UTC)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


@pytest.mark.parametrize(
    ("old", "new", "age", "expected"),
    [
        pytest.param(100, 124, minutes(1), False, id="up by less than the share"),
        pytest.param(100, 126, minutes(1), True, id="up by more"),
        pytest.param(100, 81, minutes(1), False, id="down by as much"),
        pytest.param(100, 79, minutes(1), True, id="down by more"),
        pytest.param(100, 126, minutes(-1), True, id="an older moment than before"),
        pytest.param(100, 145, minutes(60), False, id="within an hour twice the share"),
        pytest.param(100, 160, minutes(60), True, id="more than that"),
        pytest.param(100, 320, minutes(24 * 60), False, id="within a day"),
        pytest.param(100, 4, minutes(16 * 60), True, id="a split over night"),
    ],
)
def test_how_far_a_price_may_move_grows_with_the_time_it_had(
    old: float, new: float, age: timedelta, expected: bool
) -> None:
    assert doubts.is_beyond_reason(old, new, age) is expected


def test_a_jump_is_confirmed_by_a_later_moment_alone() -> None:
    one = Suspicion(price=150, as_of=NOW, since=NOW, looked_at=NOW)
    later = NOW + minutes(1)

    assert one.is_confirmed_by(152, later, later, apart=minutes(1))
    assert not one.is_confirmed_by(152, NOW, later, apart=minutes(1))
    assert not one.is_confirmed_by(200, later, later, apart=minutes(1))


def test_a_source_confirms_itself_a_step_of_its_own_later_and_never_for_another() -> None:
    one = Suspicion(price=150, as_of=NOW, since=NOW, looked_at=NOW)
    soon, later = NOW + minutes(0.5), NOW + minutes(5)

    assert not one.is_confirmed_by(150, soon, soon, apart=minutes(1))
    assert one.is_confirmed_by(150, soon, later, apart=minutes(1))
    assert not one.is_confirmed_by(150, later, later, apart=None)


def test_a_price_that_stays_away_for_ten_minutes_and_moves_on_is_the_price() -> None:
    one = Suspicion(price=150, as_of=NOW, since=NOW - minutes(10), looked_at=NOW)

    assert one.is_confirmed_by(200, NOW + minutes(1), NOW + minutes(1), apart=None)


def test_what_another_source_knew_to_be_wrong_is_not_confirmed_by_its_own_source() -> None:
    one = Suspicion(price=150, as_of=NOW, since=NOW, looked_at=NOW, is_overruled=True)

    later = NOW + minutes(1)
    assert not one.is_confirmed_by(150, later, later, apart=minutes(1))


def test_a_jump_is_remembered_in_this_process_while_redis_is_away(redis_client: Redis) -> None:
    now = datetime.now(UTC)
    one = Suspicion(price=150, as_of=now, since=now, looked_at=now)
    doubts.suspect("coingecko:bitcoin", one)
    doubts.note("disputed", "coingecko:bitcoin", 60)

    def lost(_: object) -> object:
        raise ConnectionError

    with pytest.raises(RedisAwayError):
        redis_clients.ask(lost)
    away = doubts.noted(["coingecko:bitcoin", "coingecko:ethereum"])
    doubts._here.clear()
    until(redis_is_back, "Redis")

    assert away.suspicions == {"coingecko:bitcoin": one}
    assert not away.disputed


def redis_is_back() -> bool:
    try:
        return bool(redis_clients.ask(lambda client: client.ping()))
    except RedisAwayError:
        return False


def test_notes_that_are_not_ours_count_as_none(redis_client: Redis) -> None:
    redis_client.set("doubt:jump:coingecko:bitcoin", "nonsense")

    assert doubts.noted(["coingecko:bitcoin"]).suspicions == {}


def test_comparing_takes_a_tenth_of_the_tightest_limit_of_a_plan() -> None:
    assert disputes._pace_s(Limits()) == 0
    assert disputes._pace_s(Limits(per_minute=8, per_day=800)) == pytest.approx(1080)
    assert disputes._pace_s(Limits(per_hour=50, per_day=1000)) == pytest.approx(864)


@pytest.mark.django_db
def test_a_source_with_a_small_plan_is_asked_rarely(market: Sandbox, settings: Any) -> None:
    providers = {name: dict(config) for name, config in settings.PRICE_PROVIDERS.items()}
    providers["coinbase"] |= {"LIMITS": {"per_hour": 50}}
    settings.PRICE_PROVIDERS = providers
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["coingecko", "coinbase"]}
    quotes.quotes(["BTC"])
    pairs.settled(Asset.objects.get(coingecko_id="bitcoin"), "coinbase")

    assert [disputes.check(["BTC"]) for _ in range(3)] == [1, 0, 0]


@pytest.mark.django_db
def test_of_a_source_with_one_symbol_a_call_others_are_asked_each_time(
    market: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["coingecko", "coinbase"]}
    wanted = ["BTC", "ETH", "SOL", "XRP", "DOGE", "LTC"]
    quotes.quotes(wanted)

    compared = [disputes.check(wanted) for _ in range(2)]

    asked = {path for path in market.calls("/coinbase/products/")["paths"] if "ticker" in path}
    assert compared == [disputes.FEW, disputes.FEW]
    assert len(asked) == len(wanted)


@pytest.mark.django_db
def test_with_no_share_set_no_source_is_asked(market: Sandbox, settings: Any) -> None:
    settings.DISPUTE_PERCENT = 0
    quotes.quotes(["BTC"])
    before = market.count()

    assert disputes.check(["BTC"]) == 0
    assert market.count() == before


@pytest.mark.django_db
def test_a_stock_that_nobody_holds_a_live_quote_of_costs_nothing(market: Sandbox) -> None:
    before = market.count()

    assert disputes.check(["AAPL"]) == 0
    assert market.count() == before


@pytest.mark.django_db
def test_disputes_are_listed_and_those_that_last_can_be_picked(
    market: Sandbox, admin_client: Client, admin_user: User
) -> None:
    bitcoin = Asset.objects.get(coingecko_id="bitcoin")
    for _ in range(2):
        doubts.begin(
            bitcoin,
            doubts.SOURCES,
            source="coingecko",
            price=100.0,
            against="binance",
            other_price=80.0,
        )
    ether = Asset.objects.get(coingecko_id="ethereum")
    doubts.begin(
        ether, doubts.JUMP, source="coingecko", price=9.0, against="before", other_price=4.0
    )
    doubts.end(ether, doubts.JUMP)

    page = admin_client.get("/admin/prices/dispute/").content.decode()
    lasting = admin_client.get("/admin/prices/dispute/?lasts=yes").content.decode()

    assert Dispute.objects.count() == 2
    assert "25.0 %" in page
    assert "125.0 %" in page
    assert "25.0 %" in lasting
    assert "125.0 %" not in lasting
    assert admin_client.get("/admin/prices/dispute/add/").status_code == 403
