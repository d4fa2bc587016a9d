"""What a user of a stream holds: its own symbols, and the updates that it has not read yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from lokifi_prices.types import Tick

if TYPE_CHECKING:
    from lokifi_prices.stream import PriceStream


class StreamClosedError(RuntimeError):
    """The stream was closed, and stays so."""


class StreamFailedError(RuntimeError):
    """The stream can never connect from here; `__cause__` says why."""


@dataclass(frozen=True, slots=True)
class Update:
    """One price, and the tick that it came with."""

    tick: Tick
    epoch: str
    seq: int
    is_snapshot: bool = False
    is_replay: bool = False


class Subscription:
    """One user's symbols; iterate over it for its updates, in order.

    Who reads too slowly loses the oldest: `dropped` counts them. Raises StreamFailedError where
    the stream can never connect.
    """

    def __init__(self, stream: PriceStream, symbols: Iterable[str], most: int) -> None:
        self.symbols = tuple(dict.fromkeys(symbols))
        self.dropped = 0
        self.is_closed = False
        self._stream = stream
        self._most = most
        self._failure: StreamFailedError | None = None
        self._updates: deque[Update] = deque()
        self._came = asyncio.Event()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Update]:
        while True:
            while self._updates:
                yield self._updates.popleft()
            if self._failure is not None:
                raise self._failure
            if self.is_closed:
                return
            self._came.clear()
            await self._came.wait()

    def close(self) -> None:
        """Leave these symbols, which others may go on following. A second time does nothing."""
        if not self.is_closed:
            self._end()
            self._stream._leave(self)

    def _give(self, update: Update) -> None:
        if len(self._updates) >= self._most:
            self._updates.popleft()
            self.dropped += 1
        self._updates.append(update)
        self._came.set()

    def _end(self, failure: StreamFailedError | None = None) -> None:
        self.is_closed = True
        self._failure = failure
        self._came.set()
