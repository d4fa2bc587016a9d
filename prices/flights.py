"""One load for all who miss together: flights in this process, locks between processes.

Who is first to miss a key in a process leads its flight, and takes the key's lock with its
first question; who misses it meanwhile is given what came of that. Who finds a lock that is
another process's looks until that process has stored an answer or an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar

import msgspec
import redis

from prices import asked, cadences, failures, kept, locks, redis_clients
from prices.answers import Answer
from prices.errors import PricesError, UpstreamError
from prices.kept import Held, encode, read_many
from prices.redis_clients import RedisAwayError

A = TypeVar("A", bound=Answer)

# How long an answer lives that a better one may follow in a moment.
SECOND_BEST_S = 60
# How long those wait who miss while another loads.
WAIT_S = 8.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Lifetime:
    """`fresh_s` as the contract says; `good_s` the last-known-good copy."""

    kind: str
    fresh_s: int
    good_s: int = 86_400


MaxAge = float | Mapping[str, float | None] | None
# Whether what a key holds is still about what the key stands for now.
Fits = Callable[[str, A], bool]
# Loads some keys at once: answers or errors by key.
Load = Callable[[Sequence[str]], Mapping[str, A | PricesError]]

# Which keys of Redis a load of some keys begins with.
Ahead = Callable[[Sequence[str]], Sequence[str]]

_flights: dict[str, Future[Any]] = {}
_flights_lock = Lock()


def anything(key: str, value: Answer) -> bool:
    return True


def nothing(keys: Sequence[str]) -> Sequence[str]:
    return ()


def _life_s(value: Answer, lifetime: Lifetime) -> float:
    """Return how long a new answer lives: no longer than what it says of the present is true."""
    life_s = float(lifetime.fresh_s)
    if value.is_second_best():
        life_s = min(life_s, SECOND_BEST_S)
    now = datetime.now(UTC)
    until = value.holds_until(now, cadences.of(value.source))
    return life_s if until is None else min(life_s, (until - now).total_seconds())


@dataclass(frozen=True, slots=True)
class _Begun(Generic[A]):
    """What is known as a load begins: errors of a moment ago, our locks, and what is there.

    `ahead` is what the load will ask Redis for first.
    """

    failed: Mapping[str, PricesError]
    locked: list[str]
    fresh: Mapping[str, Held[A]]
    ahead: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(slots=True)
class Flight(Generic[A]):
    """One caller's loading of some keys: its own share, and waiting for the shares of others."""

    load: Load[A]
    answer: type[A]
    lifetime: Lifetime
    max_age_s: MaxAge
    fits: Fits[A]
    heeds_failures: bool = True
    ahead: Ahead = nothing
    behind: kept.Behind | None = None
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
        ahead = list(self.ahead(mine)) if mine else []
        names = [*failures.names(keys), *ahead]
        try:
            notes, *told = redis_clients.ask(partial(self._first_question, names, mine))
        except RedisAwayError:
            # Nobody to agree with: this process loads for itself.
            failed = self._heeded(failures.remembered_here(keys))
            locked = [key for key in mine if key not in failed]
            return _Begun(failed, locked, self._fitting(kept.read_here(locked, self.answer)))
        failed = self._heeded(failures.told(keys, notes[: len(keys)]))
        locked = self.locks.taken(mine, told[: len(mine)])
        self.locks.release([key for key in locked if key in failed])
        locked = [key for key in locked if key not in failed]
        fresh = (
            kept.read_there(mine, told[len(mine)], told[len(mine) + 1 :], self.answer)
            if mine
            else {}
        )
        found_ahead = dict(zip(ahead, notes[len(keys) :], strict=True))
        return _Begun(failed, locked, self._fitting(fresh), found_ahead)

    def _first_question(self, names: Sequence[str], mine: Sequence[str], r: redis.Redis) -> Any:
        pipe = r.pipeline(transaction=False)
        pipe.mget(names)
        self.locks.take(pipe, mine)
        if mine:
            kept.ask_for(pipe, mine)
        return pipe.execute()

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
            with self.locks.renewed(absent), redis_clients.reading_ahead(begun.ahead):
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
            new,
            lives,
            self.lifetime.good_s,
            lambda pipe: self.locks.free(pipe, list(new)),
            self.behind,
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
