"""Price history and candles of one asset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from prices import cache, freshness, gateway, registry
from prices.answers import CandlesAnswer, HistoryAnswer, market_at
from prices.budget import Purpose
from prices.cache import Held
from prices.errors import (
    NoPriceError,
    NotListedError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamNotFoundError,
)
from prices.models import Asset
from prices.providers.bars import aligned, roll_up
from prices.services import pairs
from prices.services.symbols import Resolved
from prices.sessions import latest_session
from prices.types import (
    AssetKind,
    Candle,
    Candles,
    Capability,
    Period,
    Point,
    Points,
    Resolution,
    Window,
)

T = TypeVar("T")


# How far apart the points of a period are, as the resolution of that width.
_STEPS: dict[Period, Resolution] = {
    Period.DAY: Resolution.M5,
    Period.WEEK: Resolution.H1,
    Period.MONTH: Resolution.H1,
    Period.QUARTER: Resolution.H1,
}
# The width of a bar where the client names none.
_WIDTHS: dict[Period, Resolution] = {
    Period.DAY: Resolution.M5,
    Period.WEEK: Resolution.M15,
    Period.MONTH: Resolution.H1,
    Period.QUARTER: Resolution.H1,
}


def history(resolved: Resolved, period: Period, *, force: bool = False) -> Held[HistoryAnswer]:
    """Return prices over `period`, oldest first.

    Raises NoPriceError where the source has none, PlanRestrictedError, UpstreamError.
    """
    return cache.fetch(
        cache.history_key(resolved.symbol, period),
        lambda: _history(resolved, period, Purpose.of(force)),
        HistoryAnswer,
        cache.HISTORY,
        max_age_s=cache.FORCED_AGE_S if force else None,
        fits=lambda _, value: value.ref == resolved.asset.ref,
    )


def candles(
    resolved: Resolved,
    period: Period,
    resolution: Resolution | None = None,
    *,
    force: bool = False,
) -> Held[CandlesAnswer]:
    """Return bars over `period`, oldest first.

    A named resolution is given exactly. Without one the usual width of the
    period is given, or the nearest coarser that can be had.

    Raises ResolutionUnavailableError, NoPriceError, PlanRestrictedError, UpstreamError.
    """
    return cache.fetch(
        cache.candles_key(resolved.symbol, period, resolution),
        lambda: _candles(resolved, period, resolution, Purpose.of(force)),
        CandlesAnswer,
        cache.CANDLES,
        max_age_s=cache.FORCED_AGE_S if force else None,
        fits=lambda _, value: value.ref == resolved.asset.ref,
    )


def window(kind: AssetKind, period: Period, now: datetime) -> Window:
    """Return the time a period spans: back from now, for stocks from the latest session."""
    if kind is AssetKind.CRYPTO:
        return Window(now - period.span if period.span else None, now)
    session = latest_session(now)
    end = min(now, session.closes)
    if period is Period.DAY:
        return Window(session.opens, end)
    return Window(end - period.span if period.span else None, end)


def _history(resolved: Resolved, period: Period, purpose: Purpose) -> HistoryAnswer:
    asset = resolved.asset
    span = window(AssetKind(asset.kind), period, datetime.now(UTC))
    step = _STEPS.get(period, Resolution.DAY)

    def question(source: Any) -> tuple[Points, str]:
        where = pairs.instrument(asset, source.name)
        series: Points = source.history(where, span, step.minutes * 60)
        if not series.points:
            raise NotListedError(source.name, asset.ref)
        return series, pairs.quote_currency(asset, source.name)

    got = _asked(resolved, Capability.HISTORY, question, purpose)
    series, currency = got.value
    points = series.points
    return HistoryAnswer(
        **_told(resolved, got, series, points, currency),
        as_of=_time(points[-1].timestamp),
        period=period,
        resolution=step,
        freshness=freshness.of_points(
            AssetKind(asset.kind),
            _time(points[-1].timestamp),
            step,
            got.fetched_at,
            registry.cadence(got.name),
        ).freshness,
        data=points,
    )


def _told(
    resolved: Resolved,
    got: gateway.Sourced[Any],
    series: Points | Candles,
    items: Sequence[Point] | Sequence[Candle],
    currency: str,
) -> dict[str, Any]:
    """Return what history and candles tell alike, as fields of their answers."""
    cut = series.truncated_by
    return {
        "source": got.source,
        "fetched_at": got.fetched_at,
        "cached": False,
        "stale": False,
        "currency": currency,
        "quote_currency": currency,
        "fallback_from": got.skipped,
        "symbol": resolved.symbol,
        "ref": resolved.asset.ref,
        "count": len(items),
        "from_": items[0].timestamp,
        "to": items[-1].timestamp,
        "truncated": cut is not None,
        "truncated_by": cut,
        "available_from": items[0].timestamp if cut is not None else None,
        "volume_basis": series.volume_basis,
        "market": market_at(got.fetched_at) if resolved.asset.kind == AssetKind.STOCK else None,
        "adjustment": series.adjustment,
        "segments": [],
        "alternatives": resolved.alternatives,
    }


@dataclass(frozen=True, slots=True)
class _Bars:
    """What one source gave for candles."""

    series: Candles
    resolution: Resolution
    currency: str


def _candles(
    resolved: Resolved, period: Period, named: Resolution | None, purpose: Purpose
) -> CandlesAnswer:
    now = datetime.now(UTC)
    span = window(AssetKind(resolved.asset.kind), period, now)
    available: list[Resolution] = []

    def question(source: Any) -> _Bars:
        offered = source.resolutions(span)
        available.extend(width for width in offered if width not in available)
        resolution = _width(period, named, offered)
        series = _bars(source, resolved.asset, span, resolution, now)
        if not series.candles:
            raise NotListedError(source.name, resolved.asset.ref)
        return _Bars(series, resolution, pairs.quote_currency(resolved.asset, source.name))

    try:
        got = _asked(resolved, Capability.CANDLES, question, purpose)
    except ResolutionUnavailableError as exc:
        finest_first = sorted(available, key=lambda width: width.minutes)
        raise ResolutionUnavailableError(exc.resolution, finest_first) from None
    return _candles_answer(resolved, period, got, now)


def _candles_answer(
    resolved: Resolved, period: Period, got: gateway.Sourced[_Bars], now: datetime
) -> CandlesAnswer:
    series, resolution = got.value.series, got.value.resolution
    bars = series.candles
    return CandlesAnswer(
        **_told(resolved, got, series, bars, got.value.currency),
        as_of=min(now, _time(bars[-1].timestamp) + timedelta(minutes=resolution.minutes)),
        period=period,
        resolution=resolution,
        freshness=freshness.of_series(
            AssetKind(resolved.asset.kind),
            _time(bars[-1].timestamp),
            resolution,
            now,
            registry.cadence(got.name),
        ).freshness,
        origin=series.origin,
        coverage=None,
        dropped=series.dropped,
        candles=bars,
    )


def _width(period: Period, named: Resolution | None, available: Sequence[Resolution]) -> Resolution:
    """Return the named width if a source has it, else the usual one or the nearest coarser."""
    if named is not None:
        if named not in available:
            raise ResolutionUnavailableError(named, available)
        return named
    usual = _WIDTHS.get(period, Resolution.DAY)
    coarser = [width for width in available if width.minutes >= usual.minutes]
    if not coarser:
        raise ResolutionUnavailableError(usual, available)
    return min(coarser, key=lambda width: width.minutes)


def _bars(
    source: Any, asset: Asset, span: Window, resolution: Resolution, now: datetime
) -> Candles:
    """Ask one source for bars; daily ones are kept, so that only the newest are asked for again."""
    where = pairs.instrument(asset, source.name)
    if resolution.is_intraday:
        intraday: Candles = source.candles(where, span, resolution, now=now)
        return intraday
    known = cache.closed_days(source.name, asset.ref)
    try:
        days: Candles = source.candles(
            where, aligned(span, resolution), Resolution.DAY, known=known, now=now
        )
    except UpstreamError as exc:
        if exc.got:
            cache.keep_closed_days(source.name, asset.ref, _closed(known, exc.got))
        raise
    cache.keep_closed_days(source.name, asset.ref, _closed(known, days.candles))
    if resolution is Resolution.DAY:
        return days
    return roll_up(days, resolution, span, kind=where.kind, now=now)


def _closed(known: Sequence[Candle], fresh: Sequence[Candle]) -> list[Candle]:
    """Return all closed days we have, the freshly fetched over the known."""
    days = {bar.timestamp: bar for bar in known} | {bar.timestamp: bar for bar in fresh}
    return [days[stamp] for stamp in sorted(days) if days[stamp].closed]


def _asked(
    resolved: Resolved,
    capability: Capability,
    question: Callable[[Any], T],
    purpose: Purpose,
) -> gateway.Sourced[T]:
    try:
        return gateway.ask(AssetKind(resolved.asset.kind), capability, question, purpose=purpose)
    except (NotListedError, UpstreamNotFoundError):
        # Our catalogue lists it; no source has it, or has it any more.
        raise NoPriceError(resolved.symbol) from None


def _time(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
