"""The close of a day gone by: out of the store, else by the sources in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from prices import cache, gateway, registry
from prices.answers import CandlesAnswer, PriceAtAnswer, Skipped
from prices.cache import Held
from prices.errors import (
    InvalidParameterError,
    NoCloseError,
    NotListedError,
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
)
from prices.models import Asset, Bar, StockSplit
from prices.services import ends, past, store
from prices.services import history as series
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
    Origin,
    Period,
    Resolution,
    TruncatedBy,
    Window,
)

# A close does not change any more; the newest ones may still be amended.
# Anybody can make up days: no copies of a day, which the store has anyway.
AT = cache.Lifetime("list", 3600, good_s=0)
AT_NEW = cache.Lifetime("list", 60, good_s=0)
_SETTLED_AFTER = timedelta(days=3)
DAY_S = 86_400
# How much longer than the day asked for a period must reach back.
_MARGIN = timedelta(days=10)


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
        fits=lambda _, value: (
            value.ref == resolved.asset.ref
            and not ends.is_doubted(resolved.symbol, value.fetched_at)
        ),
    )
    # Out of the store, or of a series that was held: no source was asked.
    return replace(held, was_hit=held.was_hit or held.value.cached)


def _today(kind: AssetKind) -> date:
    """Return the day it is: in New York for stocks, in UTC for coins."""
    return datetime.now(NEW_YORK if kind is AssetKind.STOCK else UTC).date()


def at_key(resolved: Resolved, day: date) -> str:
    """Return under which key the close of a day is held."""
    return cache.list_key(f"at:{resolved.symbol}:{day}")


def _close(resolved: Resolved, day: date) -> PriceAtAnswer:
    """Return the close on a day or the nearest before it, from a series of days.

    Where that series has none, or none of the days just before, the sources are asked
    in order for those days alone.
    """
    held = past.candles(resolved, _reaching(resolved, day), Resolution.DAY)
    whole = held.value
    found = _closes_up_to(day, whole.candles)
    if not found or found[-1].timestamp < _midnight(day) - _MARGIN.total_seconds():
        elsewhere = None if resolved.asset.is_gone else _elsewhere(resolved, day, whole)
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


def _elsewhere(resolved: Resolved, day: date, whole: CandlesAnswer) -> PriceAtAnswer | None:
    """Return the close by the first source of the chain that has one of the days up to `day`.

    None where no source has. Raises UpstreamError where one that could not be asked may have
    one, and PlanRestrictedError where one may whose plan does not reach so far back: not
    where `whole` tells when the asset itself began.
    """
    look = _Look(resolved.asset, day, Measure(resolved.asset, resolved.symbol, datetime.now(UTC)))
    try:
        got = gateway.ask(AssetKind(resolved.asset.kind), Capability.CANDLES, look.at)
    except PricesError as exc:
        if isinstance(exc, UpstreamError) and not isinstance(exc, UpstreamNotFoundError):
            raise
        if look.refusals and whole.truncated_by not in (None, TruncatedBy.LISTING):
            raise look.refusals[0] from None
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


@dataclass(frozen=True, slots=True)
class _Look:
    """The question after a close of the days up to `day`, and what plans refused it."""

    asset: Asset
    day: date
    measure: Measure
    refusals: list[PlanRestrictedError] = field(default_factory=list)

    def at(self, source: Any) -> Part:
        """Return a source's bars of those days, the last one closed at the latest by `day`."""
        begins = store.begins(self.asset, source.name, Resolution.DAY, self.span.start)
        is_asked = begins is not None and begins >= _midnight(self.day) + DAY_S
        if is_asked or source.began.date() > self.day:
            raise NotListedError(source.name, self.asset.ref)  # It has none so early.
        try:
            part = bars_of.bars(source, self.span, Resolution.DAY, self.measure)
            if not _closes_up_to(self.day, _bars(part)):
                raise bars_of.nothing(source, self.asset, part.series.truncated_by)
        except PlanRestrictedError as exc:
            if not exc.of_capability:
                self.refusals.append(exc)
            raise
        return part

    @property
    def span(self) -> Window:
        midnight = datetime.combine(self.day, time(), UTC)
        ends = min(midnight + timedelta(days=1), datetime.now(UTC))
        return Window(midnight - _MARGIN, ends)


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
    return NoCloseError(resolved.symbol, day, _first_day(resolved, whole))


def _first_day(resolved: Resolved, whole: CandlesAnswer) -> date | None:
    """Return the day of the first close that any source of the chain has, as far as is known.

    Points may reach further back than the bars of the chain's first sources: the sources
    are asked for the day that those begin with.
    """
    known = _first_kept(resolved, whole)
    is_coin = resolved.asset.kind == AssetKind.CRYPTO
    if known is None or not is_coin or resolved.asset.is_gone:
        return known
    try:
        points = series.history(resolved, Period.ALL).value.data
        began = datetime.fromtimestamp(points[0].timestamp, UTC).date()
        if began < known:
            _elsewhere(resolved, began, whole)
    except PricesError:
        return known  # Nobody can tell now.
    return _first_kept(resolved, whole)


def _first_kept(resolved: Resolved, whole: CandlesAnswer) -> date | None:
    """Return the day of the first close of a series, and of what the store has of its chain."""
    asset = resolved.asset
    chain = registry.chain(AssetKind(asset.kind), Capability.CANDLES)
    kept = Bar.objects.filter(
        series__asset=asset, series__source__in=chain, series__resolution=Resolution.DAY
    )
    firsts = [bar.timestamp for bar in whole.candles[:1]]
    if not asset.is_gone:
        firsts += kept.order_by("opens").values_list("opens", flat=True)[:1]
    return datetime.fromtimestamp(min(firsts), UTC).date() if firsts else None


def _stored_close(resolved: Resolved, day: date) -> PriceAtAnswer | None:
    """Return the close of the last trading day up to `day` where the store has that very bar.

    It is told which sources of the chain would have come first, and that nothing they said
    is kept. Why they did not answer when the bar came is not known any more.
    """
    asset = resolved.asset
    kind = AssetKind(asset.kind)
    if asset.is_gone:
        return None
    opens = _midnight(_trading_day(kind, day))
    kept = _kept_bars(asset, opens)
    passed: list[Skipped] = []
    for source in registry.chain(kind, Capability.CANDLES):
        bar = kept.get(source)
        if bar is not None and _is_confirmed(kind, bar):
            return _of_the_store(resolved, day, bar, passed)
        if registry.has_its_key(source):
            code = "not_kept" if bar is None else "unconfirmed"
            passed.append(Skipped(source=registry.skipped_name(source), code=code))
    return None


def _kept_bars(asset: Asset, opens: int) -> dict[str, Bar]:
    """Return the daily bars of a day that the store has of an asset, by their source."""
    rows = Bar.objects.filter(
        opens=opens, series__asset=asset, series__resolution=Resolution.DAY
    ).select_related("series")
    return {bar.series.source: bar for bar in rows}


def _of_the_store(resolved: Resolved, day: date, bar: Bar, passed: list[Skipped]) -> PriceAtAnswer:
    kept = bar.series
    fields = {
        "source": registry.public_name(kept.source),
        # Other days of the series may have been got since.
        "fetched_at": store.confirmed_at(kept, bar.opens) or kept.renewed_at,
        "stale": False,
        "currency": kept.currency,
        "quote_currency": kept.currency,
        "fallback_from": passed,
        "adjustment": Adjustment(kept.adjustment),
        "origin": Origin.PROVIDER,
    }
    was = Candle(bar.opens, bar.open, bar.high, bar.low, bar.close, bar.volume, True)
    return _answer(resolved, day, was, fields, is_cached=True)


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


def _is_confirmed(kind: AssetKind, bar: Bar) -> bool:
    """Whether its source stands by a bar: a coin's unless the series was contradicted since.

    A stock's must be in today's shares too: adjusted, and no split came after. Not all
    sources tell of splits: theirs is known by what they say of bars they gave before.
    """
    kept = bar.series
    confirmed_at = store.confirmed_at(kept, bar.opens)
    if kind is AssetKind.CRYPTO or confirmed_at is None:
        return confirmed_at is not None
    if (
        kept.adjustment != Adjustment.SPLITS
        or confirmed_at < latest_session(datetime.now(UTC)).opens
    ):
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
        as_of=past.closed_at(kind, bar),
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
