"""Errors that hold for all who ask the same, for a moment: while a source fails, many ask."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic

from lokifi.frontcache.copies import Copy
from lokifi.frontcache.shelf import Key

# With keys of 8 KiB at most these are 3 MB at most.
_MOST = 128
_LONGEST = 16 * 1024


class Errors:
    """The newest errors by where those wait who are given them."""

    def __init__(self) -> None:
        self._held: OrderedDict[Key, tuple[Copy, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, place: Key, error: Copy, for_s: float) -> None:
        if error.size > _LONGEST:
            return
        self._held[place] = error, error.kept_at + for_s
        self._held.move_to_end(place)
        if len(self._held) > _MOST:
            self._held.popitem(last=False)

    def get(self, place: Key) -> Copy | None:
        error, until = self._held.get(place, (None, 0.0))
        if error is not None and monotonic() >= until:
            del self._held[place]
            return None
        return error

    def clear(self) -> None:
        self._held.clear()
