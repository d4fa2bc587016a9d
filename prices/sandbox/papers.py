"""What sellers of stock data say of a stock: bars a little off each other's, and dividends.

Who pays, how much and when is the sandbox's own making: a share of the price on four
days a year. Prices themselves do not fall on these days.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

from prices.sandbox.bars import Bar, daily_bars, intraday_bars, money
from prices.sandbox.market import FIRST_YEAR, LAST_YEAR
from prices.sandbox.stocks import Stock
from prices.sandbox.wire import spread
from prices.sessions import session_on

_NEVER_PAY = frozenset(["BKNG", "TSLA", "BRK.A", "BRK.B", "AMZN", "NFLX", "TWTR", "PLTR"])


def seen_by(
    seller: str,
    stock: Stock,
    resolution: str,
    span: tuple[float, float],
    now: float,
    *,
    adjusted: bool = True,
) -> list[Bar]:
    """Return the bars a seller gives: `resolution` is D, W, M or minutes; oldest first."""
    if resolution in ("D", "W", "M"):
        found = daily_bars(stock, resolution, *span, now, adjusted=adjusted)
    else:
        found = intraday_bars(stock, int(resolution), *span, now, adjusted=adjusted)
    stray = 1 + (spread(f"{seller} {stock.symbol}", 601) - 300) / 1e6
    return [
        replace(
            bar,
            open=money(bar.open * stray),
            high=money(bar.high * stray),
            low=money(bar.low * stray),
            close=money(bar.close * stray),
        )
        for bar in found
    ]


def local(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)


def midnight(day: date) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp())


def payout(stock: Stock) -> float:
    """Return the part of its price a stock pays each quarter; 0 for one that pays nothing."""
    if stock.symbol in _NEVER_PAY or stock.daily_vol > 0.03:
        return 0.0
    return (1 + spread(f"{stock.symbol} pays", 6)) / 1000


def is_ex_day(stock: Stock, day: date) -> bool:
    return payout(stock) > 0 and day in _ex_days()


def without_dividends(stock: Stock, day: date, now: float) -> float:
    """Return what a close of `day` is multiplied with to leave out dividends paid since."""
    days = _ex_days()
    later = bisect_right(days, local(now).date()) - bisect_right(days, day)
    return float((1 - payout(stock)) ** max(0, later))


@cache
def _ex_days() -> list[date]:
    """Return the first trading day from the tenth of each quarter's second month on."""
    found = []
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        for month in (2, 5, 8, 11):
            day = date(year, month, 10)
            while session_on(day) is None:
                day += timedelta(days=1)
            found.append(day)
    return found
