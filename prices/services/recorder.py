"""Bars recorded from the quotes of followed and tracked stocks, for where no source has any.

A quote moves the minute bar of its own time, within the regular session, as
traded and without a volume. What may not be true is not recorded: a price that
is stale, disputed, converted, of no known time, or of before or after hours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from threading import Lock

from django.db import transaction
from django.db.models import Count, F, FilteredRelation, Max, Q, QuerySet

from prices.answers import QuoteAnswer
from prices.freshness import AUCTION, LAST_TRADE
from prices.models import Asset, Bar, Series
from prices.providers.bars import DAY_S, aligned, bar_start, merged, roll_up
from prices.providers.stock_source import closing, in_session
from prices.services import splits
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

SOURCE = "recorded"
_MINUTE_S = 60
# A bar wider than an hour from fewer minutes than these would claim a high and a low it never saw.
_LEAST_MINUTES = 12
_INTRADAY = [width for width in Resolution if width.is_intraday]

Rows = QuerySet[Bar]
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
    found = _counted(asset, window)
    if not found:
        return []
    most = max(found.values())
    # Of twice as many minutes either half of a session has enough.
    intraday = [one for one in _INTRADAY if one is not Resolution.H4 or most >= 2 * _LEAST_MINUTES]
    if most < _LEAST_MINUTES:
        return intraday
    rolled = [one for one in (Resolution.WEEK, Resolution.MONTH) if _rolls(asset, window, one)]
    return [*intraday, Resolution.DAY, *rolled]


def _rolls(asset: Asset, window: Window, resolution: Resolution) -> bool:
    """Whether whole weeks or months can be made of what is recorded."""
    window = aligned(window, resolution)
    days = [
        Candle(day, 1, 1, 1, 1, None, closed=True)
        for day, count in _counted(asset, window).items()
        if count >= _LEAST_MINUTES
    ]
    if not days:
        return False
    series = Candles(days, Origin.RECORDED, truncated_by=_why_later(days[0], window))
    rolled = roll_up(series, resolution, window, kind=AssetKind.STOCK, now=window.end)
    return bool(rolled.candles)


def _counted(asset: Asset, window: Window) -> dict[int, int]:
    """Return how many minutes each day has, by its midnight in UTC, oldest first."""
    rows = (
        _minutes_of(asset, window)
        .annotate(day=F("opens") - F("opens") % DAY_S)
        .values("day")
        .annotate(count=Count("opens"))
        .order_by("day")
        .values_list("day", "count")
    )
    return dict(rows)


def newest(asset: Asset, window: Window) -> int:
    """Return when the newest minute opened that was recorded of a window; 0 without any."""
    found: int | None = _minutes_of(asset, window).aggregate(newest=Max("opens"))["newest"]
    return found or 0


def candles(
    asset: Asset, window: Window, resolution: Resolution, now: datetime
) -> tuple[Candles, float] | None:
    """Return the recorded bars of the window and their coverage; None where there are none.

    Coverage is the share of the minutes that the window's sessions have up to now, whatever
    the width. Splits within are adjusted for, or the series begins after them.
    """
    if not resolution.is_intraday:
        window = aligned(window, resolution)
    minutes = [
        Candle(*row, volume=None, closed=row[0] + _MINUTE_S <= now.timestamp())
        for row in _minutes_of(asset, window, resolution)
        .order_by("opens")
        .values_list("opens", "open", "high", "low", "close")
    ]
    if not minutes:
        return None
    traded = Candles(minutes, Origin.RECORDED, truncated_by=_why_later(minutes[0], window))
    whole = splits.adjusted(asset, traded, source=SOURCE)
    if resolution.is_intraday:
        found = list(_widened(whole.candles, resolution, now))
    else:
        found = list(_days(whole.candles, now))
    series = replace(whole, candles=found)
    if resolution in (Resolution.WEEK, Resolution.MONTH):
        rolled = roll_up(series, resolution, window, kind=AssetKind.STOCK, now=now)
        series = replace(rolled, origin=Origin.RECORDED)
    if not series.candles:
        return None
    since = series.candles[0].timestamp
    recorded = sum(one.timestamp >= since for one in minutes)
    expected = _expected_minutes(window, resolution, now, since)
    return series, recorded / max(expected, recorded)


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
    last = session.closes - timedelta(seconds=_MINUTE_S)
    at = int(min(quote.as_of, last).timestamp())
    return at - at % _MINUTE_S


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


def _minutes_of(asset: Asset, window: Window, resolution: Resolution = Resolution.M1) -> Rows:
    """Return the recorded minutes of the window, and those before that share its first bar."""
    found = Bar.objects.filter(
        series__asset=asset,
        series__source=SOURCE,
        series__resolution=Resolution.M1,
        opens__lt=int(window.end.timestamp()),
    )
    if window.start is None:
        return found
    return found.filter(opens__gte=_first(window.start, resolution))


def _first(start: datetime, resolution: Resolution) -> int:
    """Return when the bar of the width opens that a window from `start` begins with."""
    at = int(start.timestamp())
    is_between = start >= latest_session(start).closes
    return at if is_between or not resolution.is_intraday else in_session(at, resolution)


def _why_later(first: Candle, window: Window) -> TruncatedBy | None:
    """Return why the bars begin sessions later than the window: recording began within it."""
    if window.start is None:
        return TruncatedBy.LIMIT
    day = session_on(datetime.fromtimestamp(first.timestamp, UTC).date())
    is_later = day is not None and sessions_between(window.start, day.opens)
    return TruncatedBy.LIMIT if is_later else None


def _days(minutes: Sequence[Candle], now: datetime) -> Iterator[Candle]:
    """Yield daily bars; one is closed only where the last minutes of its session were recorded."""
    minutes_of_day = {bar_start(one.timestamp, Resolution.DAY): one.timestamp for one in minutes}
    start_of = partial(bar_start, resolution=Resolution.DAY)
    for day in _groups(minutes, start_of, Resolution.DAY, now):
        yield replace(day, closed=day.closed and _is_to_the_end(minutes_of_day[day.timestamp]))


def _is_to_the_end(newest: int) -> bool:
    """Whether the newest minute of a session is as near to its end as a last trade may lie."""
    opened = datetime.fromtimestamp(newest, UTC)
    return opened >= latest_session(opened).closes - LAST_TRADE


def _widened(minutes: Sequence[Candle], width: Resolution, now: datetime) -> Iterator[Candle]:
    """Yield bars of the width, counted from each session's start."""
    return _groups(minutes, partial(in_session, width=width), width, now)


def _groups(
    minutes: Sequence[Candle], start_of: Callable[[int], int], width: Resolution, now: datetime
) -> Iterator[Candle]:
    least = _LEAST_MINUTES if width.minutes > Resolution.H1.minutes else 1
    for start, members in groupby(minutes, key=lambda one: start_of(one.timestamp)):
        bars = list(members)
        if len(bars) >= least:
            yield merged(bars, start, closed=closing(start, width) <= now.timestamp())


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
        expected += -(-(int(min(session.closes, end).timestamp()) - first) // _MINUTE_S)
    return expected
