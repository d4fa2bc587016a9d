"""The free plans' limits: what is counted, for how long, and what the refusal says."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from prices.sandbox import coingecko, finnhub
from prices.sandbox.wire import Plan, Reply


@dataclass(frozen=True, slots=True)
class Allowance:
    """Calls a key may make; None is no limit."""

    coingecko_minute: int | None = None
    coingecko_month: int | None = None
    finnhub_second: int | None = None
    finnhub_minute: int | None = None

    def shown(self) -> dict[str, int | None]:
        return asdict(self)


ALLOWANCES = {
    Plan.ALL: Allowance(),
    Plan.FREE: Allowance(
        coingecko_minute=30,
        coingecko_month=10_000,
        finnhub_second=30,
        finnhub_minute=60,
    ),
}


class Limiter:
    """Counts calls per source and key in sliding windows, on the sandbox's clock."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self._calls: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._credits: defaultdict[tuple[str, str], int] = defaultdict(int)

    def allow(self, **limits: int | None) -> None:
        """Change single limits. Raises TypeError for a name that is none."""
        self.allowance = replace(self.allowance, **limits)

    def refusal(self, source: str, key: str, now: float) -> Reply | None:
        """Count a call; return the refusal where it is one too many.

        A refused call counts too: who keeps asking keeps being refused.
        """
        calls = self._calls[source, key]
        while calls and calls[0] <= now - 60:
            calls.popleft()
        calls.append(now)
        if source == "coingecko":
            return self._coingecko(calls, key, now)
        return self._finnhub(calls, now)

    def spend(self, source: str, key: str, status: int, now: float) -> None:
        """Take a credit of the month for an answer that cost one."""
        if source == "coingecko" and status == 200:
            self._credits[key, _month(now)] += 1

    def _coingecko(self, calls: deque[float], key: str, now: float) -> Reply | None:
        month = self.allowance.coingecko_month
        if month is not None and self._credits[key, _month(now)] >= month:
            return coingecko.rate_limited(None)
        minute = self.allowance.coingecko_minute
        if minute is not None and len(calls) > minute:
            return coingecko.rate_limited(max(1, int(calls[0] + 60 - now) + 1))
        return None

    def _finnhub(self, calls: deque[float], now: float) -> Reply | None:
        second, minute = self.allowance.finnhub_second, self.allowance.finnhub_minute
        if second is not None and sum(when > now - 1 for when in calls) > second:
            return finnhub.rate_limited(second, int(now) + 1)
        if minute is not None and len(calls) > minute:
            return finnhub.rate_limited(minute, int(calls[0]) + 61)
        return None


def _month(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m}"
