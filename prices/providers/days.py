"""Daily bars made of a source's hourly points, asking only for days that are not known yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from prices.errors import UpstreamError
from prices.providers.bars import DAY_S, bar_start, checked
from prices.types import Candle, Point, Resolution

WINDOW_DAYS = 90  # the widest range that is answered hourly
MOST_CALLS = 24
SAMPLES = 12  # fewer would say too little about a day's high and low

# The last points of a day come up to 35 minutes late: until then its bar is not
# closed, and for a day it is made anew rather than taken as known.
LATE_S = 40 * 60
SETTLING_S = DAY_S

Ask = Callable[[int, int], Sequence[Point]]
"""Returns the points from one Unix second to another, both included, oldest first."""


def daily_bars(
    first: int, known: Sequence[Candle], now: datetime, ask: Ask, *, until: datetime | None = None
) -> tuple[list[Candle], int]:
    """Return daily bars from the day `first` on (0 for all there is) up to `until`, oldest first.

    Beside them the day from which on they are complete: later than `first`
    where the rest would take too many calls. Days with few points are left
    out, except today's.
    """
    now_s = int(now.timestamp())
    last_s = min(now_s, int(until.timestamp()) - 1) if until and until < now else now_s
    bars = {
        bar.timestamp: bar
        for bar in known
        if bar.closed and first <= bar.timestamp <= now_s - DAY_S - SETTLING_S
    }
    calls = 0
    for since, upto, is_oldest in _gaps(first, bars, last_s):
        for start, end in _windows(since, upto):
            if calls == MOST_CALLS:
                return _in_order(bars, end, now_s), end + 1
            try:
                points = ask(start, end)
            except UpstreamError as exc:
                # The next request goes on from here instead of asking for all again.
                exc.got = _in_order(bars, first, now_s)
                raise
            calls += 1
            bars |= {bar.timestamp: bar for bar in _made(points, now_s)}
            if is_oldest and (not points or points[0].timestamp > start + 2 * DAY_S):
                break  # Nothing was traded before.
    return _in_order(bars, first, now_s), first


def _gaps(first: int, known: dict[int, Candle], last_s: int) -> Iterator[tuple[int, int, bool]]:
    """Yield the spans around the known days, newest first, and whether a span is the oldest."""
    if not known:
        yield first, last_s, True
        return
    yield max(known) + DAY_S, last_s, False
    if first < (oldest := min(known)):
        yield first, oldest - 1, True


def _windows(since: int, until: int) -> Iterator[tuple[int, int]]:
    """Yield the span in pieces that begin at midnight and are answered hourly, newest first."""
    while until >= since:
        start = max(since, until - until % DAY_S - (WINDOW_DAYS - 1) * DAY_S)
        yield start, until
        until = start - 1


def _made(points: Sequence[Point], now_s: int) -> Iterator[Candle]:
    for start, members in groupby(points, key=lambda p: bar_start(p.timestamp, Resolution.DAY)):
        prices = [point.price for point in members]
        is_today = start + DAY_S > now_s
        if len(prices) < SAMPLES and not is_today:
            continue
        ohlc = (prices[0], max(prices), min(prices), prices[-1])
        bar = checked(start, ohlc, volume=None, closed=not is_today)
        if bar is not None:
            yield bar


def _in_order(bars: dict[int, Candle], since: int, now_s: int) -> list[Candle]:
    ordered = [bars[start] for start in sorted(bars) if start >= since]
    if ordered and ordered[-1].timestamp + DAY_S + LATE_S > now_s:
        ordered[-1] = replace(ordered[-1], closed=False)
    return ordered
