"""Who loads a key: a lock on each in Redis, renewed while the load lasts."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Timer
from typing import Any

import redis

from prices import redis_clients
from prices.redis_clients import RedisAwayError

logger = logging.getLogger(__name__)

# A holder renews its locks; one that dies frees its keys after this.
LOCK_S = 15

_RELEASE = """
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
"""
_RENEW = """
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('EXPIRE', key, ARGV[2]) end
end
"""


class Locks:
    """The locks of one caller, told from others' by a token."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)

    def take(self, keys: Sequence[str]) -> list[str]:
        """Lock what nobody holds, and return it; everything while Redis is away."""
        if not keys:
            return []

        def question(r: redis.Redis) -> list[Any]:
            pipe = r.pipeline(transaction=False)
            for name in _names(keys):
                pipe.set(name, self._token, nx=True, ex=LOCK_S)
            return list(pipe.execute())

        try:
            got = redis_clients.ask(question)
        except RedisAwayError:
            return list(keys)  # Nobody to agree with: this process loads for itself.
        return [key for key, ok in zip(keys, got, strict=True) if ok]

    def release(self, keys: Sequence[str]) -> None:
        """Free what is still ours."""
        if not keys:
            return
        names = _names(keys)
        try:
            redis_clients.ask(lambda r: r.eval(_RELEASE, len(names), *names, self._token))
        except RedisAwayError:
            logger.debug("%d locks are left to lapse", len(names))

    @contextmanager
    def renewed(self, keys: Sequence[str]) -> Iterator[None]:
        """Keep locks alive for as long as the block takes: a chart may take many calls."""
        names, is_over = _names(keys), Event()

        def renew() -> None:
            while not is_over.is_set():
                with suppress(RedisAwayError):
                    redis_clients.ask(
                        lambda r: r.eval(_RENEW, len(names), *names, self._token, LOCK_S)
                    )
                is_over.wait(LOCK_S / 3)

        timer = Timer(LOCK_S / 3, renew)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            is_over.set()
            timer.cancel()


def held(keys: Sequence[str]) -> set[str]:
    """Return which keys anybody holds."""
    try:
        found = redis_clients.ask(lambda r: r.mget(_names(keys)))
    except RedisAwayError:
        return set()
    return {key for key, lock in zip(keys, found, strict=True) if lock}


def _names(keys: Sequence[str]) -> list[str]:
    return [f"lock:{key}" for key in keys]
