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
RESTRICTED_S = 300


def remembered(keys: Sequence[str]) -> dict[str, PricesError]:
    """Return why loading failed a moment ago, by key."""
    if not keys:
        return {}
    try:
        notes = redis_clients.ask(lambda r: r.mget([f"failed:{key}" for key in keys]))
    except RedisAwayError:
        return {}
    return {
        key: error
        for key, note in zip(keys, notes, strict=True)
        if note and (error := _failure_from(note))
    }


def _failure_life_s(error: PricesError) -> float:
    """Return how long a failed load is remembered: 0 for not at all."""
    if isinstance(error, UpstreamError):
        return max(1.0, min(FAILED_S, error.retry_after_s))
    if isinstance(error, PlanRestrictedError):
        return RESTRICTED_S
    return NO_PRICE_S if isinstance(error, NoPriceError) else 0.0


def remember(failures: Mapping[str, PricesError]) -> None:
    """Note why loading failed, as long as each kind of failure is worth."""
    lives = {key: life for key, error in failures.items() if (life := _failure_life_s(error))}
    if not lives:
        return

    def write(r: redis.Redis) -> None:
        pipe = r.pipeline(transaction=False)
        for key, life_s in lives.items():
            note = failures[key].noted() | {"noted_at": time.time()}
            pipe.set(f"failed:{key}", msgspec.json.encode(note), px=int(life_s * 1000))
        pipe.execute()

    try:
        redis_clients.ask(write)
    except RedisAwayError:
        logger.debug("a failed load is not remembered while Redis is away")


def _failure_from(note: bytes | str) -> PricesError | None:
    try:
        noted = msgspec.json.decode(note, type=dict[str, Any])
        since_s = time.time() - float(noted.pop("noted_at"))
        error = recalled(noted)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None
    if isinstance(error, UpstreamError):
        error.retry_after_s = max(1.0, error.retry_after_s - since_s)
    return error
