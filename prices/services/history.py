"""Price history and candles of one asset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from prices import cache, gateway, registry
from prices.answers import CandlesAnswer, HistoryAnswer
from prices.budget import Purpose
from prices.cache import Held
from prices.errors import NoPriceError, ResolutionUnavailableError, UpstreamNotFoundError
from prices.providers.bars import aligned, roll_up
from prices.services.symbols import Resolved
from prices.sessions import latest_session
from prices.types import (
    AssetKind,
    Candle,
    Candles,
    Capability,
    Period,
    Point,
    Resolution,
    TruncatedBy,
    Window,
)

T = TypeVar("T")

# `force_refresh` renews what is older than this: one call a value and 15 s at most.
FORCED_AGE_S = 15.0

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
        lambda: _history(resolved, period, _purpose(force)),
        HistoryAnswer,
        cache.HISTORY,
        max_age_s=FORCED_AGE_S if force else None,
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
        lambda: _candles(resolved, period, resolution, _purpose(force)),
        CandlesAnswer,
        cache.CANDLES,
        max_age_s=FORCED_AGE_S if force else None,
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


def _purpose(force: bool) -> Purpose:
    return Purpose.REFRESH if force else Purpose.ANSWER


def _history(resolved: Resolved, period: Period, purpose: Purpose) -> HistoryAnswer:
    instrument = resolved.asset.instrument
    span = window(instrument.kind, period, datetime.now(UTC))
    step = _STEPS.get(period, Resolution.DAY)
    got = _asked(
        resolved,
        Capability.HISTORY,
        lambda source: source.history(instrument, span, step.minutes * 60),
        purpose,
    )
    points = got.value.points
    if not points:
        raise NoPriceError(resolved.symbol)
    return HistoryAnswer(
        source=got.source,
        as_of=_time(points[-1].timestamp),
        fetched_at=got.fetched_at,
        cached=False,
        stale=False,
        symbol=resolved.symbol,
        ref=resolved.asset.ref,
        period=period,
        resolution=step,
        count=len(points),
        from_=points[0].timestamp,
        to=points[-1].timestamp,
        truncated=got.value.truncated_by is not None,
        truncated_by=got.value.truncated_by,
        available_from=_available_from(got.value.truncated_by, points),
        volume_basis=got.value.volume_basis,
        alternatives=resolved.alternatives,
        data=points,
    )


def _candles(
    resolved: Resolved, period: Period, named: Resolution | None, purpose: Purpose
) -> CandlesAnswer:
    now = datetime.now(UTC)
    instrument = resolved.asset.instrument
    span = window(instrument.kind, period, now)
    source = registry.provider(registry.source_for(instrument.kind))
    resolution = _width(period, named, source.resolutions(span))
    got = _bars(resolved, span, resolution, now, purpose)
    bars = got.value.candles
    if not bars:
        raise NoPriceError(resolved.symbol)
    return CandlesAnswer(
        source=got.source,
        as_of=min(now, _time(bars[-1].timestamp) + timedelta(minutes=resolution.minutes)),
        fetched_at=got.fetched_at,
        cached=False,
        stale=False,
        symbol=resolved.symbol,
        ref=resolved.asset.ref,
        period=period,
        resolution=resolution,
        count=len(bars),
        from_=bars[0].timestamp,
        to=bars[-1].timestamp,
        truncated=got.value.truncated_by is not None,
        truncated_by=got.value.truncated_by,
        available_from=_available_from(got.value.truncated_by, bars),
        volume_basis=got.value.volume_basis,
        alternatives=resolved.alternatives,
        origin=got.value.origin,
        dropped=got.value.dropped,
        candles=bars,
    )


def _width(period: Period, named: Resolution | None, available: Sequence[Resolution]) -> Resolution:
    """Return the named width if it can be had, else the usual one or the nearest coarser."""
    if named is not None:
        if named not in available:
            raise ResolutionUnavailableError(named, available)
        return named
    usual = _WIDTHS.get(period, Resolution.DAY)
    return min(
        (width for width in available if width.minutes >= usual.minutes),
        key=lambda width: width.minutes,
    )


def _bars(
    resolved: Resolved, span: Window, resolution: Resolution, now: datetime, purpose: Purpose
) -> gateway.Sourced[Candles]:
    """Ask for bars; daily ones are kept, so that only the newest days are asked for again."""
    instrument = resolved.asset.instrument
    if resolution.is_intraday:
        return _asked(
            resolved,
            Capability.CANDLES,
            lambda source: source.candles(instrument, span, resolution, now=now),
            purpose,
        )
    known = cache.closed_days(instrument.ref)
    days = _asked(
        resolved,
        Capability.CANDLES,
        lambda source: source.candles(
            instrument, aligned(span, resolution), Resolution.DAY, known=known, now=now
        ),
        purpose,
    )
    cache.keep_closed_days(instrument.ref, _closed(known, days.value.candles))
    if resolution is Resolution.DAY:
        return days
    rolled = roll_up(days.value, resolution, span, kind=instrument.kind, now=now)
    return gateway.Sourced(rolled, days.source, days.fetched_at, days.calls)


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
    except UpstreamNotFoundError:
        # Our catalogue lists it, the source has dropped it since.
        raise NoPriceError(resolved.symbol) from None


def _available_from(
    truncated_by: TruncatedBy | None, series: Sequence[Point] | Sequence[Candle]
) -> int | None:
    return series[0].timestamp if truncated_by is not None else None


def _time(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
