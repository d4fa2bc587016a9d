"""A switch for each source: off for everyone at once when it fails again and again.

Three failures within a minute and a half open it for 20 seconds; then one call at
a time tries, and the first that succeeds closes it. A tick tries by a turn of its
own, so that no request that failed just before it makes the next tick stale. A
source that refuses us as a whole (Binance, by our place) is left alone as long as
it is believed. The state is in Redis, so that one process's experience saves the
others theirs; with Redis away each process keeps its own.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from threading import Lock
from typing import Any

import redis

from prices import redis_clients
from prices.redis_clients import RedisAwayError

logger = logging.getLogger(__name__)

FAILURES = 3
# Three usual ticks fall within: nobody else may be asking the source.
WITHIN_S = 90
# Less than a usual tick: after a source is mended, the next tick may ask it.
OPEN_S = 20.0
# A call that tries an open source holds the others back this long at most.
TRIAL_S = 15
# How far apart ticks try, whatever others found meanwhile; a little less than the rest.
TICK_APART_S = 18.0
# How long it is remembered that a source failed and nobody has asked it since.
_REMEMBERED_S = 86_400

# KEYS: failures, open, trial, held, ticked, refused.  ARGV: s a trial holds the others back,
# 1 for a tick, ms between its tries.
# Returns {whether to call, ms until it may be tried, whether the call is the trial, a refusal}.
_MAY_CALL = """
local refused = redis.call('PTTL', KEYS[6])
if refused > 0 then return {0, refused, 0, redis.call('GET', KEYS[6])} end
local left = redis.call('PTTL', KEYS[2])
if left <= 0 and redis.call('EXISTS', KEYS[3]) == 0 then return {1, 0, 0, ''} end
if ARGV[2] == '1' and redis.call('SET', KEYS[5], 1, 'NX', 'PX', ARGV[3]) then
  redis.call('SET', KEYS[4], 1, 'EX', ARGV[1])
  return {1, 0, 1, ''}
end
if left > 0 then return {0, left, 0, ''} end
if redis.call('SET', KEYS[4], 1, 'NX', 'EX', ARGV[1]) then return {1, 0, 1, ''} end
return {0, 1000, 0, ''}
"""
# ARGV: failures that open it, s they count, ms it stays open, s it is remembered, why it failed.
# Returns 1 where this failure opened the switch.
_FAILED = """
local n = redis.call('INCR', KEYS[1])
if n == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
local was = redis.call('EXISTS', KEYS[3])
if n < tonumber(ARGV[1]) and was == 0 then return 0 end
redis.call('SET', KEYS[2], 1, 'PX', ARGV[3])
redis.call('SET', KEYS[3], ARGV[5], 'EX', ARGV[4])
redis.call('DEL', KEYS[1], KEYS[4])
return 1 - was
"""
_NAMES = ("failures", "open", "trial", "held", "ticked", "refused")


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a call may be made now; if not, after how long, and what was noted of a refusal.

    A call that is the trial must tell what came of it: `succeeded`, `failed` or `not_made`.
    """

    may_call: bool
    wait_s: float = 0.0
    is_trial: bool = False
    refusal: bytes = b""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a switch stands. `why` it failed, where it did; `left_s` until it may be tried.

    is_open: calls are held back. is_untried: it failed, and the next call tries it.
    refusal: what was noted of a source's refusing us as a whole, for `left_s`.
    """

    is_open: bool = False
    is_untried: bool = False
    left_s: float = 0.0
    why: str = ""
    refusal: bytes = b""


@dataclass(slots=True)
class _Local:
    failures: int = 0
    first_at: float = 0.0
    open_until: float = 0.0
    refused_until: float = 0.0
    refusal: bytes = b""


class Breaker:
    """The switch of one source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._keys = [f"breaker:{source}:{what}" for what in _NAMES]
        self._local = _Local()
        self._lock = Lock()
        # Success is told to Redis only after trouble; most calls have had none.
        self._had_trouble = True

    @property
    def names(self) -> list[str]:
        """The keys under which there is nothing while calls may be made."""
        return [self._keys[1], self._keys[2], self._keys[5]]

    def turn(self, *, of_tick: bool = False) -> Turn:
        """Return whether a call may be made now; where the switch is open, one at a time may."""
        told = redis_clients.read_already(self.names)
        if told is not None and not any(told):
            return Turn(may_call=True)
        try:
            may, wait_ms, is_trial, refusal = self._ask(
                _MAY_CALL, TRIAL_S, int(of_tick), int(TICK_APART_S * 1000)
            )
        except RedisAwayError:
            return self._local_turn()
        if is_trial:
            # Whoever had the trouble, it is this call that may end it for everyone.
            self._had_trouble = True
        if may:
            return Turn(may_call=True, is_trial=bool(is_trial))
        return Turn(may_call=False, wait_s=max(0.1, wait_ms / 1000), refusal=refusal)

    def standing(self) -> Standing:
        """Return how it stands; unlike `turn` it takes no turn at trying."""

        def read(r: redis.Redis) -> list[Any]:
            pipe = r.pipeline(transaction=False)
            pipe.pttl(self._keys[1])
            pipe.get(self._keys[2])
            pipe.pttl(self._keys[3])
            pipe.pttl(self._keys[5])
            pipe.get(self._keys[5])
            return list(pipe.execute())

        try:
            open_ms, why, held_ms, refused_ms, refusal = redis_clients.ask(read)
        except RedisAwayError:
            turn = self._local_turn()
            return Standing(not turn.may_call, left_s=turn.wait_s, refusal=turn.refusal)
        if refusal:
            return Standing(is_open=True, left_s=max(0, refused_ms) / 1000, refusal=refusal)
        told = why.decode(errors="replace") if why else ""
        if open_ms > 0:
            return Standing(is_open=True, left_s=open_ms / 1000, why=told)
        return Standing(is_untried=bool(why), left_s=max(0, held_ms) / 1000, why=told)

    def failed(self, why: str = "") -> None:
        """Note that the source could not be reached or gave no readable answer."""
        self._had_trouble = True
        self._fail_here()
        args = (FAILURES, WITHIN_S, int(OPEN_S * 1000), _REMEMBERED_S, why or "it failed")
        try:
            has_opened = self._ask(_FAILED, *args)
        except RedisAwayError:
            return
        if has_opened:
            logger.warning("%s fails; it is left alone for %d s: %s", self.source, OPEN_S, why)

    def refused(self, note: bytes, for_s: float) -> None:
        """Note that the source will not serve us at all, as the note says, for a while."""
        with self._lock:
            self._local.refused_until = time.monotonic() + for_s
            self._local.refusal = note

        def write(r: redis.Redis) -> bool:
            pipe = r.pipeline()
            pipe.set(self._keys[5], note, px=int(for_s * 1000))
            pipe.delete(*self._keys[:5])
            return bool(pipe.execute()[0])

        try:
            redis_clients.ask(write)
        except RedisAwayError:
            return
        logger.warning("%s refuses us; it is left alone for %d s", self.source, for_s)

    def succeeded(self) -> None:
        """Note that the source answered."""
        if not self._had_trouble:
            return
        with self._lock:
            self._local = _Local()

        def close(r: redis.Redis) -> bool:
            pipe = r.pipeline()
            pipe.delete(self._keys[2])
            pipe.delete(*self._keys)
            return bool(pipe.execute()[0])

        try:
            was_open = redis_clients.ask(close)
        except RedisAwayError:
            return
        self._had_trouble = False
        if was_open:
            logger.warning("%s answers again", self.source)

    def not_made(self, turn: Turn) -> None:
        """Give a turn at trying back: the call was not made, or says nothing of the source."""
        if not turn.is_trial:
            return
        try:
            redis_clients.ask(lambda r: r.delete(self._keys[3], self._keys[4]))
        except RedisAwayError:
            return  # It lapses.

    def _local_turn(self) -> Turn:
        now = time.monotonic()
        if (refused_s := self._local.refused_until - now) > 0:
            return Turn(may_call=False, wait_s=refused_s, refusal=self._local.refusal)
        open_s = max(0.0, self._local.open_until - now)
        return Turn(may_call=not open_s, wait_s=open_s)

    def _fail_here(self) -> None:
        with self._lock:
            now, here = time.monotonic(), self._local
            if now - here.first_at > WITHIN_S:
                here.failures, here.first_at = 0, now
            here.failures += 1
            if here.failures >= FAILURES:
                here.failures, here.first_at, here.open_until = 0, now, now + OPEN_S

    def _ask(self, script: str, *args: int | str) -> Any:
        return redis_clients.ask(lambda r: r.eval(script, len(self._keys), *self._keys, *args))
