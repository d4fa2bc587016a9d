"""Price history and candles of one asset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prices import cache, freshness, gateway, registry
from prices.answers import CandlesAnswer, HistoryAnswer, Skipped, market_at
from prices.budget import Purpose
from prices.cache import Held
from prices.errors import (
    NoPriceError,
    NotListedError,
    PricesError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamNotFoundError,
)
from prices.freshness import Cadence
from prices.gateway import Sourced
from prices.models import Asset
from prices.services import reach, recorder, series
from prices.services.reach import Quest
from prices.services.series import Measure, Part
from prices.services.symbols import Resolved
from prices.sessions import latest_session
from prices.types import (
    AssetKind,
    Candle,
    Candles,
    Capability,
    Freshness,
    Period,
    Point,
    Points,
    Resolution,
    Window,
)

# Bars are recorded with each quote that comes.
_RECORDING = Cadence(60)
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
    now = datetime.now(UTC)
    asset = resolved.asset
    span = window(AssetKind(asset.kind), period, now)
    step = _STEPS.get(period, Resolution.DAY)
    measure = Measure(asset, resolved.symbol, now)

    def question(source: Any) -> Part:
        return series.points(source, span, step, measure)

    quest = _Asking(asset, period, span, now, purpose).quest(Capability.HISTORY, question)
    got = reach.furthest(_asked(resolved, quest), quest)
    points = got.value.series
    assert isinstance(points, Points)  # noqa: S101 - it is what was asked for
    return HistoryAnswer(
        **_told(resolved, got, points.points),
        as_of=_time(points.points[-1].timestamp),
        period=period,
        resolution=step,
        freshness=_verdict(asset, got.value, got.name, now).freshness,
        data=points.points,
    )


@dataclass(frozen=True, slots=True)
class _Asking:
    """What history and candles have in common before a source is asked."""

    asset: Asset
    period: Period
    span: Window
    now: datetime
    purpose: Purpose

    def quest(self, capability: Capability, question: Callable[[Any], Part]) -> Quest:
        return Quest(
            self.asset,
            capability,
            self.period,
            self.span,
            question,
            self.falls_short,
            self.purpose,
        )

    def falls_short(self, part: Part, name: str) -> str | None:
        """Return why a series is not good enough: a source stands still that should not."""
        if not self.asset.is_active:
            return None
        verdict = _verdict(self.asset, part, name, self.now)
        return str(verdict.freshness) if verdict.freshness is Freshness.STALE else None


def _verdict(asset: Asset, part: Part, name: str, now: datetime) -> freshness.Verdict:
    judge = freshness.of_series if isinstance(part.series, Candles) else freshness.of_points
    cadence = _RECORDING if name == recorder.SOURCE else registry.cadence(name)
    return judge(AssetKind(asset.kind), _time(part.last), part.resolution, now, cadence)


def _told(
    resolved: Resolved, got: Sourced[Part], items: Sequence[Point] | Sequence[Candle]
) -> dict[str, Any]:
    """Return what history and candles tell alike, as fields of their answers."""
    part = got.value
    cut = part.series.truncated_by
    return {
        "source": got.source,
        "fetched_at": got.fetched_at,
        "cached": False,
        "stale": False,
        "currency": part.currency,
        "quote_currency": part.currency,
        "fallback_from": got.skipped,
        "symbol": resolved.symbol,
        "ref": resolved.asset.ref,
        "count": len(items),
        "from_": items[0].timestamp,
        "to": items[-1].timestamp,
        "truncated": cut is not None,
        "truncated_by": cut,
        "available_from": items[0].timestamp if cut is not None else None,
        "volume_basis": part.series.volume_basis,
        "market": market_at(got.fetched_at) if resolved.asset.kind == AssetKind.STOCK else None,
        "adjustment": part.series.adjustment,
        "segments": list(part.segments),
        "alternatives": resolved.alternatives,
    }


def _candles(
    resolved: Resolved, period: Period, named: Resolution | None, purpose: Purpose
) -> CandlesAnswer:
    now = datetime.now(UTC)
    asset = resolved.asset
    span = window(AssetKind(asset.kind), period, now)
    latest = window(AssetKind(asset.kind), Period.DAY, now)
    available: list[Resolution] = []
    lately: set[Resolution] = set()
    measure = Measure(asset, resolved.symbol, now)

    def question(source: Any) -> Part:
        offered = source.resolutions(span)
        available.extend(width for width in offered if width not in available)
        try:
            resolution = _width(period, named, offered)
        except ResolutionUnavailableError:
            lately.update(source.resolutions(latest))
            raise
        return series.bars(source, span, resolution, measure)

    quest = _Asking(asset, period, span, now, purpose).quest(Capability.CANDLES, question)
    skipped: list[Skipped] = []
    try:
        got = reach.furthest(_asked(resolved, quest, skipped), quest)
    except UpstreamError:
        raise  # An older copy says more than what was recorded by the way.
    except PricesError as exc:
        widths = [] if asset.kind != AssetKind.STOCK else recorder.widths(asset, span)
        # Where a source gives a width, though not so far back, that is where to look for it.
        widths = [width for width in widths if width not in lately]
        available.extend(width for width in widths if width not in available)
        recorded = _recorded(asset, period, named, span, now, widths)
        if recorded is None:
            if not isinstance(exc, ResolutionUnavailableError):
                raise
            finest_first = sorted(available, key=lambda width: width.minutes)
            raise ResolutionUnavailableError(exc.resolution, finest_first) from None
        source = registry.public_name(recorder.SOURCE)
        got = Sourced(recorded, source, now, 0, skipped, recorder.SOURCE)
    return _candles_answer(resolved, period, got, now)


def _recorded(
    asset: Asset,
    period: Period,
    named: Resolution | None,
    span: Window,
    now: datetime,
    widths: Sequence[Resolution],
) -> Part | None:
    """Return bars that we recorded ourselves, for where no source gives any."""
    try:
        resolution = _width(period, named, widths)
    except ResolutionUnavailableError:
        return None
    found = recorder.candles(asset, span, resolution, now)
    return None if found is None else Part(found[0], resolution, "USD", coverage=found[1])


def _candles_answer(
    resolved: Resolved, period: Period, got: Sourced[Part], now: datetime
) -> CandlesAnswer:
    part = got.value
    bars = part.series
    assert isinstance(bars, Candles)  # noqa: S101 - it is what was asked for
    return CandlesAnswer(
        **_told(resolved, got, bars.candles),
        as_of=min(now, _time(part.last) + timedelta(minutes=part.resolution.minutes)),
        period=period,
        resolution=part.resolution,
        freshness=_verdict(resolved.asset, part, got.name, now).freshness,
        origin=bars.origin,
        coverage=part.coverage,
        dropped=bars.dropped,
        candles=bars.candles,
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


def _asked(resolved: Resolved, quest: Quest, skipped: list[Skipped] | None = None) -> Sourced[Part]:
    try:
        return gateway.ask(
            AssetKind(resolved.asset.kind),
            quest.capability,
            quest.question,
            purpose=quest.purpose,
            falls_short=quest.falls_short,
            skipped=skipped,
        )
    except (NotListedError, UpstreamNotFoundError):
        # Our catalogue lists it; no source has it, or has it any more.
        raise NoPriceError(resolved.symbol) from None


def _time(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
