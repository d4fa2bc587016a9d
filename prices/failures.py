"""Failed loads, remembered for some seconds so that an outage costs a call now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import redis

from prices import redis_clients
from prices.errors import (
    NoCloseError,
    NoPriceError,
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    recalled,
)
from prices.redis_clients import RedisAwayError

logger = logging.getLogger(__name__)

FAILED_S = 10
NO_PRICE_S = 60
NO_CLOSE_S = 3600  # What begins later does not come to begin earlier.
# Bars that we record ourselves may be there by the next minute; that a plan refuses a whole kind of
# question is believed for longer.
RESTRICTED_S = 60
REFUSED_S = 3600
MOST_HERE = 5_000


class _Here:
    """This process's own memory, for when Redis is away."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, PricesError]] = {}

    def get(self, key: str) -> PricesError | None:
        until, error = self._until.get(key, (0.0, None))
        return error if until > time.monotonic() else None

    def put(self, key: str, error: PricesError, life_s: float) -> None:
        if len(self._until) >= MOST_HERE:
            self._until.clear()
        self._until[key] = (time.monotonic() + life_s, error)

    def drop(self, key: str) -> None:
        self._until.pop(key, None)

    def clear(self) -> None:
        self._until.clear()


_here = _Here()


def remembered(keys: Sequence[str]) -> dict[str, PricesError]:
    """Return why loading failed a moment ago, by key."""
    if not keys:
        return {}
    try:
        notes = redis_clients.mget(names(keys))
    except RedisAwayError:
        return remembered_here(keys)
    return told(keys, notes)


def names(keys: Sequence[str]) -> list[str]:
    """Return the Redis keys of what is noted of some keys; `told` reads what they hold."""
    return [f"failed:{key}" for key in keys]


def remembered_here(keys: Sequence[str]) -> dict[str, PricesError]:
    """Return why loading failed a moment ago in this process, by key."""
    return {key: error for key in keys if (error := _here.get(key))}


def told(keys: Sequence[str], notes: Sequence[bytes | str | None]) -> dict[str, PricesError]:
    """Return why loading failed a moment ago, by key, from what is noted of each."""
    return {
        key: error
        for key, note in zip(keys, notes, strict=True)
        if note and (error := from_note(note))
    }


def forget_here(key: str) -> None:
    """Forget, in this process, that loading a key failed."""
    _here.drop(key)


def forget(key: str) -> None:
    """Forget that loading a key failed."""
    forget_here(key)
    try:
        redis_clients.ask(lambda r: r.delete(f"failed:{key}"))
    except RedisAwayError:
        logger.debug("a failed load is not forgotten by others while Redis is away")


def _failure_life_s(error: PricesError) -> float:
    """Return how long a failed load is remembered: 0 for not at all."""
    if isinstance(error, UpstreamError):
        return max(1.0, min(FAILED_S, error.retry_after_s))
    if isinstance(error, PlanRestrictedError):
        return RESTRICTED_S
    if isinstance(error, NoCloseError):
        return NO_CLOSE_S
    return NO_PRICE_S if isinstance(error, NoPriceError) else 0.0


def remember(failures: Mapping[str, PricesError], life_s: float | None = None) -> None:
    """Note why loading failed, as long as each kind of failure is worth or for `life_s`."""
    lives = {
        key: life for key, error in failures.items() if (life := life_s or _failure_life_s(error))
    }
    if not lives:
        return

    for key, kept_s in lives.items():
        _here.put(key, failures[key], kept_s)

    def write(r: redis.Redis) -> None:
        pipe = r.pipeline(transaction=False)
        for key, kept_s in lives.items():
            pipe.set(f"failed:{key}", as_note(failures[key]), px=int(kept_s * 1000))
        pipe.execute()

    try:
        redis_clients.ask(write)
    except RedisAwayError:
        logger.debug("a failed load is not remembered while Redis is away")


class _Note(msgspec.Struct):
    """What `failed:KEY` holds: an error as `PricesError.noted` tells it."""

    error: str
    message: str
    noted_at: float
    extra: dict[str, Any] = {}
    provider: str = ""
    detail: str = ""
    retry_after_s: float = 10.0


def as_note(error: PricesError) -> bytes:
    """Return an error as bytes that `from_note` reads."""
    return msgspec.json.encode(error.noted() | {"noted_at": time.time()})


def from_note(raw: bytes | str) -> PricesError | None:
    """Return the error that was noted; None where the bytes are no note of ours."""
    try:
        note = msgspec.json.decode(raw, type=_Note)
        error = recalled(msgspec.structs.asdict(note))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return None  # Not a note of ours: the load is tried.
    if isinstance(error, UpstreamError):
        error.retry_after_s = max(1.0, note.retry_after_s - (time.time() - note.noted_at))
    return error
