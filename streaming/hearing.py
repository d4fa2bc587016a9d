"""What is heard of a client beside its messages, and how much of it in one turn of the event loop.

A server answers pings and collects fragments by itself, as fast as they come: past
the message rate, and past what may wait for a client that does not read. So lines
that know their server take what was read in small parts, have such frames counted,
and answer none but the newest ping while the client takes nothing (RFC 6455, 5.5.3).
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

from streaming.protocol import Close

logger = logging.getLogger(__name__)

# Some 340 of the smallest frames, which are a few milliseconds; most messages are shorter.
_PART_BYTES = 2048

# Told how many frames came that are no message, or belong to one that has begun already.
Counted = Callable[[int], None]


class Hearing(ABC):
    """The listening half of a line."""

    __slots__ = ("_counted", "_is_due", "_pong", "_rest")

    def __init__(self, counted: Counted) -> None:
        self._counted: Counted | None = counted
        self._is_due = False
        self._pong = b""  # the answer to the newest ping, while it cannot leave
        self._rest = b""  # what was read and not parsed yet

    def hear(self, data: bytes) -> None:
        """Parse what was read; the rest of much of it later, and nothing is read meanwhile."""
        if not self._rest and len(data) <= _PART_BYTES:
            self._parse(data)
            return
        self._rest += data
        self._pause()
        self._go_on_soon()

    def count(self, frames: int) -> None:
        """Count frames that the server deals with by itself."""
        if frames and self._counted is not None:
            self._counted(frames)

    def _go_on_soon(self) -> None:
        if self._rest and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Parse the next part, unless a message waits; when that was answered we come again."""
        self._is_due = False
        if not self._rest or self._is_busy():
            return
        part, self._rest = self._rest[:_PART_BYTES], self._rest[_PART_BYTES:]
        try:
            self._parse(part)
        except Exception:
            # As event loops do with what reading raises; here they would leave it hanging.
            logger.exception("what a client sent could not be parsed")
            self._stop_hearing()
            self.cut(Close.INTERNAL_ERROR)
            return
        if self._rest:
            self._pause()
            self._go_on_soon()
        else:
            self._resume()

    def _stop_hearing(self) -> None:
        self._counted = None
        self._rest = self._pong = b""

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
