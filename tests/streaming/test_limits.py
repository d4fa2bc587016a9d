from __future__ import annotations

import pytest

from streaming.limits import Allowance, Manners
from streaming.protocol import Close, Code, ProtocolError

ALLOWANCE = Allowance(messages=20, burst=100, mistakes=50)


def refused(manners: Manners, now: float) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        manners.message(now)
    return caught.value


def test_a_hundred_messages_may_come_at_once_and_two_a_second_after_that() -> None:
    manners = Manners(ALLOWANCE, now=0)
    for _ in range(100):
        manners.message(0)

    exc = refused(manners, 0)

    assert (exc.code, exc.close, exc.retry_after_ms) == (Code.RATE_LIMITED, None, 501)
    manners.message(0.501)
    for second in range(1, 60):
        manners.message(0.501 + second / 2)


def test_the_third_refusal_within_a_minute_ends_the_connection() -> None:
    manners = Manners(ALLOWANCE, now=0)
    for _ in range(100):
        manners.message(0)

    assert [refused(manners, 0).close for _ in range(3)] == [None, None, Close.TOO_MUCH]


def test_refusals_that_lie_further_apart_do_not_add_up() -> None:
    manners = Manners(Allowance(messages=20, burst=1, mistakes=50), now=0)

    for minute in range(5):
        manners.message(minute * 60)
        assert refused(manners, minute * 60).close is None


def test_one_mistake_more_than_fifty_in_a_minute_ends_the_connection() -> None:
    manners = Manners(ALLOWANCE, now=0)
    for second in range(50):
        manners.mistake(second)

    with pytest.raises(ProtocolError) as caught:
        manners.mistake(59.9)

    assert (caught.value.code, caught.value.close) == (Code.TOO_MANY_MISTAKES, Close.TOO_MUCH)


def test_fifty_mistakes_a_minute_are_borne() -> None:
    manners = Manners(ALLOWANCE, now=0)
    for number in range(500):
        manners.mistake(number * 1.21)


def test_twice_as_many_symbols_as_may_be_followed_may_be_taken_up_at_once() -> None:
    manners = Manners(ALLOWANCE, now=0)
    manners.symbols(500, 0)
    manners.symbols(500, 0)

    with pytest.raises(ProtocolError) as caught:
        manners.symbols(250, 0)

    assert (caught.value.code, caught.value.close) == (Code.RATE_LIMITED, None)
    assert caught.value.retry_after_ms in {30_000, 30_001}
    manners.symbols(0, 0)
    manners.symbols(250, 30.001)


def test_who_takes_up_too_many_symbols_again_and_again_is_sent_away() -> None:
    manners = Manners(ALLOWANCE, now=0)
    manners.symbols(1000, 0)

    closes = []
    for _ in range(3):
        with pytest.raises(ProtocolError) as caught:
            manners.symbols(500, 0)
        closes.append(caught.value.close)

    assert closes == [None, None, Close.TOO_MUCH]
