"""The ticks before the newest, for those who come back: read from Redis, shared by all who ask.

After a server's restart thousands come back within seconds and have missed the
same few ticks. Those are read once and kept a while, compressed; the few that
were opened last are kept open, split into the texts of their symbols. Nothing
more is decoded than a client gets.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from streaming import ticks
from streaming.protocol import WireQuote, entry_of, head, share
from streaming.ticks import Kept, Place
from streaming.turns import Turns

logger = logging.getLogger(__name__)

# A part of the stream, read within a moment: half a megabyte of large ticks. Nobody who
# comes back holds more of it than that, however much he missed and slowly he reads.
AT_ONCE = 16
_CACHED_BYTES = 8 * 1024 * 1024
_OPEN = 8
_TEXT_CHARS = 1024 * 1024  # of one tick that is open
# What all who come back get of one turn of the event loop.
_TURN_S = 0.004


class _Rest(msgspec.Struct):
    timestamp: str
    data: dict[str, msgspec.Raw]


_rest = msgspec.json.Decoder(_Rest)
_quote = msgspec.json.Decoder(WireQuote)


class Opened:
    """An old tick, and the texts that were made of it."""

    def __init__(self, kept: Kept) -> None:
        """Raise ValueError where the bytes are no tick."""
        found = _rest.decode(b"{" + kept.rest())
        self._place = kept.place
        self._timestamp = found.timestamp
        self._entries = found.data
        self._texts: dict[object, str] = {}  # of sets of symbols, and of symbols cut to fields
        self._chars = 0

    def text(self, symbols: frozenset[str], fields: Collection[str] | None) -> str:
        """Return the replay:true message with this tick's part for `symbols`."""
        chosen = None if fields is None else frozenset(fields)
        key = (symbols, chosen)
        text = self._texts.get(key)
        if text is None:
            text = self._made(symbols, chosen)
            self._keep(key, text)
        return text

    def quotes(self, symbols: Collection[str]) -> dict[str, WireQuote]:
        """Return what this tick said of symbols; those that it did not hold are left out."""
        return {s: _quote.decode(self._entries[s]) for s in symbols if s in self._entries}

    def _cut(self, symbol: str, fields: frozenset[str]) -> str:
        """Return a symbol's text, cut to some fields; many who come back chose the same."""
        key = (symbol, fields)
        text = self._texts.get(key)
        if text is None:
            text = entry_of(symbol, _quote.decode(self._entries[symbol]), fields)
            self._keep(key, text)
        return text

    def _keep(self, key: object, text: str) -> None:
        if self._chars + len(text) > _TEXT_CHARS:
            self._texts.clear()
            self._chars = 0
        self._texts[key] = text
        self._chars += len(text)

    def _made(self, symbols: frozenset[str], fields: frozenset[str] | None) -> str:
        held = [symbol for symbol in sorted(symbols) if symbol in self._entries]
        if fields is None:
            entries = [_entry(symbol, self._entries[symbol]) for symbol in held]
        else:
            entries = [self._cut(symbol, fields) for symbol in held]
        epoch, seq = self._place.epoch, self._place.seq
        begin = head("price_update", epoch, seq, seq - 1)
        return begin + share(self._timestamp, entries, replay=True)


def _entry(symbol: str, raw: msgspec.Raw) -> str:
    return f"{msgspec.json.encode(symbol).decode()}:{bytes(raw).decode()}"


class Past:
    """Reads old ticks for one process."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        # A tick of 500 symbols takes a millisecond to cut, and thousands come back at once.
        self.turns = Turns(asyncio.get_running_loop(), _TURN_S)
        self._reading = asyncio.Lock()
        self._cached: OrderedDict[Place, Kept] = OrderedDict()
        self._cached_bytes = 0
        self._opened: OrderedDict[Place, Opened] = OrderedDict()
        self._is_failing = False

    async def between(self, after: Place, until: Place) -> list[Kept] | None:
        """Return the next ticks behind `after`, up to `until` and AT_ONCE of them, in order.

        None where one is missing, `after` is of another epoch or was never published, or
        Redis is away. The stream loses its oldest first: where the next are had now, so
        are all behind them.
        """
        if after.epoch != until.epoch or until.seq - after.seq > ticks.KEPT_S:
            # A tick a second is the fastest, so more than that is never kept.
            return None
        last = min(until.seq, after.seq + AT_ONCE)
        found = self._at_hand(after, last)
        if found is not None:
            return found
        async with self._reading:
            # Whoever read before may have read what is missing here.
            found = self._at_hand(after, last)
            return await self._read(after, last) if found is None else found

    def text(
        self, kept: Kept, symbols: frozenset[str], fields: Collection[str] | None
    ) -> str | None:
        """Return a tick as a replay:true message; None where its bytes are no tick."""
        try:
            return self._open(kept).text(symbols, fields)
        except ValueError as exc:
            self._note(exc)
            return None

    def quotes(self, kept: Kept, symbols: Collection[str]) -> dict[str, WireQuote]:
        """Return what a tick that was told said of symbols, as far as it can be read."""
        try:
            return self._open(kept).quotes(symbols) if symbols else {}
        except ValueError as exc:
            self._note(exc)
            return {}

    def _open(self, kept: Kept) -> Opened:
        found = self._opened.get(kept.place) or Opened(kept)
        self._opened[kept.place] = found
        self._opened.move_to_end(kept.place)
        if len(self._opened) > _OPEN:
            self._opened.popitem(last=False)
        return found

    def _at_hand(self, after: Place, last: int) -> list[Kept] | None:
        """Return the ticks if all of them are here; what lies ahead of us only Redis can tell."""
        if after.seq > last:
            return None
        places = [Place(after.epoch, seq) for seq in range(after.seq + 1, last + 1)]
        if not all(place in self._cached for place in places):
            return None
        for place in places:
            self._cached.move_to_end(place)
        return [self._cached[place] for place in places]

    async def _read(self, after: Place, last: int) -> list[Kept] | None:
        try:
            count, found = await ticks.kept(self._client, after, last, AT_ONCE)
        except (RedisError, OSError) as exc:
            self._note(exc)
            return None
        self._note(None)
        if count.epoch != after.epoch or count.seq < after.seq:
            return None
        if [one.place.seq for one in found] != list(range(after.seq + 1, last + 1)):
            return None
        self._keep(found)
        return found

    def _keep(self, found: list[Kept]) -> None:
        for one in found:
            if one.place not in self._cached:
                self._cached[one.place] = one
                self._cached_bytes += len(one.packed)
        while self._cached_bytes > _CACHED_BYTES and len(self._cached) > 1:
            _, gone = self._cached.popitem(last=False)
            self._cached_bytes -= len(gone.packed)

    def _note(self, exc: Exception | None) -> None:
        """Log once that old ticks cannot be read."""
        if exc is not None and not self._is_failing:
            logger.warning("old ticks cannot be read (%s)", type(exc).__name__)
        self._is_failing = exc is not None
