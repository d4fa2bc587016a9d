"""A switch for each source: off for everyone at once when it fails again and again.

Three failures within half a minute open it for 20 seconds; then one call at
a time tries, and the first that succeeds closes it. The state is in Redis, so
that one process's experience saves the others theirs; with Redis away each
process keeps its own.
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
WITHIN_S = 30
# Less than a usual tick: after a source is mended, the next tick may ask it.
OPEN_S = 20.0
# A call that tries an open source holds the others back this long at most.
TRIAL_S = 15

# KEYS: failures, open, trial.  Returns {whether to call, milliseconds until it may be tried};
# {1, 1} where the call is the trial.
_MAY_CALL = """
local left = redis.call('PTTL', KEYS[2])
if left > 0 then return {0, left} end
if redis.call('EXISTS', KEYS[3]) == 1 then
  if redis.call('SET', KEYS[3] .. ':held', 1, 'NX', 'EX', ARGV[1]) then return {1, 1} end
  return {0, 1000}
end
return {1, 0}
"""
# Returns 1 where this failure opened the switch.
_FAILED = """
local n = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
if n >= tonumber(ARGV[1]) or redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('SET', KEYS[2], 1, 'PX', ARGV[3])
  redis.call('SET', KEYS[3], 1, 'EX', 86400)
  redis.call('DEL', KEYS[1], KEYS[3] .. ':held')
  return 1
end
return 0
"""


@dataclass(slots=True)
class _Local:
    failures: int = 0
    first_at: float = 0.0
    open_until: float = 0.0


class Breaker:
    """The switch of one source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._keys = [f"breaker:{source}:{what}" for what in ("failures", "open", "trial")]
        self._local = _Local()
        self._lock = Lock()
        # Success is told to Redis only after trouble; most calls have had none.
        self._had_trouble = True

    def wait_s(self) -> float:
        """Return 0 where a call may be made now, else the seconds until it may be tried."""
        try:
            may, left_ms = self._ask(_MAY_CALL, TRIAL_S)
        except RedisAwayError:
            return max(0.0, self._local.open_until - time.monotonic())
        if may and left_ms:
            # Whoever had the trouble, it is this call that may end it for everyone.
            self._had_trouble = True
        return 0.0 if may else max(0.1, left_ms / 1000)

    def is_open(self) -> bool:
        """Whether calls are held back; unlike `wait_s` it takes no turn at trying."""
        try:
            return bool(redis_clients.ask(lambda r: r.exists(self._keys[1])))
        except RedisAwayError:
            return self._local.open_until > time.monotonic()

    def open_s(self) -> float:
        """Return for how long calls are held back, 0 where they are not."""
        try:
            left_ms = int(redis_clients.ask(lambda r: r.pttl(self._keys[1])))
        except RedisAwayError:
            return max(0.0, self._local.open_until - time.monotonic())
        return max(0.0, left_ms / 1000)

    def failed(self) -> None:
        """Note that the source could not be reached or gave no readable answer."""
        self._had_trouble = True
        self._fail_here()
        try:
            opened = self._ask(_FAILED, FAILURES, WITHIN_S, int(OPEN_S * 1000))
        except RedisAwayError:
            return
        if opened:
            logger.warning("%s fails; it is left alone for %d s", self.source, OPEN_S)

    def succeeded(self) -> None:
        """Note that the source answered."""
        if not self._had_trouble:
            return
        with self._lock:
            self._local = _Local()

        def close(r: redis.Redis) -> bool:
            pipe = r.pipeline()
            pipe.delete(self._keys[2])
            pipe.delete(*self._keys[:2], f"{self._keys[2]}:held")
            return bool(pipe.execute()[0])

        try:
            was_open = redis_clients.ask(close)
        except RedisAwayError:
            return
        self._had_trouble = False
        if was_open:
            logger.warning("%s answers again", self.source)

    def _fail_here(self) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._local.first_at > WITHIN_S:
                self._local = _Local(0, now, self._local.open_until)
            self._local.failures += 1
            if self._local.failures >= FAILURES:
                self._local = _Local(0, now, now + OPEN_S)

    def _ask(self, script: str, *args: int) -> Any:
        return redis_clients.ask(lambda r: r.eval(script, len(self._keys), *self._keys, *args))
