"""CoinGecko's charts: points off the grid, candles stamped with their close."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from prices.sandbox.coins import Coin
from prices.sandbox.market import DAY_S, Series, rolling_volume
from prices.sandbox.wire import spread

FIVE_MINUTES_S = 300
HOUR_S = 3600

# The day that has just ended takes a while to appear.
CHART_DELAY_S = 600
RANGE_DELAY_S = 2100


def step_for(days: float) -> int:
    """Return the step of a chart that ends now and reaches back `days`."""
    if days <= 1:
        return FIVE_MINUTES_S
    return HOUR_S if days <= 90 else DAY_S


def chart(
    coin: Coin,
    series: Series,
    span: tuple[float, float],
    step: int,
    *,
    last: float | None = None,
    delay: int = CHART_DELAY_S,
    rate: float = 1.0,
) -> dict[str, Any]:
    """Return prices, market caps and rolling volumes between two moments.

    With `last`, the moment the price was last seen, the chart ends in a partial
    point of that moment. `rate` is units of the currency for a dollar.
    """
    start, end = max(span[0], series.listed), span[1]
    times = list(_times(coin.id, start, end, step, delay))
    if last is not None and start <= last <= end:
        times = [*(when for when in times if when < last - 1), last]
    prices = series.many(times)
    stamps = [int(when * 1000) for when in times]
    reply: dict[str, Any] = {
        "prices": [[stamp, price * rate] for stamp, price in zip(stamps, prices, strict=True)],
        "market_caps": [
            [stamp, cap] for stamp, cap in zip(stamps, _caps(coin, prices, rate), strict=True)
        ],
        "total_volumes": [
            [stamp, rolling_volume(coin, price, when) * rate]
            for stamp, price, when in zip(stamps, prices, times, strict=True)
        ],
    }
    return reply if last is None else _untidy(coin, last, reply)


def _caps(coin: Coin, prices: list[float], rate: float) -> list[float | None]:
    if coin.supply is None:
        return [None if coin.id == "supply-unknown" else 0.0] * len(prices)
    supply = coin.supply * rate
    return [price * supply for price in prices]


def _untidy(coin: Coin, last: float, reply: dict[str, Any]) -> dict[str, Any]:
    """Spoil the end as the source does now and then: out of order, or told twice."""
    mood = (spread(coin.id, 7) + int(last // 60)) % 7
    for points in reply.values():
        if mood == 0 and len(points) > 2:
            points[-1], points[-2] = points[-2], points[-1]
        elif mood == 3 and points:
            points.append(points[-1])
    return reply


def _times(coin_id: str, start: float, end: float, step: int, delay: int) -> Iterator[float]:
    """Yield the moments the source has points for, rising, from `start` to `end`."""
    first, last = math.floor(start / step), math.ceil(end / step)
    if step == DAY_S:
        for day in range(first, last + 1):
            when = float(day * DAY_S)
            is_hole = spread(f"{coin_id} hole {day}", 400) == 0
            if start <= when <= end - delay and not is_hole:
                yield when
        return
    # Neighbours may stray past each other: look one further at both ends, and sort.
    strays = _strays(coin_id, step)
    for number in range(first - 1, last + 2):
        when = number * step + strays[number % len(strays)]
        if start <= when <= end:
            yield when


@lru_cache(maxsize=1024)
def _strays(coin_id: str, step: int) -> list[float]:
    """Return how far points stray from the grid, in a cycle; never by half a step."""
    usual, seldom = (42, 42) if step == FIVE_MINUTES_S else (95, 1500)
    found = []
    for number in range(997):
        size = seldom if number % 53 == 17 else usual
        found.append(spread(f"{coin_id} stray {number}", 2000 * size) / 1000 - size)
    return found


def candles(
    series: Series, now: float, days: float, step: int, *, rate: float = 1.0
) -> list[list[float]]:
    """Return rows of close stamp, open, high, low, close; the last one is not over yet."""
    start = max(now - days * DAY_S, series.listed)
    # Half-hour rows cover the span, longer ones lie in it.
    first = math.floor(start / step) if step == 1800 or step > DAY_S else math.ceil(start / step)
    rows = []
    for number in range(first, math.ceil(now / step)):
        opens, closes = max(number * step, series.listed), min((number + 1) * step, now)
        high, low = series.extremes(opens, closes)
        levels = (series.at(opens), high, low, series.at(closes))
        rows.append([(number + 1) * step * 1000, *(_rounded(x * rate) for x in levels)])
    return rows


def _rounded(price: float) -> float:
    return round(price, 2) if price >= 1 else float(f"{price:.6g}")
