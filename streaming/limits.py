"""How much one client may send, and how often it may be wrong. The time is an argument."""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass

from django.conf import settings

from streaming.protocol import (
    MAX_REFUSALS,
    MESSAGE_WINDOW_S,
    MISTAKES_WINDOW_S,
    Close,
    Code,
    ProtocolError,
)

logger = logging.getLogger(__name__)

# How many symbols a connection may take up: at once, and in the long run in SYMBOLS_WINDOW_S,
# as many times as it may follow. Each may have to be asked of a source, and stays in
# demand for some ticks after it was left.
SYMBOLS_BURST = 2
SYMBOLS_WINDOW_S = 60
# Old ticks sent again to one connection: so many at once (all that are kept, twice), and
# so many a second after that. Each is cut anew for its client.
REPLAYED_BURST = 1200
REPLAYED_PER_S = 10


class Recent:
    """Counts what happened within the last `window_s` seconds, up to `most`."""

    __slots__ = ("_most", "_times", "_window_s")

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._times: deque[float] | None = None  # most connections never need it
        self._window_s = window_s

    def add(self, now: float) -> bool:
        """Note one more; return whether there are now `most` of them within the window."""
        times = self._times = self._times if self._times is not None else deque(maxlen=self._most)
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
    symbols: int = 500  # followed at the same time


def allowance() -> Allowance:
    """Return what the settings allow a connection."""
    return Allowance(
        settings.WS_MAX_MESSAGES,
        settings.WS_MESSAGE_BURST,
        settings.WS_MAX_MISTAKES,
        settings.WS_MAX_SYMBOLS,
    )


class Bucket:
    """Holds tokens up to `most` and fills by `per_s`."""

    __slots__ = ("_at", "_held", "_most", "_per_s")

    def __init__(self, most: float, per_s: float, now: float) -> None:
        self._most = most
        self._per_s = per_s
        self._held = most
        self._at = now

    def take(self, tokens: float, now: float) -> float:
        """Take tokens; return 0, or after how many seconds there are enough, having taken none."""
        self._held = min(self._most, self._held + (now - self._at) * self._per_s)
        self._at = now
        if self._held >= tokens:
            self._held -= tokens
            return 0.0
        return (tokens - self._held) / self._per_s


class Manners:
    """The message rate, the symbols taken up, and the mistakes of one connection."""

    __slots__ = ("_messages", "_mistakes", "_refusals", "_replayed", "_symbols")

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._messages = Bucket(allowance.burst, allowance.messages / MESSAGE_WINDOW_S, now)
        most = allowance.symbols
        self._symbols = Bucket(most * SYMBOLS_BURST, most / SYMBOLS_WINDOW_S, now)
        self._replayed = Bucket(REPLAYED_BURST, REPLAYED_PER_S, now)
        self._refusals = Recent(MAX_REFUSALS, 60)
        # One more than is allowed is too many.
        self._mistakes = Recent(allowance.mistakes + 1, MISTAKES_WINDOW_S)

    def message(self, now: float) -> None:
        """Count one message. Raises ProtocolError where it comes too soon."""
        self._allow(self._messages.take(1, now), "messages (WS_MAX_MESSAGES)", now)

    def symbols(self, count: int, now: float) -> None:
        """Count symbols taken up. Raises ProtocolError where they come too soon."""
        self._allow(self._symbols.take(count, now), "new symbols (WS_MAX_SYMBOLS)", now)

    def may_replay(self, ticks: int, now: float) -> bool:
        """Count old ticks to be sent again; return whether they are not too many."""
        return self._replayed.take(ticks, now) == 0

    def _allow(self, wait_s: float, what: str, now: float) -> None:
        if wait_s > 0:
            raise ProtocolError(
                Code.RATE_LIMITED,
                f"Too many {what}; this message was not heeded.",
                retry_after_ms=int(wait_s * 1000) + 1,
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


_logged: set[str] = set()


def log_once(setting: str) -> None:
    """Name the setting behind a refusal, the first time it refuses anyone."""
    if setting not in _logged:
        _logged.add(setting)
        logger.warning("a client met the limit %s; said once", setting)
