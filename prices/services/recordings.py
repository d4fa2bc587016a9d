"""What is recorded of a stock, as it is kept: minutes, and the hours and days of older ones.

Minutes go after KEEP_MINUTES_DAYS, whole days at a time. The hours and days that they
make are kept before, as series of their own: hours for KEEP_HOURS_DAYS, days for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby

from django.db import transaction
from django.db.models import F, Max, QuerySet, Sum
from django.db.models.functions import Abs, Coalesce

from prices.freshness import LAST_TRADE
from prices.models import Asset, Bar, Series
from prices.providers.bars import DAY_S, bar_start, merged
from prices.providers.stock_source import closing, in_session
from prices.services import store
from prices.sessions import latest_session, session_on
from prices.types import Candle, Resolution, Window

SOURCE = store.RECORDED
MINUTE_S = 60
# A bar wider than an hour from fewer minutes than these would claim a high and a low it never saw.
LEAST_MINUTES = 12
# Wider than a minute and kept; what is wider than these is made of them.
KEPT = (Resolution.H1, Resolution.DAY)
_DAYS_AT_ONCE = 10
_PAUSE_S = 0.02

Counts = dict[Resolution, dict[int, int]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A minute that was recorded, or what `minutes` of them made.

    `is_to_the_end` says whether the last minutes of its session are in it.
    """

    bar: Candle
    minutes: int
    is_to_the_end: bool


def pieces(asset: Asset, window: Window, resolution: Resolution, now: datetime) -> list[Piece]:
    """Return what bars of the width can be made of, oldest first: none is of a time twice.

    With what lies before the window and shares its first bar.
    """
    rows = _rows(asset, window, resolution, [Resolution.M1, *_made_of(resolution)])
    in_order = rows.order_by("opens", F("minutes").asc(nulls_last=True))
    fields = in_order.values_list("opens", "open", "high", "low", "close", "minutes")
    return [_piece(opens, ohlc, minutes, now) for opens, *ohlc, minutes in fields]


def counted(asset: Asset, window: Window) -> Counts:
    """Return how many minutes each day has, by its midnight in UTC and what they are kept in."""
    rows = (
        _rows(asset, window, Resolution.M1, [Resolution.M1, *KEPT])
        .annotate(day=F("opens") - F("opens") % DAY_S)
        .values("series__resolution", "day")
        .annotate(count=Sum(Coalesce(Abs("minutes"), 1)))
        .order_by("day")
        .values_list("series__resolution", "day", "count")
    )
    found: Counts = {}
    for width, day, count in rows:
        found.setdefault(Resolution(width), {})[day] = count
    return found


def newest(asset: Asset, window: Window) -> int:
    """Return when the newest minute opened that was recorded of a window; 0 without any."""
    rows = _rows(asset, window, Resolution.M1, [Resolution.M1, *KEPT])
    by_width = rows.values("series__resolution").annotate(newest=Max("opens")).order_by()
    ends = [
        closing(opens, Resolution(width)) - MINUTE_S
        for width, opens in by_width.values_list("series__resolution", "newest")
    ]
    return max(ends, default=0)


def grouped(found: Iterable[Piece], width: Resolution, now: datetime) -> Iterator[Piece]:
    """Yield bars up to a day wide, made of finer ones or of as wide ones.

    A day is closed only where the last minutes of its session were recorded.
    """
    least = LEAST_MINUTES if width.minutes > Resolution.H1.minutes else 1
    start_of = in_session if width.is_intraday else bar_start
    for start, members in groupby(found, key=lambda one: start_of(one.bar.timestamp, width)):
        parts = list(members)
        minutes = sum(one.minutes for one in parts)
        if minutes < least:
            continue
        is_to_the_end = any(one.is_to_the_end for one in parts)
        is_over = closing(start, width) <= now.timestamp()
        closed = is_over and (width.is_intraday or is_to_the_end)
        bar = merged([one.bar for one in parts], start, closed=closed)
        yield Piece(bar, minutes, is_to_the_end)


def prune(now: datetime) -> int:
    """Delete minutes past their keeping, whole days, with their hours and days kept before."""
    cut = int((now - store.keeping(Resolution.M1)).timestamp())
    cut -= cut % DAY_S
    deleted = 0
    for minutes in Series.objects.filter(source=SOURCE, resolution=Resolution.M1):
        old = Bar.objects.filter(series=minutes, opens__lt=cut).order_by("opens")
        while (first := old.values_list("opens", flat=True).first()) is not None:
            until = min(cut, first - first % DAY_S + _DAYS_AT_ONCE * DAY_S)
            deleted += _widen(minutes.asset, old.filter(opens__lt=until), until, now)
            time.sleep(_PAUSE_S)  # Others write too.
    return deleted


def _widen(asset: Asset, minutes: QuerySet[Bar], until: int, now: datetime) -> int:
    """Keep the hours and days that minutes make, and delete these; return how many."""
    first = minutes.values_list("opens", flat=True)[0]
    window = Window(
        datetime.fromtimestamp(first - first % DAY_S, UTC), datetime.fromtimestamp(until, UTC)
    )
    made = {width: list(grouped(pieces(asset, window, width, now), width, now)) for width in KEPT}
    with transaction.atomic():
        for width, found in made.items():
            _keep(asset, width, found, now)
        return minutes.order_by().delete()[0]


def _keep(asset: Asset, width: Resolution, found: Sequence[Piece], now: datetime) -> None:
    if not found:
        return
    defaults = {"renewed_at": now}
    series, _ = Series.objects.update_or_create(
        asset=asset, source=SOURCE, resolution=width, defaults=defaults
    )
    bars = [
        Bar(
            series=series,
            opens=one.bar.timestamp,
            open=one.bar.open,
            high=one.bar.high,
            low=one.bar.low,
            close=one.bar.close,
            minutes=one.minutes if one.is_to_the_end else -one.minutes,
        )
        for one in found
    ]
    Bar.objects.bulk_create(
        bars,
        update_conflicts=True,
        unique_fields=["series", "opens"],
        update_fields=["open", "high", "low", "close", "minutes"],
    )


def _made_of(resolution: Resolution) -> tuple[Resolution, ...]:
    """Return what is kept that bars of a width can be made of, beside minutes."""
    if not resolution.is_intraday:
        return (Resolution.DAY,)
    return (Resolution.H1,) if resolution.minutes >= Resolution.H1.minutes else ()


def _rows(
    asset: Asset, window: Window, resolution: Resolution, widths: Sequence[Resolution]
) -> QuerySet[Bar]:
    found = Bar.objects.filter(
        series__asset=asset,
        series__source=SOURCE,
        series__resolution__in=widths,
        opens__lt=int(window.end.timestamp()),
    )
    if window.start is None:
        return found
    return found.filter(opens__gte=_first(window.start, resolution))


def _first(start: datetime, resolution: Resolution) -> int:
    """Return when the bar of the width opens that a window from `start` begins with."""
    at = int(start.timestamp())
    is_between = start >= latest_session(start).closes
    return at if is_between or not resolution.is_intraday else in_session(at, resolution)


def _piece(opens: int, ohlc: Sequence[float], minutes: int | None, now: datetime) -> Piece:
    """Return a row as a piece: of wider ones than a minute it is known how many made them."""
    closed = minutes is not None or opens + MINUTE_S <= now.timestamp()
    opening, high, low, close = ohlc
    bar = Candle(opens, opening, high, low, close, None, closed)
    if minutes is None:
        return Piece(bar, 1, opens >= _last_minutes(opens // DAY_S))
    return Piece(bar, abs(minutes), minutes > 0)


@lru_cache(maxsize=512)
def _last_minutes(day: int) -> float:
    """Return from when on a minute is as near to its session's end as a last trade may lie."""
    # Regular hours in New York fall on one and the same day in UTC.
    session = session_on(datetime.fromtimestamp(day * DAY_S, UTC).date())
    return (session.closes - LAST_TRADE).timestamp() if session else 0.0
