"""Price history and candles of one asset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from prices import cache, freshness, gateway, registry
from prices.answers import (
    CandlesAnswer,
    HistoryAnswer,
    SeriesAnswer,
    Skipped,
    market_at,
    session_at,
)
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
from prices.providers.stock_source import closes
from prices.services import ends, reach, recorder, recordings, series
from prices.services.reach import Quest
from prices.services.series import Measure, Part
from prices.services.symbols import Resolved
from prices.sessions import latest_session, next_session
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
        ahead=_ahead(resolved, Capability.HISTORY),
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
        ahead=_ahead(resolved, Capability.CANDLES),
    )


def _ahead(resolved: Resolved, capability: Capability) -> cache.Ahead:
    # Not the price that a series is held to: one that comes meanwhile has to be seen.
    return lambda _: gateway.ahead(AssetKind(resolved.asset.kind), capability)


def window(kind: AssetKind, period: Period, now: datetime) -> Window:
    """Return the time a period spans: back from now, for stocks from the latest session.

    A stock's begins within a session, so that bars of every width begin with the same one.
    """
    if kind is AssetKind.CRYPTO:
        return Window(now - period.span if period.span else None, now)
    session = latest_session(now)
    end = min(now, session.closes)
    if period is Period.DAY:
        return Window(session.opens, end)
    return Window(_traded(end - period.span) if period.span else None, end)


def _traded(at: datetime) -> datetime:
    """Return a moment, or where New York does not trade then when it next opens."""
    return at if at < latest_session(at).closes else next_session(at).opens


def _history(resolved: Resolved, period: Period, purpose: Purpose) -> HistoryAnswer:
    now = datetime.now(UTC)
    asset = resolved.asset
    span = window(AssetKind(asset.kind), period, now)
    step = _STEPS.get(period, Resolution.DAY)
    measure = Measure(asset, resolved.symbol, now)

    def question(source: Any) -> Part:
        return series.points(source, span, step, measure)

    quest = _Asking(asset, period, span, now, purpose).quest(Capability.HISTORY, question)
    skipped: list[Skipped] = []
    try:
        got = reach.furthest(_asked(resolved, quest, skipped), quest)
    except PricesError as exc:
        if _has_older_copy(exc, cache.history_key(resolved.symbol, period), HistoryAnswer, asset):
            raise
        recorded = _recorded(quest, step, now, _recorded_widths(quest))
        if recorded is None:
            raise
        got = _by_ourselves(_as_points(recorded, span), now, skipped)
    ends.note(resolved.symbol, cache.history_key(resolved.symbol, period), got.value.end)
    points = got.value.series
    assert isinstance(points, Points)  # noqa: S101 - it is what was asked for
    return HistoryAnswer(
        **_told(resolved, got, points.points, span),
        origin=points.origin,
        period=period,
        resolution=step,
        freshness=_verdict(asset, got.value, got.name, now).freshness,
        data=points.points,
    )


def _has_older_copy(error: PricesError, key: str, answer: type[SeriesAnswer], asset: Asset) -> bool:
    """Whether sources failed, and a copy is given then: it says more than what we recorded."""
    if not isinstance(error, UpstreamError):
        return False
    copy = cache.last_good(key, answer)
    return copy is not None and copy.ref == asset.ref


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
        """Return why a series is not good enough: it has holes, or stands still and should not."""
        if isinstance(part.series, Candles) and series.is_holed(part.series, part.resolution):
            return "dropped"
        if not self.asset.is_active:
            return None
        verdict = _verdict(self.asset, part, name, self.now)
        return str(verdict.freshness) if verdict.freshness is Freshness.STALE else None


def _verdict(asset: Asset, part: Part, name: str, now: datetime) -> freshness.Verdict:
    judge = freshness.of_series if isinstance(part.series, Candles) else freshness.of_points
    cadence = _RECORDING if name == recordings.SOURCE else registry.cadence(name)
    return judge(AssetKind(asset.kind), _time(part.last), part.resolution, now, cadence)


def _told(
    resolved: Resolved,
    got: Sourced[Part],
    items: Sequence[Point] | Sequence[Candle],
    span: Window,
) -> dict[str, Any]:
    """Return what history and candles tell alike, as fields of their answers."""
    part, kind = got.value, AssetKind(resolved.asset.kind)
    cut = reach.why_cut(part, got.name, span)
    as_of = min(got.fetched_at, _time(part.held_at or part.last))
    return {
        "source": got.source,
        "as_of": as_of,
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
        "market": market_at(got.fetched_at) if kind is AssetKind.STOCK else None,
        "session": session_at(kind, as_of),
        "adjustment": part.series.adjustment,
        "segments": list(part.segments),
        "coverage": part.coverage,
        "alternatives": resolved.alternatives,
    }


def _candles(
    resolved: Resolved, period: Period, named: Resolution | None, purpose: Purpose
) -> CandlesAnswer:
    now = datetime.now(UTC)
    asset = resolved.asset
    span = window(AssetKind(asset.kind), period, now)
    measure = Measure(asset, resolved.symbol, now)
    unfit: list[Any] = []  # sources that were not asked: they have no such width so far back

    def question(source: Any) -> Part:
        try:
            resolution = _width(period, named, source.resolutions(span))
        except ResolutionUnavailableError:
            unfit.append(source)
            raise
        return series.bars(source, span, resolution, measure)

    quest = _Asking(asset, period, span, now, purpose).quest(Capability.CANDLES, question)
    skipped: list[Skipped] = []
    try:
        got = reach.furthest(_asked(resolved, quest, skipped), quest)
    except UpstreamError as exc:
        key = cache.candles_key(resolved.symbol, period, named)
        has_copy = _has_older_copy(exc, key, CandlesAnswer, asset)
        part = None if has_copy else _recorded(quest, named, now, _recorded_widths(quest))
        if part is None:
            raise
        got = _by_ourselves(part, now, skipped)
    except PricesError as exc:
        choice = _Choice.of(unfit, quest, measure)
        recorded = _recorded(quest, named, now, choice.recorded)
        if recorded is None:
            raise choice.error(exc, resolved) from None
        got = _by_ourselves(recorded, now, skipped)
    ends.note(resolved.symbol, cache.candles_key(resolved.symbol, period, named), got.value.end)
    return _candles_answer(resolved, period, got, span)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which widths could be had where the one that was asked for cannot.

    `offered` are those of sources that would give them now, `recorded` those of our own
    bars; `refusals` is why the other sources would give none.
    """

    offered: list[Resolution]
    recorded: list[Resolution]
    refusals: list[PricesError]

    @classmethod
    def of(cls, sources: Sequence[Any], quest: Quest, measure: Measure) -> Self:
        refusals = {source: reach.refusal(source.name, quest, measure) for source in sources}
        giving = [source for source, refusal in refusals.items() if refusal is None]
        latest = window(AssetKind(quest.asset.kind), Period.DAY, measure.now)
        # Where a source gives a width, though not so far back, that is where to look for it.
        lately = {width for source in giving for width in source.resolutions(latest)}
        return cls(
            [width for source in giving for width in source.resolutions(quest.span)],
            [width for width in _recorded_widths(quest) if width not in lately],
            [refusal for refusal in refusals.values() if refusal is not None],
        )

    def error(self, first: PricesError, resolved: Resolved) -> PricesError:
        """Return what to tell: what there is instead, or why there is nothing at all."""
        if not isinstance(first, ResolutionUnavailableError):
            return first
        widths = sorted({*self.offered, *self.recorded}, key=lambda width: width.minutes)
        if widths or not self.refusals:
            return ResolutionUnavailableError(first.resolution, widths)
        failed = [one for one in self.refusals if not _is_unlisted(one)]
        return failed[0] if failed else NoPriceError(resolved.symbol)


def _recorded_widths(quest: Quest) -> list[Resolution]:
    is_stock = quest.asset.kind == AssetKind.STOCK
    return recorder.widths(quest.asset, quest.span) if is_stock else []


def _recorded(
    quest: Quest, named: Resolution | None, now: datetime, widths: Sequence[Resolution]
) -> Part | None:
    """Return bars that we recorded ourselves, for where no source gives any."""
    try:
        resolution = _width(quest.period, named, widths)
    except ResolutionUnavailableError:
        return None
    found = recorder.candles(quest.asset, quest.span, resolution, now)
    if found is None:
        return None
    held_at = recordings.newest(quest.asset, quest.span) + 60
    return Part(found[0], resolution, "USD", coverage=found[1], held_at=held_at)


def _as_points(part: Part, span: Window) -> Part:
    assert isinstance(part.series, Candles)  # noqa: S101 - bars are what is recorded
    return replace(part, series=closes(part.series, span, part.resolution))


def _by_ourselves(part: Part, now: datetime, skipped: list[Skipped]) -> Sourced[Part]:
    return Sourced(
        part, registry.public_name(recordings.SOURCE), now, 0, skipped, recordings.SOURCE
    )


def _candles_answer(
    resolved: Resolved, period: Period, got: Sourced[Part], span: Window
) -> CandlesAnswer:
    part, now = got.value, datetime.now(UTC)
    bars = part.series
    assert isinstance(bars, Candles)  # noqa: S101 - it is what was asked for
    return CandlesAnswer(
        **_told(resolved, got, bars.candles, span),
        period=period,
        resolution=part.resolution,
        freshness=_verdict(resolved.asset, part, got.name, now).freshness,
        origin=bars.origin,
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
    except PricesError as exc:
        if not _is_unlisted(exc):
            raise
        # Our catalogue lists it; no source has it, or has it any more.
        raise NoPriceError(resolved.symbol) from None


def _is_unlisted(error: PricesError) -> bool:
    return isinstance(error, (NotListedError, UpstreamNotFoundError))


def _time(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
