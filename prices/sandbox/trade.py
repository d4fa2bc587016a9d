"""What is traded on an exchange's pair: its candles, and its last day in figures.

Volume is cut from the coin's day: hours of the day, minutes of the hour have parts of
it. So the volumes of small bars add up to those of large ones, and a pair that hardly
anybody trades has minutes without any trade.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate

from prices.sandbox.market import DAY_S, noise_of, rolling_volume
from prices.sandbox.venues import Pair

HOUR_S = 3600
MINUTE_S = 60
WEEK_S = 7 * DAY_S
MONTH = "1M"
_MONDAY_S = 4 * DAY_S  # 1 January 1970 was a Thursday
_DOLLARS_A_TRADE = 150.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One candle, in the pair's quote currency; `stamp` is its opening in Unix seconds."""

    stamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int

    @property
    def typical(self) -> float:
        return (self.open + self.high + self.low + self.close) / 4


def bars(pair: Pair, step: int | str, first: float, last: float, now: float) -> list[Bar]:
    """Return the bars stamped from `first` to `last` and begun by `now`, oldest first.

    `step` is seconds, or MONTH. The bar of now is as it stands.
    """
    found: list[Bar] = []
    stamp = opening(step, max(first, pair.listed))
    while stamp <= min(last, now):
        end = following(step, stamp)
        if stamp >= first:
            found.append(_bar(pair, stamp, max(stamp, pair.listed), min(end, now)))
        stamp = end
    return found


def opening(step: int | str, when: float) -> int:
    """Return the stamp of the bar that a moment falls in; weeks begin on Monday."""
    if isinstance(step, str):
        day = datetime.fromtimestamp(when, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp())
    shift = _MONDAY_S if step == WEEK_S else 0
    return int((when - shift) // step * step + shift)


def following(step: int | str, stamp: int) -> int:
    return opening(MONTH, stamp + 32 * DAY_S) if isinstance(step, str) else stamp + step


def last_day(pair: Pair, now: float) -> Bar:
    """Return the 24 hours before now as one bar."""
    return _bar(pair, int(now - DAY_S), max(now - DAY_S, pair.listed), now)


def between(pair: Pair, start: float, end: float) -> Bar:
    return _bar(pair, int(start), max(start, pair.listed), end)


def _bar(pair: Pair, stamp: int, start: float, end: float) -> Bar:
    first, last = pair.at(start), pair.at(end)
    high, low = pair.series.extremes(start, end)
    rate = pair.rate((start + end) / 2)
    volume = round(traded(pair, start, end), 8)
    worth = volume * (pair.coin.price or 1.0) * pair.bundle / _DOLLARS_A_TRADE
    places = pair.decimals
    return Bar(
        stamp,
        round(first, places),
        # The quote currency moves too: its rate of the middle is not that of the extremes.
        round(max(first, last, high * rate), places),
        round(min(first, last, low * rate), places),
        round(last, places),
        volume,
        math.ceil(worth) if volume else 0,
    )


def traded(pair: Pair, start: float, end: float) -> float:
    """Return how many units of the base change hands between two moments."""
    if end <= start:
        return 0.0
    first, last = int(start // DAY_S), int(end // DAY_S)
    if first == last:
        return _of_day(pair, first) * (_part(pair, first, end) - _part(pair, first, start))
    amount = _of_day(pair, first) * (1 - _part(pair, first, start))
    amount += sum(_of_day(pair, day) for day in range(first + 1, last))
    return amount + _of_day(pair, last) * _part(pair, last, end)


def _of_day(pair: Pair, day: int) -> float:
    """Return the units of a whole day: the coin's trade at a price of one is in units."""
    units = rolling_volume(pair.coin, 1.0, (day + 0.5) * DAY_S)
    return units * pair.trade / pair.bundle


def _part(pair: Pair, day: int, when: float) -> float:
    """Return the part of a day's trade that is done at a moment of it, 0 to 1."""
    since = when - day * DAY_S
    if since <= 0:
        return 0.0
    hours = _hours(pair.coin.id, day)
    hour = int(since // HOUR_S)
    minutes = _minutes(f"{pair.venue} {pair.base}{pair.quote}", day * 24 + hour, _quiet(pair))
    minute, rest = divmod(since - hour * HOUR_S, MINUTE_S)
    number = int(minute)
    done = minutes[number] + (minutes[number + 1] - minutes[number]) * rest / MINUTE_S
    return (hours[hour] + (hours[hour + 1] - hours[hour]) * done) / hours[24]


def _quiet(pair: Pair) -> int:
    """Return how many of 256 minutes pass without a trade."""
    units = rolling_volume(pair.coin, 1.0, 0.0) * pair.trade
    trades_a_minute = units * (pair.coin.price or 1.0) / _DOLLARS_A_TRADE / (DAY_S / MINUTE_S)
    return int(256 * math.exp(-trades_a_minute))


@lru_cache(maxsize=4096)
def _hours(coin_id: str, day: int) -> array[float]:
    return _sums([0.4 + byte / 255 for byte in noise_of(f"{coin_id}@{day}", 24)])


@lru_cache(maxsize=16_384)
def _minutes(market: str, hour: int, quiet: int) -> array[float]:
    noise = noise_of(f"{market}@{hour}", 61)
    parts = [0.0 if byte < quiet else 0.3 + byte / 255 for byte in noise[:60]]
    parts[noise[60] % 60] += 0.5  # an hour has one trade at least
    sums = _sums(parts)
    return array("d", (done / sums[60] for done in sums))


def _sums(parts: list[float]) -> array[float]:
    return array("d", accumulate(parts, initial=0.0))
