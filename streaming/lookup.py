"""What a subscriber must know at once, asked of the services from async code.

The services are sync, so they run in threads of our own. The waiting has a
limit, never the call: a call that is late still fills the cache, and the next
tick carries what it found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from django.db import close_old_connections

from prices.answers import QuoteAnswer
from prices.errors import InvalidSymbolError
from prices.services import quotes, symbols
from prices.services.symbols import Resolution

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Threads:
    """A pool that turns work away rather than letting a queue grow behind slow calls."""

    def __init__(self, name: str, size: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._room = size + waiting
        self._is_failing = False

    async def run(self, call: Callable[[], T], until: float) -> T | None:
        """Return what the call gives; None where it fails or is not done by `until` (loop time)."""
        loop = asyncio.get_running_loop()
        if self._room <= 0:
            logger.warning("too many calls wait for prices; a subscriber goes without")
            return None
        self._room -= 1
        future = loop.run_in_executor(self._pool, _with_database, call)
        future.add_done_callback(self._done)
        await asyncio.wait({future}, timeout=max(0.0, until - loop.time()))
        if not future.done() or future.exception() is not None:
            return None
        return future.result()

    def _done(self, future: asyncio.Future[T]) -> None:
        self._room += 1
        exc = None if future.cancelled() else future.exception()
        if exc is not None and not self._is_failing:
            logger.error("subscribers go without: asking failed; said once", exc_info=exc)
        self._is_failing = exc is not None


def _with_database(call: Callable[[], T]) -> T:
    # A thread of a pool has no request whose end would do this.
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


# Names come from our own tables in milliseconds; they must not stand behind prices.
_for_names = Threads("names-for-sockets", 2, waiting=256)
_for_prices = Threads("prices-for-sockets", 8, waiting=64)


def _fetched(wanted: Collection[str]) -> dict[str, QuoteAnswer]:
    return quotes.quotes(wanted).data


def literal(name: str) -> str:
    """Return a name in the form that symbols have, whatever it means now."""
    try:
        meant = symbols.parse(name)
    except InvalidSymbolError:
        return name
    if meant.coin_id:
        return meant.ref
    return f"{meant.kind}:{meant.ticker}" if meant.kind else meant.ticker


@dataclass(frozen=True)
class Lookup:
    """The three questions of a subscriber, and their answers as far as they come in time."""

    resolve: Callable[[Collection[str]], Resolution] = symbols.resolve_many
    cached: Callable[[Collection[str]], dict[str, QuoteAnswer]] = quotes.cached
    fetch: Callable[[Collection[str]], dict[str, QuoteAnswer]] = _fetched

    async def resolution(self, names: Collection[str], until: float) -> Resolution | None:
        return await _for_names.run(lambda: self.resolve(names), until)

    async def held(self, wanted: Collection[str], until: float) -> dict[str, QuoteAnswer]:
        return await _for_prices.run(lambda: self.cached(wanted), until) or {}

    async def fetched(self, wanted: Collection[str], until: float) -> dict[str, QuoteAnswer]:
        return await _for_prices.run(lambda: self.fetch(wanted), until) or {}
