"""What the tests of stock sources share: a far end around the clock, and a fixed now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prices.sessions import session_on
from prices.types import AssetKind, Candle, Instrument, Window

# A Wednesday in summer time: the session is 13:30 to 20:00 UTC.
NOW = datetime(2025, 10, 8, 15, 10, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
OPENS = int(datetime(2025, 10, 8, 13, 30, tzinfo=UTC).timestamp())
DAY_S = 86_400
AAPL = Instrument("stock:AAPL", AssetKind.STOCK, "AAPL")
TODAY = Window(datetime.fromtimestamp(OPENS, UTC), NOW)


def stock(ticker: str) -> Instrument:
    return Instrument(f"stock:{ticker}", AssetKind.STOCK, ticker)


def window(**back: float) -> Window:
    return Window(NOW - timedelta(**back), NOW)


def stamps(since: float, until: float, step_s: int) -> Iterator[int]:
    """Yield when bars open from `since` to `until` on a grid, none in the future."""
    first = -(-int(since) // step_s) * step_s
    yield from range(first, int(min(until, NOW_S)) + 1, step_s)


def days(since: str) -> Iterator[datetime]:
    """Yield the days on which New York traded, from that one to today, as midnights."""
    day = datetime.fromisoformat(since).replace(tzinfo=UTC)
    while day <= NOW:
        if session_on(day.date()):
            yield day
        day += timedelta(days=1)


def bar(at: float, step_s: int) -> tuple[float, float, float, float, float]:
    """Return open, high, low, close and volume of the far end's bar; each is told apart."""
    start = 100.0 + at // step_s % 1000
    return start, start + 2, start - 1, start + 1, 10.0


def kept(at: int, step_s: int) -> Candle:
    return Candle(at, *bar(at, step_s), closed=True)


def when(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%m-%d %H:%M")
