"""How often the cache had what was asked for, by kind of key and day, for the admin."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Lock

import redis

from prices import redis_clients
from prices.redis_clients import RedisAwayError

logger = logging.getLogger(__name__)


class _Counts:
    """Hits and misses by kind of key, written to Redis every few seconds for the admin."""

    EVERY_S = 5.0

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, int] = {}
        self._written = time.monotonic()

    def count(self, kind: str, *, hits: int, misses: int) -> None:
        with self._lock:
            for name, n in ((f"{kind}:hit", hits), (f"{kind}:miss", misses)):
                if n:
                    self._counts[name] = self._counts.get(name, 0) + n
            if time.monotonic() - self._written < self.EVERY_S:
                return
            counts, self._counts, self._written = self._counts, {}, time.monotonic()
        self._write(counts)

    def _write(self, counts: Mapping[str, int]) -> None:
        key = f"stats:cache:{datetime.now(UTC):%Y-%m-%d}"

        def write(r: redis.Redis) -> None:
            pipe = r.pipeline(transaction=False)
            for name, n in counts.items():
                pipe.hincrby(key, name, n)
            pipe.expire(key, 7 * 86_400)
            pipe.execute()

        try:
            redis_clients.ask(write)
        except RedisAwayError:
            logger.debug("cache counts of %d kinds are lost", len(counts))


_counts = _Counts()


def hit_rates() -> dict[str, tuple[int, int]]:
    """Return today's (hits, misses) by kind of key. Raises RedisAwayError."""
    key = f"stats:cache:{datetime.now(UTC):%Y-%m-%d}"
    rates: dict[str, tuple[int, int]] = {}
    for raw, n in redis_clients.ask(lambda r: r.hgetall(key)).items():
        kind, _, outcome = _text(raw).partition(":")
        hits, misses = rates.get(kind, (0, 0))
        rates[kind] = (hits + int(n), misses) if outcome == "hit" else (hits, misses + int(n))
    return rates


def count(kind: str, *, hits: int, misses: int) -> None:
    """Count what a reader found and missed; written to Redis every few seconds."""
    _counts.count(kind, hits=hits, misses=misses)


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
