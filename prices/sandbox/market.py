"""The price of everything at any moment: a pure function of asset and time.

A price path has four scales, each fixed at its ends by the one above it:

    year      levels on 1 January, from a table of what markets did
    day       a walk through the year whose volatility comes in clusters;
              a coin's day is the UTC day, a stock's is the session
    5 minutes a walk through the day
    15 s      small noise, nothing at the 5-minute marks

In between, the logarithm of the price runs straight. So the highest and lowest
price of any span can be told exactly, and two questions about one moment agree,
whatever they are part of. Nothing is stored; what is memoised could be worked out
again. Times are Unix seconds, prices dollars.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import ClassVar

from prices.sandbox.coins import Coin, coin_by_id
from prices.sandbox.stocks import Stock, stock_by_symbol
from prices.sessions import sessions_between

DAY_S = 86_400
CELL_S = 300
TICK_S = 15
TICKS_A_CELL = CELL_S // TICK_S
FOREVER = 1e12

FIRST_YEAR = 2000
LAST_YEAR = 2045

# Coins that move less than this a day are held to a level by their issuer.
_PEGGED = 0.001

# Levels on 1 January. Coins other than these two follow the cycle below.
_BITCOIN = [13.3, 750, 320, 430, 960, 13900, 3740, 7190, 29000, 46300, 16550, 42300, 93400, 87500]
_ETHEREUM = [0.9, 0.95, 8, 740, 133, 129, 737, 3680, 1197, 2280, 3330, 2970]
_KNOWN = {
    "bitcoin": {2013 + i: math.log(price) for i, price in enumerate(_BITCOIN)},
    "ethereum": {2015 + i: math.log(price) for i, price in enumerate(_ETHEREUM)},
}
# The logarithm of a typical coin's price against its level at the end of 2026.
_COIN_CYCLE = {
    2013: -4.0,
    2014: -2.5,
    2015: -4.2,
    2016: -4.3,
    2017: -3.8,
    2018: 0.8,
    2019: -1.8,
    2020: -1.7,
    2021: -0.4,
    2022: 1.3,
    2023: -0.5,
    2024: 0.2,
    2025: 0.7,
}
_STOCK_INDEX = [
    *(1469, 1320, 1148, 880, 1112, 1212, 1248, 1418, 1468, 903, 1115, 1258, 1258, 1426),
    *(1848, 2059, 2044, 2239, 2674, 2507, 3231, 3756, 4766, 3840, 4770, 5882, 6850),
]


def noise_of(key: str, size: int) -> bytes:
    """Return `size` bytes that depend on `key` alone, the same on every machine."""
    return hashlib.shake_128(key.encode()).digest(size)


def _steps() -> tuple[float, ...]:
    """Return a step for every byte: normal, but with the fat tails of a market."""
    normal = [NormalDist().inv_cdf((byte + 0.5) / 256) for byte in range(256)]
    fat = [z * (1 + 0.09 * z * z) for z in normal]
    scale = math.sqrt(sum(z * z for z in fat) / len(fat))
    return tuple(z / scale for z in fat)


_STEP = _steps()
_TICK_NOISE = tuple(byte / 127.5 - 1 for byte in noise_of("ticks", 8192))


@dataclass(frozen=True, slots=True)
class Block:
    """One day of one path: logarithms of the price at each 5-minute mark."""

    start: float
    cells: int
    logs: array[float]
    noise: float
    seed: int

    def at(self, when: float) -> float:
        """Return the logarithm of the price; before or after the block, that of its end."""
        if when <= self.start:
            return self.logs[0]
        x = (when - self.start) / CELL_S
        cell = int(x)
        if cell >= self.cells:
            return self.logs[self.cells]
        low = self.logs[cell]
        level = low + (self.logs[cell + 1] - low) * (x - cell)
        q = (when - self.start) / TICK_S
        tick = int(q)
        this = self._tick(tick)
        return level + self.noise * (this + (self._tick(tick + 1) - this) * (q - tick))

    def _tick(self, tick: int) -> float:
        if tick % TICKS_A_CELL == 0:
            return 0.0
        return _TICK_NOISE[((self.seed ^ tick) * 0x9E3779B1 >> 11) & 8191]

    def extremes(self, start: float, end: float) -> tuple[float, float]:
        """Return the highest and lowest logarithm from `start` to `end`, both included."""
        first = max(0, math.ceil((start - self.start) / CELL_S))
        last = min(self.cells, math.floor((end - self.start) / CELL_S))
        ends = (self.at(start), self.at(end))
        marks = self.logs[first : last + 1] if first <= last else array("d")
        high, low = max(*ends, *marks), min(*ends, *marks)
        # Ticks stray from the line between two marks by at most `noise`: only cells
        # beside a mark that comes that near to an extreme can hold a better one.
        top, bottom = high - self.noise, low + self.noise
        cells = {first - 1, last}
        for number, level in enumerate(marks, first):
            if level > top or level < bottom:
                cells |= {number - 1, number}
        for cell in cells:
            if 0 <= cell < self.cells:
                for level in self._ticks_of(cell, start, end):
                    high, low = max(high, level), min(low, level)
        return high, low

    def _ticks_of(self, cell: int, start: float, end: float) -> list[float]:
        """Return the logarithms at the ticks inside a cell that lie in the span."""
        first = max(1, math.ceil((start - self.start) / TICK_S) - cell * TICKS_A_CELL)
        last = min(TICKS_A_CELL - 1, math.floor((end - self.start) / TICK_S) - cell * TICKS_A_CELL)
        opens, base = self.logs[cell], cell * TICKS_A_CELL
        slope = (self.logs[cell + 1] - opens) / TICKS_A_CELL
        return [
            opens + slope * tick + self.noise * self._tick(base + tick)
            for tick in range(first, last + 1)
        ]


@dataclass(frozen=True, slots=True)
class Year:
    """Logarithms at the ends of a year's days, and how lively each day is."""

    levels: array[float]
    vols: array[float]


class Path:
    """The walk of one asset. Subclasses say what a day is."""

    # What all assets of a kind share in a day's move, as a part of the whole.
    common: ClassVar[float] = 0.6

    def __init__(self, key: str, level: float, daily_vol: float) -> None:
        self.key = key
        self.level = math.log(level)
        self.daily_vol = daily_vol
        self.blocks = lru_cache(maxsize=64)(self._block)
        self.years = cache(self._year)
        self._spans = lru_cache(maxsize=16_384)(self._block_extremes)

    def at(self, when: float) -> float:
        """Return the logarithm of the price."""
        return self.blocks(self.index(when)).at(when)

    def extremes(self, start: float, end: float) -> tuple[float, float]:
        """Return the highest and lowest logarithm from `start` to `end`, both included."""
        first, last = self.index(start), self.index(end)
        if first == last:
            return self.blocks(first).extremes(start, end)
        found = [self.blocks(first).extremes(start, FOREVER)]
        found += [self._spans(index) for index in range(first + 1, last)]
        found.append(self.blocks(last).extremes(-FOREVER, end))
        return max(high for high, _ in found), min(low for _, low in found)

    def peaks(self, start: float, end: float) -> tuple[float, float]:
        """Return when the path was about highest and lowest, by the ends of its days."""
        first, last = self.index(start), self.index(end)
        highs, lows = [(-math.inf, end)], [(math.inf, end)]
        index = first
        while index <= last:
            year, number, days = self.place(index)
            levels = self.years(year).levels[number : min(days, number + last - index + 1)]
            high, low = max(levels), min(levels)
            highs.append((high, self.span(index + levels.index(high))[0]))
            lows.append((low, self.span(index + levels.index(low))[0]))
            index += len(levels)
        return max(highs)[1], min(lows)[1]

    def index(self, when: float) -> int:
        """Return the number of the day that `when` falls in, or the last before it."""
        raise NotImplementedError

    def span(self, index: int) -> tuple[float, int]:
        """Return when a day begins and how many 5-minute cells it has."""
        raise NotImplementedError

    def place(self, index: int) -> tuple[int, int, int]:
        """Return a day's year, its number in that year, and the days of that year."""
        raise NotImplementedError

    def anchor(self, year: int) -> float:
        """Return the logarithm of the price at the beginning of `year`."""
        raise NotImplementedError

    def gap(self, index: int, vol: float) -> float:
        """Return the jump between the last day's close and this day's opening."""
        return 0.0

    def day(self, index: int) -> tuple[float, float, float]:
        """Return a day's first and last logarithm, and its volatility."""
        year, number, _ = self.place(index)
        table = self.years(year)
        return table.levels[number], table.levels[number + 1], table.vols[number]

    def wobble(self, year: int) -> float:
        """Return how far the asset is from its kind at the beginning of `year`."""
        spread = min(0.22, 6 * self.daily_vol) if self.daily_vol > _PEGGED else 0.0001
        return spread * _STEP[noise_of(f"{self.key}|{year}", 1)[0]]

    def _block(self, index: int) -> Block:
        start, cells = self.span(index)
        opens, closes, vol = self.day(index)
        opens += self.gap(index, vol)
        noise = noise_of(f"{self.key}/{index}", cells + 28)
        # Twenty-four stretches a day, some three times as lively as others.
        moods = [0.45 + byte / 255 for byte in noise[cells : cells + 24]]
        step = vol / math.sqrt(cells)
        walk = [
            step * moods[cell * 24 // cells] * _STEP[byte]
            for cell, byte in enumerate(noise[:cells])
        ]
        drift = (closes - opens - sum(walk)) / cells
        logs = array("d", accumulate((move + drift for move in walk), initial=opens))
        logs[cells] = closes
        return Block(start, cells, logs, step * 0.4, int.from_bytes(noise[-4:], "big"))

    def _block_extremes(self, index: int) -> tuple[float, float]:
        start, cells = self.span(index)
        return self.blocks(index).extremes(start, start + cells * CELL_S)

    def _year(self, year: int) -> Year:
        days = self.place_of_year(year)
        own = noise_of(f"{self.key}:{year}", 2 * days + 1)
        shared = noise_of(f"{type(self).__name__}:{year}", days)
        rest = math.sqrt(1 - self.common**2)
        mood = 0.4 * _STEP[own[2 * days]]
        moves, vols = [], array("d")
        for number in range(days):
            vol = self.daily_vol * math.exp(mood)
            vols.append(vol)
            moves.append(vol * (self.common * _STEP[shared[number]] + rest * _STEP[own[number]]))
            mood = 0.94 * mood + 0.16 * _STEP[own[days + number]]
        opens, closes = self.anchor(year), self.anchor(year + 1)
        drift = (closes - opens - sum(moves)) / days
        levels = array("d", accumulate((move + drift for move in moves), initial=opens))
        levels[days] = closes
        return Year(levels, vols)

    def place_of_year(self, year: int) -> int:
        """Return how many days `year` has."""
        raise NotImplementedError


class CoinPath(Path):
    """A coin trades round the clock: its day is the UTC day, numbered from 1970."""

    def index(self, when: float) -> int:
        return int(when // DAY_S)

    def span(self, index: int) -> tuple[float, int]:
        return float(index * DAY_S), DAY_S // CELL_S

    def place(self, index: int) -> tuple[int, int, int]:
        year, first = _year_of_day(index)
        return year, index - first, self.place_of_year(year)

    def place_of_year(self, year: int) -> int:
        return _first_day(year + 1) - _first_day(year)

    def _year(self, year: int) -> Year:
        if self.daily_vol >= _PEGGED:
            return super()._year(year)
        # What is pegged does not walk away: each day ends near the peg, wherever it began.
        days, opens, closes = self.place_of_year(year), self.anchor(year), self.anchor(year + 1)
        noise = noise_of(f"{self.key}:{year}", days)
        levels = array("d", (opens + 0.00015 * _STEP[byte] for byte in noise))
        levels[0] = opens
        levels.append(closes)
        return Year(levels, array("d", [0.4 * self.daily_vol] * days))

    def anchor(self, year: int) -> float:
        known = _KNOWN.get(self.key, {})
        if year in known:
            return known[year]
        if self.daily_vol < _PEGGED:
            return self.level + self.wobble(year)
        if self.daily_vol < 0.01:  # gold
            return self.level + 0.12 * min(0, year - 2026) + self.wobble(year)
        return self.level + _COIN_CYCLE.get(year, 0.0) + self.wobble(year)


class StockPath(Path):
    """A stock trades in sessions, numbered from the first of 2000, and jumps overnight."""

    def index(self, when: float) -> int:
        return max(0, bisect_right(session_table().opens, when) - 1)

    def span(self, index: int) -> tuple[float, int]:
        table = session_table()
        opens = table.opens[index]
        return opens, int(table.closes[index] - opens) // CELL_S

    def place(self, index: int) -> tuple[int, int, int]:
        table = session_table()
        year = table.years[index]
        return year, index - table.first_of[year], self.place_of_year(year)

    def place_of_year(self, year: int) -> int:
        first_of = session_table().first_of
        return first_of[year + 1] - first_of[year]

    def anchor(self, year: int) -> float:
        index = _STOCK_INDEX[year - 2000] if year < 2027 else 6900 * 1.06 ** (year - 2027)
        return self.level + 1.15 * math.log(index / 6900) + self.wobble(year)

    def gap(self, index: int, vol: float) -> float:
        return 0.45 * vol * _STEP[noise_of(f"{self.key}^{index}", 1)[0]]


class Series:
    """What one asset has cost and costs, in dollars; stocks as if always split."""

    def __init__(self, path: Path, listed: float, ratio: float = 1.0) -> None:
        self.path = path
        self.listed = listed
        self.ratio = ratio
        self._past_records = lru_cache(maxsize=4)(self._past)

    def at(self, when: float) -> float:
        return math.exp(self.path.at(when)) * self.ratio

    def many(self, times: Iterable[float]) -> list[float]:
        """Return the price at each of `times`; fast where they come in order."""
        path, ratio, exp = self.path, self.ratio, math.exp
        found: list[float] = []
        until, block = -math.inf, None
        for when in times:
            if block is None or not block.start <= when < until:
                block = path.blocks(path.index(when))
                until = block.start + block.cells * CELL_S
            found.append(exp(block.at(when)) * ratio)
        return found

    def extremes(self, start: float, end: float) -> tuple[float, float]:
        """Return the highest and lowest price from `start` to `end`, both included."""
        high, low = self.path.extremes(max(start, self.listed), end)
        return math.exp(high) * self.ratio, math.exp(low) * self.ratio

    def records(
        self, now: float, day: tuple[float, float] | None = None
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return (price, when) of the highest and of the lowest price up to `now`.

        `day` are the extremes of the 24 hours before, where the caller knows them.
        """
        past_high, past_low = self._past_records(now // DAY_S * DAY_S)
        high, low = day or self.extremes(now - DAY_S, now)
        return max(past_high, (high, now)), min(past_low, (low, now))

    def _past(self, day: float) -> tuple[tuple[float, float], tuple[float, float]]:
        top, bottom = self.path.peaks(self.listed, day)
        high, _ = self.extremes(top - DAY_S, min(day, top + DAY_S))
        _, low = self.extremes(bottom - DAY_S, min(day, bottom + DAY_S))
        return (high, top), (low, bottom)


@cache
def coin_series(coin_id: str) -> Series | None:
    """Return a coin's prices, or None for a coin without a market."""
    coin = coin_by_id()[coin_id]
    if coin.price is None:
        return None
    if coin.follows is None:
        path: Path = CoinPath(coin.id, coin.price, coin.daily_vol)
        return Series(path, coin.listed)
    return _follower(coin, coin.follows)


def _follower(coin: Coin, original: str) -> Series | None:
    if original in stock_by_symbol():
        source: Series | None = stock_series(original)
    else:
        source = coin_series(original)
    return source and Series(source.path, max(coin.listed, source.listed), coin.ratio)


@cache
def stock_series(symbol: str) -> Series:
    stock = stock_by_symbol()[symbol]
    first = session_table().opens[0]
    return Series(StockPath(symbol, stock.price, stock.daily_vol), max(stock.listed, first))


def rolling_volume(coin: Coin, price: float, when: float) -> float:
    """Return the dollars traded in the 24 hours before `when`."""
    worth = price * (coin.supply or 1e7)
    x = when / 21_600
    step = int(x)
    this, following = _swell(coin.id, step), _swell(coin.id, step + 1)
    return worth * _turnover(coin.id) * math.exp(this + (following - this) * (x - step))


def traded_by(stock: Stock, index: int, when: float) -> int:
    """Return the shares traded in session `index` from its opening to `when`.

    More at both ends of the session than in its middle; shares as of now, every
    split applied.
    """
    path = stock_series(stock.symbol).path
    start, cells = path.span(index)
    part = min(1.0, max(0.0, (when - start) / (cells * CELL_S)))
    # The slope is 1.75 at the ends and 0.625 in the middle: it never falls.
    shape = 1.75 * part - 2.25 * part**2 + 1.5 * part**3
    _, _, vol = path.day(index)
    whole = stock.shares * 1e6 * 0.006 * (vol / stock.daily_vol) ** 1.5
    return int(whole * (0.7 + noise_of(f"{stock.symbol}#{index}", 1)[0] / 400) * shape)


@lru_cache(maxsize=65_536)
def _swell(coin_id: str, step: int) -> float:
    return 0.35 * _STEP[noise_of(f"{coin_id}~{step}", 1)[0]]


@cache
def _turnover(coin_id: str) -> float:
    if coin_by_id()[coin_id].daily_vol < _PEGGED:
        return 0.35
    return 0.012 * math.exp(2.2 * noise_of(f"{coin_id}%", 1)[0] / 255)


@cache
def _first_day(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) // DAY_S


@lru_cache(maxsize=32_768)
def _year_of_day(index: int) -> tuple[int, int]:
    year = datetime.fromtimestamp(index * DAY_S, UTC).year
    return year, _first_day(year)


@dataclass(frozen=True, slots=True)
class _SessionTable:
    opens: array[float]
    closes: array[float]
    years: list[int]
    first_of: dict[int, int]


@cache
def session_table() -> _SessionTable:
    """Return every session the market knows; slow the first time."""
    sessions = sessions_between(
        datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(LAST_YEAR + 1, 12, 31, tzinfo=UTC)
    )
    years = [session.day.year for session in sessions]
    first_of: dict[int, int] = {}
    for index, year in enumerate(years):
        first_of.setdefault(year, index)
    return _SessionTable(
        opens=array("d", (session.opens.timestamp() for session in sessions)),
        closes=array("d", (session.closes.timestamp() for session in sessions)),
        years=years,
        first_of=first_of,
    )
