"""What is heard of a client beside its messages, and how much of it in one turn of the event loop.

A server answers pings and collects fragments by itself, as fast as they come: past
the message rate, and past what may wait for a client that does not read. So lines
that know their server take what was read in small parts, in turn with all others and
for some milliseconds in each turn of the loop, have such frames counted, and answer
none but the newest ping while the client takes nothing (RFC 6455, 5.5.3).
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable

from streaming.protocol import Close
from streaming.turns import Turns

logger = logging.getLogger(__name__)

# Some 170 of the smallest frames; most messages are shorter.
_PART_BYTES = 1024
# What all clients together get of one turn of the event loop.
_TURN_S = 0.004

# Told how many frames came that are no message, or belong to one that has begun already.
Counted = Callable[[int], None]

_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = weakref.WeakKeyDictionary()


def _turns_here() -> Turns:
    loop = asyncio.get_running_loop()
    found = _turns.get(loop)
    if found is None:
        found = _turns[loop] = Turns(loop, _TURN_S)
    return found


class Hearing(ABC):
    """The listening half of a line."""

    __slots__ = ("_at", "_counted", "_is_due", "_pong", "_rest", "_turns")

    def __init__(self, counted: Counted) -> None:
        self._counted: Counted | None = counted
        self._is_due = False
        self._pong = b""  # the answer to the newest ping, while it cannot leave
        self._rest = b""  # what was read,
        self._at = 0  # from here on not parsed yet
        self._turns = _turns_here()

    def hear(self, data: bytes) -> None:
        """Parse what was read; the rest of much of it later, and nothing is read meanwhile."""
        if not self._rest and len(data) <= _PART_BYTES and self._turns.take_time():
            self._parse(data)
            return
        self._rest = self._rest[self._at :] + data
        self._at = 0
        self._pause()
        self._go_on_soon()

    def count(self, frames: int) -> None:
        """Count frames that the server deals with by itself."""
        if frames and self._counted is not None:
            self._counted(frames)

    def _go_on_soon(self) -> None:
        if self._rest and not self._is_due:
            self._is_due = True
            self._turns.put(self._go_on)

    def _go_on(self) -> None:
        """Parse the next part, unless a message waits; when that was answered we come again."""
        self._is_due = False
        if not self._rest or self._is_busy():
            return
        try:
            self._parse(self._next_part())
            if self._rest:
                self._pause()
                self._go_on_soon()
            else:
                self._resume()
        except Exception:
            # As event loops do with what reading raises; here they would leave it hanging.
            logger.exception("what a client sent could not be parsed")
            self._stop_hearing()
            self.cut(Close.INTERNAL_ERROR)

    def _next_part(self) -> bytes:
        part = self._rest[self._at : self._at + _PART_BYTES]
        self._at += len(part)
        if self._at >= len(self._rest):
            self._rest, self._at = b"", 0
        return part

    def _stop_hearing(self) -> None:
        self._counted = None
        self._rest = self._pong = b""
        self._at = 0

    @abstractmethod
    def cut(self, code: Close) -> None: ...

    @abstractmethod
    def _parse(self, part: bytes) -> None: ...

    @abstractmethod
    def _is_busy(self) -> bool:
        """Return whether a message waits for the application."""

    @abstractmethod
    def _pause(self) -> None:
        """Read nothing from the socket; parsing may have changed that."""

    @abstractmethod
    def _resume(self) -> None: ...
