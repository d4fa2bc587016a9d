"""One per server process: receives a tick once and hands each subscriber its share.

The channel layer only announces a tick; the snapshot key in Redis is what is
true. So an announcement that got lost costs a moment, not a tick: the hub looks
at the key by itself when a tick is overdue, and whatever it finds that is not
newer than what it holds is dropped. Knows nothing of WebSockets.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property, partial

import msgspec
from django.conf import settings
from redis.exceptions import RedisError

from prices import cadences, redis_clients
from streaming import ticks
from streaming.choices import View
from streaming.demand import LeaseKeeper
from streaming.feed import Feed, Line, Share, Traffic
from streaming.layer import layer
from streaming.limits import Addresses, Rules
from streaming.past import Past
from streaming.protocol import (
    GROUP,
    Close,
    Notice,
    NoticeFrame,
    Snapshot,
    WireQuote,
    due,
    stamp,
)
from streaming.registry import Registry, Tick
from streaming.stopping import goodbye, say_goodbye_first
from streaming.ticks import UNKNOWN, Place

logger = logging.getLogger(__name__)

SILENT_AFTER = 2.5  # intervals without a tick
_OVERDUE_AFTER = 0.3  # of an interval
_HEARTBEAT_GRACE_S = 0.5
_LAYER_TIMEOUT_S = 5.0
_RETRY_S = 1.0
_FIRST_LOOK_WITHIN_S = 1.0
_CLOSE_TRIES = 10
_SWEEP_S = 1.0
_SWEEP_MOST = 500  # of the oldest, at once

_NEW_EPOCH = NoticeFrame(
    code=Notice.EPOCH_CHANGED,
    message="Ticks are counted anew; everything you follow comes next.",
)

# Called with a tick's symbols before subscribers are told of it.
on_tick: list[Callable[[Collection[str]], None]] = []


class Hub:
    """Subscribers of this process, what they follow, and the tick they are told of.

    Everything here runs on one event loop, and nothing that a subscriber does or
    fails to do is waited for.
    """

    def __init__(self) -> None:
        self.interval_s: int = settings.PUBLISH_INTERVAL_S
        self._heartbeat_s = float(settings.WS_HEARTBEAT_S)
        self._client = redis_clients.async_client()
        self._layer = layer()
        self._loop = asyncio.get_running_loop()
        self._tick = Tick(UNKNOWN, stamp(), {})
        self.traffic = Traffic(settings.WS_MAX_BUFFERED_BYTES)
        self._registry = Registry(self.traffic)
        self._ticks = 0
        self.past = Past(self._client)
        self.addresses = Addresses()
        counts = self._registry.counts
        self._demand = LeaseKeeper(self._client, counts, self.interval_s, self.figures)
        self._announced = asyncio.Event()
        self._has_looked = asyncio.Event()
        self._is_silent = False
        self._is_away = False
        self.is_listening = False
        self._is_deaf = False  # and said so
        self.is_stopping = False
        self.is_failed = False
        self._returning = 0  # how many are sent away together
        now = self._loop.time()
        self._ticked_at = now
        self._quiet_since = now
        self._look_at = now
        self._heartbeat_at = now + self._heartbeat_s
        self._listening: asyncio.Task[None] | None = None
        self._tasks = {
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._demand.keep()),
            asyncio.create_task(self._sweep()),
        }
        self._listen()

    # --- For subscribers ---------------------------------------------------------

    @cached_property
    def rules(self) -> Rules:
        return Rules()

    @property
    def place(self) -> Place:
        return self._tick.place

    @property
    def count(self) -> int:
        return len(self._registry.feeds)

    def figures(self) -> dict[str, int]:
        """Return what this process does, as counts since its start and two as of now."""
        traffic = self.traffic
        return {
            "sockets": self.count,
            "subscriptions": self._registry.counts.total(),
            "ticks": self._ticks,
            "frames": traffic.frames,
            "bytes": traffic.bytes,
            "conflated": traffic.conflated,
            "dropped": traffic.dropped,
            "slow": traffic.slow,
            **{f"closed_{int(code)}": n for code, n in sorted(traffic.closes.items())},
            **{f"left_{code}": n for code, n in sorted(traffic.left.items())},
        }

    @property
    def is_current(self) -> bool:
        """Whether the tick held here is the newest there can be."""
        late = self._loop.time() - self._ticked_at
        if self._is_away:
            return False
        return bool(self._tick.quotes) and late < self.interval_s * (1 + _OVERDUE_AFTER) + _RETRY_S

    async def ready(self) -> None:
        """Wait until the snapshot key was looked at once, though not for long."""
        if not self._has_looked.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_LOOK_WITHIN_S):
                    await self._has_looked.wait()

    def join(self, line: Line) -> Feed:
        """Return a new subscriber's feed; it follows nothing yet."""
        feed = Feed(self.place, line, self.traffic)
        self._registry.join(feed)
        return feed

    def visit(self, line: Line) -> Feed:
        """Return a feed for someone who is not let in: what it is told comes from the caller."""
        return Feed(self.place, line, self.traffic)

    def leave(self, feed: Feed) -> None:
        """Forget a subscriber; a second time does nothing."""
        if feed in self._registry.feeds:
            self._registry.leave(feed)

    def expect(self, symbols: Collection[str]) -> None:
        """Have symbols in the next tick already that will be followed in a moment."""
        counts = self._registry.counts
        self._demand.add({symbol for symbol in symbols if symbol not in counts})

    def follow(self, feed: Feed, symbols: Collection[str]) -> None:
        if feed in self._registry.feeds:
            self._demand.add(self._registry.follow(feed, symbols))

    def unfollow(self, feed: Feed, symbols: Collection[str]) -> None:
        if feed in self._registry.feeds:
            self._registry.unfollow(feed, symbols)

    def choose(self, feed: Feed, view: View | None) -> None:
        """Cut ticks for this subscriber as it chose; None gives it what all get."""
        if feed in self._registry.feeds:
            self._registry.choose(feed, view)

    def known(self, symbols: Collection[str]) -> dict[str, WireQuote]:
        """Return what the newest tick here says of `symbols`; marked stale where it is overdue."""
        quotes = self._tick.quotes
        found = {symbol: quotes[symbol] for symbol in symbols if symbol in quotes}
        if self.is_current:
            return found
        now = datetime.now(UTC)
        return {s: quote.as_copy(now, cadences.of(quote.source)) for s, quote in found.items()}

    def snapshot(self, quotes: Mapping[str, WireQuote]) -> Share:
        """Return a snapshot:true frame of quotes that one subscriber asked for."""
        return self._tick.snapshot(quotes)

    def notices(self) -> list[NoticeFrame]:
        """Return what a subscriber should know who comes only now."""
        return [self._silence()] if self._is_silent else []

    async def stop(self) -> None:
        """Tell everyone that this server goes, and when to come back; nobody is let in any more."""
        self.is_stopping = True
        self._returning = self.count
        await self._registry.each(self.dismiss)

    def dismiss(self, feed: Feed) -> None:
        """Tell one subscriber that this server goes, and when to come back."""
        feed.put(goodbye(self._returning, is_failed=self.is_failed))
        feed.end(Close.GOING_AWAY if self.is_failed else Close.RESTARTING)

    @property
    def has_said_goodbye(self) -> bool:
        return self.is_stopping and not any(map(len, self._registry.feeds))

    async def close(self) -> None:
        """Stop everything."""
        await _end({*self._tasks, *({self._listening} if self._listening else ())})
        # The layer listens in a task of its own; ending this ends that.
        await _end({asyncio.create_task(self._layer.flush())}, at_once=False)
        await self._client.aclose()

    # --- The announcements ---------------------------------------------------------

    def _listen(self) -> None:
        self._listening = asyncio.create_task(self._listen_on(self._listening))

    async def _listen_on(self, before: asyncio.Task[None] | None) -> None:
        """Wake the watch at each announcement, by a channel of its own.

        A subscription is replaced by ending the task that held it: it leaves the
        group first, for joining a group that is held already does nothing.
        """
        if before is not None:
            before.cancel()
            await asyncio.wait({before}, timeout=_LAYER_TIMEOUT_S)
        while True:
            try:
                await self._receive()
            except (RedisError, OSError) as exc:
                self._note_deaf(exc)
            except Exception:
                # Ticks would still come by the look when one is overdue, each of them late.
                logger.exception("listening for ticks failed; listening anew")
            await asyncio.sleep(_RETRY_S)

    async def _receive(self) -> None:
        channel = ""
        try:
            async with asyncio.timeout(_LAYER_TIMEOUT_S):
                channel = await self._layer.new_channel()
                await self._layer.group_add(GROUP, channel)
            self.is_listening, self._is_deaf = True, False
            self._announced.set()  # whatever came before we listened
            while True:
                await self._layer.receive(channel)
                self._announced.set()
        finally:
            self.is_listening = False
            if channel:
                # Whatever fails here must not take the place of a cancellation.
                with suppress(RedisError, OSError, TimeoutError):
                    async with asyncio.timeout(_LAYER_TIMEOUT_S):
                        await self._layer.group_discard(GROUP, channel)

    # --- The watch -------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look when told and when a tick is overdue; give signs of life; notice silence."""
        while True:
            try:
                await self._wait_for_something()
                await self._act()
            except Exception:
                logger.exception("the hub stumbled and goes on")
                await asyncio.sleep(_RETRY_S)

    async def _wait_for_something(self) -> None:
        until = min(self._look_at, self._heartbeat_at, self._silent_at())
        delay = max(0.0, until - self._loop.time())
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._announced.wait()

    async def _act(self) -> None:
        if self._announced.is_set() or self._loop.time() >= self._look_at:
            is_told = self._announced.is_set()
            self._announced.clear()
            await self._look(is_told=is_told)
        now = self._loop.time()
        if now >= self._silent_at():
            await self._fall_silent(now)
        if now >= self._heartbeat_at:
            await self._give_signs_of_life(now)

    async def _look(self, *, is_told: bool) -> None:
        """Read the snapshot key, and tell everyone if there is a newer tick."""
        # Whom a tick is announced to has it at once, whatever two clocks say of its age. What
        # was there before us, or is found without a word, is as old as it says.
        is_fresh = is_told and self._has_looked.is_set() and not self._is_away
        try:
            place, body = await ticks.look(self._client, self.place)
        except (RedisError, OSError) as exc:
            self._note_away(exc)
        else:
            self._note_back()
            await self._adopt(place, body, is_fresh=is_fresh)
        self._has_looked.set()
        self._look_at = self._next_look()

    def _next_look(self) -> float:
        overdue = self._ticked_at + self.interval_s * (1 + _OVERDUE_AFTER)
        pause = min(2.0, max(0.2, _OVERDUE_AFTER * self.interval_s))
        return max(overdue, self._loop.time() + pause)

    async def _adopt(self, place: Place, body: bytes | None, *, is_fresh: bool) -> None:
        if body is None:
            # Nothing published yet, or nothing new; only the first epoch is taken on.
            if self.place == UNKNOWN and not self._registry.feeds:
                self._tick = Tick(place, stamp(), {})
            return
        try:
            snapshot = msgspec.json.decode(body, type=Snapshot)
        except (ValueError, RecursionError):
            logger.warning("the snapshot in Redis cannot be read; waiting for the next tick")
            return
        found = Place(snapshot.tick.epoch, snapshot.tick.seq)
        if found.epoch == self.place.epoch and found.seq <= self.place.seq:
            return
        await self._take(snapshot, found, 0.0 if is_fresh else _age_s(snapshot.tick.timestamp))

    async def _take(self, snapshot: Snapshot, found: Place, age_s: float) -> None:
        before, tick, quotes = self.place, snapshot.tick, snapshot.tick.data
        if found.epoch != before.epoch:
            # Whoever counts anew may not have heard yet what is followed here.
            quotes = self.known(self._registry.counts.keys() - quotes.keys()) | quotes
        self._tick = Tick(found, tick.timestamp, quotes)
        now = self._loop.time()
        self._ticked_at = now - age_s
        self._quiet_since = now
        self._heartbeat_at = now + self._heartbeat_s
        if self._is_silent and now - self._ticked_at < SILENT_AFTER * self.interval_s:
            self._is_silent = False
            logger.warning("the publisher is back")
        if snapshot.update_interval != self.interval_s:
            await self._change_cadence(snapshot.update_interval)
        _tell_listeners(tick.data.keys())
        self._ticks += 1
        if found.epoch == before.epoch:
            await self._registry.tell(self._tick, self.heartbeat(), self.interval_s)
        else:
            self._demand.renew()  # the leases may be gone with the count
            await self._registry.begin(self._tick, _NEW_EPOCH)

    async def _change_cadence(self, interval_s: int) -> None:
        self.interval_s = interval_s
        self._demand.change_interval(interval_s)
        await self._registry.notify(
            NoticeFrame(
                code=Notice.CADENCE_CHANGED,
                message=f"Ticks now come every {interval_s} s.",
                update_interval=interval_s,
            )
        )

    async def _give_signs_of_life(self, now: float) -> None:
        # A tick that is about to come says the same and more.
        coming = self._ticked_at + self.interval_s
        if now < coming + _HEARTBEAT_GRACE_S and coming - now < _HEARTBEAT_GRACE_S:
            self._heartbeat_at = coming + _HEARTBEAT_GRACE_S
            return
        self._heartbeat_at = now + self._heartbeat_s
        beat = self.heartbeat()
        views = self._registry.views

        def give(feed: Feed) -> None:
            view = views.get(feed)
            feed.put_heartbeat(view.beat(beat) if view else beat)

        await self._registry.each(give)

    def heartbeat(self) -> Share:
        now = time.time()
        coming = (math.floor(now / self.interval_s) + 1) * self.interval_s
        rest = due(stamp(), stamp(datetime.fromtimestamp(coming, UTC)))
        return Share("heartbeat", self.place, rest)

    # --- What can be missing -----------------------------------------------------------

    def _silent_at(self) -> float:
        return self._quiet_since + SILENT_AFTER * self.interval_s

    async def _fall_silent(self, now: float) -> None:
        """Say so once, and subscribe anew: the silence may be our own deafness."""
        self._quiet_since = now
        if not self._is_silent:
            self._is_silent = True
            logger.warning("no tick for %g intervals", SILENT_AFTER)
            await self._registry.notify(self._silence())
        self._listen()

    def _silence(self) -> NoticeFrame:
        return NoticeFrame(
            code=Notice.PUBLISHER_SILENT,
            message="No prices have been published for a while; those you have may be old.",
        )

    async def _sweep(self) -> None:
        """Look after those who do not read, and those who have been here for long."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                await self._sweep_once(time.monotonic())
            except Exception:
                logger.exception("the sweep stumbled and goes on")

    async def _sweep_once(self, now: float) -> None:
        def cut_if_slow(feed: Feed) -> None:
            # It may have read meanwhile, or be gone.
            late = self.traffic.late
            if feed in late and now - feed.late_since > settings.WS_SLOW_AFTER_S:
                self._close(feed, feed.give_up)

        def retire(feed: Feed) -> None:
            self._close(feed, partial(feed.end, Close.TOO_OLD))

        await self._registry.each(cut_if_slow, self.traffic.late)
        oldest = itertools.islice(self._registry.feeds, _SWEEP_MOST)
        too_old = itertools.takewhile(
            lambda feed: now - feed.joined_at >= settings.WS_MAX_AGE_S, oldest
        )
        await self._registry.each(retire, too_old)

    def _close(self, feed: Feed, close: Callable[[], None]) -> None:
        try:
            close()
        finally:
            self.leave(feed)

    def _note_deaf(self, exc: Exception) -> None:
        if not self._is_deaf:
            self._is_deaf = True
            logger.info("listening for ticks failed (%s); tried each second", type(exc).__name__)

    def _note_away(self, exc: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning("Redis is away (%s); sockets stay open", type(exc).__name__)

    def _note_back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._demand.renew()
            logger.warning("Redis is back")


def _tell_listeners(symbols: Collection[str]) -> None:
    for told in on_tick:
        try:
            told(symbols)
        except Exception:
            logger.exception("a listener stumbled over a tick; subscribers are told of it")


def _age_s(timestamp: str) -> float:
    """Return how long ago that was, by our clock; 0 where clocks disagree or it is no time."""
    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


async def _end(tasks: set[asyncio.Task[None]], *, at_once: bool = True) -> None:
    """Cancel tasks until they end: on Python 3.11 redis-py swallows a cancellation at times."""
    left = tasks
    for attempt in range(_CLOSE_TRIES):
        if not left:
            return
        if at_once or attempt:
            for task in left:
                task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = weakref.WeakKeyDictionary()


def hub() -> Hub:
    """Return this process's hub, which starts at first use (one for each event loop)."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
        say_goodbye_first(_hubs[loop])
    return _hubs[loop]
