from __future__ import annotations

import pytest

from streaming.limits import Addresses, Allowance, Manners, Shared
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


def test_twice_what_one_message_can_name_may_be_looked_up_at_once() -> None:
    manners = Manners(ALLOWANCE, now=0)
    manners.names(1000, 0)
    manners.names(1000, 0)

    with pytest.raises(ProtocolError) as caught:
        manners.names(1000, 0)

    assert (caught.value.code, caught.value.close) == (Code.RATE_LIMITED, None)
    assert caught.value.retry_after_ms in {60_000, 60_001}
    manners.names(1000, 60.001)


def test_what_is_given_back_may_be_used_again() -> None:
    manners = Manners(ALLOWANCE, now=0, shared=Shared())
    for _ in range(100):
        manners.names(1000, 0)
        manners.give_back_names(1000, 0)


def test_a_refusal_for_the_address_costs_the_connection_nothing() -> None:
    address = Shared()
    for _ in range(5):
        other = Manners(ALLOWANCE, now=0, shared=address)
        other.names(1000, 0)
        other.names(1000, 0)
    manners = Manners(ALLOWANCE, now=0, shared=address)

    for _ in range(2):
        with pytest.raises(ProtocolError):
            manners.names(1000, 0)

    manners.names(1000, 12.001)  # The address has 5,000 a minute, one connection 1,000.
    manners.names(1000, 24.002)


def test_an_address_has_as_many_old_ticks_sent_again_as_ten_connections() -> None:
    address = Shared()

    replays = [Manners(ALLOWANCE, now=0, shared=address).may_replay(600, 0) for _ in range(21)]

    assert replays == [True] * 20 + [False]
    assert Manners(ALLOWANCE, now=0, shared=Shared()).may_replay(600, 0)
    assert Manners(ALLOWANCE, now=0, shared=address).may_replay(600, 6.001)


def test_an_address_that_was_gone_has_used_what_it_used() -> None:
    addresses = Addresses()
    for number in range(20):
        assert addresses.let_in("198.51.100.7", 1)
        assert Manners(ALLOWANCE, 0, addresses.of("198.51.100.7")).may_replay(600, number / 1e6)
        addresses.let_go("198.51.100.7")

    assert addresses.let_in("198.51.100.7", 1)
    assert not addresses.let_in("198.51.100.7", 1)
    assert not Manners(ALLOWANCE, 0, addresses.of("198.51.100.7")).may_replay(600, 1)


def test_addresses_that_are_gone_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.limits._MOST_GONE", 10)
    addresses = Addresses()
    for number in range(100):
        address = f"10.0.0.{number}"
        assert addresses.let_in(address, 1)
        if number % 2:
            assert Manners(ALLOWANCE, 0, addresses.of(address)).may_replay(1, 0)
        addresses.let_go(address)

    assert (len(addresses._here), len(addresses._gone)) == (0, 10)
