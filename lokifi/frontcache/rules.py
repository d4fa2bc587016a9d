"""What RFC 9110 and RFC 9111 say of headers, as functions of bytes.

Field names are lower case, as ASGI has them. What cannot be read counts as the
careful reading of it: not fresh, not accepted, not the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

Header = tuple[bytes, bytes]
Fields = Mapping[bytes, bytes]
T = TypeVar("T")

# An error is news of this moment, whatever life it claims.
NEGATIVE_S = 5
_LONGEST_S = 365 * 86_400
# What clients send is remembered as read, but not whatever they make up.
_MEMORABLE = 256
# Beyond this a value is not read here, in the event loop: it is for the application to say.
_READABLE = 1024
# What is read part by part.
_READ_BY_PARTS = (b"accept", b"accept-encoding", b"cache-control", b"if-none-match")
_NOT_WHOLE = {206, 304}
_QUALITY = re.compile(rb"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def _remembered(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Let a reading of short values be made once; memory is bounded whatever clients send."""
    known = lru_cache(maxsize=512)(read)
    return lambda value: known(value) if len(value) <= _MEMORABLE else read(value)


def fields_of(headers: Collection[Header]) -> dict[bytes, bytes]:
    """Return headers by name; what came in several lines is joined as HTTP says."""
    fields = dict(headers)
    if len(fields) == len(headers):
        return fields
    lines: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lines.setdefault(name, []).append(value)
    return {name: b", ".join(values) for name, values in lines.items()}


def are_readable(fields: Fields) -> bool:
    """Return whether all that a cache reads of a request is of a length that it reads."""
    for name in _READ_BY_PARTS:
        value = fields.get(name)
        if value is not None and len(value) > _READABLE:
            return False
    return True


def ordered(query: bytes) -> bytes:
    """Return a query with its parameters in order of their names.

    What is repeated keeps its order, since that can matter. A query with anything
    encoded stays as it is: two ways to write one name must not change places.
    """
    if b"&" not in query or b"%" in query or b"+" in query:
        return query
    parts = sorted(query.split(b"&"), key=_name)
    return b"&".join(parts)


def _name(parameter: bytes) -> bytes:
    return parameter.partition(b"=")[0]


# --- Cache-Control ----------------------------------------------------------------


@_remembered
def directives(value: bytes) -> Mapping[bytes, bytes]:
    """Return the directives of a Cache-Control by name; of those given twice, the first."""
    found: dict[bytes, bytes] = {}
    for part in value.split(b","):
        name, _, argument = part.strip().partition(b"=")
        found.setdefault(name.strip().lower(), argument.strip().strip(b'"'))
    return found


def seconds(value: bytes | None) -> int | None:
    """Return a delta-seconds; 0 for what is none, None where nothing was given."""
    if value is None:
        return None
    if not value.isdigit():
        return 0
    return min(int(value), _LONGEST_S) if len(value) < len(str(_LONGEST_S)) + 1 else _LONGEST_S


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request's Cache-Control asks of a cache."""

    no_store: bool
    only_if_cached: bool
    no_transform: bool
    max_age_s: int | None
    min_fresh_s: int


def wish(fields: Fields) -> Wish:
    """Return what a request asks; `no-cache` is read as a copy of no age at all."""
    said = directives(fields.get(b"cache-control", b""))
    is_doubtful = b"no-cache" in said or (
        b"cache-control" not in fields and b"no-cache" in fields.get(b"pragma", b"").lower()
    )
    return Wish(
        no_store=b"no-store" in said,
        only_if_cached=b"only-if-cached" in said,
        no_transform=b"no-transform" in said,
        max_age_s=0 if is_doubtful else seconds(said.get(b"max-age")),
        min_fresh_s=seconds(said.get(b"min-fresh")) or 0,
    )


@dataclass(frozen=True, slots=True)
class Life:
    """What an answer allows: how long it is fresh, and served behind that while it is renewed."""

    is_public: bool
    may_be_kept: bool
    fresh_s: float
    stale_s: float = 0.0
    # For how long an error that nobody may store holds for all who ask the same.
    error_s: float = 0.0


_PRIVATE = Life(is_public=False, may_be_kept=False, fresh_s=0.0)


def life(status: int, fields: Fields) -> Life:
    """Return what a shared cache may do with an answer.

    Only what says of itself that it is public, and for how long, is kept. Past
    `fresh_s` of 0 a public answer may still be given to all who wait for it now.
    `Surrogate-Control` speaks to the cache in front of the application alone, and
    its `no-store` says: not this answer, though the next may do. Its `max-age` beside an
    error that is not to be stored says for how long that is news for all alike.
    """
    said = directives(fields.get(b"cache-control", b""))
    if b"set-cookie" in fields or b"*" in fields.get(b"vary", b""):
        return _PRIVATE
    to_us = directives(fields.get(b"surrogate-control", b""))
    if b"public" not in said or said.keys() & {b"no-store", b"private", b"no-cache"}:
        return _of_an_error(to_us) if status >= 400 else _PRIVATE
    if status < 200 or status in _NOT_WHOLE or b"no-store" in to_us:
        return _PRIVATE
    limits = (to_us.get(b"max-age"), said.get(b"s-maxage"), said.get(b"max-age"))
    fresh_s = next((n for n in map(seconds, limits) if n is not None), 0)
    fresh_s -= seconds(fields.get(b"age")) or 0
    if status >= 400:
        fresh_s = min(fresh_s, NEGATIVE_S)
    if fresh_s <= 0:
        return Life(is_public=status < 400, may_be_kept=False, fresh_s=0.0)
    # What must be asked for again when it is old is never served past its life.
    is_strict = said.keys() & {b"must-revalidate", b"proxy-revalidate", b"s-maxage"}
    stale_s = 0 if is_strict else seconds(said.get(b"stale-while-revalidate")) or 0
    return Life(is_public=True, may_be_kept=True, fresh_s=fresh_s, stale_s=stale_s)


def _of_an_error(to_us: Mapping[bytes, bytes]) -> Life:
    error_s = 0 if b"no-store" in to_us else seconds(to_us.get(b"max-age")) or 0
    return replace(_PRIVATE, error_s=min(error_s, NEGATIVE_S)) if error_s else _PRIVATE


def is_passing(fields: Fields) -> bool:
    """Return whether an answer is not to be kept though the next to the same request may be."""
    return b"no-store" in directives(fields.get(b"surrogate-control", b""))


# --- Negotiation and validation ----------------------------------------------------------


def _choices(value: bytes) -> Iterable[tuple[bytes, Sequence[bytes]]]:
    """Yield each choice of an Accept or Accept-Encoding with its parameters."""
    for part in value.split(b","):
        name, *parameters = part.split(b";")
        yield name.strip().lower(), parameters


def _weight(parameters: Sequence[bytes]) -> float:
    """Return how much a choice is liked, 0 to 1; 0 where that cannot be read."""
    said = [p.strip()[2:].strip() for p in parameters if p.strip()[:2].lower() == b"q="]
    if not said:
        return 1.0
    return float(said[-1]) if _QUALITY.fullmatch(said[-1]) else 0.0


def _weighted(value: bytes) -> Iterable[tuple[bytes, bool]]:
    """Yield each choice of an Accept and whether it is wanted at all."""
    for name, parameters in _choices(value):
        yield name, _weight(parameters) > 0


@_remembered
def takes_gzip(accept_encoding: bytes) -> bool:
    """Return whether gzip is named in an Accept-Encoding, and liked no less than no encoding."""
    if len(accept_encoding) > _READABLE:
        return False
    weights = {name: _weight(parameters) for name, parameters in _choices(accept_encoding)}
    weight = max(weights.get(b"gzip", 0.0), weights.get(b"x-gzip", 0.0))
    return weight > 0 and weight >= weights.get(b"identity", 0.0)


@_remembered
def is_plain(accept: bytes) -> bool:
    """Return whether an Accept takes anything: `*/*` without a word of refusal."""
    choices = list(_weighted(accept))
    return all(is_wanted for _, is_wanted in choices) and any(n == b"*/*" for n, _ in choices)


def names(accept: bytes, media_type: bytes) -> bool:
    """Return whether an Accept surely takes a media type."""
    if len(accept) > _READABLE:
        return False
    return is_plain(accept) or _names(accept + b"\n" + media_type)


@_remembered
def _names(both: bytes) -> bool:
    accept, _, media_type = both.rpartition(b"\n")
    choices = list(_weighted(accept))
    fitting = {media_type, media_type.partition(b"/")[0] + b"/*", b"*/*"}
    return all(is_wanted for _, is_wanted in choices) and any(n in fitting for n, _ in choices)


def is_known(if_none_match: bytes, etag: bytes) -> bool:
    """Return whether If-None-Match names a tag, by the weak comparison."""
    if if_none_match == etag:
        return True
    if if_none_match.strip() == b"*":
        return True
    opaque = etag.removeprefix(b"W/")
    if not opaque or len(if_none_match) > _READABLE:
        return False
    return any(part.strip().removeprefix(b"W/") == opaque for part in if_none_match.split(b","))
