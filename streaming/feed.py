"""What waits to be sent to one subscriber. Knows nothing of WebSockets.

The hub puts frames in and never waits; whoever owns the subscriber takes them
out at the subscriber's own pace. At most one tick waits: a newer one takes its
place, since it holds everything the older one did. So a slow subscriber costs
bounded memory and no other subscriber any time.
"""

from __future__ import annotations

import asyncio
from collections import deque

from streaming.protocol import Close, Frame, head
from streaming.ticks import Place


class Share:
    """A part of a tick, or a heartbeat: one text for all who follow the same symbols.

    Only `prev_seq` differs, and that rarely; each text is made once.
    """

    __slots__ = ("_kind", "_texts", "moves", "place", "rest")

    def __init__(self, kind: str, place: Place, rest: str, *, moves: bool = True) -> None:
        self.place = place
        self.moves = moves  # whether the subscriber has been told of this tick by it
        self._kind = kind
        self.rest = rest
        self._texts: dict[int, str] = {}

    def text(self, prev_seq: int) -> str:
        text = self._texts.get(prev_seq)
        if text is None:
            begin = head(self._kind, self.place.epoch, self.place.seq, prev_seq)
            text = self._texts[prev_seq] = begin + self.rest
        return text


# So many frames may wait while more are made for the same subscriber.
_ROOM = 8


class Feed:
    """One subscriber's frames, and the symbols it follows (which the hub alone changes)."""

    def __init__(self, told: Place) -> None:
        self.symbols: frozenset[str] = frozenset()
        self.told = told
        self.is_ended = False
        self._waiting: deque[str | Share | Close] = deque()
        self._tick: Share | None = None
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()
        self._is_held = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, *frames: Frame | Share) -> None:
        """Add frames that must arrive, in this order."""
        for frame in frames:
            self._add(frame if isinstance(frame, Share) else frame.text)

    def hold(self) -> None:
        """Take in no live ticks: whoever holds the feed brings them."""
        self._is_held = True

    def release(self) -> None:
        self._is_held = False

    def abandon(self) -> None:
        """Keep nobody waiting for a subscriber that is gone."""
        self.is_ended = True
        self._taken.set()

    async def room(self) -> None:
        """Wait until the subscriber has taken most of what waits."""
        await asyncio.sleep(0)
        while len(self._waiting) > _ROOM and not self.is_ended:
            self._taken.clear()
            await self._taken.wait()

    def put_tick(self, share: Share) -> None:
        """Add a tick, in place of one that still waits; one that was told already is dropped."""
        is_told = share.place.epoch == self.told.epoch and share.place.seq <= self.told.seq
        if not self._is_held and not is_told:
            self._replace(share)

    def _replace(self, share: Share) -> None:
        if self._tick is not None:
            self._waiting.remove(self._tick)
        self._tick = share
        self._add(share)

    def put_heartbeat(self, share: Share) -> None:
        """Add a sign of life, unless something waits that is one."""
        if not self._waiting and not self._is_held:
            self._replace(share)

    def forget_tick(self) -> None:
        """Drop the tick that waits; a new epoch makes it meaningless."""
        if self._tick is not None:
            self._waiting.remove(self._tick)
            self._tick = None

    def end(self, code: Close) -> None:
        """Let what waits be sent and then close; nothing more is taken in."""
        self._add(code)
        self.is_ended = True

    async def next(self) -> str | Close:
        """Return what is to be sent next; waits until there is something."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        item = self._waiting.popleft()
        self._taken.set()
        return self._rendered(item) if isinstance(item, Share) else item

    def _add(self, item: str | Share | Close) -> None:
        if not self.is_ended:
            self._waiting.append(item)
            self._filled.set()

    def _rendered(self, share: Share) -> str:
        if share is self._tick:
            self._tick = None
        told, place = self.told, share.place
        if share.moves:
            self.told = place
        return share.text(told.seq if told.epoch == place.epoch else 0)
