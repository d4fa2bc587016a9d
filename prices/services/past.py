"""What was: series of assets that are traded no more."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from prices import cache, registry
from prices.answers import CandlesAnswer, HistoryAnswer, session_at
from prices.cache import Held
from prices.errors import (
    NoPriceError,
    PricesError,
    ResolutionUnavailableError,
)
from prices.models import Asset, Bar, Series
from prices.providers.bars import aligned, roll_up
from prices.services import history as series
from prices.services import retirement, store, symbols
from prices.services.symbols import Resolved
from prices.sessions import session_on
from prices.types import (
    Adjustment,
    AssetKind,
    Candle,
    Candles,
    Freshness,
    Origin,
    Period,
    Point,
    Resolution,
    TruncatedBy,
    Window,
)

DAY_S = 86_400
# What is left of a gone asset are days, and what is made of them.
_WIDTHS = (Resolution.DAY, Resolution.WEEK, Resolution.MONTH)


def history(resolved: Resolved, period: Period, *, force: bool = False) -> Held[HistoryAnswer]:
    """Return prices over `period`: of what is gone its daily closes, back from its last day.

    Raises what services/history.py raises.
    """
    if not resolved.asset.is_gone:
        return series.history(resolved, period, force=force)
    held = _days(resolved, force=force)
    bars = _within(held.value.candles, _window(resolved.asset, held.value, period))
    if not bars:
        raise NoPriceError(resolved.symbol)
    told = _told(resolved, held.value, period, bars)
    kind = AssetKind(resolved.asset.kind)
    points = [Point(int(closed_at(kind, bar).timestamp()), bar.close, bar.volume) for bar in bars]
    told |= {"from_": points[0].timestamp, "to": points[-1].timestamp}
    answer = HistoryAnswer(**told, resolution=Resolution.DAY, data=points)
    return Held(answer, cache.encode(answer), held.life_s, held.was_hit)


def candles(
    resolved: Resolved,
    period: Period,
    resolution: Resolution | None = None,
    *,
    force: bool = False,
) -> Held[CandlesAnswer]:
    """Return bars over `period`: of what is gone days and wider ones, back from its last day.

    Raises what services/history.py raises.
    """
    if not resolved.asset.is_gone:
        return series.candles(resolved, period, resolution, force=force)
    width = resolution or Resolution.DAY
    if width not in _WIDTHS:
        raise ResolutionUnavailableError(width, _WIDTHS)
    held = _days(resolved, force=force)
    whole = held.value
    window = _window(resolved.asset, whole, period)
    bars = _within(whole.candles, aligned(window, width))
    origin = whole.origin
    if width is not Resolution.DAY and bars:
        days = Candles(bars, origin, volume_basis=whole.volume_basis)
        kind, now = AssetKind(resolved.asset.kind), datetime.now(UTC)
        bars, origin = roll_up(days, width, window, kind=kind, now=now).candles, Origin.DERIVED
    if not bars:
        raise NoPriceError(resolved.symbol)
    answer = CandlesAnswer(
        **_told(resolved, whole, period, bars) | {"origin": origin},
        resolution=width,
        dropped=whole.dropped,
        candles=bars,
    )
    return Held(answer, cache.encode(answer), held.life_s, held.was_hit)


def closed_at(kind: AssetKind, bar: Candle) -> datetime:
    """Return when a daily bar was over."""
    opened = datetime.fromtimestamp(bar.timestamp, UTC)
    session = session_on(opened.date()) if kind is AssetKind.STOCK else None
    return session.closes if session else opened + timedelta(days=1)


def _days(resolved: Resolved, *, force: bool) -> Held[CandlesAnswer]:
    """Return all days of what is gone: of a renamed stock those of its heir, up to its end."""
    asset = resolved.asset
    heir = retirement.heir(asset)
    source = symbols.named([heir])[heir.ref] if heir else resolved
    try:
        held = series.candles(source, Period.ALL, Resolution.DAY, force=force)
    except PricesError:
        held_here = _kept(resolved)
        if held_here is None:
            raise
        return held_here
    if heir is None and _tells_the_end(asset, held.value):
        last = held.value.candles[-1].timestamp
        retirement.learn_last_day(asset, datetime.fromtimestamp(last, UTC).date())
    return held


def _tells_the_end(asset: Asset, whole: CandlesAnswer) -> bool:
    """Whether a series of days ends where the asset did.

    A coin's as far as the source says so whose catalogue lists it: an exchange may have
    struck it off years before. A stock is delisted for all sources on one day.
    """
    if whole.stale or not whole.candles:
        return False
    if asset.kind == AssetKind.STOCK:
        return True
    told = Bar.objects.filter(
        series__asset=asset,
        series__source=registry.source_for(AssetKind(asset.kind)),
        series__resolution=Resolution.DAY,
    )
    newest = told.order_by("-opens").values_list("opens", flat=True).first()
    return newest == whole.candles[-1].timestamp


def _kept(resolved: Resolved) -> Held[CandlesAnswer] | None:
    """Return the longest series of days that the store has of an asset no source has any more."""
    kept: dict[int, list[Candle]] = {}
    rows = Series.objects.filter(asset=resolved.asset, resolution=Resolution.DAY).exclude(
        source=store.RECORDED
    )
    for one in rows:
        found = Bar.objects.filter(series=one).order_by("opens")
        fields = found.values_list("opens", "open", "high", "low", "close", "volume")
        kept[one.pk] = [Candle(*row, True) for row in fields]
    best = max(rows, key=lambda one: len(kept[one.pk]), default=None)
    if best is None or not kept[best.pk]:
        return None
    bars = kept[best.pk]
    kind = AssetKind(resolved.asset.kind)
    as_of = closed_at(kind, bars[-1])
    is_whole = any(since == 0 for since, *_ in best.spans)
    answer = CandlesAnswer(
        source=registry.public_name(best.source),
        as_of=as_of,
        fetched_at=best.renewed_at,
        cached=True,
        stale=False,
        currency=best.currency,
        quote_currency=best.currency,
        fallback_from=[],
        symbol=resolved.symbol,
        ref=resolved.asset.ref,
        period=Period.ALL,
        resolution=Resolution.DAY,
        count=len(bars),
        from_=bars[0].timestamp,
        to=bars[-1].timestamp,
        truncated=not is_whole,
        truncated_by=None if is_whole else TruncatedBy.LIMIT,
        available_from=None if is_whole else bars[0].timestamp,
        volume_basis="bar_units" if kind is AssetKind.CRYPTO else "bar_shares",
        freshness=Freshness.CLOSED,
        market=None,
        session=session_at(kind, as_of),
        adjustment=Adjustment(best.adjustment),
        segments=[],
        alternatives=resolved.alternatives,
        origin=Origin.PROVIDER,
        coverage=None,
        dropped=0,
        candles=bars,
    )
    return Held(answer, cache.encode(answer), float(cache.CANDLES.fresh_s), was_hit=True)


def _window(asset: Asset, whole: CandlesAnswer, period: Period) -> Window:
    """Return the time a period spans, back from the last day of what is gone."""
    if not whole.candles or asset.last_day is None:
        raise NoPriceError(asset.ref)
    ends = datetime.combine(asset.last_day, time(), UTC) + timedelta(days=1)
    if not period.span:
        return Window(None, ends)
    last = [bar.timestamp for bar in whole.candles if bar.timestamp < ends.timestamp()]
    if last:
        ends = datetime.fromtimestamp(last[-1] + DAY_S, UTC)
    return Window(ends - period.span, ends)


def _within(bars: list[Candle], window: Window) -> list[Candle]:
    since = window.start.timestamp() if window.start else 0
    return [bar for bar in bars if since <= bar.timestamp < window.end.timestamp()]


def _told(
    resolved: Resolved, whole: CandlesAnswer, period: Period, bars: list[Candle]
) -> dict[str, Any]:
    """Return what the answers of what is gone tell alike; nothing of it changes any more."""
    fields = {name: getattr(whole, name) for name in _COMMON}
    kind = AssetKind(resolved.asset.kind)
    as_of = closed_at(kind, bars[-1])
    is_cut = bars[0].timestamp == whole.candles[0].timestamp and period.span is not None
    cut = (whole.truncated_by or TruncatedBy.LISTING) if is_cut else whole.truncated_by
    cut = cut if is_cut or period is Period.ALL else None
    return fields | {
        "as_of": as_of,
        "session": session_at(kind, as_of),
        "symbol": resolved.symbol,
        "ref": resolved.asset.ref,
        "period": period,
        "count": len(bars),
        "from_": bars[0].timestamp,
        "to": bars[-1].timestamp,
        "truncated": cut is not None,
        "truncated_by": cut,
        "available_from": bars[0].timestamp if cut else None,
        "freshness": Freshness.CLOSED,
        "alternatives": resolved.alternatives,
    }


_COMMON = (
    *("source", "fetched_at", "cached", "stale", "currency", "quote_currency", "fallback_from"),
    *("volume_basis", "market", "adjustment", "segments", "origin", "coverage"),
)
