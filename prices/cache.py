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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Generic, TypeVar

import msgspec
import redis

from prices import asked, cadences, failures, hit_counts, kept, locks, redis_clients, tracing
from prices.answers import Answer
from prices.errors import PricesError, UpstreamError
from prices.kept import Held as Held
from prices.kept import encode as encode
from prices.kept import read_many as read_many
from prices.local_copies import Read
from prices.redis_clients import RedisAwayError
from prices.types import Period, Resolution

logger = logging.getLogger(__name__)

A = TypeVar("A", bound=Answer)
V = TypeVar("V")

# `force_refresh` renews what is older than this: one call a value and 15 s at most.
FORCED_AGE_S = 15.0
# How long an answer lives that a better one may follow in a moment.
SECOND_BEST_S = 60
# How long those wait who miss while another loads.
WAIT_S = 8.0
POLL_S = 0.05
UNKNOWN_S = 300
_FEW = 10


@dataclass(frozen=True, slots=True)
class Lifetime:
    """`fresh_s` as the contract says; `good_s` the last-known-good copy."""

    kind: str
    fresh_s: int
    good_s: int = 86_400


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


MaxAge = float | Mapping[str, float | None] | None
# Whether what a key holds is still about what the key stands for now.
Fits = Callable[[str, A], bool]
# Loads some keys at once: answers or errors by key.
Load = Callable[[Sequence[str]], Mapping[str, A | PricesError]]

_local = kept.local
# Ticks read the same quotes again and again, most of them unchanged.
_read: dict[type[Answer], Read] = {}
_flights: dict[str, Future[Any]] = {}
_flights_lock = Lock()


def _anything(key: str, value: Answer) -> bool:
    return True


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
    fits: Fits[A] = _anything,
) -> Held[A]:
    """Return the answer under one key; see `fetch_many`. Raises what the load raises."""
    result = fetch_many(
        [key], lambda keys: {key: load()}, answer, lifetime, max_age_s=max_age_s, fits=fits
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
    fits: Fits[A] = _anything,
    is_counted: bool = True,
    heeds_failures: bool = True,
) -> dict[str, Held[A] | PricesError]:
    """Return the answer, or the error, under each key, loading what is missing once for all.

    What is older than `max_age_s` (for all keys, or by key) counts as missing,
    but is given all the same, within its life, where loading fails. What does not
    fit, because its key has come to mean another asset, is missing altogether.
    Past its life a last-known-good copy is given, marked stale, where the load
    raises UpstreamError; other errors are answers in their own right. What failed
    to load a moment ago is not tried again, unless sources that failed need not be heeded.
    """
    flight = _Flight(load, answer, lifetime, max_age_s, fits, heeds_failures)
    held = {key: h for key, h in read_many(keys, answer).items() if fits(key, h.value)}
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


def _life_s(value: Answer, lifetime: Lifetime) -> float:
    """Return how long a new answer lives: no longer than what it says of the present is true."""
    life_s = float(lifetime.fresh_s)
    if value.is_second_best():
        life_s = min(life_s, SECOND_BEST_S)
    now = datetime.now(UTC)
    until = value.holds_until(now, cadences.of(value.source))
    return life_s if until is None else min(life_s, (until - now).total_seconds())


def newest(keys: Collection[str], answer: type[A]) -> dict[str, A]:
    """Return the newest copy of each key, a day old at most and as it was stored."""
    names = list(keys)
    if not names:
        return {}
    # Of a few keys the good copies are asked for with them: a second question costs more.
    asked = names + [f"good:{name}" for name in names] if len(names) <= _FEW else names
    try:
        bodies: list[Any] = redis_clients.ask(lambda r: r.mget(asked))
    except RedisAwayError:
        held = {key: one.value for key, one in read_many(names, answer).items()}
    else:
        held = {
            name: value
            for name, body in zip(names, bodies, strict=False)
            if body and (value := _read_again(name, body, answer)) is not None
        }
        if len(asked) > len(names):
            good = zip(names, bodies[len(names) :], strict=True)
            old = {n: kept.decoded(n, body, answer) for n, body in good if n not in held}
            return {key: as_copy(value) for key, value in old.items() if value is not None} | held
    missing = [name for name in names if name not in held]
    return {key: one.value for key, one in _last_good(missing, answer).items()} | held


def _read_again(key: str, body: bytes | str, answer: type[A]) -> A | None:
    read = _read.setdefault(answer, Read(most=2000))
    return read.value(key, body, lambda: kept.decoded(key, body, answer))


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


@dataclass(frozen=True, slots=True)
class _Begun(Generic[A]):
    """What is known as a load begins: errors of a moment ago, our locks, and what is there."""

    failed: Mapping[str, PricesError]
    locked: list[str]
    fresh: Mapping[str, Held[A]]


@dataclass(slots=True)
class _Flight(Generic[A]):
    """One caller's loading of some keys: its own share, and waiting for the shares of others."""

    load: Load[A]
    answer: type[A]
    lifetime: Lifetime
    max_age_s: MaxAge
    fits: Fits[A]
    heeds_failures: bool = True
    locks: locks.Locks = field(default_factory=locks.Locks)
    # As others shall see what was loaded.
    stored: dict[str, Held[A]] = field(default_factory=dict)

    def results(self, keys: Sequence[str]) -> dict[str, Held[A] | PricesError]:
        mine, others = self._board(keys)
        results: dict[str, Held[A] | PricesError] = {}
        landed: list[str] = []
        try:
            begun = self._begin(keys, mine)
            results |= begun.failed
            results |= self._fly(begun)
            # Who waits here for what is loaded need not wait for what others load.
            self._land(begun.locked, results)
            landed = begun.locked
            left = [key for key in mine if key not in set(landed) | begun.failed.keys()]
            results |= self._wait(left)
        finally:
            self._land([key for key in mine if key not in set(landed)], results)
        for key, future in others.items():
            if key in results:
                continue
            try:
                results[key] = future.result(timeout=WAIT_S)
            except FutureTimeoutError:
                results[key] = _still_loading(key)
        return results

    def _begin(self, keys: Sequence[str], mine: Sequence[str]) -> _Begun[A]:
        """Learn in one go which keys failed to load a moment ago, lock the rest, look again."""

        def question(r: redis.Redis) -> list[Any]:
            pipe = r.pipeline(transaction=False)
            pipe.mget(failures.names(keys))
            self.locks.take(pipe, mine)
            if mine:
                kept.ask_for(pipe, mine)
            return list(pipe.execute())

        try:
            notes, *told = redis_clients.ask(question)
        except RedisAwayError:
            # Nobody to agree with: this process loads for itself.
            failed = self._heeded(failures.remembered_here(keys))
            locked = [key for key in mine if key not in failed]
            return _Begun(failed, locked, self._fitting(kept.read_here(locked, self.answer)))
        failed = self._heeded(failures.told(keys, notes))
        locked = self.locks.taken(mine, told[: len(mine)])
        self.locks.release([key for key in locked if key in failed])
        locked = [key for key in locked if key not in failed]
        fresh = (
            kept.read_there(mine, told[len(mine)], told[len(mine) + 1 :], self.answer)
            if mine
            else {}
        )
        return _Begun(failed, locked, self._fitting(fresh))

    def _heeded(self, failed: Mapping[str, PricesError]) -> dict[str, PricesError]:
        return {
            key: error
            for key, error in failed.items()
            if self.heeds_failures or not isinstance(error, UpstreamError)
        }

    def _board(self, keys: Sequence[str]) -> tuple[list[str], dict[str, Future[Any]]]:
        """Claim in this process the keys nobody here is loading; return the others' futures."""
        mine, others = [], {}
        with _flights_lock:
            for key in keys:
                if key in _flights:
                    others[key] = _flights[key]
                else:
                    _flights[key] = Future()
                    mine.append(key)
        return mine, others

    def _land(self, keys: Sequence[str], results: Mapping[str, Held[A] | PricesError]) -> None:
        for key in keys:
            with _flights_lock:
                future = _flights.pop(key)
            result = results.get(key) or UpstreamError("cache", f"loading {key} broke off")
            if key in self.stored:
                result = self.stored[key]
            elif isinstance(result, Held):
                # Whoever waited did not cause the call: theirs is the stored body.
                copy = msgspec.structs.replace(result.value, cached=True)
                result = Held(copy, encode(copy), result.life_s, was_hit=True)
            future.set_result(result)

    def _fly(self, begun: _Begun[A]) -> dict[str, Held[A] | PricesError]:
        """Load the keys that are locked for us, and were not stored between miss and lock."""
        results: dict[str, Held[A] | PricesError] = {
            key: begun.fresh[key] for key in begun.locked if key in begun.fresh
        }
        absent = [key for key in begun.locked if key not in results]
        self.locks.release(list(results))
        if absent:
            with self.locks.renewed(absent):
                try:
                    results |= self._load(absent)
                finally:
                    # What was stored was freed with it.
                    self.locks.release([key for key in absent if key not in self.stored])
        return results

    def _fresh(self, keys: Sequence[str]) -> dict[str, Held[A]]:
        return self._fitting(read_many(keys, self.answer))

    def _fitting(self, held: Mapping[str, Held[A]]) -> dict[str, Held[A]]:
        return self.recent({key: h for key, h in held.items() if self.fits(key, h.value)})

    def recent(self, held: Mapping[str, Held[A]]) -> dict[str, Held[A]]:
        """Return what is no older than the caller takes: some is, though its key still lives.

        Nobody takes what is not as fresh any more as it was told to be.
        """
        told = {key: h for key, h in held.items() if h.life_s > 0}
        ages = self.max_age_s
        most = ages if isinstance(ages, Mapping) else dict.fromkeys(told, ages)
        old = asked.too_old({key: h.value for key, h in told.items()}, most)
        return {key: h for key, h in told.items() if key not in old}

    def _load(self, keys: Sequence[str]) -> dict[str, Held[A] | PricesError]:
        loaded: Mapping[str, A | PricesError]
        try:
            loaded = self.load(keys)
        except PricesError as exc:
            loaded = dict.fromkeys(keys, exc)
        results: dict[str, Held[A] | PricesError] = {}
        new: dict[str, A] = {}
        for key in keys:
            value = loaded[key]
            if isinstance(value, PricesError):
                results[key] = value
            elif value.stale:
                # Made of what is past its life: not to be kept as if it were new.
                results[key] = Held(value, encode(value), 0.0, was_hit=False)
            else:
                new[key] = value
        lives = {key: _life_s(value, self.lifetime) for key, value in new.items()}
        self.stored |= kept.store(
            new, lives, self.lifetime.good_s, lambda pipe: self.locks.free(pipe, list(new))
        )
        for key, value in new.items():
            life_s = self.stored[key].life_s
            results[key] = Held(value, encode(value), life_s, was_hit=False)
        failures.remember({k: v for k, v in results.items() if isinstance(v, PricesError)})
        return results

    def _wait(self, keys: Sequence[str]) -> dict[str, Held[A] | PricesError]:
        """Poll for what another process loads, until it is stored, failed or given up."""
        results: dict[str, Held[A] | PricesError] = {}
        waiting = list(keys)
        deadline = time.monotonic() + WAIT_S
        while waiting and time.monotonic() < deadline:
            # The locks first: one goes only after its value is stored, so a lock
            # that is gone and a value that is missing mean a failed load.
            locked = locks.held(waiting)
            results |= self._fresh(waiting)
            gone = [key for key in waiting if key not in results and key not in locked]
            if gone:
                # Neither stored nor failed: its loader died. The next request loads.
                results |= {key: _still_loading(key) for key in gone}
                results |= failures.remembered(gone)
            waiting = [key for key in waiting if key not in results]
            if waiting:
                time.sleep(POLL_S)
        return results | {key: _still_loading(key) for key in waiting}


def _still_loading(key: str) -> UpstreamError:
    return UpstreamError("cache", f"{key} is still being loaded", retry_after_s=2)
