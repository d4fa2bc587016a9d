"""The front cache as this product has it: which addresses, whose ids, counts and ticks.

Copies below /api leave before Django is entered. A tick drops the quotes that it
replaces, so the hub of this process starts with the first copy of anything.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from django.conf import settings

from lokifi.frontcache import FrontCache
from lokifi.frontcache.cache import App
from lokifi.frontcache.rules import Fields, Header
from lokifi.middleware import is_request_id
from prices import hit_counts
from prices.cache import price_key
from prices.surrogates import tag
from streaming import hub

# What the cache calls the kind of a key, where that is not its first word.
_KINDS = {"crypto": "list"}


def in_front_of(app: App, *, refusing: App) -> FrontCache:
    """Return `app` behind the cache; `refusing` answers `only-if-cached` where there is no copy."""

    def follow_ticks() -> None:
        hub.hub()

    front = FrontCache(
        app,
        max_bytes=settings.FRONT_CACHE_BYTES,
        prefix="/api/",
        own={b"x-request-id"},
        per_request=_request_id,
        count=_count,
        on_first_copy=follow_ticks,
        refuse=refusing,
    )

    def drop(symbols: Collection[str]) -> None:
        front.purge([tag(price_key(symbol)) for symbol in symbols])

    hub.on_tick.append(drop)
    return front


def _request_id(fields: Fields) -> list[Header]:
    given = fields.get(b"x-request-id")
    if given is None or not is_request_id(given.decode("latin-1")):
        # As long as a UUID, and made in a tenth of the time; it keeps no secret.
        given = b"%032x" % random.getrandbits(128)
    return [(b"x-request-id", given)]


def _count(hits: Mapping[str, int]) -> None:
    for kind, n in hits.items():
        if kind:
            hit_counts.count(_KINDS.get(kind, kind), hits=n, misses=0)
