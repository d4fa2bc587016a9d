"""Bars recorded from the quotes of followed and tracked stocks, for where no source has any.

A quote moves the minute bar of its own time, within the regular session, as
traded and without a volume. What may not be true is not recorded: a price that
is stale, disputed, converted, of no known time, or of before or after hours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from django.db import transaction
from django.db.models import FilteredRelation, Q

from prices.answers import QuoteAnswer
from prices.freshness import AUCTION
from prices.models import Asset, Bar, Series
from prices.providers.bars import aligned, roll_up
from prices.providers.stock_source import in_session
from prices.services import recordings, splits
from prices.services.recordings import LEAST_MINUTES, MINUTE_S, SOURCE, Piece
from prices.sessions import latest_session, session_on, sessions_between
from prices.types import (
    Adjustment,
    AssetKind,
    Candle,
    Candles,
    Freshness,
    Origin,
    Resolution,
    TradingSession,
    TruncatedBy,
    Window,
)

Held = tuple[str, int, int | None, float, float, float]
"""Ref, series, and the opening, open, high and low of a bar; the last four None without one."""

_heard: dict[str, datetime] = {}  # the time of the newest quote recorded, by ref
_lock = Lock()


def record(quotes: Collection[QuoteAnswer]) -> int:
    """Merge quotes into the minute bars they fall within; return how many bars changed.

    A quote whose time has not moved since the last one recorded changes nothing.
    """
    with _lock:
        news = {q.ref: q for q in quotes if _is_true(q) and _is_newer(q)}
        if not news:
            return 0
        bars = _bars_to_be(news)
        with transaction.atomic():
            Bar.objects.bulk_create(
                bars,
                update_conflicts=True,
                unique_fields=["series", "opens"],
                update_fields=["high", "low", "close"],
            )
            Series.objects.filter(pk__in=[bar.series_id for bar in bars]).update(
                renewed_at=datetime.now(UTC)
            )
        _heard.update({ref: quote.as_of for ref, quote in news.items() if quote.as_of})
    return len(bars)


def forget() -> None:
    """Let the next quotes count as new."""
    with _lock:
        _heard.clear()


def widths(asset: Asset, window: Window) -> list[Resolution]:
    """Return which widths recorded bars can surely give for the window; none where it has none."""
    counts = recordings.counted(asset, window)
    minutes = counts.get(Resolution.M1, {})
    of_hours, of_days = ({**counts.get(width, {}), **minutes} for width in recordings.KEPT)
    most_of_hours = max(of_hours.values(), default=0)
    found = [width for width in Resolution if minutes and width.minutes < Resolution.H1.minutes]
    if of_hours:
        found.append(Resolution.H1)
    # Of twice as many minutes either half of a session has enough.
    if most_of_hours >= 2 * LEAST_MINUTES:
        found.append(Resolution.H4)
    if max(of_days.values(), default=0) < LEAST_MINUTES:
        return found
    wide = (Resolution.WEEK, Resolution.MONTH)
    rolled = [width for width in wide if _rolls(asset, window, width)]
    return [*found, Resolution.DAY, *rolled]


def _rolls(asset: Asset, window: Window, resolution: Resolution) -> bool:
    """Whether whole weeks or months can be made of what is recorded."""
    window = aligned(window, resolution)
    counts = recordings.counted(asset, window)
    of_days = counts.get(Resolution.DAY, {}) | counts.get(Resolution.M1, {})
    days = [
        Candle(day, 1, 1, 1, 1, None, closed=True)
        for day, count in sorted(of_days.items())
        if count >= LEAST_MINUTES
    ]
    if not days:
        return False
    series = Candles(days, Origin.RECORDED, truncated_by=_why_later(days[0], window))
    rolled = roll_up(series, resolution, window, kind=AssetKind.STOCK, now=window.end)
    return bool(rolled.candles)


def candles(
    asset: Asset, window: Window, resolution: Resolution, now: datetime
) -> tuple[Candles, float] | None:
    """Return the recorded bars of the window and their coverage; None where there are none.

    Coverage is the share of the minutes that the window's sessions have up to now, whatever
    the width. Splits within are adjusted for, or the series begins after them.
    """
    if not resolution.is_intraday:
        window = aligned(window, resolution)
    found = recordings.pieces(asset, window, resolution, now)
    if not found:
        return None
    bars = [one.bar for one in found]
    traded = Candles(bars, Origin.RECORDED, truncated_by=_why_later(bars[0], window))
    whole = splits.adjusted(asset, traded, source=SOURCE)
    adjusted = _with_bars(found, whole.candles)
    width = min(resolution, Resolution.DAY, key=lambda one: one.minutes)
    made = recordings.grouped(adjusted, width, now)
    series = replace(whole, candles=[one.bar for one in made])
    if resolution is not width:
        rolled = roll_up(series, resolution, window, kind=AssetKind.STOCK, now=now)
        series = replace(rolled, origin=Origin.RECORDED)
    if not series.candles:
        return None
    since = series.candles[0].timestamp
    recorded = sum(one.minutes for one in found if one.bar.timestamp >= since)
    expected = _expected_minutes(window, resolution, now, since)
    return series, recorded / max(expected, recorded)


def _with_bars(found: Sequence[Piece], bars: Sequence[Candle]) -> list[Piece]:
    """Return the pieces with their bars in other shares; at their beginning some may be cut off."""
    kept = found[len(found) - len(bars) :]
    return [replace(one, bar=bar) for one, bar in zip(kept, bars, strict=True)]


def _is_true(quote: QuoteAnswer) -> bool:
    return (
        quote.kind is AssetKind.STOCK
        and quote.currency == quote.quote_currency == "USD"
        and not quote.stale
        and not quote.disputed
        and quote.freshness not in (Freshness.STALE, Freshness.UNKNOWN)
        and quote.session is TradingSession.REGULAR
        and _minute(quote) is not None
    )


def _is_newer(quote: QuoteAnswer) -> bool:
    before = _heard.get(quote.ref)
    return before is None or (quote.as_of is not None and quote.as_of > before)


def _minute(quote: QuoteAnswer) -> int | None:
    """Return when the minute of the quote's own time opens; None outside regular hours.

    The closing auction is part of the session's last minute, though stamped a little later.
    """
    if quote.as_of is None:
        return None
    session = latest_session(quote.as_of)
    if quote.as_of > session.closes + AUCTION:
        return None
    last = session.closes - timedelta(seconds=MINUTE_S)
    at = int(min(quote.as_of, last).timestamp())
    return at - at % MINUTE_S


def _bars_to_be(news: dict[str, QuoteAnswer]) -> list[Bar]:
    """Return the bars that the quotes fall within, with their prices merged in."""
    minutes = {ref: _minute(quote) for ref, quote in news.items()}
    wanted = {at for at in minutes.values() if at is not None}
    rows = _held(list(news), wanted)
    begun = {ref for ref, *_ in rows}
    missing = [ref for ref in news if ref not in begun]
    if missing:
        _begin(missing)
        rows += _held(missing, wanted)
    series_of = {ref: pk for ref, pk, *_ in rows}
    held = {(ref, opens): prices for ref, _, opens, *prices in rows}
    found: list[Bar] = []
    for ref, quote in news.items():
        at = minutes[ref]
        if at is None or ref not in series_of:
            continue  # The asset is gone.
        price = quote.price
        opening, high, low = held.get((ref, at), (price, price, price))
        found.append(
            Bar(
                series_id=series_of[ref],
                opens=at,
                open=opening,
                high=max(high, price),
                low=min(low, price),
                close=price,
            )
        )
    return found


def _held(refs: Collection[str], minutes: Collection[int]) -> list[Held]:
    """Return the series of these assets, each with its bars of those minutes, in one read."""
    now = FilteredRelation("bars", condition=Q(bars__opens__in=list(minutes)))
    return list(
        Series.objects.filter(asset__ref__in=refs, source=SOURCE, resolution=Resolution.M1)
        .annotate(now=now)
        .values_list("asset__ref", "pk", "now__opens", "now__open", "now__high", "now__low")
    )


def _begin(refs: Collection[str]) -> None:
    Series.objects.bulk_create(
        [
            Series(
                asset=asset,
                source=SOURCE,
                resolution=Resolution.M1,
                adjustment=Adjustment.NONE,
                renewed_at=datetime.now(UTC),
            )
            for asset in Asset.objects.filter(ref__in=refs)
        ],
        ignore_conflicts=True,
    )


def _why_later(first: Candle, window: Window) -> TruncatedBy | None:
    """Return why the bars begin sessions later than the window: recording began within it."""
    if window.start is None:
        return TruncatedBy.LIMIT
    day = session_on(datetime.fromtimestamp(first.timestamp, UTC).date())
    is_later = day is not None and sessions_between(window.start, day.opens)
    return TruncatedBy.LIMIT if is_later else None


def _expected_minutes(window: Window, resolution: Resolution, now: datetime, since: int) -> int:
    """Return how many minutes the sessions of the window have up to now.

    A window of all there is begins with the first bar, at `since`.
    """
    start = window.start or datetime.fromtimestamp(since, UTC)
    end = min(window.end, now)
    expected = 0
    for session in sessions_between(start, end):
        first = int(max(session.opens, start).timestamp())
        if resolution.is_intraday:
            first = in_session(first, resolution)
        expected += -(-(int(min(session.closes, end).timestamp()) - first) // MINUTE_S)
    return expected
