"""What is kept under keys: answers as bytes, in Redis and in this process, read and written.

`cache` says under which key and for how long; here is how. Bytes from Redis are decoded
by the answer's type, and those of any other shape count as missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
import redis
from redis.client import Pipeline

from prices import cadences, failures, redis_clients, sidecar
from prices.answers import Answer
from prices.local_copies import LocalCopies
from prices.redis_clients import RedisAwayError

logger = logging.getLogger(__name__)

A = TypeVar("A", bound=Answer)
V = TypeVar("V")

local = LocalCopies(max_bytes=64 * 2**20)


@dataclass(frozen=True, slots=True)
class Held(Generic[V]):
    """An answer with its ready bytes. `life_s` is what is left of its life, 0 when stale."""

    value: V
    body: bytes
    life_s: float
    was_hit: bool


@dataclass(frozen=True, slots=True)
class Behind:
    """What is read in the same go as something is stored, behind that.

    Who stores first and reads then misses nobody who does likewise at the same moment.
    """

    names: Callable[[Sequence[str]], Sequence[str]]  # keys of Redis, by what is stored
    found: dict[str, bytes | None] = field(default_factory=dict)  # nothing with Redis away


def encode(value: object) -> bytes:
    """Return the JSON of an answer; what is not a number becomes null."""
    return msgspec.json.encode(value)


def read_many(keys: Collection[str], answer: type[A]) -> dict[str, Held[A]]:
    """Return what is held within its life; what is missing or not readable is left out."""
    names = list(keys)
    if not names:
        return {}

    def question(r: redis.Redis) -> list[Any]:
        pipe = r.pipeline(transaction=False)
        ask_for(pipe, names)
        return list(pipe.execute())

    try:
        bodies, *lives = redis_clients.ask(question)
    except RedisAwayError:
        return read_here(names, answer)
    return read_there(names, bodies, lives, answer)


def ask_for(pipe: Pipeline, names: Sequence[str]) -> None:
    """Put into a pipeline the questions whose answers `read_there` reads."""
    pipe.mget(names)
    for name in names:
        pipe.pttl(name)


def read_there(
    names: Sequence[str], bodies: Sequence[Any], lives: Sequence[int], answer: type[A]
) -> dict[str, Held[A]]:
    held = {}
    for name, body, life_ms in zip(names, bodies, lives, strict=True):
        value = decoded(name, body, answer)
        if value is not None and life_ms > 0:
            held[name] = _given(value, body, life_ms / 1000)
            local.put(name, body, life_ms / 1000)
    return held


def read_here(names: Sequence[str], answer: type[A]) -> dict[str, Held[A]]:
    return {
        name: _given(value, copy.body, copy.life_s)
        for name in names
        if (copy := local.get(name)) and copy.life_s > 0
        if (value := decoded(name, copy.body, answer)) is not None
    }


def _given(value: A, body: bytes, life_s: float) -> Held[A]:
    """Return what is held as it can be given: where it is to be renewed, as fresh as it is by now.

    Such a copy has no life left, though its key has: it is for where it cannot be renewed.
    """
    left_s = _left_s(value, life_s)
    if left_s > 0:
        return Held(value, body, left_s, was_hit=True)
    told = value.as_of_now(datetime.now(UTC), cadences.of(value.source))
    return Held(told, encode(told), 0.0, was_hit=True)


def _left_s(value: Answer, life_s: float) -> float:
    """Return for how much of a life there is nothing newer to be had; 0 where that is over."""
    until = value.fresh_until(cadences.of(value.source))
    if until is None:
        return life_s
    return max(0.0, min(life_s, (until - datetime.now(UTC)).total_seconds()))


def store(
    values: Mapping[str, A],
    lives: Mapping[str, float],
    good_s: int,
    then: Callable[[Pipeline], None] | None = None,
    behind: Behind | None = None,
) -> dict[str, Held[A]]:
    """Put answers under their keys in one go, and what comes `then`; return them as stored."""
    stored: dict[str, Held[A]] = {}
    for key, value in values.items():
        kept = msgspec.structs.replace(value, cached=True, stale=False)
        stored[key] = Held(kept, encode(kept), _left_s(kept, lives[key]), was_hit=True)
        local.put(key, stored[key].body, lives[key])
        failures.forget_here(key)

    beside = {key: sidecar.of(one.value, one.body, one.life_s) for key, one in stored.items()}

    def write(r: redis.Redis) -> None:
        pipe = r.pipeline(transaction=False)
        for key, one in stored.items():
            pipe.set(key, one.body, px=_milliseconds(lives[key]))
            if (more := beside[key]) is not None:
                pipe.set(sidecar.name(key), more, px=_milliseconds(one.life_s))
            if good_s:
                pipe.set(f"good:{key}", one.body, ex=good_s)
        pipe.delete(*failures.names(list(stored)))
        if then is not None:
            then(pipe)
        names = behind.names(list(stored)) if behind else ()
        if names:
            pipe.mget(names)
        replies = pipe.execute()
        if behind and names:
            behind.found.update(zip(names, replies[-1], strict=True))

    try:
        if stored:
            redis_clients.ask(write)
    except RedisAwayError:
        logger.debug("kept %s in this process only", ", ".join(stored))
    return stored


def drop(keys: Collection[str]) -> int:
    """Let go of what is held under keys before its life ends; return how many there were.

    The copies of a day stay, for when no source can be asked.
    """
    for key in keys:
        local.drop(key)

    def write(r: redis.Redis) -> int:
        pipe = r.pipeline(transaction=False)
        pipe.delete(*keys)
        pipe.delete(*map(sidecar.name, keys))
        return int(pipe.execute()[0])

    try:
        return redis_clients.ask(write) if keys else 0
    except RedisAwayError:
        return 0  # It lapses.


def _milliseconds(life_s: float) -> int:
    return max(1, int(life_s * 1000))


def decoded(key: str, body: bytes | str | None, answer: type[A]) -> A | None:
    if body is None:
        return None
    try:
        value = msgspec.json.decode(body, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        logger.warning("what %s holds is not ours to serve: %s", key, type(exc).__name__)
        return None
    if not value.is_sane():
        logger.warning("what %s holds cannot be true", key)
        return None
    return value
