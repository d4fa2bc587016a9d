from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from redis import Redis

from prices import redis_clients
from prices.budget import Budget, BudgetGate, Limits, Purpose, spending
from prices.errors import LookupsSpentError, UpstreamRateLimitedError
from prices.redis_clients import RedisAwayError
from tests.processes import until


def budget(*, lookups: int = 5, key: str = "", **limits: int) -> Budget:
    return Budget("coingecko", Limits(**limits), lookups_per_minute=lookups, api_key=key)


def granted(one: Budget, tries: int, purpose: Purpose = Purpose.ANSWER) -> int:
    done = 0
    for _ in range(tries):
        try:
            one.take(purpose)
        except UpstreamRateLimitedError:
            continue
        done += 1
    return done


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis refuses every question of this process."""

    def refuse(question: object) -> None:
        raise RedisAwayError

    monkeypatch.setattr(redis_clients, "ask", refuse)


def test_a_minute_grants_what_the_plan_allows_and_says_when_to_come_back(
    redis_client: Redis,
) -> None:
    one = budget(per_minute=30)

    assert granted(one, 40) == 30
    with pytest.raises(UpstreamRateLimitedError) as refused:
        one.take()

    assert 50 < refused.value.retry_after_s <= 61
    assert one.spent().last_minute == 30


def test_threads_and_processes_share_one_budget(redis_client: Redis) -> None:
    script = (
        "import django; django.setup()\n"
        "from prices.budget import Budget, Limits\n"
        "from prices.errors import UpstreamRateLimitedError\n"
        "one = Budget('coingecko', Limits(per_minute=30), lookups_per_minute=5)\n"
        "done = 0\n"
        "for _ in range(50):\n"
        "    try: one.take(); done += 1\n"
        "    except UpstreamRateLimitedError: pass\n"
        "print(done)\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    with ThreadPoolExecutor(4) as pool:
        here = sum(pool.map(lambda _: granted(budget(per_minute=30), 20), range(4)))
    there = sum(int(other.communicate(timeout=50)[0]) for other in others)

    assert here + there == 30


def test_a_month_grants_no_more_than_its_calls(redis_client: Redis) -> None:
    one = budget(per_month=3)

    assert granted(one, 5) == 3
    assert one.spent().this_month == 3


def test_another_key_has_a_budget_of_its_own(redis_client: Redis) -> None:
    assert granted(budget(per_minute=2, key="a"), 5) == 2
    assert granted(budget(per_minute=2, key="b"), 5) == 2


def test_forced_refreshes_have_a_fifth_of_the_minute(redis_client: Redis) -> None:
    one = budget(per_minute=30)

    assert granted(one, 10, Purpose.REFRESH) == 6
    assert granted(one, 40) == 24


def test_lookups_have_a_small_budget_that_is_told_apart(redis_client: Redis) -> None:
    one = budget(per_minute=30, lookups=2)

    assert granted(one, 2, Purpose.LOOKUP) == 2
    with pytest.raises(LookupsSpentError):
        one.take(Purpose.LOOKUP)
    one.take()


def test_a_source_that_asks_for_quiet_is_left_alone_by_everyone(redis_client: Redis) -> None:
    BudgetGate(budget()).report(429, retry_after_s=120, seconds=0.1)

    with pytest.raises(UpstreamRateLimitedError) as refused:
        budget().take()

    assert 115 < refused.value.retry_after_s <= 120
    assert budget().spent().frozen_s > 115


def test_a_longer_rest_is_not_cut_short_by_a_shorter_one(redis_client: Redis) -> None:
    one = budget()
    one.freeze(120)
    one.freeze(5)

    assert one.spent().frozen_s > 100


def test_calls_are_counted_for_whoever_caused_them(redis_client: Redis) -> None:
    gate = BudgetGate(budget())

    with spending(Purpose.ANSWER) as outer:
        gate.admit()
        with spending(Purpose.REFRESH) as inner:
            gate.admit()
            gate.admit()

    assert (outer.calls, inner.calls) == (3, 2)


def test_without_redis_a_process_has_a_tenth_of_the_plan(redis_away: None) -> None:
    assert granted(budget(per_minute=60), 20) == 6


def test_without_redis_a_source_that_asked_for_quiet_is_left_alone(redis_away: None) -> None:
    one = budget()
    one.freeze(30)

    assert granted(one, 3) == 0


def test_what_is_left_of_the_month_sets_the_pace(redis_client: Redis) -> None:
    one = budget(per_month=10_000)
    whole = one.pace_s()
    redis_client.set(next(iter(_month_keys(one))), 9_900)

    assert one.pace_s() == pytest.approx(whole * 100, rel=0.01)
    assert budget().pace_s() == 0


def _month_keys(one: Budget) -> list[str]:
    from prices.budget import _month

    return [f"{one._prefix}:{_month()[0]}"]


def test_calls_of_a_second_are_spaced_and_wait_their_turn_instead_of_failing(
    redis_client: Redis,
) -> None:
    one = budget(per_second=10)
    with ThreadPoolExecutor(18) as pool:
        done = sum(pool.map(lambda _: granted(one, 1), range(18)))

    log: Any = redis_client.zrange(f"{one._prefix}:minute", 0, -1, withscores=True)
    moments = [at for _, at in log]
    assert done == len(moments) == 18
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 110


def test_a_turn_too_far_off_is_refused_with_the_time_until_then(redis_client: Redis) -> None:
    one = budget(per_second=1)
    with ThreadPoolExecutor(6) as pool:
        done = sum(pool.map(lambda _: granted(one, 1), range(6)))

    assert 1 <= done <= 5
    assert one.spent().last_minute == done


def test_who_waited_for_its_turn_makes_no_call_where_the_source_asked_for_quiet(
    redis_client: Redis,
) -> None:
    one = budget(per_second=1)
    one.take()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one.take)
        until(lambda: redis_client.zcard(f"{one._prefix}:minute") == 2, "the second call's turn")
        one.freeze(60)

        with pytest.raises(UpstreamRateLimitedError) as refused:
            waiting.result()

    assert refused.value.retry_after_s > 50


def test_without_redis_a_plan_by_the_second_is_a_tenth_of_its_minute(redis_away: None) -> None:
    local = budget(per_second=2)._local

    turns = [local.take(Purpose.ANSWER, patience_s=60) for _ in range(14)]

    assert [turn.is_granted for turn in turns] == [True] * 12 + [False] * 2
    assert all(0.5 < later.wait_s - earlier.wait_s < 0.6 for earlier, later in pairwise(turns[:12]))
