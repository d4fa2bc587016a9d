from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from redis import Redis

from prices import cache, failures, redis_clients
from prices.answers import MappingAnswer
from prices.breaker import Breaker
from prices.cache import Held, Lifetime
from prices.errors import (
    NoPriceError,
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
)
from prices.redis_clients import RedisAwayError

LIFE = Lifetime("price", fresh_s=60)


def answer(n: int = 1, *, age_s: float = 0) -> MappingAnswer:
    return MappingAnswer(
        source="coingecko",
        as_of=None,
        fetched_at=datetime.now(UTC) - timedelta(seconds=age_s),
        cached=False,
        stale=False,
        count=n,
        mapping={},
    )


class Source:
    """Answers from `replies`, in order; an exception in the list is raised."""

    def __init__(self, *replies: MappingAnswer | Exception) -> None:
        self.replies = list(replies)
        self.calls = 0

    def __call__(self) -> MappingAnswer:
        self.calls += 1
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def fetch(
    source: Source, *, key: str = "price:BTC", max_age_s: float | None = None
) -> Held[MappingAnswer]:
    return cache.fetch(key, source, MappingAnswer, LIFE, max_age_s=max_age_s)


def expire(redis_client: Redis, key: str = "price:BTC") -> None:
    redis_client.delete(key, f"failed:{key}")


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(question: object) -> None:
        raise RedisAwayError

    monkeypatch.setattr(redis_clients, "ask", refuse)


@pytest.fixture(autouse=True)
def no_copies() -> None:
    cache._local.clear()
    failures._here.clear()


def test_the_loader_is_told_it_is_not_cached_and_everyone_after_that_it_is(
    redis_client: Redis,
) -> None:
    source = Source(answer())

    first, second = fetch(source), fetch(source)

    assert (first.value.cached, first.was_hit) == (False, False)
    assert (second.value.cached, second.was_hit) == (True, True)
    assert source.calls == 1


def test_redis_holds_the_answer_itself_as_json_with_the_life_of_the_contract(
    redis_client: Redis,
) -> None:
    fetch(Source(answer(7)))

    stored = json.loads(redis_client.get("price:BTC") or b"")

    assert (stored["count"], stored["cached"], stored["stale"]) == (7, True, False)
    assert 55 < redis_client.ttl("price:BTC") <= 60
    assert redis_client.ttl("good:price:BTC") > 86_000


def test_callers_who_miss_together_share_one_load(redis_client: Redis) -> None:
    loading, release = Event(), Event()

    class SlowSource(Source):
        def __call__(self) -> MappingAnswer:
            loading.set()
            release.wait(timeout=5)
            return super().__call__()

    source = SlowSource(answer())
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(fetch, source)
        assert loading.wait(timeout=5)
        others = [pool.submit(fetch, source) for _ in range(19)]
        # Long enough for all nineteen to look, find nothing, and settle to wait.
        wait(others, timeout=0.2)
        release.set()
        answers = [call.result(timeout=5) for call in (first, *others)]

    assert source.calls == 1
    assert [held.value.cached for held in answers] == [False] + [True] * 19


def test_another_process_s_load_is_waited_for(redis_client: Redis) -> None:
    redis_client.set("lock:price:BTC", b"another process", ex=10)
    source = Source()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fetch, source)
        wait([waiting], timeout=0.2)
        cache.store("price:BTC", answer(5), 60)
        redis_client.delete("lock:price:BTC")
        held = waiting.result(timeout=5)

    assert (held.value.count, source.calls) == (5, 0)


def test_another_process_s_failure_is_told_at_once(redis_client: Redis) -> None:
    fetch_failing = Source(UpstreamTimeoutError("coingecko", "slow"))
    with pytest.raises(UpstreamError):
        fetch(fetch_failing)

    source = Source(answer())
    with pytest.raises(UpstreamError, match="slow"):
        fetch(source)

    assert source.calls == 0


def test_a_stale_copy_is_served_where_the_source_fails(redis_client: Redis) -> None:
    source = Source(answer(1), UpstreamTimeoutError("coingecko", "slow"))
    fetch(source)
    expire(redis_client)

    held = fetch(source)

    assert (held.value.count, held.value.stale, held.value.cached) == (1, True, True)
    assert held.life_s == 0
    assert json.loads(held.body)["stale"] is True
    assert fetch(source).value.stale, "the failure is remembered, and no third call is made"
    assert source.calls == 2


def test_without_any_copy_the_error_is_raised_and_remembered_for_some_seconds(
    redis_client: Redis,
) -> None:
    source = Source(UpstreamRateLimitedError("coingecko", "full", retry_after_s=120), answer())

    for _ in range(3):
        with pytest.raises(UpstreamRateLimitedError) as refused:
            fetch(source)
        assert 110 < refused.value.retry_after_s <= 120

    assert source.calls == 1
    assert 0 < redis_client.ttl("failed:price:BTC") <= 10


@pytest.mark.parametrize(
    "error",
    [NoPriceError("BTC"), PlanRestrictedError("finnhub", "no candles", allowed_by="a paid plan")],
    ids=["no price", "plan"],
)
def test_an_answer_that_is_a_no_is_remembered_as_it_was(
    redis_client: Redis, error: PricesError
) -> None:
    source = Source(error)
    with pytest.raises(type(error)):
        fetch(source)

    with pytest.raises(type(error)) as again:
        fetch(source)

    assert (str(again.value), again.value.extra) == (str(error), error.extra)
    assert source.calls == 1


def test_who_need_not_heed_failures_tries_what_failed_and_not_what_does_not_exist(
    redis_client: Redis,
) -> None:
    failures.remember({"price:A": UpstreamError("coingecko", "down"), "price:B": NoPriceError("B")})

    def load(keys: Sequence[str]) -> dict[str, MappingAnswer | PricesError]:
        return {key: answer() for key in keys}

    results = cache.fetch_many(
        ["price:A", "price:B"], load, MappingAnswer, LIFE, heeds_failures=False
    )

    assert isinstance(results["price:A"], Held)
    assert isinstance(results["price:B"], NoPriceError)


def test_what_is_older_than_asked_is_renewed_and_given_all_the_same_if_that_fails(
    redis_client: Redis,
) -> None:
    cache.store("price:BTC", answer(1, age_s=40), 20)
    source = Source(UpstreamTimeoutError("coingecko", "slow"))

    held = fetch(source, max_age_s=30)

    assert (held.value.count, held.value.stale, source.calls) == (1, False, 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"\x80\x04pickle", b"[1, 2]", b'{"source": 5}', b"[" * 100_000, b"\xff\xfe"],
    ids=["empty", "pickle", "other json", "wrong types", "deep", "not utf-8"],
)
def test_hostile_bytes_in_redis_are_a_miss(redis_client: Redis, body: bytes) -> None:
    redis_client.set("price:BTC", body, ex=60)
    source = Source(answer(3))

    assert fetch(source).value.count == 3
    assert source.calls == 1


def test_a_key_of_another_type_is_no_outage(redis_client: Redis) -> None:
    redis_client.hset("failed:price:BTC", "not", "ours")
    with pytest.raises(redis_clients.RedisAwayError):
        redis_clients.ask(lambda r: r.incr("failed:price:BTC"))

    assert not redis_clients.is_away()
    assert fetch(Source(answer(3))).value.count == 3
    assert redis_client.get("price:BTC") is not None


def test_times_without_a_zone_are_a_miss(redis_client: Redis) -> None:
    naive = cache.encode(answer()).replace(b'Z"', b'"')
    redis_client.set("price:BTC", naive, ex=60)

    assert fetch(Source(answer(3))).value.count == 3


@pytest.mark.parametrize(
    "note", [b"{}", b"[]", b"\xff", b'{"error":"SystemExit","message":"","noted_at":0}']
)
def test_hostile_notes_of_failure_are_no_notes(redis_client: Redis, note: bytes) -> None:
    redis_client.set("failed:price:BTC", note, ex=60)

    assert fetch(Source(answer(3))).value.count == 3


def test_who_waits_for_what_is_loaded_does_not_wait_for_what_another_process_loads(
    redis_client: Redis,
) -> None:
    redis_client.set("lock:price:ETH", b"another process", ex=30)

    def load(keys: Sequence[str]) -> dict[str, MappingAnswer | PricesError]:
        assert list(keys) == ["price:BTC"]
        loading.set()
        release.wait(timeout=5)
        return {"price:BTC": answer(1)}

    loading, release = Event(), Event()
    with ThreadPoolExecutor(2) as pool:
        both = pool.submit(cache.fetch_many, ["price:BTC", "price:ETH"], load, MappingAnswer, LIFE)
        assert loading.wait(timeout=5)
        one = pool.submit(fetch, Source())
        release.set()
        assert one.result(timeout=5).value.count == 1
        assert not both.done(), "it still waits for the other process"
        cache.store("price:ETH", answer(2), 60)
        redis_client.delete("lock:price:ETH")
        assert isinstance(both.result(timeout=5)["price:ETH"], Held)


def test_a_batch_loads_only_what_is_missing_and_in_one_call(redis_client: Redis) -> None:
    cache.store("price:A", answer(1), 60)
    asked: list[Sequence[str]] = []

    def load(keys: Sequence[str]) -> dict[str, MappingAnswer | PricesError]:
        asked.append(keys)
        return {"price:B": answer(2), "price:C": NoPriceError("C")}

    got = cache.fetch_many(["price:A", "price:B", "price:C"], load, MappingAnswer, LIFE)

    assert asked == [["price:B", "price:C"]]
    assert [type(got[key]).__name__ for key in ("price:A", "price:B", "price:C")] == [
        "Held",
        "Held",
        "NoPriceError",
    ]


def test_without_redis_a_copy_answers_within_its_life(redis_client: Redis) -> None:
    source = Source(answer(4))
    fetch(source)

    with pytest.MonkeyPatch.context() as away:
        away.setattr(redis_clients, "ask", _refuse)
        held = fetch(source)

    assert (held.value.count, held.value.stale, source.calls) == (4, False, 1)


def test_without_redis_and_past_its_life_the_source_is_asked_and_then_the_last_copy(
    redis_away: None,
) -> None:
    source = Source(answer(1), answer(2), UpstreamTimeoutError("coingecko", "slow"))
    for _ in range(2):
        fetch(source)
        _end_lives()

    held = fetch(source)

    assert (held.value.count, held.value.stale, source.calls) == (2, True, 3)


def test_without_redis_or_source_or_copy_the_error_is_raised(redis_away: None) -> None:
    with pytest.raises(UpstreamTimeoutError):
        fetch(Source(UpstreamTimeoutError("coingecko", "slow")))


def test_an_unknown_symbol_is_remembered_for_five_minutes(redis_client: Redis) -> None:
    assert not cache.is_known_unknown("NOPE")

    cache.remember_unknown("NOPE")

    assert cache.is_known_unknown("NOPE")
    assert 290 < redis_client.ttl("unknown:NOPE") <= 300


def _refuse(question: object) -> None:
    raise RedisAwayError


def _end_lives() -> None:
    for key, copy in list(cache._local._copies.items()):
        cache._local.put(key, copy.body, -1)


def test_what_a_load_begins_with_is_read_with_its_lock(
    redis_client: Redis, questions: list[Any]
) -> None:
    redis_client.mset({"note:a": b"1", "note:b": b"2"})
    told: list[Any] = []
    asked: list[int] = []

    def load() -> MappingAnswer:
        before = len(questions)
        told.append(redis_clients.mget(["note:b", "note:none"]))
        told.append(redis_clients.mget(["note:a"]))
        asked.append(len(questions) - before)
        # Each is given once: who asks again is told what holds by now.
        redis_client.set("note:a", b"3")
        told.append(redis_clients.mget(["note:a"]))
        told.append(redis_clients.mget(["note:a", "note:b"]))
        asked.append(len(questions) - before)
        return answer()

    names = ["note:a", "note:b", "note:none"]
    got = cache.fetch("price:BTC", load, MappingAnswer, LIFE, ahead=lambda keys: names)

    assert not got.was_hit
    assert told == [[b"2", None], [b"1"], [b"3"], [b"3", b"2"]]
    assert asked == [0, 2]
    assert redis_clients.read_already(["note:a"]) is None, "outside of a load nothing is at hand"


def test_who_found_nothing_a_moment_ago_is_given_what_was_stored_since(
    redis_client: Redis,
) -> None:
    fetch(Source(answer(1)))
    again = Source()
    token = cache.absent.set(frozenset({"price:BTC"}))
    try:
        got = fetch(again)
    finally:
        cache.absent.reset(token)

    assert (got.was_hit, got.value.count, again.calls) == (True, 1, 0)
    assert not redis_client.exists("lock:price:BTC")


def test_an_open_switch_that_was_read_ahead_still_holds_calls_back(redis_client: Redis) -> None:
    switch = Breaker("coingecko")
    with redis_clients.reading_ahead(dict.fromkeys(switch.names)):
        assert switch.turn().may_call
    for _ in range(3):
        switch.failed("it does not answer")
    held: list[Any] = redis_client.mget(switch.names)
    found = dict(zip(switch.names, held, strict=True))

    with redis_clients.reading_ahead(found):
        assert not switch.turn().may_call


def test_keys_that_two_symbols_share_are_read_ahead_for_both(redis_client: Redis) -> None:
    with redis_clients.reading_ahead({"note:a": b"1"}):
        assert redis_clients.mget(["note:a", "note:a"]) == [b"1", b"1"]
        assert redis_clients.mget(["note:a"]) == [None]


def test_what_was_read_ahead_long_ago_is_asked_for_anew(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_clients, "_AHEAD_S", -1.0)
    redis_client.set("note:a", b"now")

    with redis_clients.reading_ahead({"note:a": b"before"}):
        assert redis_clients.mget(["note:a"]) == [b"now"]
