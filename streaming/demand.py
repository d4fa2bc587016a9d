"""Which symbols anyone follows now: leases in Redis, on Redis's clock.

A server process writes all it holds once an interval, and a symbol's first
follower at once. Nobody ever has to say goodbye: what is not renewed lapses, so
a killed server's symbols are forgotten by themselves.

    lokifi:demand                  sorted set: symbol, and until when it is wanted (ms)
    lokifi:demand:processes        sorted set: process, and until when it counts as alive (ms)
    lokifi:demand:counts:PROCESS   hash: symbol, and how many follow it there
    lokifi:demand:figures:PROCESS  JSON: what that process counts (streaming/hub.py, `figures`)
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import redis
import redis.asyncio
from redis.client import Pipeline
from redis.exceptions import RedisError

from prices import redis_clients

logger = logging.getLogger(__name__)

WANTED = "lokifi:demand"
PROCESSES = "lokifi:demand:processes"
_COUNTS = "lokifi:demand:counts:"
_FIGURES = "lokifi:demand:figures:"
RETRY_S = 1.0

# KEYS: wanted, processes, counts, figures. ARGV: process, lease in ms, figures or "",
# then symbol and count by turns. With figures all that this process said before is replaced.
_RENEW = """
local now = redis.call('TIME')
local until_ms = now[1] * 1000 + math.floor(now[2] / 1000) + tonumber(ARGV[2])
if ARGV[3] ~= '' then
  redis.call('DEL', KEYS[3])
  redis.call('SET', KEYS[4], ARGV[3])
  redis.call('PEXPIRE', KEYS[4], ARGV[2])
end
for i = 4, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], 'GT', until_ms, ARGV[i])
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
redis.call('ZADD', KEYS[2], until_ms, ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return until_ms
"""

# KEYS: wanted, processes.
_PRUNE = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
return {redis.call('ZRANGE', KEYS[1], 0, -1), redis.call('ZRANGE', KEYS[2], 0, -1)}
"""


def process_name() -> str:
    """Return a name for this process that no other, before or after it, bears."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Leases:
    """What one process holds; the hub's side of demand."""

    def __init__(self, client: redis.asyncio.Redis, lease_s: float) -> None:
        self.process = process_name()
        self._lease_ms = int(lease_s * 1000)
        self._script = client.register_script(_RENEW)

    def last(self, lease_s: float) -> None:
        """Let leases written from now on last that long."""
        self._lease_ms = int(lease_s * 1000)

    async def renew(
        self, counts: Mapping[str, int], figures: Mapping[str, int] | None = None
    ) -> None:
        """Say all that is followed here, and what is counted. Raises RedisError."""
        await self._write(msgspec.json.encode(figures or {}), counts)

    async def add(self, counts: Mapping[str, int]) -> None:
        """Say that symbols have their first follower here. Raises RedisError."""
        await self._write(b"", counts)

    async def _write(self, figures: bytes, counts: Mapping[str, int]) -> None:
        pairs = [word for symbol, count in counts.items() for word in (symbol, count)]
        await self._script(
            keys=[WANTED, PROCESSES, _COUNTS + self.process, _FIGURES + self.process],
            args=[self.process, self._lease_ms, figures, *pairs],
        )


class LeaseKeeper:
    """Writes what one process follows: all of it once an interval, what is new at once.

    `counts` belongs to the caller and is read whenever it is written; `figures` goes along.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        counts: Mapping[str, int],
        interval_s: int,
        figures: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._leases = Leases(client, _lease_s(interval_s))
        self._counts = counts
        self._figures = figures
        self._interval_s = interval_s
        self._new: set[str] = set()
        # By the loop's clock. Not so long after the last write: what is new all the
        # time would then put the renewal of the rest off for ever.
        self._renew_at = 0.0
        self._holds_any = False
        self._changed = asyncio.Event()

    def add(self, symbols: Collection[str]) -> None:
        """Have symbols written that have their first follower here, or will in a moment."""
        if symbols:
            self._new.update(symbols)
            self._changed.set()

    def renew(self) -> None:
        """Have everything written soon: what Redis holds may be lost."""
        self._renew_at = 0.0
        self._changed.set()

    def change_interval(self, interval_s: int) -> None:
        self._interval_s = interval_s
        self._leases.last(_lease_s(interval_s))
        self.renew()

    async def keep(self) -> None:
        """Write, for as long as this process runs."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._renew_at):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self._write()
            except Exception as exc:
                if not isinstance(exc, RedisError | OSError):
                    # The hub looks at the same Redis and says that it is away.
                    logger.exception("leases could not be written; trying again")
                await asyncio.sleep(RETRY_S)
                self.renew()

    async def _write(self) -> None:
        now = asyncio.get_running_loop().time()
        new, self._new = self._new, set()
        counts = {symbol: self._counts.get(symbol, 0) for symbol in new}
        if now >= self._renew_at:
            self._renew_at = now + self._interval_s
            counts |= self._counts
            figures = self._figures()
            # What was counted is told as long as this process runs, whoever has left. And once
            # more where there is nothing of the sort, to take back what was said.
            counted = (count for name, count in figures.items() if name != "ticks")
            holds_any = bool(counts) or any(counted)
            if holds_any or self._holds_any:
                await self._leases.renew(counts, figures)
            self._holds_any = holds_any
        elif counts:
            await self._leases.add(counts)
            self._holds_any = True


def _lease_s(interval_s: int) -> float:
    """Return how long a lease lasts: one renewal may fail; a killed server is soon forgotten."""
    return 2.5 * interval_s + 1


def wanted(client: redis.Redis | None = None) -> list[str]:
    """Return the symbols that anyone follows now, sorted, and forget what has lapsed.

    Raises RedisError.
    """
    symbols, _ = _prune(client or redis_clients.client())
    return sorted(symbols)


def ask_wanted(pipe: Pipeline) -> None:
    """Put into a pipeline what `wanted` asks; `told_wanted` reads the reply."""
    pipe.eval(_PRUNE, 2, WANTED, PROCESSES)


def told_wanted(reply: Sequence[Collection[bytes]]) -> list[str]:
    """Return the symbols that a reply names, sorted."""
    return sorted(_words(reply[0]))


def followers(symbols: Collection[str], client: redis.Redis | None = None) -> dict[str, int]:
    """Return how many sockets on all living processes follow each symbol. Raises RedisError."""
    total = dict.fromkeys(symbols, 0)
    if not total:
        return total
    client = client or redis_clients.client()
    _, processes = _prune(client)
    pipe = client.pipeline(transaction=False)
    for process in processes:
        pipe.hmget(_COUNTS + process, list(total))
    for counts in pipe.execute():
        for symbol, count in zip(total, counts, strict=True):
            total[symbol] += int(count or 0)
    return total


def figures(client: redis.Redis) -> dict[str, dict[str, int]]:
    """Return what each living process counts, by its name. Raises RedisError."""
    _, processes = _prune(client)
    bodies: Any = client.mget([_FIGURES + p for p in processes]) if processes else []
    found = {}
    for process, body in zip(processes, bodies, strict=True):
        with suppress(ValueError):
            found[process] = msgspec.json.decode(body or b"", type=dict[str, int])
    return found


def _prune(client: redis.Redis) -> tuple[list[str], list[str]]:
    pipe = client.pipeline(transaction=False)
    ask_wanted(pipe)
    ((symbols, processes),) = pipe.execute()
    return _words(symbols), _words(processes)


def _words(values: Collection[bytes]) -> list[str]:
    return [value.decode() for value in values]
