"""The cache: every key, every lifetime, and one upstream call for all who miss together.

A key of the contract holds the answer's JSON itself, ready to be sent, and
lives as long as the contract says, with `sent:KEY` beside it (sidecar.py). `good:KEY`
keeps the same bytes for a day, for when no source can be asked; `failed:KEY` remembers for some
seconds that loading failed, so that an outage costs one call now and then;
`lock:KEY` says that some process is loading. What comes back from Redis is
decoded by the answer's type: bytes of any other shape are a miss.

With Redis away the process's own copies answer, in this order: a copy within
its life; a load from upstream (the budget is then a tenth); the last copy,
marked stale; the error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import msgspec

from prices import cadences, failures, hit_counts, kept, redis_clients, tracing
from prices.answers import Answer
from prices.errors import PricesError, UpstreamError
from prices.flights import Ahead as Ahead
from prices.flights import Fits, Flight, Load, MaxAge, anything, nothing
from prices.flights import Lifetime as Lifetime
from prices.kept import Behind as Behind
from prices.kept import Held as Held
from prices.kept import encode as encode
from prices.kept import read_many as read_many
from prices.local_copies import Read
from prices.redis_clients import RedisAwayError
from prices.types import Period, Resolution

logger = logging.getLogger(__name__)

A = TypeVar("A", bound=Answer)

# `force_refresh` renews what is older than this: one call a value and 15 s at most.
FORCED_AGE_S = 15.0
UNKNOWN_S = 300
_FEW = 10


QUOTE = Lifetime("price", 60)
HISTORY = Lifetime("history", 1800)
CANDLES = Lifetime("ohlcv", 1800)
LIST = Lifetime("list", 3600)
# Anybody can make up queries: no copies of a day. The catalogue answers symbols at no cost.
COIN_SEARCH = Lifetime("search", 600, good_s=0)
SYMBOL_SEARCH = Lifetime("search", 60, good_s=0)
PAIRS = Lifetime("pairs", 86_400)


def price_key(symbol: str) -> str:
    return f"price:{symbol}"


def history_key(symbol: str, period: Period) -> str:
    return f"history:{symbol}:{period}"


def candles_key(symbol: str, period: Period, resolution: Resolution | None) -> str:
    key = f"ohlcv:{symbol}:{period}"
    return f"{key}:{resolution}" if resolution else key


def top_key(limit: int, page: int = 1) -> str:
    # The contract names the first page only; more pages stay out of its way.
    return f"crypto:top:{limit}" if page == 1 else f"list:crypto:top:{limit}:{page}"


def list_key(name: str) -> str:
    return f"list:{name}"


_local = kept.local
# Ticks read the same quotes again and again, most of them unchanged.
_read: dict[type[Answer], Read[Any]] = {}


# What whoever let this request in has just found nothing under.
absent: ContextVar[frozenset[str]] = ContextVar("absent", default=frozenset())


def read(key: str, answer: type[A]) -> Held[A] | None:
    """Return what is held under a key within its life, or None."""
    return read_many([key], answer).get(key)


def fetch(
    key: str,
    load: Callable[[], A],
    answer: type[A],
    lifetime: Lifetime,
    *,
    max_age_s: float | None = None,
    fits: Fits[A] = anything,
    ahead: Ahead = nothing,
) -> Held[A]:
    """Return the answer under one key; see `fetch_many`. Raises what the load raises."""
    result = fetch_many(
        [key],
        lambda keys: {key: load()},
        answer,
        lifetime,
        max_age_s=max_age_s,
        fits=fits,
        ahead=ahead,
    )[key]
    if isinstance(result, PricesError):
        raise result
    return result


def fetch_many(
    keys: Collection[str],
    load: Load[A],
    answer: type[A],
    lifetime: Lifetime,
    *,
    max_age_s: MaxAge = None,
    fits: Fits[A] = anything,
    is_counted: bool = True,
    heeds_failures: bool = True,
    ahead: Ahead = nothing,
    behind: Behind | None = None,
) -> dict[str, Held[A] | PricesError]:
    """Return the answer, or the error, under each key, loading what is missing once for all.

    What is older than `max_age_s` (for all keys, or by key) counts as missing,
    but is given all the same, within its life, where loading fails. What does not
    fit, because its key has come to mean another asset, is missing altogether.
    Past its life a last-known-good copy is given, marked stale, where the load
    raises UpstreamError; other errors are answers in their own right. What failed
    to load a moment ago is not tried again, unless sources that failed need not be heeded.
    The load begins with what lies under the keys that `ahead` names for its own; they are read
    with its lock. What `behind` names is read with the storing of what was loaded.
    """
    flight = Flight(load, answer, lifetime, max_age_s, fits, heeds_failures, ahead, behind)
    # What was looked for in vain a moment ago is looked for again with the lock.
    read = {} if absent.get().issuperset(keys) else read_many(keys, answer)
    held = {key: h for key, h in read.items() if fits(key, h.value)}
    recent = flight.recent(held)
    missing = [key for key in dict.fromkeys(keys) if key not in recent]
    if is_counted:
        hit_counts.count(lifetime.kind, hits=len(set(keys)) - len(missing), misses=len(missing))
    tracing.looked_up({key: "miss" if key in missing else "hit" for key in keys})
    if not missing:
        return dict(held)
    results = flight.results(missing)
    failed = [key for key in missing if isinstance(results[key], UpstreamError)]
    fallback = {key: held[key] for key in failed if key in held}
    fallback |= {
        key: h
        for key, h in _last_good([key for key in failed if key not in held], answer).items()
        if fits(key, h.value)
    }
    tracing.looked_up({key: "stale" if h.value.stale else "hit" for key, h in fallback.items()})
    return {**held, **results, **fallback}


def discard(key: str) -> None:
    """Forget that loading a key failed, so that the next request tries again."""
    failures.forget_here(key)
    try:
        redis_clients.ask(lambda r: r.delete(f"failed:{key}"))
    except RedisAwayError:
        return  # It lapses within seconds anyway.


def store(key: str, value: Answer, life_s: float, good_s: int = 0) -> bytes:
    """Put an answer under a key for `life_s`, as later readers shall see it; return its bytes."""
    return kept.store({key: value}, {key: life_s}, good_s)[key].body


def note_read(key: str, body: bytes, life_s: float) -> None:
    """Keep in this process what was read past us, for when Redis is away."""
    _local.put(key, body, life_s)


def note_use(keys: Collection[str]) -> set[str]:
    """Let what is held here under keys go last; return those under which nothing is."""
    return _local.use(keys)


def remember_unknown(asked: str) -> None:
    """Let no source be asked for a symbol, as folded, again for five minutes."""
    _unknown_here[asked] = time.monotonic() + UNKNOWN_S
    if len(_unknown_here) > 10_000:
        _unknown_here.pop(next(iter(_unknown_here)))
    try:
        redis_clients.ask(lambda r: r.set(f"unknown:{asked}", b"1", ex=UNKNOWN_S))
    except RedisAwayError:
        return  # This process remembers.


def is_known_unknown(asked: str) -> bool:
    """Return whether no source knew a symbol within the last five minutes."""
    if _unknown_here.get(asked, 0.0) > time.monotonic():
        return True
    try:
        return bool(redis_clients.ask(lambda r: r.exists(f"unknown:{asked}")))
    except RedisAwayError:
        return False


_unknown_here: dict[str, float] = {}


def names_of_newest(keys: Sequence[str]) -> list[str]:
    """Return the keys that `newest` asks for first."""
    # Of a few keys the good copies are asked for with them: a second question costs more.
    return [*keys, *(f"good:{key}" for key in keys)] if len(keys) <= _FEW else list(keys)


def newest(keys: Collection[str], answer: type[A]) -> dict[str, A]:
    """Return the newest copy of each key, a day old at most and as it was stored."""
    names = list(keys)
    if not names:
        return {}
    asked = names_of_newest(names)
    read = _read_before(answer)
    try:
        bodies = redis_clients.mget(asked)
    except RedisAwayError:
        held = {key: one.value for key, one in read_many(names, answer).items()}
    else:
        held = {
            name: value
            for name, body in zip(names, bodies, strict=False)
            if body and (value := read.value(name, body)) is not None
        }
        if len(asked) > len(names):
            good = zip(names, bodies[len(names) :], strict=True)
            old = {n: kept.decoded(n, body, answer) for n, body in good if n not in held}
            return {key: as_copy(value) for key, value in old.items() if value is not None} | held
    missing = [name for name in names if name not in held]
    return {key: one.value for key, one in _last_good(missing, answer).items()} | held


def _read_before(answer: type[A]) -> Read[A]:
    read = _read.get(answer)
    if read is None:
        read = _read[answer] = Read(partial(kept.decoded, answer=answer), most=2000)
    return read


def last_good(key: str, answer: type[A]) -> A | None:
    """Return what a key held within the last day, marked stale."""
    held = _last_good([key], answer).get(key)
    return held.value if held else None


def as_copy(value: A, *, is_stale: bool = True) -> A:
    """Return an answer as it is given past its life: how fresh it is, is judged at this moment."""
    told = value.as_of_now(datetime.now(UTC), cadences.of(value.source))
    stale = value.stale or is_stale
    if told.cached and told.stale == stale:
        return told
    return msgspec.structs.replace(told, cached=True, stale=stale)


def _last_good(keys: Iterable[str], answer: type[A]) -> dict[str, Held[A]]:
    """Return the last-known-good copies, marked stale."""
    names = list(keys)
    if not names:
        return {}
    try:
        bodies = redis_clients.ask(lambda r: r.mget([f"good:{name}" for name in names]))
        values = {n: kept.decoded(n, body, answer) for n, body in zip(names, bodies, strict=True)}
    except RedisAwayError:
        values = {
            name: kept.decoded(name, copy.body, answer)
            for name in names
            if (copy := _local.get(name))
        }
    stale = {}
    for name, value in values.items():
        if value is not None:
            old = as_copy(value)
            stale[name] = Held(old, encode(old), 0.0, was_hit=True)
    return stale
