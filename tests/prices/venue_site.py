"""What the tests of the exchanges share: a far end that trades around the clock, a fixed now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prices.types import AssetKind, Candle, Instrument, Window

NOW = datetime(2025, 10, 6, 12, 20, tzinfo=UTC)  # a Monday
NOW_S = int(NOW.timestamp())
DAY_S = 86_400
STEP_S = {1: 60, 5: 300, 15: 900, 30: 1800, 60: 3600, 240: 14_400, 1440: DAY_S}


def coin(symbol: str, ref: str = "coingecko:bitcoin") -> Instrument:
    return Instrument(ref, AssetKind.CRYPTO, symbol)


def window(**back: float) -> Window:
    return Window(NOW - timedelta(**back), NOW)


def stamps(since: float, until: float, step_s: int) -> Iterator[int]:
    """Yield when bars open from `since` to `until`, none in the future."""
    first = -(-int(since) // step_s) * step_s
    yield from range(first, int(min(until, NOW_S)) + 1, step_s)


def bar(at: int, step_s: int) -> tuple[float, float, float, float, float]:
    """Return open, high, low, close and volume of the far end's bar; each is told apart."""
    start = 100.0 + at // step_s % 1000
    return start, start + 2, start - 1, start + 1, 10.0


def closed(stamps: Iterator[int] | list[int], step_s: int) -> list[Candle]:
    """Return the far end's bars as candles that were kept."""
    return [Candle(at, *bar(at, step_s), closed=True) for at in stamps]


def when(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%m-%d %H:%M")
