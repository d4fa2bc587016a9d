"""What symbols were found to mean, remembered by this process.

The database says what a symbol means; this spares asking it again. What is remembered
counts for a minute at most, and no longer than until something changes: at once where
this process changes an asset, within a second where another one does, which is told by
the word in Redis that `holdings.note_names` sets. While Redis is away, and others could
not be heard, it counts for some seconds only; while the database fails, the last meaning
is there still.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from django.db import transaction

from prices.redis_clients import RedisAwayError
from prices.services import holdings

V = TypeVar("V")

LIFE_S = 60.0
# Without a word from Redis.
DEAF_LIFE_S = 5.0
LOOK_EACH_S = 1.0
# One takes about 2 KB; CoinGecko has 18,000 coins, and there are 30,000 US stocks.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    generation: int
    at: float


class AssetIndex(Generic[V]):
    """A bounded map by folded symbol; what was used least recently goes first.

    `generation` is another one after every change. Who reads the database notes it
    before, so that what was read before a change is not taken for what came after.
    """

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._lock = Lock()
        self._word: bytes | None = None
        self._looked_at = float("-inf")
        self._heard_at = float("-inf")
        self.generation = 0

    def get(self, name: str) -> V | None:
        """Return what a symbol means, where that is known to be so still; never waits."""
        entry = self._entries.get(name)
        if entry is None or entry.generation != self.generation:
            return None
        now = self._clock()
        is_deaf = now - self._heard_at > DEAF_LIFE_S
        if now - entry.at > (DEAF_LIFE_S if is_deaf else LIFE_S):
            return None
        with self._lock:
            if name in self._entries:
                self._entries.move_to_end(name)
        return entry.value

    def last(self, name: str) -> V | None:
        """Return what a symbol meant when it was last looked up, for when that cannot be done."""
        entry = self._entries.get(name)
        return entry.value if entry else None

    def put(self, name: str, value: V, generation: int) -> None:
        """Remember what a symbol means, as it was read when `generation` had begun."""
        with self._lock:
            self._entries[name] = _Entry(value, generation, self._clock())
            self._entries.move_to_end(name)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def change(self, **_: Any) -> None:
        """Take nothing that is remembered for true: assets have changed, or will on commit."""
        self._turn()
        transaction.on_commit(self._turn)

    def look(self) -> None:
        """Hear, at most once a second, whether another process changed what symbols mean."""
        if self._clock() - self._looked_at >= LOOK_EACH_S:
            self.hear()

    def hear(self) -> bytes | None:
        """Return the word that stands for what symbols mean now; None where Redis is away."""
        self._looked_at = self._clock()
        try:
            word = holdings.names_version()
        except RedisAwayError:
            # Whatever was changed meanwhile, nobody could tell.
            self._word = None
            return None
        if word != self._word:
            self._turn()
        self._word, self._heard_at = word, self._clock()
        return word

    def clear(self) -> None:
        """Forget everything, what was heard too."""
        with self._lock:
            self._entries.clear()
        self._word = None
        self._looked_at = self._heard_at = float("-inf")
        self._turn()

    def _turn(self) -> None:
        with self._lock:
            self.generation += 1
