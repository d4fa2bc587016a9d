"""This process's own copies of what it read or stored, for when Redis is away."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Copy:
    """An answer's bytes, and the monotonic time at which its life ends.

    Decoded, a long series takes 2.2 times the room of its text beside it, for the few
    times that Redis is away.
    """

    body: bytes
    ends: float

    @property
    def life_s(self) -> float:
        return max(0.0, self.ends - time.monotonic())


class Read(Generic[T]):
    """What keys' bytes were decoded to, so that the same bytes are decoded once."""

    def __init__(self, decode: Callable[[str, bytes | str], T | None], *, most: int) -> None:
        self._decode = decode
        self._most = most
        self._values: dict[str, tuple[bytes | str, T]] = {}

    def value(self, key: str, body: bytes | str) -> T | None:
        """Return what `body` says: the same object as before where the key held it before."""
        kept = self._values.get(key)
        if kept is not None and kept[0] == body:
            return kept[1]
        found = self._decode(key, body)
        if found is not None:
            if len(self._values) >= self._most:
                self._values.clear()
            self._values[key] = (body, found)
        return found


class LocalCopies:
    """A bounded map; what was used least recently goes first."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max = max_bytes
        self._size = 0
        self._copies: OrderedDict[str, Copy] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> Copy | None:
        with self._lock:
            copy = self._copies.get(key)
            if copy is not None:
                self._copies.move_to_end(key)
            return copy

    def use(self, keys: Collection[str]) -> set[str]:
        """Count keys as used; return those that are not held."""
        missing = set()
        with self._lock:
            for key in keys:
                if key in self._copies:
                    self._copies.move_to_end(key)
                else:
                    missing.add(key)
        return missing

    def put(self, key: str, body: bytes, life_s: float) -> None:
        with self._lock:
            self._drop(key)
            self._copies[key] = Copy(body, time.monotonic() + life_s)
            self._size += len(body)
            while self._size > self._max:
                self._drop(next(iter(self._copies)))

    def drop(self, key: str) -> None:
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        with self._lock:
            self._copies.clear()
            self._size = 0

    def _drop(self, key: str) -> None:
        old = self._copies.pop(key, None)
        if old is not None:
            self._size -= len(old.body)
