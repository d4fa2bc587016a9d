"""What one connection chose to be told, cut out of ticks. Pure: no clock, no I/O.

Clients that choose nothing never come here: the hub's shared texts are theirs.
For the others a tick is cut when it is sent, not when it is published. A
difference is then against what the client was really sent last, and a tick that
was replaced while it waited takes nothing with it. What equal choices with equal
symbols and an equal past give is made once a tick; counts that all share
(every tenth tick, every so many ticks) bring the pasts of equal choices together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from streaming.feed import Share
from streaming.forms import Form
from streaming.protocol import (
    Choices,
    Mode,
    Pieces,
    WireQuote,
    due,
    entry,
    entry_of,
    head,
    share,
    stamp,
    taking,
)
from streaming.ticks import EARLY, Place

# With mode "delta", everything is sent with each tick whose number this divides.
EVERYTHING_EACH = 10
# Texts made of one tick that are kept for others with the same choices.
CACHED_CHARS = 8 * 1024 * 1024
# Quotes told before whose difference to the tick is kept for others who were told them too.
COMPARED_QUOTES = 20_000
_BITS = {name: 1 << number for number, name in enumerate(WireQuote.__struct_fields__)}
# Fields that change without anything having happened.
TIMES = frozenset({"last_updated"})


class Tick(Protocol):
    """What is needed of the hub's tick. `cache` lives as long as the tick."""

    @property
    def place(self) -> Place: ...
    @property
    def timestamp(self) -> str: ...
    @property
    def quotes(self) -> Mapping[str, WireQuote]: ...
    @property
    def cache(self) -> dict[Any, Any]: ...


Told = Mapping[str, WireQuote]


class View:
    """What one connection chose, and what it was told last."""

    def __init__(self, choices: Choices, place: Place, heartbeat_s: float) -> None:
        self.choices = choices
        self._heartbeat_s = heartbeat_s
        self._fields = frozenset(choices.fields) if choices.fields is not None else None
        self._is_sifted = choices.mode is Mode.DELTA or bool(choices.min_change_percent)
        self._take = None if choices.fields is None else taking(choices.fields)
        compared = frozenset(choices.fields or WireQuote.__struct_fields__) - TIMES
        self._compared = sum(_BITS[name] for name in compared)
        self._told: Told = {}
        self._at = place  # the tick of the last update

    def forget(self, place: Place) -> None:
        """Have everything told anew: the client was brought up to `place` in another way."""
        self._told = {}
        self._at = place

    # --- For the hub ------------------------------------------------------------------

    def part(self, tick: Tick, symbols: frozenset[str], interval_s: int) -> Share | None:
        """Return what this connection gets for a tick; None where that is nothing."""
        every = max(1, math.ceil((self.choices.max_rate or 0) / interval_s))
        if self._crosses(tick.place, every):
            return _Cut(self, tick, symbols, _due(tick, interval_s, every))
        # Between two updates a client must still see that we live.
        passed_s = tick.place.seq % every * interval_s
        if passed_s // self._heartbeat_s > (passed_s - interval_s) // self._heartbeat_s:
            return _Beat(tick.place, _due(tick, interval_s, every))
        return None

    def whole(self, tick: Tick, symbols: frozenset[str]) -> Share:
        """Return the tick that begins an epoch: everything, as a snapshot."""
        quotes = {s: tick.quotes[s] for s in sorted(symbols) if s in tick.quotes}
        entries = self._entries(tick, quotes)
        rest = share(tick.timestamp, entries, snapshot=True)
        return _Snapshot(self, symbols, quotes, tick.place, rest, moves=True)

    def snapshot(self, symbols: Collection[str], quotes: Told, place: Place) -> Share:
        """Return what is known of the symbols that this connection asked for just now."""
        entries = [_entry(symbol, quote, self._fields) for symbol, quote in quotes.items()]
        rest = share(stamp(), entries, snapshot=True)
        return _Snapshot(self, symbols, quotes, place, rest, moves=False)

    def beat(self, beat: Share) -> Share:
        """Return a sign of life; while ticks are folded together it repeats the last one told."""
        return _Beat(beat.place, beat.rest) if self.choices.max_rate else beat

    # --- What a tick holds for it -------------------------------------------------------

    def _crosses(self, place: Place, every: int) -> bool:
        """Return whether a multiple of `every` lies between the last update and `place`."""
        same = self._at.epoch == place.epoch
        return not same or place.seq // every > self._at.seq // every

    def cut(self, tick: Tick, symbols: frozenset[str]) -> list[str]:
        """Return the symbols that are news now, sorted, and take them as told."""
        is_delta = self.choices.mode is Mode.DELTA
        is_whole = not self._is_sifted or (is_delta and self._crosses(tick.place, EVERYTHING_EACH))
        key = ("cut", symbols, self.choices, None if is_whole else id(self._told))
        # The past is kept beside what it led to, so that no other can get its id meanwhile.
        found: tuple[Told, list[str], Told] | None = tick.cache.get(key)
        if found is None:
            now = {s: tick.quotes[s] for s in sorted(symbols) if s in tick.quotes}
            news = list(now) if is_whole else self._news(tick, now)
            told = now if is_whole else self._with(symbols, {s: now[s] for s in news})
            found = tick.cache[key] = (self._told, news, told)
        _, news, self._told = found
        return news

    def _with(self, symbols: Collection[str], news: Told) -> Told:
        """Return what was told, with the news, without what is not followed any more."""
        if not news:
            return self._told
        return {s: quote for s, quote in self._told.items() if s in symbols} | dict(news)

    def _news(self, tick: Tick, now: Told) -> list[str]:
        told = self._told.get
        least = (self.choices.min_change_percent or 0) / 100
        has_changed = self._changes(tick)
        return [
            symbol
            for symbol, quote in now.items()
            if (before := told(symbol)) is None
            or before.ref != quote.ref
            or before.stale != quote.stale
            or (
                has_changed(before, quote)
                and abs(quote.price - before.price) >= least * before.price
            )
        ]

    def _changes(self, tick: Tick) -> Callable[[WireQuote, WireQuote], bool]:
        """Return what tells whether something else of a symbol is said than before.

        Most were told of the tick before, whatever of it: two quotes are compared once for all.
        """
        if self.choices.mode is not Mode.DELTA:
            return lambda _before, _now: True
        compared = self._compared
        seen: dict[int, tuple[WireQuote, int]] = tick.cache.setdefault("changes", {})

        def has_changed(before: WireQuote, now: WireQuote) -> bool:
            found = seen.get(id(before))
            if found is not None:
                return bool(found[1] & compared)
            changed = _changed(before, now)
            if len(seen) < COMPARED_QUOTES:
                # The quote is kept too, so that no other can get its id meanwhile.
                seen[id(before)] = before, changed
            return bool(changed & compared)

        return has_changed

    def text(self, tick: Tick, symbols: frozenset[str], prev_seq: int) -> str | None:
        """Return the update to send now, and take it as sent; None where it would hold nothing."""
        merged = self._merged(tick.place) if self.choices.max_rate else 0
        news = self.cut(tick, symbols)
        self._at = tick.place
        if not news:
            return None
        key = ("text", self._fields, merged, prev_seq, tuple(news))
        text: str | None = tick.cache.get(key)
        if text is None:
            entries = self._entries(tick, news)
            begin = head("price_update", tick.place.epoch, tick.place.seq, prev_seq)
            text = begin + share(tick.timestamp, entries, merged=merged)
            _keep(tick, key, text, len(text))
        return text

    def made(self, tick: Tick, text: str, form: Form) -> Any:
        """Return a text as it is written to lines of one form, made once where texts are equal."""
        key = ("made", text, form)
        found = tick.cache.get(key)
        if found is None:
            found = form(text)
            _keep(tick, key, found, len(text))
        return found

    def _merged(self, place: Place) -> int:
        """Return how many ticks an update at `place` stands for."""
        return max(1, place.seq - self._at.seq) if self._at.epoch == place.epoch else 1

    def _entries(self, tick: Tick, symbols: Collection[str]) -> list[str]:
        if self._take is None:
            return [_whole(tick, symbol) for symbol in symbols]
        take = self._take
        # One of each quote at most, whatever is chosen.
        pieces: dict[str, Pieces] = tick.cache.setdefault("pieces", {})
        for symbol in symbols:
            if symbol not in pieces:
                pieces[symbol] = Pieces(symbol, tick.quotes[symbol])
        return [pieces[symbol].entry(take) for symbol in symbols]

    def note(self, symbols: Collection[str], quotes: Told, at: Place | None = None) -> None:
        """Take as told what a snapshot of `symbols` holds; what it lacks is still to be told."""
        kept = {s: quote for s, quote in self._told.items() if s not in symbols}
        self._told = {**kept, **quotes}
        self._at = at or self._at


class _Cut(Share):
    """A connection's part of a tick, made when it is sent."""

    __slots__ = ("_symbols", "_tick", "_view")

    def __init__(self, view: View, tick: Tick, symbols: frozenset[str], beat: str) -> None:
        super().__init__("heartbeat", tick.place, beat)
        self._view, self._tick, self._symbols = view, tick, symbols

    def text(self, prev_seq: int) -> str:
        return self._view.text(self._tick, self._symbols, prev_seq) or super().text(prev_seq)

    def made(self, prev_seq: int, form: Form) -> Any:
        return self._view.made(self._tick, self.text(prev_seq), form)


class _Beat(Share):
    """A heartbeat that bears the tick its connection was told of last, whatever came since."""

    __slots__ = ()

    def __init__(self, place: Place, rest: str) -> None:
        super().__init__("heartbeat", place, rest, moves=False)

    def text(self, prev_seq: int) -> str:
        return head("heartbeat", self.place.epoch, prev_seq, prev_seq) + self.rest


class _Snapshot(Share):
    """A snapshot that counts as told when it is sent."""

    __slots__ = ("_quotes", "_symbols", "_view")

    def __init__(
        self,
        view: View,
        symbols: Collection[str],
        quotes: Told,
        place: Place,
        rest: str,
        *,
        moves: bool,
    ) -> None:
        super().__init__("price_update", place, rest, moves=moves)
        self._view, self._symbols, self._quotes = view, symbols, quotes

    def text(self, prev_seq: int) -> str:
        self._view.note(self._symbols, self._quotes, self.place if self.moves else None)
        return super().text(prev_seq)


def _keep(tick: Tick, key: object, made: Any, chars: int) -> None:
    """Keep what was made of a tick for others who chose the same, as long as there is room."""
    kept = tick.cache.get("chars", 0) + chars
    if kept <= CACHED_CHARS:
        tick.cache["chars"] = kept
        tick.cache[key] = made


def _changed(before: WireQuote, now: WireQuote) -> int:
    """Return the bits of the fields that are not as they were."""
    return sum(bit for name, bit in _BITS.items() if getattr(before, name) != getattr(now, name))


def _whole(tick: Tick, symbol: str) -> str:
    key = ("entry", symbol)
    text: str | None = tick.cache.get(key)
    if text is None:
        text = entry(symbol, tick.quotes[symbol])
        _keep(tick, key, text, len(text))
    return text


def _entry(symbol: str, quote: WireQuote, fields: Collection[str] | None) -> str:
    return entry(symbol, quote) if fields is None else entry_of(symbol, quote, fields)


def _due(tick: Tick, interval_s: int, every: int) -> str:
    """Return the rest of a heartbeat that says when the next update can come."""
    key = ("due", interval_s, every)
    text: str | None = tick.cache.get(key)
    if text is None:
        text = tick.cache[key] = due(tick.timestamp, _next_update_at(tick, interval_s, every))
    return text


def _next_update_at(tick: Tick, interval_s: int, every: int) -> str:
    try:
        at_s = datetime.fromisoformat(tick.timestamp).timestamp()
    except ValueError:
        return tick.timestamp
    began_s = math.floor(at_s / interval_s + EARLY) * interval_s
    next_s = began_s + (every - tick.place.seq % every) * interval_s
    return stamp(datetime.fromtimestamp(next_s, UTC))
