"""Bars for a chart that is scrolled and polled: the newest so many before a moment.

They come from the same stored series that candles are given from, one a width and
period, so that a chart which asks every ten seconds costs no call of its own. The bar
that is open is brought up to date by the quote that is held for everybody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from prices import cache
from prices.answers import CandlesAnswer, QuoteAnswer
from prices.cache import Held
from prices.errors import PricesError, ResolutionUnavailableError, UpstreamError
from prices.providers.bars import bar_end, midnight
from prices.providers.stock_source import closing
from prices.services import history, past, quotes
from prices.services.symbols import Resolved
from prices.sessions import is_open, next_session
from prices.types import (
    AssetKind,
    Candle,
    Freshness,
    Period,
    Resolution,
    TradingSession,
)

# What a chart that is opened shows, and so the series that is asked for over and over.
_USUAL: dict[Resolution, Period] = {
    Resolution.M1: Period.DAY,
    Resolution.M5: Period.WEEK,
    Resolution.M15: Period.MONTH,
    Resolution.M30: Period.MONTH,
    Resolution.H1: Period.QUARTER,
    Resolution.H4: Period.HALF_YEAR,
    Resolution.DAY: Period.YEAR,
    Resolution.WEEK: Period.FIVE_YEARS,
    Resolution.MONTH: Period.ALL,
}
_PERIODS = list(Period)
_DAY_S = 86_400
_SESSION_MINUTES = 390


@dataclass(frozen=True, slots=True)
class Wanted:
    """The bars from `since` on, or, where `count` is named, the newest so many; before `until`."""

    since: int
    until: int
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, oldest first. `before` opens the nearest one that lies before them all.

    held is the stored answer, life_s what is left of it and of the quote, and keys what
    of the cache the bars hold, with when it was fetched.
    """

    bars: list[Candle]
    before: int | None
    held: Held[CandlesAnswer]
    life_s: float
    keys: Mapping[str, datetime] = field(default_factory=dict)


def chart(resolved: Resolved, width: Resolution, wanted: Wanted) -> Chart:
    """Return the bars of a width that a chart wants; fewer, or none, where there are no more.

    Raises ResolutionUnavailableError where no period has that width, UpstreamError where
    nothing could be asked, and what services/history.py raises.
    """
    now = datetime.now(UTC)
    held, period = _reaching(resolved, width, wanted)
    bars, quote = held.value.candles, None
    if bars and wanted.until > bars[-1].timestamp:
        bars, quote = _up_to_date(resolved, width, held, now)
    found, before = _part(_charted(resolved, width, bars), wanted)
    if not found and held.value.stale:
        # There may be such bars, and nobody could be asked.
        raise UpstreamError(held.value.source, "its newest bars cannot be had now")
    keys = {cache.candles_key(held.value.symbol, period, width): held.value.fetched_at}
    if quote is None:
        return Chart(found, before, held, held.life_s, keys)
    keys[cache.price_key(quote.value.symbol)] = quote.value.fetched_at
    return Chart(found, before, held, min(held.life_s, quote.life_s), keys)


def _charted(resolved: Resolved, width: Resolution, bars: Sequence[Candle]) -> Sequence[Candle]:
    """Return bars as charts stamp them, and so cut them: a stock's month begins with a session."""
    if width is not Resolution.MONTH or resolved.asset.kind != AssetKind.STOCK:
        return bars
    return [replace(bar, timestamp=_first_session(bar.timestamp)) for bar in bars]


def _first_session(month: int) -> int:
    before = datetime.fromtimestamp(month, UTC) - timedelta(seconds=1)
    return midnight(next_session(before).day)


def _part(bars: Sequence[Candle], wanted: Wanted) -> tuple[list[Candle], int | None]:
    found = [bar for bar in bars if bar.timestamp < wanted.until]
    if wanted.count is not None:
        first = len(found) - min(wanted.count, len(found))
    else:
        first = sum(bar.timestamp < wanted.since for bar in found)
    return found[first:], found[first - 1].timestamp if first else None


# --- Which stored series -------------------------------------------------------------


def _reaching(
    resolved: Resolved, width: Resolution, wanted: Wanted
) -> tuple[Held[CandlesAnswer], Period]:
    """Return the series of the shortest period that has the bars, or of the longest there is."""
    held, number = _first(resolved, width, _start(resolved, width, wanted))
    while number + 1 < len(_PERIODS) and _is_short(
        held.value, _charted(resolved, width, held.value.candles), wanted
    ):
        try:
            held = past.candles(resolved, _PERIODS[number + 1], width)
        except ResolutionUnavailableError:
            break
        number += 1
    return held, _PERIODS[number]


def _first(resolved: Resolved, width: Resolution, number: int) -> tuple[Held[CandlesAnswer], int]:
    """Return the series of a period, or of the next shorter one that has bars of that width."""
    while True:
        try:
            return past.candles(resolved, _PERIODS[number], width), number
        except ResolutionUnavailableError:
            if number == 0:
                raise
            number -= 1


def _is_short(answer: CandlesAnswer, bars: Sequence[Candle], wanted: Wanted) -> bool:
    """Whether bars are missing that a longer period may have."""
    if answer.truncated:
        return False
    if wanted.count is None:
        return not bars or bars[0].timestamp > wanted.since
    return sum(bar.timestamp < wanted.until for bar in bars) < wanted.count


def _start(resolved: Resolved, width: Resolution, wanted: Wanted) -> int:
    """Return the number of the period to begin with: no shorter than what charts open with."""
    now, usual = datetime.now(UTC), _PERIODS.index(_USUAL[width])
    if resolved.asset.is_gone:
        return max(usual, _PERIODS.index(Period.ALL))
    kind = AssetKind(resolved.asset.kind)
    since = wanted.since
    if wanted.count is not None:
        until = min(wanted.until, int(now.timestamp()))
        since = until - _span_s(kind, width, wanted.count)
    for number in range(usual, len(_PERIODS)):
        start = history.window(kind, _PERIODS[number], now).start
        if start is None or start.timestamp() <= since:
            return number
    return len(_PERIODS) - 1


def _span_s(kind: AssetKind, width: Resolution, count: int) -> int:
    """Return about how long so many bars take, weekends and a holiday included."""
    if kind is AssetKind.CRYPTO or width in (Resolution.WEEK, Resolution.MONTH):
        return count * width.minutes * 60
    a_session = math.ceil(_SESSION_MINUTES / width.minutes) if width.is_intraday else 1
    sessions = math.ceil(count / a_session)
    return (sessions * 7 // 5 + (4 if sessions > 1 else 0)) * _DAY_S


# --- The bar that is open --------------------------------------------------------------


def _up_to_date(
    resolved: Resolved, width: Resolution, held: Held[CandlesAnswer], now: datetime
) -> tuple[list[Candle], Held[QuoteAnswer] | None]:
    """Return a series with the newest quote in its open bar, and that quote."""
    bars = held.value.candles
    kind = AssetKind(resolved.asset.kind)
    is_over = bars[-1].closed or _ends(kind, bars[-1], width) <= now.timestamp()
    if is_over or held.value.currency != "USD" or not (kind is AssetKind.CRYPTO or is_open(now)):
        return bars, None
    try:
        quote = quotes.quote(resolved)
    except PricesError:
        return bars, None  # The series stands without it.
    if not _fits(quote.value, bars[-1], held.value, _ends(kind, bars[-1], width)):
        return bars, quote
    price, last = quote.value.price, bars[-1]
    high, low = max(last.high, price), min(last.low, price)
    return [*bars[:-1], replace(last, high=high, low=low, close=price)], quote


def _fits(quote: QuoteAnswer, bar: Candle, series: CandlesAnswer, ends: int) -> bool:
    """Whether a quote says something of a bar that its series does not say yet."""
    at = quote.last_updated
    is_sure = not quote.stale and not quote.disputed and quote.freshness is not Freshness.UNKNOWN
    is_of_session = quote.session in {None, TradingSession.REGULAR}
    is_news = at >= series.fetched_at and bar.timestamp <= at.timestamp() < ends
    return is_sure and is_of_session and is_news


def _ends(kind: AssetKind, bar: Candle, width: Resolution) -> int:
    if kind is AssetKind.STOCK and width.is_intraday:
        return closing(bar.timestamp, width)
    return bar_end(bar.timestamp, width)
