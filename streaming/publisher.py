"""The tick: one batch of quotes, one message to everyone.

Sync throughout, as Celery is. The one async thing, the channel layer's message,
goes through a single event loop that lives as long as the worker process: a loop
per task ends in "event loop is closed".
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Generic, TypeVar

import msgspec
import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from redis.exceptions import RedisError

from prices import cadences, redis_clients
from prices.answers import QuoteAnswer
from prices.redis_clients import RedisAwayError
from prices.services import holdings, quotes, recorder, symbols
from prices.services.quotes import QuoteBatch
from prices.services.symbols import Resolution
from streaming import demand, ticks
from streaming.layer import layer
from streaming.protocol import GROUP, Snapshot, WireQuote, share, stamp
from streaming.texts import Texts
from streaming.ticks import UNKNOWN, Place

logger = logging.getLogger(__name__)

ANNOUNCE_WITHIN_S = 2.0
# How long a tick waits for sources, as a part of the interval; then it goes out
# with what is held, and the answers that come late are in the next one.
_LOAD_PART = 0.4
_LOAD_MOST_S = 10.0
# The same for the database, which says what is tracked and what names mean.
_PLAN_PART = 0.2
_PLAN_MOST_S = 5.0

# A plan is made for the next tick while nobody waits, and holds for so long.
_PLAN_HOLDS_S = 5.0

T = TypeVar("T")
Announce = Callable[[Place], None]
ForTick = Callable[[Collection[str], Collection[str], Resolution | None], QuoteBatch]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a tick is to hold beside what is followed, and what names mean now.

    It holds until symbols may mean others, which another `word` tells, and for some seconds.
    """

    tracked: Collection[str] = ()
    meant: Resolution = field(default_factory=Resolution)
    ref_of: Mapping[str, str] = field(default_factory=dict)  # by symbol
    word: bytes | None = None
    until: float = 0.0
    # What the last of such questions came to: mostly the next one is the same.
    _asked: list[tuple[list[str], Resolution | None]] = field(default_factory=list)

    def is_about(self, symbol: str, ref: str) -> bool:
        return self.ref_of.get(symbol, ref) == ref

    def names(self, followed: Collection[str]) -> list[str]:
        return list(dict.fromkeys([*followed, *self.tracked]))

    def lapses_within(self, seconds: float) -> bool:
        return self.until < time.monotonic() + seconds

    def serves(self, followed: Collection[str], word: bytes | None) -> bool:
        """Return whether nothing has to be learnt for a tick that these follow."""
        is_new = word is not None and word == self.word and time.monotonic() < self.until
        return is_new and self.meant_by(self.names(followed)) is not None

    def meant_by(self, names: list[str]) -> Resolution | None:
        """Return what names mean; None where it does not know all of them."""
        if not self._asked or self._asked[0][0] != names:
            self._asked[:] = [(names, self.meant.only(names))]
        return self._asked[0][1]


class Errand(Generic[T]):
    """A call in a thread of its own: never two at once, and waited for only so long."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._under_way: Future[T] | None = None

    def run(self, call: Callable[[], T], within_s: float) -> T:
        """Return what the call gives. Raises TimeoutError where it is late; it then goes on."""
        if self._under_way is not None and not self._under_way.done():
            raise TimeoutError("the last call is still under way")
        self._under_way = self._pool.submit(_with_database, call)
        return self._under_way.result(timeout=within_s)

    def begin(self, call: Callable[[], T]) -> Future[T] | None:
        """Let the call go on by itself; None where the last one is still under way."""
        if self._under_way is not None and not self._under_way.done():
            return None
        self._under_way = self._pool.submit(_with_database, call)
        return self._under_way


@dataclass
class Publisher:
    """Publishes ticks from this process. What it asks and whom it tells can be given."""

    for_tick: ForTick = quotes.for_tick
    cached: Callable[[Collection[str]], Mapping[str, QuoteAnswer]] = quotes.cached
    tracked: Callable[[], Collection[str]] = quotes.tracked
    resolve: Callable[[Collection[str]], Resolution] = symbols.resolve_many
    record: Callable[[Collection[QuoteAnswer]], object] = recorder.record
    announce: Announce | None = None
    _known: Place = UNKNOWN
    _plan: Plan = field(default_factory=Plan)
    _is_failing: bool = False
    _is_blind: bool = False
    _planning: Errand[Plan] = field(default_factory=lambda: Errand("tick-plan"))
    _loading: Errand[QuoteBatch] = field(default_factory=lambda: Errand("tick"))
    _recording: Errand[object] = field(default_factory=lambda: Errand("tick-recorder"))
    _heard: Collection[QuoteAnswer] = ()
    _cannot_record: bool = False
    _texts: Texts = field(default_factory=Texts)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def publish(self) -> Place | None:
        """Publish the tick that is due; return its place, or None where it was published before.

        Raises RedisError: without Redis there is nobody to tell.
        """
        client = redis_clients.client()
        interval_s: int = settings.PUBLISH_INTERVAL_S
        # In one question: its round trips are a good part of the time a tick comes late.
        pipe = client.pipeline(transaction=False)
        ticks.ask_claim(pipe, interval_s)
        demand.ask_wanted(pipe)
        is_mine, wanted = pipe.execute()
        if not is_mine:
            return None
        followed = demand.told_wanted(wanted)
        if not self._plan.serves(followed, _word()):
            self._look_ahead(followed, min(interval_s * _PLAN_PART, _PLAN_MOST_S))
        data = self._quotes(client, followed, min(interval_s * _LOAD_PART, _LOAD_MOST_S))
        entries = self._texts.entries(data)
        with self._turn:
            place = ticks.publish(client, self._known, interval_s, share(stamp(), entries))
            self._known = place
        (self.announce or announce)(place)
        self._record()
        if interval_s < _PLAN_HOLDS_S and self._plan.lapses_within(2 * interval_s):
            self._plan_next(followed)
        return place

    def _record(self) -> None:
        """Have the quotes of the tick recorded. What cannot be in time is left out."""
        heard, self._heard = self._heard, ()
        if not heard:
            return
        under_way = self._recording.begin(partial(self.record, heard))
        if under_way is not None:
            under_way.add_done_callback(self._note_recorded)

    def _note_recorded(self, done: Future[object]) -> None:
        """Log once that quotes cannot be recorded, and once that they can again."""
        error = done.exception()
        if error is not None and not self._cannot_record:
            logger.error("quotes of ticks are not recorded", exc_info=error)
        elif error is None and self._cannot_record:
            logger.warning("quotes of ticks are recorded again")
        self._cannot_record = error is not None

    def _look_ahead(self, followed: list[str], within_s: float) -> None:
        """Learn what is tracked and what names mean; the last plan holds where that fails."""
        try:
            self._plan = self._planning.run(partial(self._planned, followed), within_s)
        except (DatabaseError, TimeoutError) as exc:
            if not self._is_blind:
                self._is_blind = True
                logger.warning(
                    "the database does not answer in time; ticks go on without it",
                    exc_info=exc if isinstance(exc, DatabaseError) else None,
                )
        else:
            if self._is_blind:
                self._is_blind = False
                logger.warning("the database answers again")

    def _plan_next(self, followed: list[str]) -> None:
        """Make the next tick's plan; where that fails it is made, or told of, when that is due."""
        under_way = self._planning.begin(partial(self._planned, followed))
        if under_way is not None:
            under_way.add_done_callback(self._take_plan)

    def _take_plan(self, done: Future[Plan]) -> None:
        if done.exception() is None:
            self._plan = done.result()

    def _planned(self, followed: list[str]) -> Plan:
        until, word = time.monotonic() + _PLAN_HOLDS_S, _word()
        tracked = self.tracked()
        found = self.resolve(list(dict.fromkeys([*followed, *tracked])))
        refs = {symbol: one.asset.ref for symbol, one in found.assets.items()}
        return Plan(tracked, found, refs, word, until)

    def _quotes(
        self, client: redis.Redis, followed: list[str], within_s: float
    ) -> dict[str, WireQuote]:
        """Return what the tick says: each quote under its symbol and every name it is followed by.

        A name once accepted goes on, whatever name the asset gets later. Where sources fail
        the last good values of the same asset are given, marked stale.
        """
        plan = self._plan
        wanted = plan.names(followed)
        symbol_of = {name: plan.meant.found.get(name, name) for name in wanted}
        symbol_of |= {symbol: symbol for symbol in symbol_of.values()}
        batch = self._batch(wanted, followed, within_s)
        if batch is None:
            held = self.cached(set(symbol_of.values()))
            held = {s: quote for s, quote in held.items() if plan.is_about(s, quote.ref)}
            lost = {name for name, symbol in symbol_of.items() if symbol not in held}
        else:
            held = batch.data
            self._heard = list(held.values())
            failed = {s for s, code in batch.failed.items() if code.startswith("upstream")}
            lost = {name for name, symbol in symbol_of.items() if failed & {name, symbol}}
        said = self._texts.told(
            {name: held[symbol] for name, symbol in symbol_of.items() if symbol in held}
        )
        # What is held back as doubtful is no sign of an outage.
        is_old = bool(lost) or any(q.stale and not q.disputed for q in said.values())
        self._note(has_failed=batch is None or is_old)
        before = _last(client) if lost else {}
        return _last_good({name: symbol_of[name] for name in lost}, before, plan) | said

    def _batch(self, wanted: list[str], followed: list[str], within_s: float) -> QuoteBatch | None:
        """Return the batch, or None where it fails or is late; what is late goes on."""
        if not wanted:
            return QuoteBatch()
        try:
            meant = self._plan.meant_by(wanted)
            return self._loading.run(partial(self.for_tick, wanted, followed, meant), within_s)
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


def _word() -> bytes | None:
    """Return a word that is another one once symbols may mean others; None where it is not told."""
    try:
        return holdings.names_version()
    except RedisAwayError:
        return None


def _with_database(call: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


def _last_good(
    lost: Mapping[str, str], before: Mapping[str, WireQuote], plan: Plan
) -> dict[str, WireQuote]:
    """Return what the tick before said of the assets that `lost` names mean now, marked stale."""
    by_ref, now = {quote.ref: quote for quote in before.values()}, datetime.now(UTC)
    found: dict[str, WireQuote] = {}
    for name, symbol in lost.items():
        ref = plan.ref_of.get(symbol)
        quote = by_ref.get(ref) if ref else before.get(name)
        if quote is not None:
            told = quote.as_copy(now, cadences.of(quote.source))
            found[name] = msgspec.structs.replace(told, symbol=name)
    return found


def _last(client: redis.Redis) -> dict[str, WireQuote]:
    """Return the quotes of the tick before this one."""
    body: Any = client.get(ticks.SNAPSHOT)
    try:
        return msgspec.json.decode(body or b"", type=Snapshot).tick.data
    except (ValueError, RecursionError):
        return {}


# --- Telling the hubs ---------------------------------------------------------------


@cache
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
