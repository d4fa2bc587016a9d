"""The one place that makes Redis clients, with every time-out and pool size written out.

redis-py 8's own defaults (5 s socket time-out, 100 connections, 10 retries)
break blocking subscribers and hide a hung server behind 5 s waits.

`ask` is how the rest of prices talks to Redis: after a failure it answers
RedisAwayError at once for a second instead of letting every caller wait out a
time-out of its own, and it logs an outage once when it begins and once when it ends.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import redis
import redis.asyncio
from django.conf import settings
from django_redis import get_redis_connection
from django_redis import pool as django_redis_pool
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from prices.redis_direct import DirectRedis

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT_S = 0.5
AWAY_S = 1.0

# A pooled connection that died with a restarted server is replaced at once; a
# server that hangs is not asked twice.
_COMMON: dict[str, Any] = {
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": 0,
    "protocol": 2,
}


class RedisAwayError(Exception):
    """Redis could not be asked."""


class ConnectionFactory(django_redis_pool.ConnectionFactory):  # type: ignore[misc]  # untyped
    """django-redis' factory with our client and time-outs; CACHES in the settings names it."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__({**options, "REDIS_CLIENT_CLASS": "prices.redis_direct.DirectRedis"})

    def make_connection_params(self, url: str) -> dict[str, Any]:
        return {
            **super().make_connection_params(url),
            **_COMMON,
            # Of transactions; plain questions have as many as threads ask at once (redis_direct).
            "max_connections": 512,
            "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        }


@functools.cache
def client() -> DirectRedis:
    """Return this process's sync client: bytes in and out, safe for threads."""
    connection: DirectRedis = get_redis_connection("default")
    return connection


def async_client() -> redis.asyncio.Redis:
    """Return a new async client for one event loop; its owner closes it."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL,
        **_COMMON,
        max_connections=64,
        retry=AsyncRetry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


class _Outage:
    """Whether Redis is away, for all threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._since: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether the last question went unanswered."""
        return self._since is not None

    def is_on(self) -> bool:
        return time.monotonic() < self._until

    def begin(self, exc: Exception) -> None:
        with self._lock:
            self._until = time.monotonic() + AWAY_S
            if self._since is None:
                self._since = time.monotonic()
                # The class alone: the message of a redis error may hold the URL.
                logger.warning("Redis is away (%s); answering from copies", type(exc).__name__)

    def end(self) -> None:
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                logger.warning(
                    "Redis answers again; it first did not %.1f s ago",
                    time.monotonic() - self._since,
                )
                self._since = None


_outage = _Outage()


def is_away() -> bool:
    """Return whether Redis did not answer when it was asked last."""
    return _outage.is_known


def ask(question: Callable[[redis.Redis], T]) -> T:
    """Return `question(client)`. Raises RedisAwayError, and no other error of Redis."""
    with _noting:
        return question(client())


def mget(names: Sequence[str]) -> list[bytes | None]:
    """Return what keys hold, in their order, None where nothing is. Raises RedisAwayError.

    What was read ahead is given instead, once.
    """
    told = read_already(names)
    if told is not None:
        return told
    found: list[Any] = ask(lambda r: r.mget(names))
    return found


class _Ahead(NamedTuple):
    found: dict[str, bytes | None]
    until: float


# Each question costs a round trip, which is most of what a load does beside its calls. So
# what a load is about to ask is read with the lock that it takes, and waits here.
_ahead: ContextVar[_Ahead | None] = ContextVar("ahead", default=None)
# A load begins at once; what it comes to later may have changed.
_AHEAD_S = 1.0


@contextmanager
def reading_ahead(found: Mapping[str, bytes | None]) -> Iterator[None]:
    """Have what keys held a moment ago at hand in this block, each for who asks for it first."""
    token = _ahead.set(_Ahead(dict(found), time.monotonic() + _AHEAD_S))
    try:
        yield
    finally:
        _ahead.reset(token)


def read_already(names: Sequence[str]) -> list[bytes | None] | None:
    """Return what was read ahead of all these keys; None where of one it was not, or long ago."""
    ahead = _ahead.get()
    if ahead is None or time.monotonic() > ahead.until:
        return None
    if not all(name in ahead.found for name in names):
        return None
    try:
        # Two symbols may mean one asset, whose keys are asked for twice then.
        told = {name: ahead.found.pop(name) for name in set(names)}
    except KeyError:
        return None  # Another thread of the load was first.
    return [told[name] for name in names]


async def ask_async(question: Callable[[], Awaitable[T]]) -> T:
    """Return what `question` finds out with a client of its own, as `ask` does."""
    with _noting:
        return await question()


class _Noting:
    """Turns the errors of a question into RedisAwayError, and lets all know how Redis stands."""

    __slots__ = ()

    def __enter__(self) -> None:
        if _outage.is_on():
            raise RedisAwayError

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: Any) -> None:
        if exc is None:
            _outage.end()
        elif isinstance(exc, RedisConnectionError | RedisTimeoutError | OSError):
            _outage.begin(exc)
            raise RedisAwayError from exc
        elif isinstance(exc, RedisError):
            # It answers and refuses: a key of another type, no memory left. That is
            # no outage for others, and this caller gets no answer from it either.
            logger.warning("Redis refuses a question: %s", type(exc).__name__)
            raise RedisAwayError from exc


_noting = _Noting()
