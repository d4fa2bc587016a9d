from __future__ import annotations

import pytest
from redis import Redis

from prices import redis_clients
from prices.breaker import FAILURES, OPEN_S, Breaker
from prices.redis_clients import RedisAwayError


def break_it(one: Breaker) -> None:
    for _ in range(FAILURES):
        one.failed()


def lapse(redis_client: Redis, source: str = "coingecko") -> None:
    """Let the time be over for which the source is left alone."""
    redis_client.delete(f"breaker:{source}:open")


def test_a_source_that_fails_again_and_again_is_left_alone_by_every_process(
    redis_client: Redis,
) -> None:
    here, there = Breaker("coingecko"), Breaker("coingecko")
    here.failed()
    here.failed()
    assert there.wait_s() == 0

    here.failed()

    assert 0 < there.wait_s() <= OPEN_S
    assert there.is_open()
    assert Breaker("finnhub").wait_s() == 0


def test_after_a_while_one_call_tries_and_the_others_wait(redis_client: Redis) -> None:
    one = Breaker("coingecko")
    break_it(one)
    lapse(redis_client)

    assert one.wait_s() == 0
    assert one.wait_s() > 0
    assert Breaker("coingecko").wait_s() > 0


def test_a_trial_that_succeeds_closes_it_and_one_that_fails_does_not(redis_client: Redis) -> None:
    one = Breaker("coingecko")
    break_it(one)
    lapse(redis_client)
    one.wait_s()
    one.failed()
    assert 0 < one.wait_s() <= OPEN_S

    lapse(redis_client)
    one.wait_s()
    one.succeeded()

    assert [one.wait_s() for _ in range(3)] == [0, 0, 0]


def test_a_trial_of_a_process_that_saw_no_trouble_closes_it_for_all(redis_client: Redis) -> None:
    troubled, untroubled = Breaker("coingecko"), Breaker("coingecko")
    untroubled.succeeded()
    break_it(troubled)
    lapse(redis_client)

    assert untroubled.wait_s() == 0
    untroubled.succeeded()

    assert [troubled.wait_s() for _ in range(3)] == [0, 0, 0]


def test_failures_with_successes_between_open_nothing(redis_client: Redis) -> None:
    one = Breaker("coingecko")
    for _ in range(5):
        one.failed()
        one.succeeded()

    assert one.wait_s() == 0


def test_without_redis_a_process_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(question: object) -> None:
        raise RedisAwayError

    monkeypatch.setattr(redis_clients, "ask", refuse)
    one = Breaker("coingecko")
    assert one.wait_s() == 0

    break_it(one)

    assert 0 < one.wait_s() <= OPEN_S
    one.succeeded()
    assert one.wait_s() == 0
