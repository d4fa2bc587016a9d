"""How much one client may send, and how often it may be wrong. The time is an argument."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from streaming.protocol import (
    MAX_REFUSALS,
    MESSAGE_WINDOW_S,
    MISTAKES_WINDOW_S,
    Close,
    Code,
    Limits,
    ProtocolError,
)
from streaming.proxies import client_address, counted_as

logger = logging.getLogger(__name__)

# How many symbols a connection may take up: at once, and in the long run in SYMBOLS_WINDOW_S,
# as many times as it may follow. Each may have to be asked of a source, and stays in
# demand for some ticks after it was left.
SYMBOLS_BURST = 2
SYMBOLS_WINDOW_S = 60
# Of one message so many names are looked up: as many times as symbols may be followed, or
# this many at least. Twice that many may be asked for at once that nobody here has asked for
# lately, whatever becomes of them, and in the long run so many in SYMBOLS_WINDOW_S.
NAMES_BURST = 2
NAMES_AT_LEAST = 100
# Old ticks sent again to one connection: so many at once (all that are kept, twice), and
# so many a second after that. Each is cut anew for its client.
REPLAYED_BURST = 1200
REPLAYED_PER_S = 10
# All connections of one address together may have as much as so many of them.
NAMES_OF_ADDRESS = 5
REPLAYED_OF_ADDRESS = 10
# Who has used something of it and gone is known for a while: coming anew gives nothing back.
_MOST_GONE = 10_000


class Recent:
    """Counts what happened within the last `window_s` seconds, up to `most`."""

    __slots__ = ("_times", "_window_s")

    def __init__(self, most: int, window_s: float) -> None:
        self._times: deque[float] = deque(maxlen=most)
        self._window_s = window_s

    def add(self, now: float) -> bool:
        """Note one more; return whether there are now `most` of them within the window."""
        times = self._times
        times.append(now)
        return len(times) == times.maxlen and now - times[0] < self._window_s


@dataclass(frozen=True, slots=True)
class Allowance:
    """Settings of the contract's limits for one connection."""

    messages: int  # per MESSAGE_WINDOW_S, in the long run
    burst: int
    mistakes: int  # per MISTAKES_WINDOW_S
    symbols: int = 500  # followed at the same time


class Rules:
    """What the settings say of connections, read once: thousands come at the same time."""

    def __init__(self) -> None:
        self.max_connections: int = settings.WS_MAX_CONNECTIONS
        self.max_of_address: int = settings.WS_MAX_CONNECTIONS_PER_ADDRESS
        self.max_message_bytes: int = settings.WS_MAX_MESSAGE_BYTES
        self.heartbeat_s: int = settings.WS_HEARTBEAT_S
        self.dead_after_s: int = settings.WS_DEAD_AFTER_S
        self.allowance = Allowance(
            settings.WS_MAX_MESSAGES,
            settings.WS_MESSAGE_BURST,
            settings.WS_MAX_MISTAKES,
            settings.WS_MAX_SYMBOLS,
        )
        # As a client is told them when it comes.
        self.limits = Limits(
            max_message_bytes=self.max_message_bytes,
            max_symbols=self.allowance.symbols,
            max_messages=self.allowance.messages,
            message_burst=self.allowance.burst,
            max_mistakes=self.allowance.mistakes,
            max_age_s=settings.WS_MAX_AGE_S,
        )
        self._trusted_proxies = tuple(settings.TRUSTED_PROXIES)

    def address_of(self, scope: Any) -> str | None:
        """Return what the client behind an ASGI scope is counted by; None where there is none."""
        address = client_address(scope, self._trusted_proxies)
        return None if address is None else counted_as(address)


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

    def give_back(self, tokens: float) -> None:
        self._held = min(self._most, self._held + tokens)


class Shared:
    """What the connections of one address have in common."""

    __slots__ = ("_names", "_replayed", "count")

    def __init__(self) -> None:
        self.count = 0
        self._names: Bucket | None = None
        self._replayed: Bucket | None = None

    @property
    def is_used(self) -> bool:
        return self._names is not None or self._replayed is not None

    def names(self, allowance: Allowance, now: float) -> Bucket:
        if self._names is None:
            self._names = _names_bucket(allowance, NAMES_OF_ADDRESS, now)
        return self._names

    def replayed(self, now: float) -> Bucket:
        if self._replayed is None:
            self._replayed = _replay_bucket(REPLAYED_OF_ADDRESS, now)
        return self._replayed


class Addresses:
    """How many connections each address has, and what they have used together."""

    def __init__(self) -> None:
        self._here: dict[str, Shared] = {}
        self._gone: dict[str, Shared] = {}  # the first to go first

    def let_in(self, address: str, most: int) -> bool:
        """Count one more connection, unless the address has `most` already."""
        shared = self._here.get(address)
        if shared is None:
            if most <= 0:
                return False
            shared = self._here[address] = self._gone.pop(address, Shared())
        elif shared.count >= most:
            return False
        shared.count += 1
        return True

    def let_go(self, address: str) -> None:
        shared = self._here[address]
        shared.count -= 1
        if shared.count:
            return
        del self._here[address]
        if shared.is_used:
            self._gone[address] = shared
            if len(self._gone) > _MOST_GONE:
                del self._gone[next(iter(self._gone))]

    def of(self, address: str | None) -> Shared | None:
        """Return what an address that was let in shares; None where there is no address."""
        return None if address is None else self._here[address]


class Manners:
    """The message rate, the symbols taken up, and the mistakes of one connection.

    What makes work for others than its own client counts for its address too.
    """

    __slots__ = (
        "_frames",
        "_messages",
        "_mistakes",
        "_names",
        "_refusals",
        "_replayed",
        "_shared",
        "_symbols",
        "allowance",
    )

    def __init__(self, allowance: Allowance, now: float, shared: Shared | None = None) -> None:
        self.allowance = allowance
        self._shared = shared
        self._messages = _message_bucket(allowance, now)
        most = allowance.symbols
        self._symbols = Bucket(most * SYMBOLS_BURST, most / SYMBOLS_WINDOW_S, now)
        # What most connections never need: they ask for what others have asked for, and so on.
        self._names: Bucket | None = None
        self._frames: Bucket | None = None
        self._replayed: Bucket | None = None
        self._refusals: Recent | None = None
        self._mistakes: Recent | None = None

    def message(self, now: float) -> None:
        """Count one message. Raises ProtocolError where it comes too soon."""
        self._allow(self._messages.take(1, now), "messages", "WS_MAX_MESSAGES", now)

    def frame(self, now: float) -> None:
        """Count a frame that is no message of its own, by the rate of messages but beside them.

        Raises ProtocolError where it comes too soon.
        """
        if self._frames is None:
            self._frames = _message_bucket(self.allowance, now)
        wait_s = self._frames.take(1, now)
        what = "pings, pongs or fragments"
        self._allow(wait_s, what, "WS_MAX_MESSAGES", now, what_of_it="")

    def symbols(self, count: int, now: float) -> None:
        """Count symbols taken up. Raises ProtocolError where they come too soon."""
        self._allow(self._symbols.take(count, now), "new symbols", "WS_MAX_SYMBOLS", now)

    @property
    def asker(self) -> Hashable:
        """Whose turn it is when this connection's names are looked up: its address's."""
        return self._shared or self

    def names(self, count: int, now: float) -> None:
        """Count names that have to be looked up. Raises ProtocolError where they come too soon."""
        if count:
            wait_s = _take_all(count, self._name_buckets(now), now)
            self._allow(wait_s, "names that have to be looked up", "WS_MAX_SYMBOLS", now)

    def give_back_names(self, count: int, now: float) -> None:
        """Take back the count of names that were not looked up after all."""
        for bucket in self._name_buckets(now) if count else ():
            bucket.give_back(count)

    def _name_buckets(self, now: float) -> list[Bucket]:
        if self._names is None:
            self._names = _names_bucket(self.allowance, 1, now)
        shared = self._shared
        return [self._names, *([shared.names(self.allowance, now)] if shared else [])]

    def may_replay(self, ticks: int, now: float) -> bool:
        """Count old ticks to be sent again; return whether they are not too many."""
        return not ticks or _take_all(ticks, self._replay_buckets(now), now) == 0

    def give_back_replay(self, ticks: int, now: float) -> None:
        """Take back the count of old ticks that are not to be had after all."""
        for bucket in self._replay_buckets(now) if ticks else ():
            bucket.give_back(ticks)

    def _replay_buckets(self, now: float) -> list[Bucket]:
        if self._replayed is None:
            self._replayed = _replay_bucket(1, now)
        shared = self._shared
        return [self._replayed, *([shared.replayed(now)] if shared else [])]

    def _allow(
        self,
        wait_s: float,
        what: str,
        setting: str,
        now: float,
        what_of_it: str = "; this message was not heeded",
    ) -> None:
        if wait_s > 0:
            log_once(setting)
            if self._refusals is None:
                self._refusals = Recent(MAX_REFUSALS, 60)
            raise ProtocolError(
                Code.RATE_LIMITED,
                f"Too many {what} ({setting}){what_of_it}.",
                retry_after_ms=int(wait_s * 1000) + 1,
                close=Close.TOO_MUCH if self._refusals.add(now) else None,
            )

    def mistake(self, now: float) -> None:
        """Count one mistake. Raises ProtocolError where that was one too many."""
        if self._mistakes is None:
            # One more than is allowed is too many.
            self._mistakes = Recent(self.allowance.mistakes + 1, MISTAKES_WINDOW_S)
        if self._mistakes.add(now):
            raise ProtocolError(
                Code.TOO_MANY_MISTAKES,
                "Too many mistakes (WS_MAX_MISTAKES); connect again in a minute.",
                close=Close.TOO_MUCH,
            )


def most_names(symbols: int) -> int:
    """Return how many names of one message are looked up where so many may be followed."""
    return max(NAMES_AT_LEAST, 2 * symbols)


def _names_bucket(allowance: Allowance, times: int, now: float) -> Bucket:
    most = times * most_names(allowance.symbols)
    return Bucket(most * NAMES_BURST, most / SYMBOLS_WINDOW_S, now)


def _message_bucket(allowance: Allowance, now: float) -> Bucket:
    return Bucket(allowance.burst, allowance.messages / MESSAGE_WINDOW_S, now)


def _replay_bucket(times: int, now: float) -> Bucket:
    return Bucket(times * REPLAYED_BURST, times * REPLAYED_PER_S, now)


def _take_all(tokens: float, buckets: Sequence[Bucket], now: float) -> float:
    """Take tokens of each; return 0, or in how many seconds one has enough, having taken none."""
    for number, bucket in enumerate(buckets):
        wait_s = bucket.take(tokens, now)
        if wait_s:
            for taken in buckets[:number]:
                taken.give_back(tokens)
            return wait_s
    return 0.0


_logged: set[str] = set()


def log_once(setting: str) -> None:
    """Name the setting behind a refusal, the first time it refuses anyone."""
    if setting not in _logged:
        _logged.add(setting)
        logger.warning("a client met the limit %s; said once", setting)
