"""How many upstream calls we may make: one budget a source and key, shared by all processes.

The count lives in Redis and runs on Redis's clock, as a log of the last
minute's calls (so no window of 60 s ever holds more than the plan allows) and
a counter of the month's. Where a plan counts by the second, calls are spaced:
each is given a moment of its own and waits for it, in the order in which they
asked. With Redis away each process has a tenth of the plan.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import redis

from prices import redis_clients, tracing
from prices.errors import BudgetSpentError, LookupsSpentError
from prices.redis_clients import RedisAwayError

# A call waits so long at most for a minute to have room again or a rest to be over.
PATIENCE_S = 1.5
# And so long for its turn, where calls are counted by the second.
TURN_S = 3.0
# Calls of one second stand so much further apart than the plan asks for: they reach
# the source later than they were granted, and not all by as much.
_ROOM = 1.1
# Two clocks see a minute: Redis's when the call is granted, the source's when it
# arrives. The log reaches a little further back than the source's own.
MINUTE_MS = 61_000
HOUR_MS = 3_601_000
DAY_MS = 86_401_000
# How long a source is left alone that answers 429 and does not say how long.
QUIET_S = 60.0
# When to try again what is not done while Redis is away.
AWAY_S = 10.0

# KEYS[1] freeze  KEYS[2] month's counter  KEYS[3] the next free moment  KEYS[4..] logs of calls
# ARGV[1] unique id of this call  ARGV[2] month's limit (0: none)  ARGV[3] seconds left of the month
# ARGV[4] ms between calls (0: none)  ARGV[5] ms a call may wait for its moment
# then for each log: width in ms, limit (0: none)
# Returns {1, ms until its moment, 0} when granted, else {0, ms to wait, which log was full or 0}.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local frozen = redis.call('PTTL', KEYS[1])
if frozen > 0 then return {0, frozen, 0} end
local monthly = tonumber(ARGV[2])
if monthly > 0 and tonumber(redis.call('GET', KEYS[2]) or '0') >= monthly then
  return {0, tonumber(ARGV[3]) * 1000, 0}
end
local wait, full = 0, 0
for i = 4, #KEYS do
  local width, limit = tonumber(ARGV[2 * i - 2]), tonumber(ARGV[2 * i - 1])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - width - 10000)
  if limit > 0 and redis.call('ZCOUNT', KEYS[i], now - width + 1, '+inf') >= limit then
    local oldest = redis.call('ZRANGE', KEYS[i], -limit, -limit, 'WITHSCORES')
    local ms = math.max(tonumber(oldest[2]) + width - now, 1)
    if ms > wait then wait, full = ms, i - 3 end
  end
end
if wait > 0 then return {0, wait, full} end
local apart, at = tonumber(ARGV[4]), now
if apart > 0 then
  at = math.max(now, tonumber(redis.call('GET', KEYS[3]) or '0'))
  if at - now > tonumber(ARGV[5]) then return {0, at - now, 0} end
  redis.call('SET', KEYS[3], at + apart, 'PX', at - now + apart)
end
for i = 4, #KEYS do
  redis.call('ZADD', KEYS[i], at, ARGV[1])
  redis.call('PEXPIRE', KEYS[i], tonumber(ARGV[2 * i - 2]) + 20000)
end
redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], 3456000)
return {1, at - now, 0}
"""


# All sources share it: what no catalogue knows is asked of each.
_LOOKUPS = "budget:lookups"


# A longer rest that was asked for before is not cut short.
_FREEZE = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
end
"""


class Purpose(StrEnum):
    """Why a call is made; some reasons have a small share of their own."""

    ANSWER = "answer"
    REFRESH = "refresh"  # force_refresh: at most a fifth of a source's minute
    LOOKUP = "lookup"  # a symbol no catalogue knows
    TICK = "tick"  # as an answer; a tick tries a source that failed by a turn of its own

    @classmethod
    def of(cls, force: bool) -> Purpose:
        """Why a request calls, by whether it was made to."""
        return cls.REFRESH if force else cls.ANSWER


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan allows; None where it sets no limit."""

    per_second: int | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    per_month: int | None = None

    @property
    def apart_s(self) -> float:
        """How far apart calls are to be made; 0 where no limit is by the second."""
        return _ROOM / self.per_second if self.per_second else 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """A source's calls so far, for the admin. `frozen_s` is what is left of a Retry-After."""

    last_minute: int
    this_month: int
    frozen_s: float


class Budget:
    """The budget of one source and key."""

    def __init__(
        self, source: str, limits: Limits, *, lookups_per_minute: int, api_key: str = ""
    ) -> None:
        self.source = source
        self.limits = limits
        self._lookups = lookups_per_minute
        digest = hashlib.sha256(api_key.encode()).hexdigest()[:8]
        self._prefix = f"budget:{source}:{digest}"
        self._local = _LocalAllowance(limits)
        self._serial = 0

    def take(self, purpose: Purpose = Purpose.ANSWER) -> None:
        """Spend one call, and wait for its moment where calls are counted by the second.

        Waits at most PATIENCE_S and TURN_S. Raises BudgetSpentError, which tells when to try
        again.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            turn = self._spend(purpose, TURN_S)
            if not turn.is_granted and time.monotonic() + turn.wait_s > deadline:
                raise self._spent_up(turn)
            if turn.wait_s:
                time.sleep(turn.wait_s)
            if turn.is_granted:
                break
        if turn.wait_s and (frozen_s := self._frozen_s()):
            # Whoever called before us was told to be quiet.
            raise self._spent_up(_Turn(frozen_s))

    def _spent_up(self, turn: _Turn) -> BudgetSpentError:
        error = LookupsSpentError if turn.of_lookups else BudgetSpentError
        return error(self.source, "our budget of calls is used up", retry_after_s=turn.wait_s)

    def _frozen_s(self) -> float:
        try:
            left_ms = int(redis_clients.ask(lambda r: r.pttl(f"{self._prefix}:freeze")))
        except RedisAwayError:
            return self._local.frozen_s()
        return max(0.0, left_ms / 1000)

    def freeze(self, seconds: float) -> None:
        """Let nobody call the source for `seconds`: it said so, or could not be reached."""
        self._local.freeze(seconds)
        key = f"{self._prefix}:freeze"
        try:
            redis_clients.ask(lambda r: r.eval(_FREEZE, 1, key, max(1, int(seconds * 1000))))
        except RedisAwayError:
            return  # The local freeze holds for this process.

    def spent(self) -> Spent:
        """Return the counts. Raises RedisAwayError."""
        month, _ = _month()

        def read(r: redis.Redis) -> list[int | bytes | None]:
            pipe = r.pipeline(transaction=False)
            pipe.zcount(f"{self._prefix}:minute", time.time() * 1000 - 60_000, "+inf")
            pipe.get(f"{self._prefix}:{month}")
            pipe.pttl(f"{self._prefix}:freeze")
            return list(pipe.execute())

        minute, total, frozen = redis_clients.ask(read)
        return Spent(int(minute or 0), int(total or 0), max(0.0, int(frozen or 0) / 1000))

    def left(self) -> dict[str, tuple[int, int]]:
        """Return the limit and what is left of it, for each the plan has. Raises RedisAwayError."""
        month, _ = _month()
        limits = {
            "minute": (self.limits.per_minute, MINUTE_MS),
            "hour": (self.limits.per_hour, HOUR_MS),
            "day": (self.limits.per_day, DAY_MS),
        }
        named = {name: (limit, width) for name, (limit, width) in limits.items() if limit}

        def read(r: redis.Redis) -> list[int | bytes | None]:
            pipe = r.pipeline(transaction=False)
            now_ms = time.time() * 1000
            for name, (_, width_ms) in named.items():
                pipe.zcount(f"{self._prefix}:{name}", now_ms - width_ms, "+inf")
            pipe.get(f"{self._prefix}:{month}")
            return list(pipe.execute())

        *used, total = redis_clients.ask(read)
        left = {
            name: (limit, max(0, limit - int(count or 0)))
            for (name, (limit, _)), count in zip(named.items(), used, strict=True)
        }
        if self.limits.per_month:
            whole = self.limits.per_month
            left["month"] = (whole, max(0, whole - int(total or 0)))
        return left

    def free_in_s(self) -> float:
        """Return after how long a call is left again, 0 where one is. Raises RedisAwayError."""
        month, month_left_s = _month()
        logs = [(key, width, limit) for key, width, limit in self._logs(Purpose.ANSWER) if limit]

        def read(r: redis.Redis) -> list[Any]:
            pipe = r.pipeline(transaction=False)
            for key, _, limit in logs:
                pipe.zrange(key, -limit, -limit, withscores=True)
            pipe.pttl(f"{self._prefix}:freeze")
            pipe.get(f"{self._prefix}:{month}")
            return list(pipe.execute())

        *oldest, frozen_ms, used = redis_clients.ask(read)
        waits = [
            rows[0][1] / 1000 + width / 1000 - time.time()
            for rows, (_, width, _) in zip(oldest, logs, strict=True)
            if rows
        ]
        if self.limits.per_month and int(used or 0) >= self.limits.per_month:
            waits.append(month_left_s)
        return float(max(0.0, int(frozen_ms or 0) / 1000, *waits))

    def pace_s(self) -> float:
        """Seconds between calls at which the rest of the month's calls lasts to its end; or 0."""
        if not self.limits.per_month:
            return 0.0
        _, left_s = _month()
        try:
            used = self.spent().this_month
        except RedisAwayError:
            used = 0
        return left_s / max(1, self.limits.per_month - used)

    def _spend(self, purpose: Purpose, patience_s: float) -> _Turn:
        """Spend a call, or spend nothing and say how long to wait."""
        month, left_s = _month()
        logs = self._logs(purpose)
        self._serial += 1
        keys = [f"{self._prefix}:{name}" for name in ("freeze", month, "next")]
        keys += [key for key, _, _ in logs]
        args: list[str | int] = [
            f"{time.time_ns()}:{threading.get_ident()}:{self._serial}",
            self.limits.per_month or 0,
            int(left_s) + 1,
            math.ceil(1000 * self.limits.apart_s),
            int(1000 * patience_s),
        ]
        for _, width_ms, limit in logs:
            args += [width_ms, limit or 0]
        try:
            granted, wait_ms, full = redis_clients.ask(
                lambda r: r.eval(_TAKE, len(keys), *keys, *args)
            )
        except RedisAwayError:
            return self._local.take(purpose, patience_s)
        if granted:
            return _Turn(wait_ms / 1000, is_granted=True)
        of_lookups = purpose is Purpose.LOOKUP and full == len(logs)
        return _Turn(max(0.001, wait_ms / 1000), of_lookups=of_lookups)

    def _logs(self, purpose: Purpose) -> Sequence[tuple[str, int, int | None]]:
        """Return the logs a call of that purpose goes into: key, width in ms, limit."""
        minute = self.limits.per_minute
        logs = [(f"{self._prefix}:minute", MINUTE_MS, minute)]
        # These are kept only where a plan has them: a day's log may be long.
        if self.limits.per_hour:
            logs.append((f"{self._prefix}:hour", HOUR_MS, self.limits.per_hour))
        if self.limits.per_day:
            logs.append((f"{self._prefix}:day", DAY_MS, self.limits.per_day))
        if purpose is Purpose.REFRESH:
            logs.append(
                (f"{self._prefix}:refresh", MINUTE_MS, max(1, minute // 5) if minute else None)
            )
        if purpose is Purpose.LOOKUP:
            logs.append((_LOOKUPS, MINUTE_MS, self._lookups))
        return logs


def lookups_last_minute() -> int:
    """Return how many look-ups of the last minute count against LOOKUPS_PER_MINUTE.

    Raises RedisAwayError.
    """
    since = time.time() * 1000 - MINUTE_MS
    return int(redis_clients.ask(lambda r: r.zcount(_LOOKUPS, since, "+inf")))


@dataclass(frozen=True, slots=True)
class _Turn:
    """When a call may be made: granted, in `wait_s`; else not before then."""

    wait_s: float
    is_granted: bool = False
    of_lookups: bool = False


class _LocalAllowance:
    """A tenth of the plan for this process alone, while Redis is away."""

    def __init__(self, limits: Limits) -> None:
        per_minute = limits.per_minute or 60 * (limits.per_second or 0)
        self._limit = max(1, per_minute // 10) if per_minute else None
        self._apart_s = limits.apart_s
        self._next = 0.0
        self._calls: deque[float] = deque()
        self._frozen_until = 0.0
        self._lock = threading.Lock()

    def freeze(self, seconds: float) -> None:
        self._frozen_until = max(self._frozen_until, time.monotonic() + seconds)

    def frozen_s(self) -> float:
        return max(0.0, self._frozen_until - time.monotonic())

    def take(self, purpose: Purpose, patience_s: float) -> _Turn:
        """Spend a call, or spend nothing and say how long to wait."""
        with self._lock:
            now = time.monotonic()
            wait_s = self._wait_s(purpose, now)
            if wait_s:
                return _Turn(wait_s, of_lookups=purpose is Purpose.LOOKUP)
            at = max(now, self._next)
            if at - now > patience_s:
                return _Turn(at - now)
            self._next = at + self._apart_s
            self._calls.append(at)
            return _Turn(at - now, is_granted=True)

    def _wait_s(self, purpose: Purpose, now: float) -> float:
        if now < self._frozen_until:
            return self._frozen_until - now
        if purpose is Purpose.LOOKUP:
            return AWAY_S  # Their share is everybody's, and nobody can count it now.
        while self._calls and self._calls[0] <= now - MINUTE_MS / 1000:
            self._calls.popleft()
        # A forced refresh takes the first part of the allowance only.
        limit = self._limit
        if limit is not None and purpose is Purpose.REFRESH:
            limit = max(1, limit // 5)
        if limit is not None and len(self._calls) >= limit:
            return self._calls[0] + MINUTE_MS / 1000 - now
        return 0.0


@dataclass(slots=True)
class Tally:
    """The upstream calls made inside one `spending` block, by source, by whichever thread."""

    purpose: Purpose
    of: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> int:
        return self.of.total()

    def add(self, calls: Mapping[str, int]) -> None:
        with self._lock:
            for source, count in calls.items():  # `Counter.update` asks first what kind it is
                self.of[source] += count


_tally: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def spending(purpose: Purpose) -> Iterator[Tally]:
    """Say why the calls within are made, and count them."""
    outer, tally = _tally.get(), Tally(purpose)
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)
        if outer is not None:
            outer.add(tally.of)


def purpose() -> Purpose:
    """Return why calls are made here and now."""
    tally = _tally.get()
    return tally.purpose if tally else Purpose.ANSWER


class BudgetGate:
    """What a provider passes before each HTTP call, and tells what came of it."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def admit(self) -> None:
        """Raises BudgetSpentError where the budget has no call left."""
        tally = _tally.get()
        self._budget.take(purpose())
        if tally:
            tally.add({self._budget.source: 1})

    def report(self, status: int | None, *, retry_after_s: float | None, seconds: float) -> None:
        """Freeze the source for everyone when it asks for quiet."""
        tracing.replied(status)
        if status in {418, 429}:
            self._budget.freeze(retry_after_s if retry_after_s is not None else QUIET_S)


def _month() -> tuple[str, float]:
    """Return this UTC month's name and the seconds left of it."""
    now = datetime.now(UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return f"{now:%Y-%m}", (following - now).total_seconds()
