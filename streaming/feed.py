"""What goes to one subscriber, in order, and what becomes of one that does not take it.

A frame leaves at once where the subscriber's line is free and nothing waits
before it; else it waits until the line says that it is free again. At most one
tick waits: a newer one takes its place, since it holds everything the older one
did. Whoever takes nothing for too long, or lets too much pile up, is cut off. So
a slow subscriber costs bounded memory, and no other subscriber any time.

Knows nothing of WebSockets: how a text becomes bytes, and how those leave, is
the line's business.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import Any, Protocol

from streaming.forms import Form
from streaming.protocol import Close, Frame, head
from streaming.ticks import UNKNOWN, Place

# How a connection can end by itself that is worth telling apart: all is well, a page that
# is left, no code, no close frame. Whatever else a client says is its own affair.
_TOLD_APART = {1000, 1001, 1005, 1006}

# So many frames may wait while more are made for the same subscriber.
ROOM = 8


class Line(Protocol):
    """The way to one subscriber. When it is free again it calls `flush` of its feed."""

    feed: Feed | None
    is_free: bool

    @property
    def joins(self) -> bool:
        """Whether what is written may be several frames, one behind the other."""

    @property
    def form(self) -> Form: ...

    def write(self, made: Any) -> None:
        """Send one frame; called only while the line is free."""

    def end(self, code: Close) -> None:
        """Close behind what was written."""

    def cut(self, code: Close) -> None:
        """Be gone within a moment, whatever was not read; say why if that can still be said."""

    def stop(self) -> None:
        """Send nothing more."""

    def hold_back(self, is_held: bool) -> None:
        """Read no more of the subscriber's requests for now, or go on reading them."""


class Share:
    """A part of a tick, or a heartbeat: one text for all who follow the same symbols.

    Only `prev_seq` differs, and that rarely; what is written is made once for all
    who were told the same before.
    """

    __slots__ = ("_form", "_kind", "_made", "_prev_seq", "moves", "place", "rest")

    def __init__(self, kind: str, place: Place, rest: str, *, moves: bool = True) -> None:
        """Take the text from after `prev_seq`."""
        self.place = place
        self.moves = moves  # whether the subscriber has been told of this tick by it
        self.rest = rest
        self._kind = kind
        self._prev_seq = -1
        self._form: Form | None = None
        self._made: Any = None

    @property
    def size(self) -> int:
        """About how many bytes it is."""
        return len(self.rest)

    def text(self, prev_seq: int) -> str:
        return head(self._kind, self.place.epoch, self.place.seq, prev_seq) + self.rest

    def made(self, prev_seq: int, form: Form) -> Any:
        """Return what is written to a line of that form. Called once each time it is sent."""
        if prev_seq != self._prev_seq or form is not self._form:
            self._made = form(self.text(prev_seq))
            self._prev_seq, self._form = prev_seq, form
        return self._made


class Same(Share):
    """A message that is the same for everybody, made once; it tells of no tick."""

    __slots__ = ()

    def __init__(self, frame: Frame) -> None:
        super().__init__("", UNKNOWN, frame.text, moves=False)

    def text(self, prev_seq: int) -> str:
        return self.rest

    def made(self, prev_seq: int, form: Form) -> Any:
        return super().made(0, form)


class Traffic:
    """What all feeds of a process have in common: counts, limits, and who is behind."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.late: set[Feed] = set()
        self.frames = 0
        self.bytes = 0
        self.conflated = 0  # ticks that a newer one took the place of
        self.dropped = 0  # frames that waited for who is gone or cut off
        self.slow = 0
        self.closes: Counter[int] = Counter()  # by us
        self.left: Counter[str] = Counter()  # by themselves, whatever they said

    def count(self, frames: int, size: int) -> None:
        """Count frames that are written."""
        self.frames += frames
        self.bytes += size


class Feed:
    """One subscriber's frames, and the symbols it follows (which the hub alone changes)."""

    __slots__ = (
        "_is_held",
        "_taken",
        "_tick",
        "_traffic",
        "_waiting",
        "_waiting_bytes",
        "epoch",
        "is_counted",
        "is_ended",
        "joined_at",
        "late_since",
        "line",
        "symbols",
        "told",
    )

    def __init__(self, told: Place, line: Line, traffic: Traffic) -> None:
        self.symbols: frozenset[str] = frozenset()
        self.told = told
        self.epoch = told.epoch  # the last one it has been given anything of
        self.line = line
        self.is_ended = False
        self.is_counted = False  # whether its end is
        self.joined_at = self.late_since = time.monotonic()
        self._traffic = traffic
        self._waiting: deque[str | Share | Close] | None = None
        self._waiting_bytes = 0
        self._tick: Share | None = None
        self._is_held = False
        self._taken: asyncio.Event | None = None
        line.feed = self

    def __len__(self) -> int:
        return len(self._waiting) if self._waiting else 0

    # --- For whoever has something to say ----------------------------------------------

    def put(self, *frames: Frame | Share) -> None:
        """Add frames that must arrive, in this order."""
        items = [frame if isinstance(frame, Share) else frame.text for frame in frames]
        if len(items) > 1 and self.line.joins and self._is_open():
            # Writing to the kernel is a good part of what a newcomer costs.
            self.line.write(b"".join([self._made(item) for item in items]))
            return
        for item in items:
            self._add(item)

    def put_tick(self, share: Share) -> None:
        """Add a tick, in place of one that still waits; one that was told already is dropped."""
        made = self.take_tick(share)
        if made is not None:
            self._traffic.count(1, len(made))
            self.line.write(made)

    def take_tick(self, share: Share) -> Any:
        """As `put_tick`, but return what can be written to the line now; None where nothing can.

        Thousands come here with each tick; the caller writes, and counts what is written.
        """
        told, place, line = self.told, share.place, self.line
        before = told.seq if told.epoch == place.epoch else 0
        if place.seq <= before or self._is_held or self.is_ended:
            return None
        if self._waiting is not None or not line.is_free:
            self._replace(share)
            return None
        made = share.made(before, line.form)
        if share.moves:
            self.told = place
        return made

    def put_heartbeat(self, share: Share) -> None:
        """Add a sign of life, unless something waits that is one."""
        if self._waiting is None and not self._is_held and not self.is_ended:
            if self.line.is_free:
                self._send(share)
            else:
                self._replace(share)

    def forget_tick(self) -> None:
        """Drop the tick that waits; a new epoch makes it meaningless."""
        if self._tick is not None and self._waiting is not None:
            self._waiting.remove(self._tick)
            self._waiting_bytes -= _size(self._tick)
            self._tick = None

    def end(self, code: Close) -> None:
        """Let what waits be sent and then close; nothing more is taken in."""
        self._add(code)
        self.is_ended = True

    def hold(self, behind: Place) -> None:
        """Take in no live ticks: whoever holds the feed brings all that come behind a place."""
        self._is_held = True
        waiting = self._tick
        if waiting is not None and waiting.place.seq > behind.seq:
            self.forget_tick()

    def release(self) -> None:
        self._is_held = False

    async def room(self, most: int = ROOM) -> None:
        """Wait until the subscriber has taken most of what waits."""
        await asyncio.sleep(0)
        while len(self) > most and not self.is_ended:
            self._taken = self._taken or asyncio.Event()
            self._taken.clear()
            await self._taken.wait()

    # --- For the line, and for the hub ----------------------------------------------------

    def flush(self) -> None:
        """Write what waits, as far as the line takes it. The line calls this when it is free."""
        self.late_since = time.monotonic()
        waiting, line = self._waiting, self.line
        while waiting and line.is_free:
            item = waiting.popleft()
            self._waiting_bytes -= _size(item)
            if item is self._tick:
                self._tick = None
            self._send(item)
        if not waiting:
            self._waiting = None
            self._traffic.late.discard(self)
        if self._taken is not None:
            self._taken.set()

    def abandon(self) -> None:
        """Keep nobody waiting for a subscriber that is gone."""
        self.is_ended = True
        self._traffic.dropped += sum(not isinstance(item, Close) for item in self._waiting or ())
        self._waiting = self._tick = None
        self._traffic.late.discard(self)
        self.line.feed = None
        self.line.stop()
        if self._taken is not None:
            self._taken.set()

    def count_left(self, code: int) -> None:
        """Count a subscriber that is gone, unless it was us who ended it."""
        if not self.is_counted:
            self.is_counted = True
            self._traffic.left[str(code) if code in _TOLD_APART else "other"] += 1

    def give_up(self, code: Close = Close.NOT_READING) -> None:
        """Cut off a subscriber that does not read."""
        self._traffic.slow += code is Close.NOT_READING
        self._count_closed(code)
        self.abandon()
        self.line.cut(code)

    # --- Inside -------------------------------------------------------------------------

    def _count_closed(self, code: Close) -> None:
        self.is_counted = True
        self._traffic.closes[code] += 1

    def _is_open(self) -> bool:
        """Return whether what is added leaves at once."""
        return self._waiting is None and self.line.is_free and not self.is_ended

    def _add(self, item: str | Share | Close) -> None:
        if self.is_ended:
            return
        if self._waiting is None and self.line.is_free:
            self._send(item)
        else:
            self._wait(item)

    def _replace(self, share: Share) -> None:
        waiting = self._tick
        if waiting is not None:
            # A sign of life moves nothing, or repeats what was told.
            if waiting.moves and waiting.place != self.told:
                self._traffic.conflated += 1
            self.forget_tick()
        self._tick = share
        self._wait(share)

    def _wait(self, item: str | Share | Close) -> None:
        if self._waiting is None:
            self._waiting = deque()
            self.late_since = time.monotonic()
            self._traffic.late.add(self)
        self._waiting.append(item)
        self._waiting_bytes += _size(item)
        if self._waiting_bytes > self._traffic.most_bytes:
            self.give_up()

    def _send(self, item: str | Share | Close) -> None:
        if isinstance(item, Close):
            self._count_closed(item)
            self.line.end(item)
        else:
            self.line.write(self._made(item))

    def _made(self, item: str | Share) -> Any:
        """Return what is written for an item, which counts as sent with that."""
        if isinstance(item, str):
            made = self.line.form(item)
        else:
            told, place = self.told, item.place
            made = item.made(told.seq if told.epoch == place.epoch else 0, self.line.form)
            if item.moves:
                self.told = place
        self._traffic.count(1, len(made))
        return made


def _size(item: str | Share | Close) -> int:
    """Return about how many bytes wait with an item."""
    if isinstance(item, Close):
        return 0
    return item.size if isinstance(item, Share) else len(item)
