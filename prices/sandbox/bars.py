"""A stock's candles, in shares and prices of today or of the day they are from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby

from prices.sandbox.market import Series, stock_series, traded_by
from prices.sandbox.stocks import Stock, stock_by_symbol
from prices.sessions import Session, session_on, sessions_between

_MINUTE_S = 60
_DAY_S = 86_400
_REACH_S = {"D": 0, "W": 7 * _DAY_S, "M": 31 * _DAY_S}


@dataclass(frozen=True, slots=True)
class Bar:
    """One candle. `stamp` is its opening: midnight UTC of a day, else the instant."""

    stamp: int
    open: float
    high: float
    low: float
    close: float
    volume: int


def bars(stock: Stock, resolution: str, start: float, end: float, now: float) -> list[Bar]:
    """Return the bars stamped from `start` to `end` and begun by `now`, oldest first.

    In Finnhub's way: days and longer adjusted for splits, a month of intraday bars a
    call, the newest of what was asked, as they were traded.
    """
    if resolution in ("D", "W", "M"):
        return daily_bars(stock, resolution, start, end, now)
    start = max(start, min(end, now) - _REACH_S["M"])
    return intraday_bars(stock, int(resolution), start, end, now)


def daily_bars(
    stock: Stock,
    resolution: str,
    start: float,
    end: float,
    now: float,
    *,
    adjusted: bool = True,
) -> list[Bar]:
    """Return bars of a day or longer, stamped from `start` to `end`, oldest first.

    Adjusted means in shares and prices of `now`, every split by then applied.
    """
    # To the end of the last week or month, so that its bar is whole.
    days = _days(stock, _begin(resolution, start), end + _REACH_S[resolution], now, adjusted)
    return [bar for bar in _grouped(days, resolution) if start <= bar.stamp <= end]


def intraday_bars(
    stock: Stock,
    minutes: int,
    start: float,
    end: float,
    now: float,
    *,
    adjusted: bool = False,
) -> list[Bar]:
    """Return bars of `minutes` within sessions, stamped from `start` to `end`, oldest first."""
    series, step = stock_series(stock.symbol), minutes * _MINUTE_S
    until = min(end, now, stock.gone)
    found: list[Bar] = []
    for session in sessions_between(_utc(max(start, series.listed)), _utc(until + 1)):
        opens, closes = int(session.opens.timestamp()), int(session.closes.timestamp())
        factor = _still_unsplit(stock, now if adjusted else opens)
        for stamp in range(opens, closes, step):
            if start <= stamp <= until:
                span = (float(stamp), float(min(stamp + step, closes, now)))
                found.append(_bar(stock, series, span, stamp, factor, session))
    return found


def _days(stock: Stock, start: float, end: float, now: float, adjusted: bool) -> list[Bar]:
    series, end = stock_series(stock.symbol), min(end, stock.gone - 1)
    first = max(start, series.listed)
    found = []
    for session in sessions_between(_utc(first), _utc(min(end, now) + _DAY_S)):
        if session.opens.timestamp() > now or _midnight(session.day) > end:
            break
        factor = _still_unsplit(stock, now if adjusted else session.opens.timestamp())
        if session.closes.timestamp() <= now:
            found.append(_whole_day(stock.symbol, session, factor))
        else:
            opens = session.opens.timestamp()
            found.append(_bar(stock, series, (opens, now), _midnight(session.day), factor, session))
    return found


@lru_cache(maxsize=65_536)
def _whole_day(symbol: str, session: Session, factor: float) -> Bar:
    stock = stock_by_symbol()[symbol]
    span = session.opens.timestamp(), session.closes.timestamp()
    return _bar(stock, stock_series(symbol), span, _midnight(session.day), factor, session)


def _grouped(days: list[Bar], resolution: str) -> list[Bar]:
    if resolution == "D":
        return days
    groups = groupby(days, key=lambda bar: int(_begin(resolution, bar.stamp)))
    return [_together(stamp, list(group)) for stamp, group in groups]


def _together(stamp: int, days: list[Bar]) -> Bar:
    return Bar(
        stamp,
        days[0].open,
        max(day.high for day in days),
        min(day.low for day in days),
        days[-1].close,
        sum(day.volume for day in days),
    )


def _bar(
    stock: Stock,
    series: Series,
    span: tuple[float, float],
    stamp: int,
    factor: float,
    session: Session,
) -> Bar:
    start, end = span
    index = series.path.index(session.opens.timestamp())
    high, low = series.extremes(start, end)
    shares = traded_by(stock, index, end) - traded_by(stock, index, start)
    levels = (series.at(start), high, low, series.at(end))
    first, top, bottom, last = (money(level * factor) for level in levels)
    return Bar(stamp, first, top, bottom, last, int(shares / factor))


def money(price: float) -> float:
    """Return a price in cents, or with four places under a dollar."""
    return round(price, 2 if price >= 1 else 4)


def _still_unsplit(stock: Stock, when: float) -> float:
    """Return what a price of today must be multiplied with to be one of `when`."""
    if stock.split is None:
        return 1.0
    session = session_on(stock.split.day)
    begins = session.opens.timestamp() if session else _midnight(stock.split.day)
    return stock.split.ratio if when < begins else 1.0


def _begin(resolution: str, when: float) -> float:
    """Return the stamp of the day, week or month that `when` falls in."""
    day = _utc(when).date()
    if resolution == "W":
        day -= timedelta(days=day.weekday())
    elif resolution == "M":
        day = day.replace(day=1)
    return _midnight(day)


def _midnight(day: date) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp())


def _utc(when: float) -> datetime:
    # Callers ask from 1970 and to far beyond; the calendar need not go there.
    return datetime.fromtimestamp(min(max(when, 0.0), 2.5e9), UTC)
