"""What a tick says of each quote, made anew only where the quote is another one.

A source's quote lasts a minute and ticks may come every second: most of a tick
is what the tick before it said.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

from prices.answers import QuoteAnswer
from streaming.protocol import WireQuote, entry

_name = itemgetter(0)


class Texts:
    """Remembers what was made for the last tick; nothing older is kept."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[QuoteAnswer, WireQuote]] = {}
        self._texts: dict[str, tuple[WireQuote, str]] = {}

    def told(self, quotes: Mapping[str, QuoteAnswer]) -> dict[str, WireQuote]:
        """Return quotes as they are told, by the name that each is followed by."""
        before = self._told
        now: dict[str, tuple[QuoteAnswer, WireQuote]] = {}
        for name, quote in quotes.items():
            kept = before.get(name)
            if kept is None or kept[0] is not quote:
                kept = (quote, WireQuote.of(quote, name))
            now[name] = kept
        self._told = now
        return {name: told for name, (_, told) in now.items()}

    def entries(self, told: Mapping[str, WireQuote]) -> list[str]:
        """Return the members of a tick's `data`, in the order of their names."""
        before = self._texts
        now: dict[str, tuple[WireQuote, str]] = {}
        for name, quote in sorted(told.items(), key=_name):
            kept = before.get(name)
            if kept is None or kept[0] is not quote:
                kept = (quote, entry(name, quote))
            now[name] = kept
        self._texts = now
        return [text for _, text in now.values()]
