"""Where the items of a series would stand if none were missing. Pure.

Coins trade round the clock: a step without an item is a hole. Of stocks only what lies
within New York's sessions is missed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from prices.providers.bars import bar_end, bar_start, midnight
from prices.providers.stock_source import closing
from prices.sessions import sessions_between
from prices.types import AssetKind, Resolution


def missing_bars(kind: AssetKind, width: Resolution, opens: Sequence[int]) -> Iterator[int]:
    """Yield the openings between the first and the last of `opens` that have no bar."""
    if kind is AssetKind.CRYPTO:
        for one, following in pairwise(opens):
            at = bar_end(one, width)
            while at < following:
                yield at
                at = bar_end(at, width)
    elif opens:
        present = set(opens)
        for at in _openings(width, opens[0], opens[-1]):
            if at not in present:
                yield at


def missing_points(kind: AssetKind, step: Resolution, stamps: Sequence[int]) -> Iterator[int]:
    """Yield about when points between the first and the last of `stamps` are missing.

    A coin's points stand off any grid, so that only more than a step and a half between
    two of them is a hole; a stock's are the closes of its bars.
    """
    if kind is AssetKind.CRYPTO:
        step_s = step.minutes * 60
        for one, following in pairwise(stamps):
            for number in range(1, round((following - one) / step_s)):
                yield one + number * step_s
    elif stamps:
        for opening in _openings(step, stamps[0], stamps[-1]):
            ends = closing(opening, step)
            if bisect_right(stamps, ends) == bisect_right(stamps, opening):
                yield ends


def _openings(width: Resolution, first: int, last: int) -> Iterator[int]:
    """Yield when a stock's bars open after `first` and before `last`, in order."""
    before = first
    for session in sessions_between(_time(first), _time(last + 1)):
        if width.is_intraday:
            span = (int(session.opens.timestamp()), int(session.closes.timestamp()))
            openings: Sequence[int] = range(*span, width.minutes * 60)
        else:
            openings = [bar_start(midnight(session.day), width)]
        for at in openings:
            if before < at < last:
                before = at
                yield at


def _time(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
