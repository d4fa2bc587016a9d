"""The bars and points of one asset by one source, asked for through the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from prices.answers import Segment
from prices.errors import NotListedError, UpstreamError
from prices.models import Asset
from prices.providers.bars import DAY_S, aligned, roll_up, why_later
from prices.services import pairs, splits, store
from prices.services.store import Known
from prices.types import AssetKind, Candle, Candles, Point, Points, Resolution, Window

_SLACK_S = 5 * DAY_S  # no two sessions are further apart but in a crisis


@dataclass(frozen=True, slots=True)
class Part:
    """What one source gave; `segments` where another one's newest days were put behind."""

    series: Candles | Points
    resolution: Resolution
    currency: str
    coverage: float | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def items(self) -> Sequence[Candle] | Sequence[Point]:
        return self.series.candles if isinstance(self.series, Candles) else self.series.points

    @property
    def first(self) -> int:
        return self.items[0].timestamp

    @property
    def last(self) -> int:
        return self.items[-1].timestamp


def bars(source: Any, asset: Asset, span: Window, resolution: Resolution, now: datetime) -> Part:
    """Return a source's bars; of the closed ones it is asked only for those not in the store.

    Stocks are adjusted for splits. Raises NotListedError where the source has none.
    """
    if resolution.is_intraday:
        series = _told(source, asset, span, resolution, now)
    else:
        series = _told(source, asset, aligned(span, resolution), Resolution.DAY, now)

    def days() -> Candles:
        return _told(source, asset, aligned(span, Resolution.DAY), Resolution.DAY, now)

    series = splits.adjusted(asset, series, source=source.name, days=days)
    if resolution in (Resolution.WEEK, Resolution.MONTH):
        series = roll_up(series, resolution, span, kind=AssetKind(asset.kind), now=now)
    if not series.candles:
        raise NotListedError(source.name, asset.ref)
    return Part(series, resolution, pairs.quote_currency(asset, source.name))


def points(source: Any, asset: Asset, span: Window, step: Resolution, now: datetime) -> Part:
    """Return a source's own points, or those its bars make.

    Raises NotListedError where the source has none.
    """
    if not source.has_points:
        part = bars(source, asset, span, step, now)
        series: Points = source.points(part.series, span, step)
    else:
        where = pairs.instrument(asset, source.name)
        series = source.history(where, span, step.minutes * 60)
    if not series.points:
        raise NotListedError(source.name, asset.ref)
    return Part(series, step, pairs.quote_currency(asset, source.name))


def _told(source: Any, asset: Asset, span: Window, width: Resolution, now: datetime) -> Candles:
    """Return bars as the source tells them, known ones from the store; keep what is new."""
    where = pairs.instrument(asset, source.name)
    currency = pairs.quote_currency(asset, source.name)
    known = store.known(asset, source.name, width, span, currency)
    asked = _without_what_is_not_there(span, known)
    try:
        got: Candles = source.candles(where, asked, width, known=known.bars, now=now)
        if asset.kind == AssetKind.CRYPTO and store.is_restated(asset, known, got.candles):
            # Sources of stocks look for themselves: a split is nothing rare.
            got = source.candles(where, span, width, now=now)
    except UpstreamError as exc:
        if exc.got:
            store.keep_part(asset, source.name, width, exc.got, known, currency)
        raise
    if asked is not span and got.truncated_by is None:
        slack_s = max(3 * width.minutes * 60, _SLACK_S if asset.kind == AssetKind.STOCK else DAY_S)
        first = got.candles[0].timestamp if got.candles else None
        reached = int(span.start.timestamp()) if span.start else 0
        got = replace(got, truncated_by=why_later(first, span, reached, slack_s, None))
    store.keep(asset, source.name, width, span, got, known, currency)
    return got


def _without_what_is_not_there(span: Window, known: Known) -> Window:
    """Return the window from the first known bar on, where the source has none before it."""
    if not known.bars or not known.covers(span.start):
        return span
    first = datetime.fromtimestamp(known.bars[0].timestamp, UTC)
    return span if span.start is not None and first <= span.start else Window(first, span.end)
