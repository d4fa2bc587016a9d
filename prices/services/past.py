"""What was: series of assets that are traded no more, and the price on a day gone by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from prices import cache, gateway, registry
from prices.answers import CandlesAnswer, HistoryAnswer, PriceAtAnswer
from prices.cache import Held
from prices.errors import (
    InvalidParameterError,
    NoCloseError,
    NoPriceError,
    NotListedError,
    PlanRestrictedError,
    PricesError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamNotFoundError,
)
from prices.models import Asset, Bar, Series, StockSplit
from prices.providers.bars import aligned, roll_up
from prices.services import history as series
from prices.services import retirement, store, symbols
from prices.services import series as bars_of
from prices.services.series import Measure, Part
from prices.services.symbols import Resolved
from prices.sessions import NEW_YORK, latest_session, session_on
from prices.types import (
    Adjustment,
    AssetKind,
    Candle,
    Candles,
    Capability,
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
# A close does not change any more; the newest ones may still be amended.
# Anybody can make up days: no copies of a day, which the store has anyway.
AT = cache.Lifetime("list", 3600, good_s=0)
AT_NEW = cache.Lifetime("list", 60, good_s=0)
_SETTLED_AFTER = timedelta(days=3)
# How much longer than the day asked for a period must reach back.
_MARGIN = timedelta(days=10)


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
    max_age_s: float | None = None,
) -> Held[CandlesAnswer]:
    """Return bars over `period`: of what is gone days and wider ones, back from its last day.

    Raises what services/history.py raises.
    """
    if not resolved.asset.is_gone:
        return series.candles(resolved, period, resolution, force=force, max_age_s=max_age_s)
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


def price_at(resolved: Resolved, day: date) -> Held[PriceAtAnswer]:
    """Return the close of a day that is over, or the nearest one before it.

    A stock's days are New York's, a coin's UTC's. The store is looked at first, then the
    sources in order. Raises InvalidParameterError for a day to come, NoCloseError for one
    before the first close, PlanRestrictedError, and what services/history.py raises.
    """
    today = _today(AssetKind(resolved.asset.kind))
    if day > today:
        raise InvalidParameterError("date", f"{day} is yet to come.")
    is_new = day > today - _SETTLED_AFTER
    held = cache.fetch(
        at_key(resolved, day),
        lambda: _stored_close(resolved, day) or _close(resolved, day),
        PriceAtAnswer,
        AT_NEW if is_new else AT,
        fits=lambda _, value: value.ref == resolved.asset.ref,
    )
    # Out of the store, or of a series that was held: no source was asked.
    return replace(held, was_hit=held.was_hit or held.value.cached)


def _today(kind: AssetKind) -> date:
    """Return the day it is: in New York for stocks, in UTC for coins."""
    return datetime.now(NEW_YORK if kind is AssetKind.STOCK else UTC).date()


def at_key(resolved: Resolved, day: date) -> str:
    """Return under which key the close of a day is held."""
    return cache.list_key(f"at:{resolved.symbol}:{day}")


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
    rows = Series.objects.filter(asset=resolved.asset, resolution=Resolution.DAY)
    for one in rows:
        found = Bar.objects.filter(series=one).order_by("opens")
        fields = found.values_list("opens", "open", "high", "low", "close", "volume")
        kept[one.pk] = [Candle(*row, True) for row in fields]
    best = max(rows, key=lambda one: len(kept[one.pk]), default=None)
    if best is None or not kept[best.pk]:
        return None
    bars = kept[best.pk]
    is_coin = resolved.asset.kind == AssetKind.CRYPTO
    is_whole = any(since == 0 for since, *_ in best.spans)
    answer = CandlesAnswer(
        source=registry.public_name(best.source),
        as_of=closed_at(AssetKind(resolved.asset.kind), bars[-1]),
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
        volume_basis="bar_units" if is_coin else "bar_shares",
        freshness=Freshness.CLOSED,
        market=None,
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
    is_cut = bars[0].timestamp == whole.candles[0].timestamp and period.span is not None
    cut = (whole.truncated_by or TruncatedBy.LISTING) if is_cut else whole.truncated_by
    cut = cut if is_cut or period is Period.ALL else None
    return fields | {
        "as_of": closed_at(AssetKind(resolved.asset.kind), bars[-1]),
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


def _close(resolved: Resolved, day: date) -> PriceAtAnswer:
    """Return the close on a day or the nearest before it, from a series of days.

    Where that series has none, or none of the days just before, the sources are asked
    in order for those days alone.
    """
    held = candles(resolved, _reaching(resolved, day), Resolution.DAY)
    whole = held.value
    found = _closes_up_to(day, whole.candles)
    if not found or found[-1].timestamp < _midnight(day) - _MARGIN.total_seconds():
        elsewhere = None if resolved.asset.is_gone else _elsewhere(resolved, day)
        if elsewhere is not None:
            return elsewhere
    if not found:
        raise _too_early(resolved, day, whole)
    fields = {name: getattr(whole, name) for name in _COMMON_AT}
    return _answer(resolved, day, found[-1], fields, is_cached=held.was_hit)


_COMMON_AT = (
    *("source", "fetched_at", "stale", "currency", "quote_currency", "fallback_from"),
    *("adjustment", "origin"),
)


def _closes_up_to(day: date, bars: Sequence[Candle]) -> list[Candle]:
    until = _midnight(day) + DAY_S
    return [bar for bar in bars if bar.closed and bar.timestamp < until]


def _elsewhere(resolved: Resolved, day: date) -> PriceAtAnswer | None:
    """Return the close by the first source of the chain that has one of the days up to `day`.

    None where no source has; raises UpstreamError where one that could not be asked may.
    """
    asset = resolved.asset
    kind = AssetKind(asset.kind)
    midnight = datetime.combine(day, time(), UTC)
    span = Window(midnight - _MARGIN, min(midnight + timedelta(days=1), datetime.now(UTC)))
    measure = Measure(asset, resolved.symbol, datetime.now(UTC))

    def question(source: Any) -> Part:
        begins = store.begins(asset, source.name, Resolution.DAY, span.start)
        if begins is not None and begins >= _midnight(day) + DAY_S:
            raise NotListedError(source.name, asset.ref)  # It was asked, and has none so early.
        part = bars_of.bars(source, span, Resolution.DAY, measure)
        if not _closes_up_to(day, _bars(part)):
            raise NotListedError(source.name, asset.ref)
        return part

    try:
        got = gateway.ask(kind, Capability.CANDLES, question)
    except UpstreamNotFoundError:
        return None
    except UpstreamError:
        raise
    except PricesError:
        return None
    fields = {
        "source": got.source,
        "fetched_at": got.fetched_at,
        "stale": False,
        "currency": got.value.currency,
        "quote_currency": got.value.currency,
        "fallback_from": got.skipped,
        "adjustment": got.value.series.adjustment,
        "origin": got.value.series.origin,
    }
    return _answer(resolved, day, _closes_up_to(day, _bars(got.value))[-1], fields)


def _bars(part: Part) -> list[Candle]:
    return part.series.candles if isinstance(part.series, Candles) else []


def _reaching(resolved: Resolved, day: date) -> Period:
    """Return the shortest period of days that reaches back to a day."""
    age = datetime.now(UTC).date() - day + _MARGIN
    if resolved.asset.is_gone:
        return Period.ALL
    periods = (Period.YEAR, Period.FIVE_YEARS)
    return next((one for one in periods if one.span and age < one.span), Period.ALL)


def _too_early(resolved: Resolved, day: date, whole: CandlesAnswer) -> Exception:
    if whole.truncated_by is TruncatedBy.PLAN:
        return PlanRestrictedError(
            whole.source, f"its plan does not reach back to {day}", allowed_by="another plan"
        )
    first = whole.candles[0].timestamp if whole.candles else None
    since = datetime.fromtimestamp(first, UTC).date() if first is not None else None
    return NoCloseError(resolved.symbol, day, since)


def _stored_close(resolved: Resolved, day: date) -> PriceAtAnswer | None:
    """Return the close of the last trading day up to `day` where the store has that very bar."""
    asset = resolved.asset
    kind = AssetKind(asset.kind)
    if asset.is_gone:
        return None
    opens = _midnight(_trading_day(kind, day))
    chain = registry.chain(kind, Capability.CANDLES)
    rows = Bar.objects.filter(
        opens=opens,
        series__asset=asset,
        series__resolution=Resolution.DAY,
        series__source__in=chain,
    ).select_related("series")
    for bar in sorted(rows, key=lambda bar: chain.index(bar.series.source)):
        if kind is AssetKind.STOCK and not _is_adjusted(bar):
            continue
        fields = {
            "source": registry.public_name(bar.series.source),
            "fetched_at": bar.series.renewed_at,
            "stale": False,
            "currency": bar.series.currency,
            "quote_currency": bar.series.currency,
            "fallback_from": [],
            "adjustment": Adjustment(bar.series.adjustment),
            "origin": Origin.PROVIDER,
        }
        was = Candle(bar.opens, bar.open, bar.high, bar.low, bar.close, bar.volume, True)
        if closed_at(kind, was) > datetime.now(UTC):
            return None
        return _answer(resolved, day, was, fields, is_cached=True)
    return None


def _trading_day(kind: AssetKind, day: date) -> date:
    """Return the newest day up to `day` that has a close by now."""
    now = datetime.now(UTC)
    if kind is AssetKind.CRYPTO:
        return min(day, now.date() - timedelta(days=1))
    session = session_on(day)
    at = session.closes if session else datetime.combine(day, time(), UTC)
    latest = latest_session(min(at, now))
    if latest.closes > now:
        latest = latest_session(latest.opens - timedelta(minutes=1))
    return latest.day


def _is_adjusted(bar: Bar) -> bool:
    """Whether a stock's bar is in today's shares: adjusted, and no split came after.

    Not all sources tell of splits: theirs is known by what they say of bars they gave before.
    """
    kept = bar.series
    if kept.adjustment != Adjustment.SPLITS:
        return False
    confirmed_at = store.confirmed_at(kept, bar.opens)
    if confirmed_at is None or confirmed_at < latest_session(datetime.now(UTC)).opens:
        return False
    return not StockSplit.objects.filter(asset=kept.asset_id, day__gte=confirmed_at).exists()


def _answer(
    resolved: Resolved,
    day: date,
    bar: Candle,
    fields: dict[str, Any],
    *,
    is_cached: bool = False,
) -> PriceAtAnswer:
    asset = resolved.asset
    kind = AssetKind(asset.kind)
    return PriceAtAnswer(
        **fields,
        cached=is_cached,
        as_of=closed_at(kind, bar),
        symbol=resolved.symbol,
        ref=asset.ref,
        name=asset.name,
        kind=kind,
        date=day,
        close_date=datetime.fromtimestamp(bar.timestamp, UTC).date(),
        price=bar.close,
        alternatives=resolved.alternatives,
    )


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())
