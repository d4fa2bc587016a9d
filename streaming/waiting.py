"""Names that wait to be looked up: a bounded queue in which nobody stands behind a flood."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable


class Waiting:
    """Each asker's names in the order they came, and the askers by turns, a name at a time.

    Nobody may have more names here than there is room left, so that one flood leaves
    half of it to the others, two leave a third, and whoever comes with a few finds room.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        # How many want it, by name, by asker.
        self._of: OrderedDict[Hashable, OrderedDict[str, int]] = OrderedDict()
        self._askers: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._size

    def __contains__(self, name: str) -> bool:
        return name in self._askers

    def put(self, asker: Hashable, name: str) -> bool:
        """Let a name wait for one more who wants it; return whether there was room."""
        mine = self._of.get(asker)
        if mine is not None and name in mine:
            mine[name] += 1
            return True
        if (len(mine) if mine else 0) >= self._most - self._size:
            return False
        if mine is None:
            mine = self._of[asker] = OrderedDict()
        mine[name] = 1
        self._askers[name] += 1
        self._size += 1
        return True

    def leave(self, asker: Hashable, name: str) -> None:
        """Note that one who wanted a name does not wait any more; a taken one is no matter."""
        mine = self._of.get(asker)
        if mine is None or name not in mine:
            return
        mine[name] -= 1
        if mine[name] == 0:
            del mine[name]
            self._note_gone(name)
            if not mine:
                del self._of[asker]

    def take(self, most: int) -> list[str]:
        """Remove and return up to `most` names; whose turn it was stands last then."""
        taken: dict[str, None] = {}
        while self._of and len(taken) < most:
            asker, mine = self._of.popitem(last=False)
            name, _ = mine.popitem(last=False)
            taken[name] = None
            self._note_gone(name)
            if mine:
                self._of[asker] = mine
        return list(taken)

    def _note_gone(self, name: str) -> None:
        self._size -= 1
        self._askers[name] -= 1
        if not self._askers[name]:
            del self._askers[name]
