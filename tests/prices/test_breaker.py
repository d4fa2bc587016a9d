from __future__ import annotations

import pytest
from redis import Redis

from prices import redis_clients
from prices.breaker import FAILURES, OPEN_S, TRIAL_S, Breaker, Standing
from prices.redis_clients import RedisAwayError


def wait_s(one: Breaker, *, of_tick: bool = False) -> float:
    return one.turn(of_tick=of_tick).wait_s


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
    assert wait_s(there) == 0

    here.failed()

    assert 0 < wait_s(there) <= OPEN_S
    assert there.standing().is_open
    assert wait_s(Breaker("finnhub")) == 0


def test_after_a_while_one_call_tries_and_the_others_wait(redis_client: Redis) -> None:
    one = Breaker("coingecko")
    break_it(one)
    lapse(redis_client)

    assert wait_s(one) == 0
    assert wait_s(one) > 0
    assert wait_s(Breaker("coingecko")) > 0


def test_a_trial_that_succeeds_closes_it_and_one_that_fails_does_not(redis_client: Redis) -> None:
    one = Breaker("coingecko")
    break_it(one)
    lapse(redis_client)
    wait_s(one)
    one.failed()
    assert 0 < wait_s(one) <= OPEN_S

    lapse(redis_client)
    wait_s(one)
    one.succeeded()

    assert [wait_s(one) for _ in range(3)] == [0, 0, 0]


def test_a_trial_of_a_process_that_saw_no_trouble_closes_it_for_all(redis_client: Redis) -> None:
    troubled, untroubled = Breaker("coingecko"), Breaker("coingecko")
    untroubled.succeeded()
    break_it(troubled)
    lapse(redis_client)

    assert wait_s(untroubled) == 0
    untroubled.succeeded()

    assert [wait_s(troubled) for _ in range(3)] == [0, 0, 0]


def test_failures_count_within_three_usual_ticks_of_the_first(redis_client: Redis) -> None:
    one = Breaker("coingecko")
    one.failed()
    assert redis_client.ttl("breaker:coingecko:failures") > 2 * 30
    redis_client.expire("breaker:coingecko:failures", 3)

    one.failed()

    assert 0 < redis_client.ttl("breaker:coingecko:failures") <= 3


def test_failures_with_successes_between_open_nothing(redis_client: Redis) -> None:
    one = Breaker("coingecko")
    for _ in range(5):
        one.failed()
        one.succeeded()

    assert wait_s(one) == 0


def test_without_redis_a_process_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(question: object) -> None:
        raise RedisAwayError

    monkeypatch.setattr(redis_clients, "ask", refuse)
    one = Breaker("coingecko")
    assert wait_s(one) == 0

    break_it(one)

    assert 0 < wait_s(one) <= OPEN_S
    one.succeeded()
    assert wait_s(one) == 0


def test_a_trial_that_was_not_made_gives_its_turn_to_the_next_call(redis_client: Redis) -> None:
    here, there = Breaker("coingecko"), Breaker("coingecko")
    break_it(here)
    lapse(redis_client)
    turn = here.turn()
    assert wait_s(there) > 0

    here.not_made(turn)

    assert there.turn().is_trial


def test_a_tick_tries_though_a_request_has_just_failed_and_then_not_for_a_while(
    redis_client: Redis,
) -> None:
    one = Breaker("coingecko")
    break_it(one)

    assert one.turn(of_tick=True).is_trial
    one.failed()
    assert wait_s(one, of_tick=True) > 0

    redis_client.delete("breaker:coingecko:ticked")
    assert one.turn(of_tick=True).is_trial
    one.succeeded()
    assert wait_s(one) == 0


def test_a_tick_tries_though_a_request_s_trial_is_under_way(redis_client: Redis) -> None:
    one = Breaker("coingecko")
    break_it(one)
    lapse(redis_client)
    one.turn()

    assert wait_s(one) > 0
    assert one.turn(of_tick=True).is_trial


def test_how_it_stands_is_told_until_a_call_succeeds(redis_client: Redis) -> None:
    here, there = Breaker("coingecko"), Breaker("coingecko")
    for _ in range(FAILURES):
        here.failed("no answer in time")
    stands = there.standing()
    assert (stands.is_open, stands.why) == (True, "no answer in time")
    assert 0 < stands.left_s <= OPEN_S

    lapse(redis_client)
    stands = there.standing()
    assert (stands.is_open, stands.is_untried, stands.left_s) == (False, True, 0)
    here.turn()
    assert 0 < there.standing().left_s <= TRIAL_S

    there.succeeded()
    assert there.standing() == Standing()


def test_a_source_that_refuses_us_is_left_alone_by_everyone_ticks_too(redis_client: Redis) -> None:
    Breaker("binance").refused(b"not from here", 3600)
    there = Breaker("binance")

    turn = there.turn(of_tick=True)

    assert (turn.may_call, turn.refusal) == (False, b"not from here")
    assert 3590 < turn.wait_s <= 3600
    assert there.standing().refusal == b"not from here"
    redis_client.delete("breaker:binance:refused")
    assert wait_s(there) == 0
