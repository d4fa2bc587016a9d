"""What Redis holds under the keys of some symbols, looked at without loading anything.

The cache itself answers requests; this answers whoever wants to know how it
stands, and lets go of names that mean something else from now on.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import redis

from prices import cache, kept, redis_clients
from prices.answers import Answer, HistoryAnswer, QuoteAnswer
from prices.redis_clients import RedisAwayError
from prices.types import Period, Resolution

A = TypeVar("A", bound=Answer)

# Another word whenever symbols may mean something else than before.
_NAMES = "lokifi:names"
# Another word whenever something was dropped before its life ended.
_DROPPED = "lokifi:dropped"


@dataclass(frozen=True, slots=True)
class KeyState:
    """How one key stands. A life is what is left of it in seconds; None where there is none.

    `good` is the last-known-good copy, `failure` what went wrong when it was last loaded.
    """

    key: str
    size: int
    life_s: float | None
    good_life_s: float | None
    failure: str
    failure_life_s: float | None
    lock_life_s: float | None

    @property
    def is_there(self) -> bool:
        lives = (self.life_s, self.good_life_s, self.failure_life_s, self.lock_life_s)
        return any(life is not None for life in lives)


@dataclass(frozen=True, slots=True)
class Server:
    """How the Redis server itself stands."""

    version: str
    memory_bytes: int
    memory_limit_bytes: int
    keys: int
    clients: int
    uptime_s: int


def quotes(wanted: Collection[str]) -> dict[str, QuoteAnswer]:
    """Return the newest quote held for each symbol, marked stale past its life: one MGET.

    Raises RedisAwayError.
    """
    return _newest({symbol: cache.price_key(symbol) for symbol in wanted}, QuoteAnswer)


def quotes_here(wanted: Collection[str]) -> dict[str, QuoteAnswer]:
    """Return the newest quote that this process itself has of each symbol, as it was stored."""
    copies = {name: kept.local.get(cache.price_key(name)) for name in wanted}
    read = {name: _decoded(copy.body, QuoteAnswer) for name, copy in copies.items() if copy}
    return {name: value for name, value in read.items() if value is not None}


def histories(symbol: str) -> dict[Period, HistoryAnswer]:
    """Return the newest history held for each period: one MGET. Raises RedisAwayError."""
    keys = {str(period): cache.history_key(symbol, period) for period in Period}
    return {Period(name): value for name, value in _newest(keys, HistoryAnswer).items()}


def states(symbol: str) -> list[KeyState]:
    """Return how every key of a symbol stands that has anything to tell. Raises RedisAwayError."""
    keys = list(_keys(symbol))

    def question(r: redis.Redis) -> list[Any]:
        pipe = r.pipeline(transaction=False)
        for key in keys:
            pipe.strlen(key)
            pipe.get(f"failed:{key}")
            for name in (key, f"good:{key}", f"failed:{key}", f"lock:{key}"):
                pipe.pttl(name)
        return list(pipe.execute())

    answers = iter(redis_clients.ask(question))
    found = [_state(key, *(next(answers) for _ in range(6))) for key in keys]
    return [state for state in found if state.is_there]


def failures(keys: Mapping[str, str]) -> dict[str, str]:
    """Return why loading last failed, by the name of a key, where that is still remembered.

    Raises RedisAwayError.
    """
    if not keys:
        return {}
    notes: list[Any] = redis_clients.ask(lambda r: r.mget([f"failed:{k}" for k in keys.values()]))
    found = zip(keys, notes, strict=True)
    return {name: message for name, note in found if (message := _message(note))}


def forget(symbols: Collection[str]) -> None:
    """Drop all that is held under symbols that mean another asset from now on."""
    names = [
        f"{prefix}{key}"
        for symbol in symbols
        for key in _keys(symbol)
        for prefix in ("", "sent:", "good:", "failed:")
    ]
    names += map(ends_name, symbols)
    try:
        redis_clients.ask(lambda r: r.delete(*names, cache.list_key("mapping")))
    except RedisAwayError:
        return  # What comes back with Redis says by its ref whose it is, and lapses.
    note_names()


def ends_name(symbol: str) -> str:
    """Return the key under which lies with which prices a symbol's series end; see ends.py."""
    return f"endings:{symbol}"


def note_names() -> None:
    """Let whoever keeps answers by their symbols know that those may mean others now."""
    _change(_NAMES)


def names_version() -> bytes:
    """Return a word that is another one once symbols may mean others; empty where none is known.

    Raises RedisAwayError.
    """
    return _word(_NAMES)


def drop(keys: Collection[str]) -> bool:
    """Let go of what is not to be given any more, everywhere; return whether anything was."""
    if not kept.drop(keys):
        return False
    note_dropped()
    return True


def note_dropped() -> None:
    """Let whoever keeps answers know that some are not to be given any more."""
    _change(_DROPPED)


def dropped_version() -> bytes:
    """Return a word that is another one once something was dropped; empty where nothing was.

    Raises RedisAwayError.
    """
    return _word(_DROPPED)


def _change(key: str) -> None:
    try:
        redis_clients.ask(lambda r: r.set(key, secrets.token_hex(6)))
    except RedisAwayError:
        return  # What others keep lapses.


def _word(key: str) -> bytes:
    word: Any = redis_clients.ask(lambda r: r.get(key))
    return word or b""


def server() -> Server:
    """Return how the Redis server stands. Raises RedisAwayError."""

    def question(r: redis.Redis) -> tuple[dict[str, Any], int]:
        return dict(r.info()), int(r.dbsize())

    info, keys = redis_clients.ask(question)
    return Server(
        version=f"{info.get('server_name', 'redis')} "
        f"{info.get('valkey_version') or info.get('redis_version', '')}",
        memory_bytes=int(info.get("used_memory", 0)),
        memory_limit_bytes=int(info.get("maxmemory", 0)),
        keys=keys,
        clients=int(info.get("connected_clients", 0)),
        uptime_s=int(info.get("uptime_in_seconds", 0)),
    )


def _keys(symbol: str) -> Iterator[str]:
    yield cache.price_key(symbol)
    for period in Period:
        yield cache.history_key(symbol, period)
    for period in Period:
        yield cache.candles_key(symbol, period, None)
        for resolution in Resolution:
            yield cache.candles_key(symbol, period, resolution)


def _newest(keys: dict[str, str], answer: type[A]) -> dict[str, A]:
    """Return what is held by name: the answer itself, else its last-known-good copy."""
    if not keys:
        return {}
    wanted = [*keys.values(), *(f"good:{key}" for key in keys.values())]
    bodies: list[Any] = redis_clients.ask(lambda r: r.mget(wanted))
    found = {}
    for at, name in enumerate(keys):
        value = _decoded(bodies[at], answer)
        if value is None and (old := _decoded(bodies[at + len(keys)], answer)):
            value = cache.as_copy(old)
        if value is not None:
            found[name] = value
    return found


def _decoded(body: bytes | None, answer: type[A]) -> A | None:
    try:
        return msgspec.json.decode(body, type=answer) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # Not ours to show; whoever asks for the answer logs it.


def _state(
    key: str, size: int, failure: bytes | None, life: int, good: int, failed: int, lock: int
) -> KeyState:
    return KeyState(
        key, size, _life_s(life), _life_s(good), _message(failure), _life_s(failed), _life_s(lock)
    )


def _life_s(pttl: int) -> float | None:
    # -2: no such key. -1: one without an end, which no key of ours is.
    return pttl / 1000 if pttl >= 0 else None


def _message(note: bytes | None) -> str:
    try:
        noted = msgspec.json.decode(note or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return str(noted.get("message", ""))
