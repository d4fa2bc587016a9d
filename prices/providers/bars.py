"""Bars: where they begin and end, whether they can be true, and coarser ones from finer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from itertools import groupby

from prices.providers.values import amount, number, price
from prices.sessions import next_session, session_on, sessions_between
from prices.types import AssetKind, Candle, Candles, Origin, Resolution, TruncatedBy, Window

DAY_S = 86_400
_WEEK_S = 7 * DAY_S
_FIRST_MONDAY = 4 * DAY_S  # 5 January 1970


def bar_start(timestamp: int, resolution: Resolution) -> int:
    """Return when the bar that holds `timestamp` opens, in UTC: weeks on Monday, months on the 1st.

    Intraday bars of stocks count from the session's start instead; see Finnhub.
    """
    if resolution is Resolution.WEEK:
        return timestamp - (timestamp - _FIRST_MONDAY) % _WEEK_S
    if resolution is Resolution.MONTH:
        first = datetime.fromtimestamp(timestamp, UTC).replace(day=1)
        return midnight(first.date())
    return timestamp - timestamp % (resolution.minutes * 60)


def bar_end(start: int, resolution: Resolution) -> int:
    """Return when a bar that opens at `start` ends: when the next one opens."""
    if resolution is Resolution.MONTH:
        return bar_start(start + 32 * DAY_S, resolution)
    return start + resolution.minutes * 60


def aligned(window: Window, resolution: Resolution) -> Window:
    """Return the window with its start moved back to where its first bar opens."""
    if window.start is None:
        return window
    first = bar_start(int(window.start.timestamp()), resolution)
    return Window(datetime.fromtimestamp(first, UTC), window.end)


def midnight(day: date) -> int:
    """Return 00:00 UTC of the day in Unix seconds."""
    return int(datetime.combine(day, time(), UTC).timestamp())


def checked(
    timestamp: int, ohlc: Sequence[object], *, volume: float | None, closed: bool
) -> Candle | None:
    """Return the bar, or None where a price is missing or the four contradict each other."""
    opening, high, low, close = (price(value) for value in ohlc)
    if opening is None or high is None or low is None or close is None:
        return None
    if not low <= min(opening, close) <= max(opening, close) <= high:
        return None
    return Candle(timestamp, opening, high, low, close, volume, closed)


def read_bars(
    rows: Iterable[tuple[int | None, Sequence[object], object]],
) -> tuple[list[Candle], int]:
    """Return bars of (opening, open-high-low-close, volume), and how many contradict themselves.

    Numbers may be texts. Raises ValueError where there are rows and none can be read.
    """
    found: dict[int, Candle] = {}
    dropped = 0
    for start, ohlc, volume in rows:
        prices = [number(value) for value in ohlc]
        bar = checked(start or 0, prices, volume=amount(number(volume)), closed=False)
        if start is None or bar is None:
            dropped += 1
        else:
            found[start] = bar
    if dropped and not found:
        raise ValueError("no bar can be read")
    return [found[start] for start in sorted(found)], dropped


def merged(bars: Sequence[Candle], timestamp: int, *, closed: bool) -> Candle:
    """Return one bar made of several that follow each other. Its volume needs all of theirs."""
    volumes = [bar.volume for bar in bars if bar.volume is not None]
    return Candle(
        timestamp,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum(volumes) if len(volumes) == len(bars) else None,
        closed,
    )


def roll_up(
    days: Candles, resolution: Resolution, window: Window, *, kind: AssetKind, now: datetime
) -> Candles:
    """Return the weekly or monthly bars of the window, made of daily ones.

    The days are those of `aligned(window, resolution)`, so that the first bar
    is whole. Where its first days are missing it is left out, unless the asset
    is no older; where a plan has none so old, the series says so.
    """
    bars: list[Candle] = []
    is_left_out = False
    groups = groupby(days.candles, key=lambda day: bar_start(day.timestamp, resolution))
    for start, members in groups:
        group = list(members)
        if not bars and _is_cut_off(days, window, start, kind):
            is_left_out = True
            continue
        end = bar_end(start, resolution)
        closed = end <= now.timestamp() or (
            kind is AssetKind.STOCK and _is_last_session(group[-1], end)
        )
        bars.append(merged(group, start, closed=closed and group[-1].closed))
    cut = days.truncated_by
    is_refused = is_left_out and cut is TruncatedBy.PLAN
    if window.start is not None and bars and not is_refused:
        first = bar_start(int(window.start.timestamp()), resolution)
        if bars[0].timestamp <= bar_end(first, resolution):
            cut = None  # At most the bar is missing that the window begins within.
    return replace(days, candles=bars, origin=Origin.DERIVED, truncated_by=cut)


def why_later(
    first: int | None, window: Window, reached: int, slack_s: int, cut: TruncatedBy | None
) -> TruncatedBy | None:
    """Return why a series that begins at `first` begins later than its window.

    `reached` is the moment back to which the source was asked, `cut` why that
    was not further. None where less than the slack is missing, and where the
    window is "all there is" and everything is there.
    """
    if first is None:
        return cut
    if window.start is not None and first <= window.start.timestamp() + slack_s:
        return None
    if first > reached + 2 * slack_s:
        # It was asked for and is not there: the asset is younger.
        return TruncatedBy.LISTING if window.start is not None else None
    return cut


def _is_cut_off(days: Candles, window: Window, start: int, kind: AssetKind) -> bool:
    """Whether the first days of the first bar were traded and are not here."""
    if days.truncated_by is TruncatedBy.LISTING:
        return False
    if days.truncated_by is None and window.start is None:
        return False  # All there is.
    first = days.candles[0].timestamp
    if kind is AssetKind.CRYPTO or first == start:
        return first > start
    opens = datetime.fromtimestamp(start, UTC)
    return bool(sessions_between(opens, datetime.fromtimestamp(first, UTC)))


def _is_last_session(day: Candle, end: int) -> bool:
    """Whether no session follows this one before `end`: a stock's week is over on Friday."""
    session = session_on(datetime.fromtimestamp(day.timestamp, UTC).date())
    if session is None or not day.closed:
        return False
    return midnight(next_session(session.opens).day) >= end
