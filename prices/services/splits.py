"""Splits of stocks: series that are as traded are adjusted for them, or begin after them.

A split is known because a source tells of it, or because closes as traded and
closes adjusted of the same days step apart at it. A price that halves in a
night without either is cut off, not guessed at; one that halves in an adjusted
series too has halved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import groupby, pairwise
from math import log, prod
from statistics import median

from prices.errors import PricesError
from prices.models import Asset, Bar, StockSplit
from prices.providers.bars import midnight
from prices.providers.values import reckoned
from prices.types import (
    Adjustment,
    AssetKind,
    Candle,
    Candles,
    Resolution,
    Split,
    TruncatedBy,
)

Days = Callable[[], Candles]

_WHOLE = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 20, 25, 30, 40, 50, 100)
_FORWARD = (*map(float, _WHOLE), 3 / 2, 4 / 3, 5 / 4, 5 / 2, 7 / 5, 6 / 5)
COMMON = tuple(sorted((*_FORWARD, *(1 / ratio for ratio in _FORWARD))))
"""New shares for one old, as boards decide them; the lower ones are reverse splits."""

# A night's step from here on is looked into, where a split would explain it.
_STEP = 1.3
_NIGHT = 0.08  # so far a price may move besides, in the night of a split
_SAME = 0.03  # closes of two sources for one day, or at different exchanges
_LOOKED_AT = 5  # days on either side by which a split is confirmed
# Sources take their time to adjust days for a split: that a price has halved without
# one is believed from the third day on.
_LARGE = 1.8
_SETTLED = 3


def adjusted(
    asset: Asset,
    series: Candles,
    *,
    source: str = "",
    days: Days | None = None,
) -> Candles:
    """Return bars in the shares of their newest day, and say so where splits lie within.

    What the series tells of splits is kept for others. `days` asks for daily bars
    adjusted for splits; it is called only where a step needs explaining, and may
    raise PricesError. Weeks and months are to be made of days adjusted here.
    """
    if asset.kind != AssetKind.STOCK:
        return series
    if series.splits:
        learn(asset, series.splits, source)
    bars = series.candles
    if series.adjustment is Adjustment.SPLITS or not bars:
        return series
    found, cut = _Seen(asset, bars, source, days).within()
    if cut is not None:
        bars = [bar for bar in bars if _day_of(bar) >= cut]
        series = replace(series, truncated_by=TruncatedBy.SPLIT)
    if not found:
        return replace(series, candles=bars)
    return replace(
        series,
        candles=[_in_new_shares(bar, found) for bar in bars],
        adjustment=Adjustment.SPLITS,
        splits=found,
    )


def learn(asset: Asset, splits: Collection[Split], source: str) -> None:
    """Keep splits that are told of, or found. The first word on a day stands."""
    known = set(asset.splits.values_list("day", flat=True))
    news = [one for one in splits if one.day not in known and one.ratio > 0 and one.ratio != 1]
    StockSplit.objects.bulk_create(
        [StockSplit(asset=asset, day=one.day, ratio=one.ratio, source=source) for one in news],
        ignore_conflicts=True,
    )


def common(ratio: float, within: float) -> float | None:
    """Return the usual ratio nearest to one that is seen, if it is near enough."""
    nearest = min(COMMON, key=lambda one: abs(log(one / ratio)))
    return nearest if abs(log(nearest / ratio)) <= log(1 + within) else None


class _Seen:
    """A series as traded, day by day, and what can be learned of its splits."""

    def __init__(self, asset: Asset, bars: Sequence[Candle], source: str, days: Days | None):
        self._asset = asset
        self._source = source
        self._days = days
        self._bars = {day: list(group) for day, group in groupby(bars, key=_day_of)}
        self._told = self._known()
        self._closes: dict[date, float] | None = None  # adjusted, by day

    def within(self) -> tuple[tuple[Split, ...], date | None]:
        """Return the splits, and the first day to be kept where a step before it stays dark."""
        found: list[Split] = []
        for before, after in reversed(list(pairwise(self._bars))):
            ratio = self._ratio(before, after)
            if ratio is None:
                return tuple(reversed(found)), after
            if ratio != 1:
                found.append(Split(after, ratio))
        return tuple(reversed(found)), None

    def _ratio(self, before: date, after: date) -> float | None:
        """Return the ratio of the split in that night, 1 for no split, None for who knows."""
        step = self._bars[before][-1].close / self._bars[after][0].open
        split = self._split(before, after)
        if split is None:
            if max(step, 1 / step) < _STEP or common(step, _NIGHT) is None:
                return 1
            if self._closes is None:
                self._closes = self._reference()
                self._told = self._known()  # Who tells of days may tell of splits.
            split = self._split(before, after)
        if split is not None:
            return split if _shows(step, split) else 1
        ratio = self._confirmed(before, after)
        if ratio == 1 and max(step, 1 / step) > _LARGE and self._days_since(after) < _SETTLED:
            return None
        if ratio is not None and ratio != 1:
            learn(self._asset, [Split(after, ratio)], f"found: {self._source}")
        return ratio

    def _split(self, before: date, after: date) -> float | None:
        ratios = [ratio for day, ratio in self._told.items() if before < day <= after]
        return prod(ratios) if ratios else None

    def _known(self) -> dict[date, float]:
        """Return the splits that are kept of the asset, within the series."""
        span = (min(self._bars), max(self._bars))
        return dict(self._asset.splits.filter(day__range=span).values_list("day", "ratio"))

    def _reference(self) -> dict[date, float]:
        """Return closes adjusted for splits by day: of whoever can be asked, else as kept."""
        if self._days is not None:
            try:
                got = self._days()
            except PricesError:
                pass  # What is kept may do; else the series is cut.
            else:
                learn(self._asset, got.splits, self._source)
                if got.adjustment is Adjustment.SPLITS and got.candles:
                    return {_day_of(bar): bar.close for bar in got.candles}
        opens = [midnight(day) for day in (min(self._bars), max(self._bars))]
        kept = Bar.objects.filter(
            series__asset=self._asset,
            series__resolution=Resolution.DAY,
            series__adjustment=Adjustment.SPLITS,
            opens__range=opens,
        )
        of_source: dict[int, dict[date, float]] = {}
        for series, at, close in kept.values_list("series", "opens", "close"):
            of_source.setdefault(series, {})[_day(at)] = close
        return max(of_source.values(), key=len, default={})

    def _days_since(self, first: date) -> int:
        return sum(day >= first for day in self._closes or {})

    def _confirmed(self, before: date, after: date) -> float | None:
        """Return how closes as traded step against adjusted ones, if they do so cleanly."""
        closes = self._closes or {}
        apart = {
            day: bars[-1].close / closes[day] for day, bars in self._bars.items() if day in closes
        }
        earlier = [apart[day] for day in sorted(apart) if day <= before][-_LOOKED_AT:]
        later = [apart[day] for day in sorted(apart) if day >= after][:_LOOKED_AT]
        if not (_agree(earlier) and _agree(later)):
            return None
        ratio = median(earlier) / median(later)
        return 1 if _agree([ratio, 1]) else common(ratio, _SAME)


def _agree(ratios: Sequence[float]) -> bool:
    return bool(ratios) and max(ratios) / min(ratios) <= 1 + _SAME


def _shows(step: float, split: float) -> bool:
    """Whether a night's step is rather the split's than none: the series may be adjusted after all.

    A small one cannot be told from a night's news.
    """
    return max(split, 1 / split) < _STEP or abs(log(step / split)) < abs(log(step))


def _in_new_shares(bar: Candle, splits: Collection[Split]) -> Candle:
    day = _day_of(bar)
    factor = prod(one.ratio for one in splits if one.day > day)
    if factor == 1:
        return bar
    return Candle(
        bar.timestamp,
        reckoned(bar.open / factor),
        reckoned(bar.high / factor),
        reckoned(bar.low / factor),
        reckoned(bar.close / factor),
        None if bar.volume is None else bar.volume * factor,
        bar.closed,
    )


def _day_of(bar: Candle) -> date:
    return _day(bar.timestamp)


def _day(timestamp: int) -> date:
    """Return the day of a bar; regular hours fall on one and the same day in UTC."""
    return datetime.fromtimestamp(timestamp, UTC).date()
