"""Our short way to Redis answers as redis-py's own, and survives what that survives."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from lokifi.embedded import EmbeddedServer
from prices.redis_direct import DirectRedis

_TIMEOUT_S = 0.3


@pytest.fixture
def direct(redis_server: EmbeddedServer) -> Iterator[DirectRedis]:
    with DirectRedis(port=redis_server.port, protocol=2, socket_timeout=_TIMEOUT_S) as client:
        yield client


@pytest.fixture
def plain(redis_server: EmbeddedServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        yield client


@pytest.mark.parametrize(
    "question",
    [
        lambda r: r.set("a", b"1", nx=True, ex=5),
        lambda r: r.set("held", b"2", nx=True),
        lambda r: r.set("held", b"2", get=True),
        lambda r: r.get("nothing"),
        lambda r: r.mget(["held", "nothing"]),
        lambda r: r.pttl("held"),
        lambda r: r.hgetall("hash"),
        lambda r: r.hgetall("nothing"),
        lambda r: r.zrange("sorted", 0, -1, withscores=True),
        lambda r: r.exists("held"),
        lambda r: r.eval("return {1, 'two', ARGV[1]}", 0, "three"),
        lambda r: r.srandmember("nothing"),
        lambda r: r.zscore("sorted", "a"),
    ],
)
def test_a_command_answers_as_redis_py_has_it_alone_and_among_others(
    direct: DirectRedis, plain: redis.Redis, question: Callable[[Any], Any]
) -> None:
    def anew() -> None:
        plain.flushdb()
        plain.set("held", b"1")
        plain.hset("hash", mapping={"a": 1, "b": 2})
        plain.zadd("sorted", {"a": 1.5})

    def together(client: redis.Redis) -> Any:
        pipe = client.pipeline(transaction=False)
        question(pipe)
        pipe.get("held")
        return pipe.execute()

    for way in (question, together):
        anew()
        wanted = way(plain)
        anew()
        assert way(direct) == wanted


def test_a_refusal_is_raised_and_the_replies_behind_it_are_read(
    direct: DirectRedis, plain: redis.Redis
) -> None:
    plain.set("text", b"1")
    plain.set("other", b"mine")
    pipe = direct.pipeline(transaction=False)
    pipe.get("other")
    pipe.hgetall("text")
    pipe.get("text")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        pipe.execute()

    assert direct.get("other") == b"mine"
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        direct.hgetall("text")
    assert direct.get("text") == b"1"
    pipe.get("other")
    pipe.hgetall("text")
    first, second = pipe.execute(raise_on_error=False)
    assert first == b"mine"
    assert isinstance(second, ResponseError)


def test_a_connection_that_died_is_made_anew_without_a_word(
    direct: DirectRedis, plain: redis.Redis
) -> None:
    before = direct.client_id()
    plain.client_kill_filter(_id=str(before))

    assert direct.ping()
    assert direct.client_id() != before


def test_a_reply_that_comes_too_late_is_nobodys(direct: DirectRedis, plain: redis.Redis) -> None:
    plain.set("mine", b"mine")
    with pytest.raises(RedisTimeoutError):
        direct.blpop(["late"], timeout=int(_TIMEOUT_S + 1))
    plain.rpush("late", b"late")

    assert direct.get("mine") == b"mine"


def test_an_answer_that_cannot_be_read_leaves_nothing_behind(
    direct: DirectRedis, plain: redis.Redis
) -> None:
    plain.set("mine", b"mine")

    def stumble(_: Any) -> None:
        raise ValueError("no number")

    direct.set_response_callback("STRLEN", stumble)
    pipe = direct.pipeline(transaction=False)
    pipe.strlen("mine")
    pipe.get("nothing")

    with pytest.raises(ValueError, match="no number"):
        pipe.execute()
    assert direct.get("mine") == b"mine"


def test_threads_have_each_its_own_answers_on_as_many_connections_as_are_used_at_once(
    direct: DirectRedis, plain: redis.Redis
) -> None:
    together = threading.Barrier(8)
    before = len(plain.client_list())

    def ask(number: int) -> None:
        together.wait()
        for turn in range(50):
            word = f"{number}:{turn}".encode()
            assert direct.echo(word) == word

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))

    assert before < len(plain.client_list()) <= before + 8
    assert len({direct.client_id() for _ in range(20)}) == 1


def test_a_client_that_is_closed_leaves_no_connection_and_may_ask_anew(
    direct: DirectRedis, plain: redis.Redis
) -> None:
    before = len(plain.client_list())
    direct.ping()
    assert len(plain.client_list()) == before + 1

    direct.close()

    assert len(plain.client_list()) == before
    assert direct.ping()


def test_a_child_of_a_fork_has_connections_of_its_own(
    direct: DirectRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_parent = direct.client_id()
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)

    assert direct.client_id() != of_the_parent


def test_a_transaction_is_all_or_nothing_as_ever(direct: DirectRedis) -> None:
    with direct.pipeline() as pipe:
        pipe.watch("watched")  # type: ignore[no-untyped-call]
        direct.set("watched", b"changed")
        pipe.multi()
        pipe.set("written", b"1")
        with pytest.raises(redis.WatchError):
            pipe.execute()

    assert direct.get("written") is None
    with direct.pipeline() as pipe:
        pipe.set("written", b"2")
        pipe.get("written")
        assert pipe.execute() == [True, b"2"]
