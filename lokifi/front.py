"""The ways out ahead of Django as this product has them: addresses, ids, counts and ticks.

Copies below /api leave first, and behind them what Redis holds (known.py). A tick drops
the quotes that it replaces, so the hub of this process starts with the first copy of
anything. Where symbols came to mean others, by a pin or a new catalogue, or where a
series was dropped because a price contradicts it, all copies go within a second, in
whatever process that happened.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping
from typing import NamedTuple

from django.conf import settings

from lokifi.frontcache import FrontCache
from lokifi.frontcache.cache import App, Scope, below_root
from lokifi.frontcache.rules import Fields, Header
from lokifi.known import Known
from lokifi.middleware import is_request_id
from prices import hit_counts, questions
from prices.cache import price_key
from prices.questions import Question
from prices.redis_clients import RedisAwayError
from prices.services import holdings, symbols
from prices.surrogates import tag
from streaming import hub

# What the cache calls the kind of a key, where that is not its first word.
_KINDS = {"crypto": "list"}
_LOOK_EACH_S = 1.0


def in_front_of(app: App, *, refusing: App) -> FrontCache:
    """Return `app` behind the cache; `refusing` answers `only-if-cached` where there is no copy."""
    names: list[Names] = []

    def follow_names() -> None:
        if not names:
            names.append(Names(front))
            names[0].watch()

    def follow_ticks() -> None:
        hub.hub()
        follow_names()

    known = Known(
        app,
        per_request=_request_id,
        count=_count,
        on_first=follow_names,
        is_newest=lambda tags: front.shelf.note(tags),
    )
    front = FrontCache(
        known,
        max_bytes=settings.FRONT_CACHE_BYTES,
        prefix="/api/",
        own={b"x-request-id"},
        per_request=_request_id,
        count=_count,
        on_first_copy=follow_ticks,
        refuse=refusing,
        beside=known.find,
        question=_question,
        readdressed=_readdressed,
        on_drop=known.forget_running,
    )

    def drop(symbols: Collection[str]) -> None:
        front.purge([tag(price_key(symbol)) for symbol in symbols])

    hub.on_tick.append(drop)
    return front


class Words(NamedTuple):
    """What Redis says of all that is kept; empty where it says nothing."""

    names: bytes
    dropped: bytes

    def tell_of_change_since(self, before: Words) -> bool:
        """Whether a word is another one. One that Redis has lost says nothing."""
        have_names_changed = bool(self.names) and self.names != before.names
        return have_names_changed or (bool(self.dropped) and self.dropped != before.dropped)


class Names:
    """Empties the cache once symbols mean others than when it was filled.

    And where anything was dropped from Redis before its life ended, which is rare.
    """

    def __init__(self, front: FrontCache, each_s: float = _LOOK_EACH_S) -> None:
        self._front = front
        self._each_s = each_s
        self._loop = asyncio.get_running_loop()
        self._words: Words | None = None

    def watch(self) -> None:
        """Look now and then, for as long as the event loop runs."""
        self._loop.run_in_executor(None, _words).add_done_callback(self._note)

    def _note(self, looked: asyncio.Future[Words | None]) -> None:
        self._loop.call_later(self._each_s, self.watch)
        # An error is nobody's to catch here: the loop logs it, and the next look comes.
        words = looked.result()
        if words is None:
            return  # Redis is away: nothing is known to have changed.
        before, self._words = self._words, words
        # What was kept before the first look may be of an older word than that finds.
        if before is None or words.tell_of_change_since(before):
            self._front.clear()


def _words() -> Words | None:
    names = symbols.hear()
    try:
        return None if names is None else Words(names, holdings.dropped_version())
    except RedisAwayError:
        return None


def _question(scope: Scope) -> Question | None:
    """Return what is asked; parameters that nobody knows make no other question."""
    return questions.of_request(below_root(scope), scope["query_string"])


def _request_id(fields: Fields) -> list[Header]:
    given = fields.get(b"x-request-id")
    if given is None or not is_request_id(given.decode("latin-1")):
        # As long as a UUID, and made in a tenth of the time; it keeps no secret.
        given = b"%032x" % random.getrandbits(128)
    return [(b"x-request-id", given)]


def _readdressed(body: bytes, before: list[Header], now: list[Header]) -> bytes:
    """Return a problem with another request's id; a quote in any of its texts is escaped."""
    old, new = (b'"request_id":"%b"' % dict(ids)[b"x-request-id"] for ids in (before, now))
    return body.replace(old, new)


def _count(hits: Mapping[str, int]) -> None:
    for kind, n in hits.items():
        if kind:
            hit_counts.count(_KINDS.get(kind, kind), hits=n, misses=0)
