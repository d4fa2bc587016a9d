"""The tick: one batch of quotes, one message to everyone.

Sync throughout, as Celery is. The one async thing, the channel layer's message,
goes through a single event loop that lives as long as the worker process: a loop
per task ends in "event loop is closed".
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis
from django.conf import settings
from django.db import close_old_connections
from redis.exceptions import RedisError

from prices import redis_clients
from prices.services import quotes
from prices.services.quotes import QuoteBatch
from streaming import demand, ticks
from streaming.layer import layer
from streaming.protocol import GROUP, Snapshot, WireQuote, entry, share, stamp
from streaming.ticks import UNKNOWN, Place

logger = logging.getLogger(__name__)

ANNOUNCE_WITHIN_S = 2.0
# How long a tick waits for sources, as a part of the interval; then it goes out
# with what is held, and the answers that come late are in the next one.
_LOAD_PART = 0.4
_LOAD_MOST_S = 10.0

Announce = Callable[[Place], None]
ForTick = Callable[[Collection[str], Collection[str]], QuoteBatch]


@dataclass
class Publisher:
    """Publishes ticks from this process. What it asks and whom it tells can be given."""

    for_tick: ForTick = quotes.for_tick
    cached: Callable[[Collection[str]], Mapping[str, Any]] = quotes.cached
    tracked: Callable[[], Collection[str]] = quotes.tracked
    announce: Announce | None = None
    _known: Place = UNKNOWN
    _is_failing: bool = False
    _loading: Future[QuoteBatch] | None = None
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="tick")
    )
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def publish(self) -> Place | None:
        """Publish the tick that is due; return its place, or None where it was published before.

        Raises RedisError: without Redis there is nobody to tell.
        """
        client = redis_clients.client()
        interval_s: int = settings.PUBLISH_INTERVAL_S
        if not ticks.claim(client, interval_s):
            return None
        followed = demand.wanted(client)
        wanted = list(dict.fromkeys([*followed, *self.tracked()]))
        data = self._quotes(client, wanted, followed, interval_s)
        entries = [entry(symbol, quote) for symbol, quote in sorted(data.items())]
        with self._turn:
            place = ticks.publish(client, self._known, interval_s, share(stamp(), entries))
            self._known = place
        (self.announce or announce)(place)
        return place

    def _quotes(
        self, client: redis.Redis, wanted: list[str], followed: list[str], interval_s: int
    ) -> dict[str, WireQuote]:
        """Return what is said of `wanted`; last good values, marked stale, where sources fail."""
        batch = self._batch(wanted, followed, min(interval_s * _LOAD_PART, _LOAD_MOST_S))
        lost: Collection[str]
        if batch is None:
            held = self.cached(wanted)
            lost = set(wanted) - set(held)
        else:
            held = batch.data
            lost = {s for s, code in batch.failed.items() if code.startswith("upstream")}
        data = {symbol: WireQuote.of(quote) for symbol, quote in held.items()}
        self._note(has_failed=batch is None or bool(lost) or any(q.stale for q in data.values()))
        before = _last(client) if lost else {}
        return {
            **{s: msgspec.structs.replace(before[s], stale=True) for s in lost if s in before},
            **data,
        }

    def _batch(self, wanted: list[str], followed: list[str], within_s: float) -> QuoteBatch | None:
        """Return the batch, or None where it fails or is late; what is late goes on."""
        if self._loading is not None and not self._loading.done():
            return None
        if not wanted:
            return QuoteBatch()
        self._loading = self._pool.submit(_with_database, self.for_tick, wanted, followed)
        try:
            return self._loading.result(timeout=within_s)
        except TimeoutError:
            return None
        except Exception:
            if not self._is_failing:
                logger.exception("quotes for the tick failed")
            return None

    def _note(self, *, has_failed: bool) -> None:
        """Log an outage once when it begins and once when it ends."""
        if has_failed != self._is_failing:
            self._is_failing = has_failed
            if has_failed:
                logger.warning("ticks carry last good values: sources do not answer in time")
            else:
                logger.warning("ticks are current again")


def _with_database(for_tick: ForTick, wanted: list[str], followed: list[str]) -> QuoteBatch:
    close_old_connections()
    try:
        return for_tick(wanted, followed)
    finally:
        close_old_connections()


def _last(client: redis.Redis) -> dict[str, WireQuote]:
    """Return the quotes of the tick before this one."""
    body: Any = client.get(ticks.SNAPSHOT)
    try:
        return msgspec.json.decode(body or b"", type=Snapshot).tick.data
    except (ValueError, RecursionError):
        return {}


# --- Telling the hubs ---------------------------------------------------------------


@functools.cache
def _loop_of(_pid: int) -> asyncio.AbstractEventLoop:
    """Return the loop that announces from this process; a forked child gets its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="announcer", daemon=True).start()
    return loop


def announce(place: Place) -> None:
    """Tell every hub that a tick is there. One that does not hear it looks by itself."""
    future = asyncio.run_coroutine_threadsafe(_send(place), _loop_of(os.getpid()))
    try:
        future.result(ANNOUNCE_WITHIN_S + 1)
    except (TimeoutError, RedisError, OSError) as exc:
        logger.warning("a tick could not be announced (%s)", type(exc).__name__)


async def _send(place: Place) -> None:
    message = {"type": "tick", "epoch": place.epoch, "seq": place.seq}
    async with asyncio.timeout(ANNOUNCE_WITHIN_S):
        try:
            await layer().group_send(GROUP, message)
        except (RedisError, OSError):
            # A connection that died with a restarted server is found out by using it.
            await layer().group_send(GROUP, message)
