"""What a subscriber must know at once, asked of the services from async code.

The services are sync, so they run in threads of our own. The waiting has a
limit, never the call: a call that is late still fills the cache, and the next
tick carries what it found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

from django.db import close_old_connections

from prices.answers import QuoteAnswer
from prices.errors import InvalidSymbolError
from prices.services import quotes, spelling, symbols
from prices.services.symbols import Resolution

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A name is asked for anew after so long; until the answer is there the old one holds a
# while. So one that changes hands means the new asset to the next newcomer but one.
_REMEMBERED_S = 5.0
_STILL_GOOD_S = 30.0
_MOST_NAMES = 20_000
# No symbol is longer, also as a coin's id with everything quoted (three characters for one).
_LONGEST_NAME = 400
# So many are asked for in one question, so that a flood of names holds nobody up for long.
_ASKED_AT_ONCE = 5_000
_NAMES_WITHIN_S = 5.0


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
        meant = spelling.parse(name)
    except InvalidSymbolError:
        return name
    if meant.coin_id:
        return meant.ref
    return f"{meant.kind}:{meant.ticker}" if meant.kind else meant.ticker


class Names:
    """What names mean, remembered for a moment, and asked for together.

    When thousands connect within seconds they name the same symbols. Whoever comes
    while a question is under way waits for the next one, which is for all of them.
    """

    def __init__(self, resolve: Callable[[Collection[str]], Resolution]) -> None:
        self._resolve = resolve
        self._known: dict[str, tuple[float, Resolution]] = {}
        self._wanted: dict[str, asyncio.Future[None]] = {}
        self._under_way: asyncio.Task[None] | None = None

    async def resolution(self, names: Collection[str], until: float) -> Resolution | None:
        """Return what names mean; None where that cannot be learnt by `until` (loop time)."""
        now = asyncio.get_running_loop().time()
        too_long = [name for name in names if len(name) > _LONGEST_NAME]
        names = [name for name in names if len(name) <= _LONGEST_NAME]
        missing = []
        for name in names:
            kept = self._known.get(name)
            if kept is None or now >= kept[0] + _STILL_GOOD_S:
                missing.append(name)
            elif now >= kept[0]:
                self._ask(name)  # for those who come after
        if missing:
            asked = {self._ask(name) for name in missing}
            _, late = await asyncio.wait(asked, timeout=max(0.0, until - now))
            if late:
                return None
        found = self._all(names, now)
        if found is not None:
            found.rejected.update(dict.fromkeys(too_long, InvalidSymbolError.code))
        return found

    def _all(self, names: Collection[str], now: float) -> Resolution | None:
        whole = Resolution()
        for name in names:
            kept = self._known.get(name)
            if kept is None or now >= kept[0] + _STILL_GOOD_S:
                return None
            one = kept[1]
            whole.found.update(one.found)
            whole.rejected.update(one.rejected)
            whole.resolved.update(one.resolved)
            whole.assets.update(one.assets)
        return whole

    def _ask(self, name: str) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future = self._wanted.get(name)
        if future is None or future.get_loop() is not loop:
            future = self._wanted[name] = loop.create_future()
        if self._under_way is None or self._under_way.done():
            self._under_way = loop.create_task(self._learn())
        return future

    async def _learn(self) -> None:
        while self._wanted:
            # Whoever asks in this turn of the loop is in it too.
            await asyncio.sleep(0)
            asked = dict(islice(self._wanted.items(), _ASKED_AT_ONCE))
            for name in asked:
                del self._wanted[name]
            now = asyncio.get_running_loop().time()
            found = await _for_names.run(partial(self._resolve, list(asked)), now + _NAMES_WITHIN_S)
            if found is not None:
                self._keep(asked, found)
            for future in asked.values():
                if not future.done():
                    future.set_result(None)

    def _keep(self, names: Iterable[str], found: Resolution) -> None:
        now = asyncio.get_running_loop().time()
        for name in names:
            code = found.rejected.get(name)
            if code is None and name not in found.found:
                continue
            # What may pass at any moment is for those who asked just now alone.
            passes = code is not None and code.startswith("upstream")
            until = now + _REMEMBERED_S if not passes else now + 0.05 - _STILL_GOOD_S
            self._known.pop(name, None)  # so that the first one is the oldest
            self._known[name] = (until, _one(name, found))
        for name in list(islice(self._known, max(0, len(self._known) - _MOST_NAMES))):
            del self._known[name]


def _one(name: str, found: Resolution) -> Resolution:
    """Return what a resolution of many says of one name."""
    if name in found.rejected:
        return Resolution(rejected={name: found.rejected[name]})
    symbol = found.found[name]
    return Resolution(
        found={name: symbol},
        resolved={name: found.resolved[name]} if name in found.resolved else {},
        assets={symbol: found.assets[symbol]} if symbol in found.assets else {},
    )


_names = Names(symbols.resolve_many)


@dataclass(frozen=True)
class Lookup:
    """The three questions of a subscriber, and their answers as far as they come in time."""

    resolve: Callable[[Collection[str]], Resolution] | None = None  # by default with a memory
    cached: Callable[[Collection[str]], dict[str, QuoteAnswer]] = quotes.cached
    fetch: Callable[[Collection[str]], dict[str, QuoteAnswer]] = _fetched

    async def resolution(self, names: Collection[str], until: float) -> Resolution | None:
        if self.resolve is None:
            return await _names.resolution(names, until)
        return await _for_names.run(partial(self.resolve, names), until)

    async def held(self, wanted: Collection[str], until: float) -> dict[str, QuoteAnswer]:
        return await _for_prices.run(lambda: self.cached(wanted), until) or {}

    async def fetched(self, wanted: Collection[str], until: float) -> dict[str, QuoteAnswer]:
        return await _for_prices.run(lambda: self.fetch(wanted), until) or {}
