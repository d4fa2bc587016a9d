"""How much one client may send, and how often it may be wrong. Pure: the time is an argument."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from streaming.protocol import (
    MAX_REFUSALS,
    MESSAGE_WINDOW_S,
    MISTAKES_WINDOW_S,
    Close,
    Code,
    ProtocolError,
)


class Recent:
    """Counts what happened within the last `window_s` seconds, up to `most`."""

    def __init__(self, most: int, window_s: float) -> None:
        self._times: deque[float] = deque(maxlen=most)
        self._window_s = window_s

    def add(self, now: float) -> bool:
        """Note one more; return whether there are now `most` of them within the window."""
        times = self._times
        times.append(now)
        return len(times) == times.maxlen and now - times[0] < self._window_s


class Addresses:
    """How many connections each address has."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def let_in(self, address: str, most: int) -> bool:
        """Count one more connection, unless the address has `most` already."""
        if self._counts[address] >= most:
            return False
        self._counts[address] += 1
        return True

    def let_go(self, address: str) -> None:
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]


@dataclass(frozen=True, slots=True)
class Allowance:
    """Settings of the contract's limits for one connection."""

    messages: int  # per MESSAGE_WINDOW_S, in the long run
    burst: int
    mistakes: int  # per MISTAKES_WINDOW_S


class Manners:
    """The message rate and the mistakes of one connection."""

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._per_s = allowance.messages / MESSAGE_WINDOW_S
        self._burst = float(allowance.burst)
        self._tokens = self._burst
        self._at = now
        self._refusals = Recent(MAX_REFUSALS, 60)
        # One more than is allowed is too many.
        self._mistakes = Recent(allowance.mistakes + 1, MISTAKES_WINDOW_S)

    def message(self, now: float) -> None:
        """Count one message. Raises ProtocolError where it comes too soon."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return
        raise ProtocolError(
            Code.RATE_LIMITED,
            "Too many messages (WS_MAX_MESSAGES); this one was not read.",
            retry_after_ms=int((1 - self._tokens) / self._per_s * 1000) + 1,
            close=Close.TOO_MUCH if self._refusals.add(now) else None,
        )

    def mistake(self, now: float) -> None:
        """Count one mistake. Raises ProtocolError where that was one too many."""
        if self._mistakes.add(now):
            raise ProtocolError(
                Code.TOO_MANY_MISTAKES,
                "Too many mistakes (WS_MAX_MISTAKES); connect again in a minute.",
                close=Close.TOO_MUCH,
            )
