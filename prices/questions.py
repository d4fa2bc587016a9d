"""Which key of the contract answers a request, where that can be told ahead of the views.

Path and query are routed and validated by the very addresses and serializers that the
views have, once for each that is asked often, and keys are made by the cache, as theirs
are. Whatever is odd, or makes another answer than the one that is held, is for the view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from django.core.exceptions import SuspiciousOperation
from django.http import QueryDict
from django.urls import Resolver404, resolve, reverse
from rest_framework import serializers

from prices import cache
from prices.forms import Shape
from prices.serializers import (
    MAX_BATCH,
    BatchQuery,
    CandlesQuery,
    HistoryQuery,
    OneQuoteQuery,
    shape_of,
)
from prices.types import Period, Resolution

# Longer addresses are not remembered, and so not looked at.
_LONGEST = 2048
_REMEMBERED = 2048

_QUERIES: dict[str, type[serializers.Serializer[Any]]] = {
    "quote": OneQuoteQuery,
    "history": HistoryQuery,
    "ohlcv": CandlesQuery,
    "batch-query": BatchQuery,
}
# What an address may be asked beside these makes another answer of it.
_UNDERSTOOD = {
    *("symbols", "force_refresh", "explain", "period", "resolution"),
    *("format", "from", "to", "limit", "fill", "gaps"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, before anyone knows what its symbols mean.

    `name` is that of the address: quote, history, ohlcv, batch or batch-query.
    """

    name: str
    symbols: tuple[str, ...]
    period: Period | None = None
    resolution: Resolution | None = None

    @property
    def is_posted(self) -> bool:
        return self.name == "batch"

    @property
    def is_batch(self) -> bool:
        return self.name in {"batch", "batch-query"}

    def key(self, symbol: str) -> str:
        """Return the key that holds the answer for a symbol, as maps and keys name it."""
        if self.period is None:
            return cache.price_key(symbol)
        if self.name == "history":
            return cache.history_key(symbol, self.period)
        return cache.candles_key(symbol, self.period, self.resolution)


def of_request(path: str, query: bytes) -> Question | None:
    """Return what a GET asks for; None where it is none of ours, odd, or for the view to say."""
    if len(path) + len(query) > _LONGEST:
        return None
    return _of_request(path, query)


@lru_cache(maxsize=_REMEMBERED)
def _of_request(path: str, query: bytes) -> Question | None:
    try:
        match = resolve(path)
        known = _QUERIES.get(match.url_name or "")
        if known is None:
            return None
        given = QueryDict(query.decode())  # As Django itself reads it.
        valid = known(data=given)
        if not valid.is_valid() or given.keys() & valid.fields.keys() - _UNDERSTOOD:
            return None
    except (Resolver404, SuspiciousOperation, ValueError):
        return None
    asked: Mapping[str, Any] = valid.validated_data
    if asked["force_refresh"] or asked.get("explain"):
        return None
    name = str(match.url_name)
    if name == "batch-query":
        return Question(name, tuple(asked["symbols"]))
    symbol = (match.kwargs["symbol"],)
    if name == "quote":
        return Question(name, symbol)
    if shape_of(asked) != Shape():
        return None
    # Without a period, `from` and `to` say how far back; without them it is the usual one.
    return Question(name, symbol, asked.get("period", Period.MONTH), asked.get("resolution"))


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    symbols: list[str]


_body = msgspec.json.Decoder(_Body)


def of_post(path: str, body: bytes) -> Question | None:
    """Return what a POST asks for; None where that is for the view to say."""
    if path != reverse("batch"):
        return None
    return _of_body(body) if len(body) <= _LONGEST else _batch(body)


def _batch(body: bytes) -> Question | None:
    try:
        symbols = _body.decode(body).symbols
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # The view trims, and refuses what is too long or empty; here such a one is odd.
    if not 1 <= len(symbols) <= MAX_BATCH or any(s != s.strip() or not s for s in symbols):
        return None
    return Question("batch", tuple(symbols)) if all(len(s) <= 120 for s in symbols) else None


# A page asks for the same each time.
_of_body = lru_cache(maxsize=512)(_batch)
