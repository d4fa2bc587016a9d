"""Who loads a key: a lock on each in Redis, renewed while the load lasts."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock, Thread
from typing import Any

import redis
from redis.client import Pipeline

from prices import redis_clients
from prices.redis_clients import RedisAwayError

logger = logging.getLogger(__name__)

# A holder renews its locks; one that dies frees its keys after this.
LOCK_S = 15
# The thread that renews is kept so long with nothing to do.
_IDLE_S = 60.0

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

    def take(self, pipe: Pipeline, keys: Sequence[str]) -> None:
        """Put the questions for the locks of some keys into a pipeline; see `taken`."""
        for name in _names(keys):
            pipe.set(name, self._token, nx=True, ex=LOCK_S)

    def taken(self, keys: Sequence[str], answers: Iterable[Any]) -> list[str]:
        """Return what was locked for us, by the answers to those questions."""
        return [key for key, ok in zip(keys, answers, strict=True) if ok]

    def free(self, pipe: Pipeline, keys: Sequence[str]) -> None:
        """Put into a pipeline that what is still ours is freed."""
        names = _names(keys)
        pipe.eval(_RELEASE, len(names), *names, self._token)

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
        _renewer.add(self._token, _names(keys))
        try:
            yield
        finally:
            _renewer.drop(self._token)


class _Renewer:
    """One thread a process that renews the locks of all; it ends where there are none."""

    def __init__(self) -> None:
        self._held: dict[str, list[str]] = {}
        self._lock = Lock()
        self._thread: Thread | None = None

    def add(self, token: str, names: list[str]) -> None:
        with self._lock:
            self._held[token] = names
            # After a fork there is the object, and no thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name="renews-locks", daemon=True)
                self._thread.start()

    def drop(self, token: str) -> None:
        with self._lock:
            self._held.pop(token, None)

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            time.sleep(LOCK_S / 3)
            with self._lock:
                held = dict(self._held)
                if not held and time.monotonic() - idle_since > _IDLE_S:
                    self._thread = None
                    return
            if held:
                idle_since = time.monotonic()
            for token, names in held.items():
                with suppress(RedisAwayError):
                    redis_clients.ask(partial(_renew, token, names))


def _renew(token: str, names: Sequence[str], r: redis.Redis) -> None:
    r.eval(_RENEW, len(names), *names, token, LOCK_S)


_renewer = _Renewer()


def held(keys: Sequence[str]) -> set[str]:
    """Return which keys anybody holds."""
    try:
        found = redis_clients.ask(lambda r: r.mget(_names(keys)))
    except RedisAwayError:
        return set()
    return {key for key, lock in zip(keys, found, strict=True) if lock}


def _names(keys: Sequence[str]) -> list[str]:
    return [f"lock:{key}" for key in keys]
