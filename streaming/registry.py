"""Who follows what in this process, and the handing out of a tick.

Subscribers are kept by the set of symbols they follow: a tick's part is made
once for all who follow the same, and nothing is looked up for a subscriber.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from time import perf_counter
from typing import Any

from streaming.choices import View
from streaming.feed import Feed, Same, Share, Traffic
from streaming.forms import Form, text_of
from streaming.protocol import Close, Frame, WireQuote, entry, head, share_head, stamp
from streaming.ticks import Place

logger = logging.getLogger(__name__)

_UNTOLD = "a subscriber could not be told of a tick, and is closed"
_FAILED = "a subscriber could not be told something, and is closed"

# So long subscribers are told before the event loop does other things: some 250 who follow
# ten symbols, a few who chose what is cut for them.
_SLICE_S = 0.008
# So many bytes of frames are made for some of them before they are written. Making runs in Python,
# writing in the kernel; by turns, for each, both find the processor's caches full of the other.
_TOGETHER_BYTES = 512 * 1024


class _Members(dict[str, bytes]):
    """Each symbol's member of a tick's `data`, made when it is first wanted."""

    def __init__(self, quotes: Mapping[str, WireQuote]) -> None:
        super().__init__()
        self._quotes = quotes

    def __missing__(self, symbol: str) -> bytes:
        member = self[symbol] = entry(symbol, self._quotes[symbol]).encode()
        return member


class Tick:
    """The newest tick this process has: each symbol's text is made once."""

    def __init__(self, place: Place, timestamp: str, quotes: Mapping[str, WireQuote]) -> None:
        self.place = place
        self.timestamp = timestamp
        self.quotes = quotes
        self.cache: dict[Any, Any] = {}  # what was made of this tick for those who chose
        self._members = _Members(quotes)
        self._starts: dict[tuple[int, int], bytes] = {}

    def snapshot(self, quotes: Mapping[str, WireQuote]) -> Share:
        """Return a snapshot:true frame of quotes, most of them this tick's own, made now."""
        mine, members = self.quotes, self._members
        made = [
            members[symbol] if mine.get(symbol) is quote else entry(symbol, quote).encode()
            for symbol, quote in quotes.items()
        ]
        return _Snapshot(self.place, made, stamp(), moves=False)

    def whole(self, symbols: Iterable[str]) -> Share:
        """Return all that this tick holds of symbols, in their order, as a snapshot:true frame."""
        made = [self._members[symbol] for symbol in symbols if symbol in self.quotes]
        return _Snapshot(self.place, made, self.timestamp, moves=True)

    def share(self, symbols: Iterable[str]) -> Share | None:
        """Return what a tick holds of symbols, in their order; None where that is nothing."""
        made = [self._members[symbol] for symbol in symbols if symbol in self.quotes]
        return _Part(self, made) if made else None

    def of(self, group: _Group) -> Share | None:
        """Return what a tick holds of what a group follows, as `share`; mostly that is all.

        Who follows what nobody else does is a group: thousands of them take this with each tick.
        """
        pick = group.pick
        if pick is None:
            return self.share(group.names)
        try:
            return _Part(self, pick(self._members))
        except KeyError:
            return self.share(group.names)

    def start(self, prev_seq: int, count: int) -> bytes:
        """Return all that comes before so many members, for who was told `prev_seq` before."""
        key = prev_seq, count
        found = self._starts.get(key)
        if found is None:
            begin = head("price_update", self.place.epoch, self.place.seq, prev_seq)
            found = self._starts[key] = (begin + share_head(self.timestamp, count)).encode()
        return found


class _Part(Share):
    """What a tick holds of some symbols, put together when it is written."""

    __slots__ = ("_members", "_size", "_tick")

    def __init__(self, tick: Tick, members: Sequence[bytes]) -> None:
        # What is used here of what `Share` has: thousands of these are made with each tick.
        self.place = tick.place
        self.moves = True
        self._prev_seq = -1  # nothing made yet
        self._tick = tick
        self._members = members
        self._size = 0

    @property
    def size(self) -> int:
        # Reckoned once for all whom it waits for.
        if not self._size:
            self._size = sum(map(len, self._members)) + len(self._members)
        return self._size

    def text(self, prev_seq: int) -> str:
        return text_of(self._tick.start(prev_seq, len(self._members)), self._members)

    def made(self, prev_seq: int, form: Form) -> Any:
        if prev_seq != self._prev_seq or form is not self._form:
            members = self._members
            self._made = form.members(self._tick.start(prev_seq, len(members)), members)
            self._prev_seq, self._form = prev_seq, form
        return self._made


class _Snapshot(Share):
    """Quotes that one subscriber asked for, which tell of no tick; or that begin an epoch."""

    __slots__ = ("_begin", "_members")

    def __init__(self, place: Place, members: Sequence[bytes], at: str, *, moves: bool) -> None:
        super().__init__("price_update", place, "", moves=moves)
        self._begin = f'"snapshot":true,{share_head(at, len(members))}'
        self._members = members

    @property
    def size(self) -> int:
        return len(self._begin) + sum(map(len, self._members)) + len(self._members)

    def text(self, prev_seq: int) -> str:
        return text_of(self._start(prev_seq), self._members)

    def made(self, prev_seq: int, form: Form) -> Any:
        return form.members(self._start(prev_seq), self._members)

    def _start(self, prev_seq: int) -> bytes:
        place = self.place
        return (head(self._kind, place.epoch, place.seq, prev_seq) + self._begin).encode()


class _Group:
    """Those who follow the same symbols."""

    __slots__ = ("feeds", "names", "pick")

    def __init__(self, symbols: Collection[str]) -> None:
        self.names = tuple(sorted(symbols))  # the order of the wire
        # Takes the members of all of them in one step; of one it would not make a tuple.
        self.pick: Callable[[Mapping[str, bytes]], tuple[bytes, ...]] | None = (
            itemgetter(*self.names) if len(self.names) > 1 else None
        )
        self.feeds: set[Feed] = set()


class Registry:
    """All subscribers of a process."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self.feeds: dict[Feed, None] = {}  # the oldest first
        self.views: dict[Feed, View] = {}  # of those who chose what they are told
        self.counts: Counter[str] = Counter()
        self._groups: dict[frozenset[str], _Group] = {}
        # While a tick is being handed out: tells one subscriber, whose turn may not have come.
        self._tell: Callable[[Feed], None] | None = None

    def join(self, feed: Feed) -> None:
        self.feeds[feed] = None
        self._enlist(feed)

    def leave(self, feed: Feed) -> None:
        """Forget a subscriber that has joined."""
        self.unfollow(feed, feed.symbols)
        self._delist(feed)
        del self.feeds[feed]
        self.views.pop(feed, None)

    def follow(self, feed: Feed, symbols: Collection[str]) -> set[str]:
        """Return those symbols that nobody followed before."""
        added = set(symbols) - feed.symbols
        new: set[str] = set()
        for symbol in added:  # a dozen: Counter's own way is for thousands
            count = self.counts.get(symbol, 0)
            if not count:
                new.add(symbol)
            self.counts[symbol] = count + 1
        self._move(feed, feed.symbols | added)
        return new

    def unfollow(self, feed: Feed, symbols: Collection[str]) -> None:
        gone = feed.symbols & set(symbols)
        for symbol in gone:
            self.counts[symbol] -= 1
            if not self.counts[symbol]:
                # Its lease is left to lapse: another process may hold it too.
                del self.counts[symbol]
        self._move(feed, feed.symbols - gone)

    def choose(self, feed: Feed, view: View | None) -> None:
        """Cut ticks for this subscriber as it chose; None gives it what all get."""
        self._before_change(feed)
        self._delist(feed)
        if view is None:
            self.views.pop(feed, None)
        else:
            self.views[feed] = view
        self._enlist(feed)

    def _move(self, feed: Feed, symbols: frozenset[str]) -> None:
        if symbols != feed.symbols:
            self._before_change(feed)
            self._delist(feed)
            feed.symbols = symbols
            self._enlist(feed)

    def _before_change(self, feed: Feed) -> None:
        if self._tell is not None and not feed.is_ended:
            self._tell(feed)

    def _enlist(self, feed: Feed) -> None:
        if feed in self.views:
            return
        group = self._groups.get(feed.symbols)
        if group is None:
            group = self._groups[feed.symbols] = _Group(feed.symbols)
        group.feeds.add(feed)

    def _delist(self, feed: Feed) -> None:
        if feed in self.views:
            return
        group = self._groups[feed.symbols]
        group.feeds.discard(feed)
        if not group.feeds:
            del self._groups[feed.symbols]

    # --- Handing out ----------------------------------------------------------------------

    async def tell(self, tick: Tick, beat: Share, interval_s: int) -> None:
        """Tell everyone of a tick; `beat` is for whoever follows nothing that it holds."""

        def share_for(feed: Feed) -> Share | None:
            view = self.views.get(feed)
            if view is not None:
                return view.part(tick, feed.symbols, interval_s)
            return tick.share(sorted(feed.symbols)) or beat

        def one(feed: Feed) -> None:
            mine = share_for(feed)
            if mine is not None:
                feed.put_tick(mine)

        self._tell = one
        ready = _Ready(self._traffic)
        ends_at = perf_counter() + _SLICE_S
        try:
            for feed, share in self._due(tick, beat):
                try:
                    mine = share or share_for(feed)
                    made = feed.take_tick(mine) if mine is not None else None
                    if made is not None:
                        ready.add(feed, made)
                except Exception:
                    logger.exception(_UNTOLD)
                    _give_up(feed)
                if perf_counter() >= ends_at:
                    ready.write()
                    await asyncio.sleep(0)
                    ends_at = perf_counter() + _SLICE_S
        finally:
            # Whoever one is made for counts as told.
            ready.write()
            self._tell = None

    def _due(self, tick: Tick, beat: Share) -> Iterator[tuple[Feed, Share | None]]:
        """Yield all who are to be told of a tick, with their part; None for who chose its own.

        Whoever comes to a group or a view meanwhile, or leaves it, has been told already.
        """
        for group in list(self._groups.values()):
            mine = _part_of(tick, group, beat)
            for feed in tuple(group.feeds):
                yield feed, mine
        for feed, view in list(self.views.items()):
            if self.views.get(feed) is view:
                yield feed, None

    async def begin(self, tick: Tick, frame: Frame) -> None:
        """Begin an epoch: a notice, and then all that each one follows."""
        epoch, notice = tick.place.epoch, Same(frame)

        def one(feed: Feed) -> None:
            if feed.is_ended or feed.epoch == epoch:
                return
            feed.epoch = epoch
            view = self.views.get(feed)
            whole = (
                tick.whole(sorted(feed.symbols)) if view is None else view.whole(tick, feed.symbols)
            )
            feed.forget_tick()
            if whole is not None:
                feed.put(notice, whole)

        self._tell = one
        try:
            await self.each(one)
        finally:
            self._tell = None

    async def notify(self, frame: Frame) -> None:
        """Tell everyone the same."""
        notice = Same(frame)
        await self.each(lambda feed: feed.put(notice))

    async def each(self, do: Callable[[Feed], None], feeds: Iterable[Feed] | None = None) -> None:
        """Do something with each subscriber, or with some; one that fails is closed alone.

        Some at a time: who leaves meanwhile has its turn too, and who comes has none.
        """
        ends_at = perf_counter() + _SLICE_S
        for feed in list(self.feeds if feeds is None else feeds):
            try:
                do(feed)
            except Exception:
                logger.exception(_FAILED)
                _give_up(feed)
            if perf_counter() >= ends_at:
                await asyncio.sleep(0)
                ends_at = perf_counter() + _SLICE_S


def _part_of(tick: Tick, group: _Group, beat: Share) -> Share:
    try:
        return tick.of(group) or beat
    except Exception:
        logger.exception(_UNTOLD)
        for feed in group.feeds:
            _give_up(feed)
        return beat  # which those take no more


class _Ready:
    """Frames that are made for some subscribers and are to be written to them together."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._frames: list[tuple[Feed, Any]] = []
        self._size = 0

    def add(self, feed: Feed, made: Any) -> None:
        self._frames.append((feed, made))
        self._size += len(made)
        if self._size >= _TOGETHER_BYTES:
            self.write()

    def write(self) -> None:
        """Write to each what was made for it; one that fails is closed alone."""
        self._traffic.count(len(self._frames), self._size)
        for feed, made in self._frames:
            try:
                feed.line.write(made)
            except Exception:
                logger.exception(_UNTOLD)
                _give_up(feed)
        self._frames.clear()
        self._size = 0


def _give_up(feed: Feed) -> None:
    """Close the one subscriber that cannot be told; the others are told."""
    try:
        feed.end(Close.INTERNAL_ERROR)
    except Exception:
        logger.exception("nor could it be closed; it is left alone")
        feed.abandon()
