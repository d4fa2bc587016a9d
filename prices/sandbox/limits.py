"""The free plans' limits: what is counted, for how long, and what the refusal says."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from prices.sandbox import binance, coinbase, coingecko, finnhub, kraken, tiingo, twelvedata
from prices.sandbox.wire import Plan, Reply


@dataclass(frozen=True, slots=True)
class Allowance:
    """Calls a key may make, for exchanges an address; None is no limit."""

    coingecko_minute: int | None = None
    coingecko_month: int | None = None
    finnhub_second: int | None = None
    finnhub_minute: int | None = None
    coinbase_second: int | None = None
    kraken_minute: int | None = None
    binance_weight: int | None = None  # a minute
    twelvedata_minute: int | None = None
    twelvedata_day: int | None = None
    tiingo_hour: int | None = None
    tiingo_day: int | None = None

    def shown(self) -> dict[str, int | None]:
        return asdict(self)


ALLOWANCES = {
    Plan.ALL: Allowance(),
    Plan.FREE: Allowance(
        coingecko_minute=30,
        coingecko_month=10_000,
        finnhub_second=30,
        finnhub_minute=60,
        coinbase_second=10,
        kraken_minute=60,
        binance_weight=6000,
        twelvedata_minute=8,
        twelvedata_day=800,
        tiingo_hour=50,
        tiingo_day=1000,
    ),
}
_HOUR_S = 3600.0
_WINDOWS_S = {"tiingo": _HOUR_S}
# Who goes on after this many refusals is banned by Binance, for so long.
_WARNINGS = 3
_BAN_S = 120


class Limiter:
    """Counts calls per source and key in sliding windows, on the sandbox's clock."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self._calls: defaultdict[tuple[str, str], deque[tuple[float, int]]] = defaultdict(deque)
        self._spent: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._warnings = 0
        self._banned_until = 0.0

    def allow(self, **limits: int | None) -> None:
        """Change single limits. Raises TypeError for a name that is none."""
        self.allowance = replace(self.allowance, **limits)

    def refusal(self, source: str, key: str, now: float, weight: int = 1) -> Reply | None:
        """Count a call; return the refusal where it is one too many.

        A refused call counts too: who keeps asking keeps being refused.
        """
        calls = self._calls[source, key]
        while calls and calls[0][0] <= now - _WINDOWS_S.get(source, 60.0):
            calls.popleft()
        if weight:
            calls.append((now, weight))
        match source:
            case "coingecko":
                return self._coingecko(calls, key, now)
            case "finnhub":
                return self._finnhub(calls, now)
            case "coinbase" if _is_over(self.allowance.coinbase_second, _used(calls, now - 1)):
                return coinbase.rate_limited()
            case "kraken" if _is_over(self.allowance.kraken_minute, _used(calls)):
                return kraken.rate_limited()
            case "binance":
                return self._binance(calls, now)
            case "twelvedata":
                return self._twelvedata(calls, key, now, weight)
            case "tiingo":
                return self._tiingo(calls, key, now)
        return None

    def spend(self, source: str, key: str, status: int, now: float) -> None:
        """Take a credit of the month for an answer that cost one."""
        if source == "coingecko" and status == 200:
            self._spent[source, key, _month(now)] += 1

    def headers(self, source: str, key: str) -> dict[str, str]:
        """Return what a source tells of its limits with every answer."""
        if source != "binance":
            return {}
        return {"x-mbx-used-weight-1m": str(_used(self._calls[source, key]))}

    def _coingecko(self, calls: deque[tuple[float, int]], key: str, now: float) -> Reply | None:
        if _is_over(self.allowance.coingecko_month, self._spent["coingecko", key, _month(now)] + 1):
            return coingecko.rate_limited(None)
        if _is_over(self.allowance.coingecko_minute, len(calls)):
            return coingecko.rate_limited(_wait_s(calls, now))
        return None

    def _finnhub(self, calls: deque[tuple[float, int]], now: float) -> Reply | None:
        second, minute = self.allowance.finnhub_second, self.allowance.finnhub_minute
        if second is not None and _used(calls, now - 1) > second:
            return finnhub.rate_limited(second, int(now) + 1)
        if minute is not None and len(calls) > minute:
            return finnhub.rate_limited(minute, int(calls[0][0]) + 61)
        return None

    def _binance(self, calls: deque[tuple[float, int]], now: float) -> Reply | None:
        if now < self._banned_until:
            return binance.banned(int(self._banned_until - now) + 1, self._banned_until)
        if not _is_over(self.allowance.binance_weight, _used(calls)):
            self._warnings = 0
            return None
        self._warnings += 1
        if self._warnings > _WARNINGS:
            self._warnings, self._banned_until = 0, now + _BAN_S
            return binance.banned(_BAN_S, self._banned_until)
        return binance.rate_limited(_wait_s(calls, now))

    def _twelvedata(
        self, calls: deque[tuple[float, int]], key: str, now: float, weight: int
    ) -> Reply | None:
        minute, day = self.allowance.twelvedata_minute, self.allowance.twelvedata_day
        if weight == 0:
            return None
        used, today = _used(calls), self._spend_today("twelvedata", key, now, weight)
        if day is not None and today > day:
            return twelvedata.rate_limited(today, day, "day")
        if minute is not None and used > minute:
            return twelvedata.rate_limited(used, minute, "minute")
        return None

    def _tiingo(self, calls: deque[tuple[float, int]], key: str, now: float) -> Reply | None:
        today = self._spend_today("tiingo", key, now, 1)
        if _is_over(self.allowance.tiingo_day, today):
            return tiingo.rate_limited("daily")
        if _is_over(self.allowance.tiingo_hour, _used(calls)):
            return tiingo.rate_limited("hourly")
        return None

    def _spend_today(self, source: str, key: str, now: float, weight: int) -> int:
        day = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
        self._spent[source, key, day] += weight
        return self._spent[source, key, day]


def _used(calls: deque[tuple[float, int]], since: float = 0.0) -> int:
    return sum(weight for when, weight in calls if when > since)


def _is_over(limit: int | None, used: int) -> bool:
    return limit is not None and used > limit


def _wait_s(calls: deque[tuple[float, int]], now: float) -> int:
    return max(1, int(calls[0][0] + 60 - now) + 1)


def _month(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m}"
