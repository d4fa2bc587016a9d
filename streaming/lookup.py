"""What a subscriber must know at once, asked of the services from async code.

The services are sync, so they run in threads of our own. The waiting has a
limit (`until`, by `monotonic`), never the call: a call that is late still fills
the cache, and the next tick carries what it found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any, TypeVar

import msgspec
from django.db import close_old_connections

from prices.answers import QuoteAnswer
from prices.errors import InvalidSymbolError, UpstreamError
from prices.services import quotes, spelling, symbols
from prices.services.symbols import Resolution, Resolved
from streaming.limits import Manners
from streaming.waiting import Waiting

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A name is asked for anew after so long; until the answer is there the old one holds a
# while. So one that changes hands means the new asset to the next newcomer but one.
_REMEMBERED_S = 5.0
_STILL_GOOD_S = 30.0
_MOST_NAMES = 20_000
# What names nobody lists is remembered apart, so that made-up ones push no other out.
_MOST_REJECTED = 5_000
# More do not wait to be looked up: some bytes each, and who waits longer has gone away.
_MOST_WAITING = 10_000
# No symbol is longer, also as a coin's id with everything quoted (three characters for one).
_LONGEST_NAME = 400
# So many are asked for in one question, so that a flood of names holds nobody up for long.
_ASKED_AT_ONCE = 2_000
_NAMES_WITHIN_S = 5.0


class Threads:
    """A pool that turns work away rather than letting a queue grow behind slow calls."""

    def __init__(self, name: str, size: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._room = self._most = size + waiting
        self._is_failing = False
        self._is_full = False

    async def run(self, call: Callable[[], T], until: float) -> T | None:
        """Return what the call gives; None where it fails or is not done by `until`."""
        loop = asyncio.get_running_loop()
        if self._room <= 0:
            self._note_full()
            return None
        self._room -= 1
        future = loop.run_in_executor(self._pool, _with_database, call)
        future.add_done_callback(self._done)
        await asyncio.wait({future}, timeout=max(0.0, until - monotonic()))
        if not future.done() or future.exception() is not None:
            return None
        return future.result()

    def _note_full(self) -> None:
        if not self._is_full:
            logger.warning("too many calls wait: subscribers go without; said once")
        self._is_full = True

    def _done(self, future: asyncio.Future[T]) -> None:
        self._room += 1
        if self._room * 2 >= self._most:  # not where one goes and the next one comes
            self._is_full = False
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


@dataclass(frozen=True, slots=True)
class _Answer:
    """What became of one question; None where nothing could be learnt."""

    asked: Mapping[str, None]
    found: Resolution | None
    next: asyncio.Future[_Answer]


class _Meaning(msgspec.Struct, frozen=True):
    """What one name means, until it is to be asked anew."""

    until: float
    symbol: str
    resolved: str | None
    asset: Resolved | None

    @classmethod
    def of(cls, name: str, found: Resolution, until: float = 0.0) -> _Meaning:
        symbol = found.found[name]
        return cls(until, symbol, found.resolved.get(name), found.assets.get(symbol))

    def add_to(self, whole: Resolution, name: str) -> None:
        symbol = whole.found[name] = self.symbol
        if self.resolved is not None:
            whole.resolved[name] = self.resolved
        if self.asset is not None:
            whole.assets[symbol] = self.asset


class _Refusal(msgspec.Struct, frozen=True):
    """Why one name means nothing, until it is to be asked anew."""

    until: float
    code: str


class Names:
    """What names mean, remembered for a moment, and asked for together.

    When thousands connect within seconds they name the same symbols. Whoever comes
    while a question is under way waits for the next one, which is for all of them;
    where there are too many names, askers have their turns.
    """

    def __init__(self, resolve: Callable[[Collection[str]], Resolution]) -> None:
        self._resolve = resolve
        # Both: the one that was asked first is first.
        self._known: dict[str, _Meaning] = {}
        self._rejected: dict[str, _Refusal] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def resolution(
        self, names: Collection[str], until: float, who: Manners | None = None
    ) -> Resolution | None:
        """Return what names mean; None where nothing of them can be learnt by `until`.

        What alone cannot be learnt is rejected as `upstream_unavailable`.
        Raises ProtocolError where `who` has had too many looked up.
        """
        self._settle()
        now = monotonic()
        asker = None if who is None else who.asker
        whole = Resolution()
        missing: list[str] = []
        for name in names:
            # As `_tell`, for what nearly all ask where thousands come.
            meaning = self._known.get(name)
            if meaning is not None and now < meaning.until:
                meaning.add_to(whole, name)
            elif not self._tell(name, whole, now, asker):
                missing.append(name)
        if not missing:
            return whole
        new = {name for name in missing if not self._is_asked(name)}
        if who is not None:
            who.names(len(new), now)
        late = await self._learnt(missing, whole, asker, until)
        if who is not None:
            who.give_back_names(len(new & late), now)
        unlearnt = [n for n in missing if n not in whole.found and n not in whole.rejected]
        if len(unlearnt) == len(names):
            return None
        whole.rejected.update(dict.fromkeys(unlearnt, UpstreamError.code))
        return whole

    def _settle(self) -> None:
        """Begin anew where another event loop runs than before."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._waiting = Waiting(_MOST_WAITING)
            self._under_way: dict[str, None] = {}
            self._answer: asyncio.Future[_Answer] = loop.create_future()
            self._task: asyncio.Task[None] | None = None

    def _tell(self, name: str, whole: Resolution, now: float, asker: Hashable) -> bool:
        """Add what is known of a name; return whether anything is."""
        if len(name) > _LONGEST_NAME:
            whole.rejected[name] = InvalidSymbolError.code
            return True
        kept = self._known.get(name) or self._rejected.get(name)
        if kept is None or now >= kept.until + _STILL_GOOD_S:
            return False
        if isinstance(kept, _Meaning):
            kept.add_to(whole, name)
        else:
            whole.rejected[name] = kept.code
        if now >= kept.until and not self._is_asked(name):
            self._waiting.put(asker, name)  # for those who come after
            self._ask()
        return True

    def _is_asked(self, name: str) -> bool:
        return name in self._under_way or name in self._waiting

    async def _learnt(
        self, names: Collection[str], whole: Resolution, asker: Hashable, until: float
    ) -> set[str]:
        """Add to `whole` what is learnt of names in time.

        Return those that came into the queue and of which the catalogues then said nothing.
        """
        own = [n for n in names if n not in self._under_way and self._waiting.put(asker, n)]
        left = [name for name in names if name in self._under_way] + own
        failed: set[str] = set()
        next_answer = self._answer
        try:
            self._ask()
            while left:
                await asyncio.wait({next_answer}, timeout=max(0.0, until - monotonic()))
                if not next_answer.done():
                    break
                answer = next_answer.result()
                told = [name for name in left if name in answer.asked]
                failed.update(name for name in told if not _take(name, answer.found, whole))
                left = [name for name in left if name not in answer.asked]
                next_answer = answer.next
        finally:
            # Nobody is to be kept waiting by names for which nobody waits.
            for name in own:
                self._waiting.leave(asker, name)
        return failed.union(left)

    def _ask(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._learn())

    async def _learn(self) -> None:
        while self._waiting:
            # Whoever asks in this turn of the loop is in it too.
            await asyncio.sleep(0)
            now = monotonic()
            taken = self._waiting.take(_ASKED_AT_ONCE)
            # One may have been learnt meanwhile, for another asker.
            self._under_way = {name: None for name in taken if not self._is_fresh(name, now)}
            if self._under_way:
                call = partial(self._resolve, list(self._under_way))
                self._tell_all(await _for_names.run(call, now + _NAMES_WITHIN_S))

    def _is_fresh(self, name: str, now: float) -> bool:
        kept = self._known.get(name) or self._rejected.get(name)
        return kept is not None and now < kept.until

    def _tell_all(self, found: Resolution | None) -> None:
        loop = asyncio.get_running_loop()
        asked, self._under_way = self._under_way, {}
        if found is not None:
            self._keep(asked, found, monotonic() + _REMEMBERED_S)
        answered, self._answer = self._answer, loop.create_future()
        answered.set_result(_Answer(asked, found, self._answer))

    def _keep(self, names: Iterable[str], found: Resolution, until: float) -> None:
        for name in names:
            # Out first, so that the one that was asked first is the first.
            self._known.pop(name, None)
            self._rejected.pop(name, None)
            code = found.rejected.get(name)
            if code is None and name in found.found:
                self._known[name] = _Meaning.of(name, found, until)
            elif code is not None and not _passes(code):
                self._rejected[name] = _Refusal(until, code)
        _shorten(self._known, _MOST_NAMES)
        _shorten(self._rejected, _MOST_REJECTED)


def _shorten(kept: dict[str, Any], most: int) -> None:
    """Leave the newest `most`."""
    for name in list(islice(kept, max(0, len(kept) - most))):
        del kept[name]


def _passes(code: str) -> bool:
    """Return whether a refusal may pass at any moment, and is for who asked just now alone."""
    return code.startswith("upstream")


def _take(name: str, found: Resolution | None, whole: Resolution) -> bool:
    """Add what a question brought about a name; return whether the catalogues told."""
    if found is None:
        return False
    if name in found.rejected:
        whole.rejected[name] = found.rejected[name]
        return not _passes(found.rejected[name])
    if name in found.found:
        _Meaning.of(name, found).add_to(whole, name)
    return name in found.found


_names = Names(symbols.resolve_many)


@dataclass(frozen=True)
class Lookup:
    """The three questions of a subscriber, and their answers as far as they come in time."""

    resolve: Callable[[Collection[str]], Resolution] | None = None  # by default with a memory
    cached: Callable[[Collection[str]], dict[str, QuoteAnswer]] = quotes.cached
    fetch: Callable[[Collection[str]], dict[str, QuoteAnswer]] = _fetched

    async def resolution(
        self, names: Collection[str], until: float, who: Manners | None = None
    ) -> Resolution | None:
        if self.resolve is None:
            return await _names.resolution(names, until, who)
        return await _for_names.run(partial(self.resolve, names), until)

    async def held(self, wanted: Collection[str], until: float) -> dict[str, QuoteAnswer]:
        return await _for_prices.run(lambda: self.cached(wanted), until) or {}

    async def fetched(self, wanted: Collection[str], until: float) -> dict[str, QuoteAnswer]:
        return await _for_prices.run(lambda: self.fetch(wanted), until) or {}
