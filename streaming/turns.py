"""Work of many on one event loop: some milliseconds of each turn, and first come, first served.

Whoever has much to do then holds up nothing else, however many there are of them.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Who waits for one kind of work on an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turn_s: float) -> None:
        """Take how much of a turn is for all of them together, but for the end of a piece."""
        self._loop = weakref.ref(loop)
        self._turn_s = turn_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._ends_at: float | None = None

    def take_time(self) -> bool:
        """Return whether this turn's time is not over; whoever is the first begins it."""
        if self._ends_at is None:
            self._begin()
            return True
        return perf_counter() < self._ends_at

    def put(self, go_on: Callable[[], None]) -> None:
        """Call this in its turn, behind all who wait."""
        self._waiting.append(go_on)
        if self._ends_at is None:
            self._begin()

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` gives, which is called in its turn, behind all who wait.

        Raises what it raises, which is neither StopIteration nor CancelledError.
        """
        if not self._waiting and self.take_time():
            return work()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def go_on() -> None:
            if done.done():  # whoever waited is gone
                return
            try:
                result = work()
            except Exception as exc:  # noqa: BLE001 (raised where it is waited for)
                if not done.done():
                    done.set_exception(exc)
            else:
                if not done.done():  # as it is where the work itself ended who waited
                    done.set_result(result)

        self.put(go_on)
        return await done

    def _begin(self) -> None:
        self._ends_at = perf_counter() + self._turn_s
        if loop := self._loop():
            loop.call_soon(self._next)

    def _next(self) -> None:
        self._ends_at = None
        while self._waiting and self.take_time():
            self._waiting.popleft()()
