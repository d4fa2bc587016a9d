"""The bars and points of one asset by one source, asked for through the store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple, Self

from django.conf import settings

from prices import cache
from prices.answers import QuoteAnswer, Segment
from prices.errors import (
    NotListedError,
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamJumpError,
)
from prices.freshness import AUCTION
from prices.models import Asset
from prices.providers.bars import DAY_S, aligned, bar_end, roll_up, why_later
from prices.providers.stock_source import closing
from prices.services import doubts, listed, pairs, splits, store
from prices.services.store import Known
from prices.sessions import latest_session
from prices.types import (
    AssetKind,
    Candle,
    Candles,
    Point,
    Points,
    Resolution,
    Split,
    TruncatedBy,
    Window,
)

_SLACK_S = 5 * DAY_S  # no two sessions are further apart but in a crisis
_A_DAY = timedelta(days=1)
# While New York is closed a stock's price has no more room than this to move.
_ROOM_OF_STOCKS = timedelta(hours=1)
# So long after a session a source that lags has its close too.
_LAGS_AT_MOST = timedelta(minutes=30)
# Against a price no older than this a coin's series is held more closely.
_JUST_NOW = timedelta(minutes=3)
# By so many of its last steps a series shows how far it moves.
_STEPS = 12
# Of the bars that a source gives so many may contradict themselves; two always may.
_DROPPED_AT_MOST = 0.1
_FEW_DROPPED = 2


@dataclass(frozen=True, slots=True)
class Part:
    """What one source gave; `segments` where another one's newest days were put behind.

    `held_at` is when the newest price held that bars are made of, or will, in Unix seconds;
    `end` is the one that was held against the price we had.
    """

    series: Candles | Points
    resolution: Resolution
    currency: str
    coverage: float | None = None
    segments: tuple[Segment, ...] = ()
    held_at: int | None = None
    end: End | None = None

    @property
    def items(self) -> Sequence[Candle] | Sequence[Point]:
        return self.series.candles if isinstance(self.series, Candles) else self.series.points

    @property
    def first(self) -> int:
        return self.items[0].timestamp

    @property
    def last(self) -> int:
        return self.items[-1].timestamp


class Had(NamedTuple):
    """A price we had, and when it held."""

    price: float
    at: datetime


class End(NamedTuple):
    """How a source's series ends: with which price, of when, and how far it goes within a step.

    The last is in percent; None where there are few steps, or some are missing.
    """

    price: float
    at: datetime
    moved: float | None
    source: str
    width: Resolution

    @classmethod
    def of(
        cls,
        kind: AssetKind,
        source: str,
        items: Sequence[Candle] | Sequence[Point],
        width: Resolution,
        now: datetime,
    ) -> Self:
        last = items[-1]
        is_bar = isinstance(last, Candle)
        at = datetime.fromtimestamp(
            ends(kind, last.timestamp, width) if is_bar else last.timestamp, UTC
        )
        moved = _moved_percent(items[-_STEPS:], width)
        return cls(_ends_at(last), min(at, now), moved, source, width)


@dataclass(frozen=True, slots=True)
class Measure:
    """The price we have of an asset, against which the newest of each source's series is held."""

    asset: Asset
    symbol: str
    now: datetime
    refused: dict[str, float] = field(default_factory=dict)  # closes, by source
    believed: set[str] = field(default_factory=set)  # sources, against the price we had

    def check(
        self,
        source: str,
        items: Sequence[Candle] | Sequence[Point],
        width: Resolution,
        told: Sequence[Split] = (),
    ) -> None:
        """Raise UpstreamJumpError where a series ends beyond reason from the price we have.

        Not where another source's, refused before, ends alike: then it is we who are behind.
        """
        if not items:
            return
        end = self._end(source, items, width)
        had = self._price_we_had()
        if had is None or not self.is_contradicted(end, had, told):
            return
        others = [its for name, its in self.refused.items() if name != source]
        if any(doubts.agree(end.price, its) for its in others):
            self.believed.add(source)
            return
        self.refused[source] = end.price
        raise UpstreamJumpError(
            source, f"its series of {self.asset.ref} ends at {end.price:g}, we have {had.price:g}"
        )

    def is_contradicted(self, end: End, had: Had, told: Sequence[Split] = ()) -> bool:
        """Whether a series that reaches the present ends beyond reason from a price of the present.

        Beyond reason is what the price cannot have moved by in the time between, and of a
        price of just now what the series cannot have gone to by itself.
        """
        since = self._since()
        if min(end.at, had.at) < since:
            return False
        return (
            self._is_jump(had, end, told)
            or self._is_off(had, end)
            or self._is_another_close(had, end, told)
        )

    def end(
        self, source: str, items: Sequence[Candle] | Sequence[Point], width: Resolution
    ) -> End | None:
        """Return how a series ends, for prices to come; None where those say nothing against it."""
        is_settled = source in self.believed or not items
        return None if is_settled else self._end(source, items, width)

    def _end(
        self, source: str, items: Sequence[Candle] | Sequence[Point], width: Resolution
    ) -> End:
        return End.of(AssetKind(self.asset.kind), source, items, width, self.now)

    def _price_we_had(self) -> Had | None:
        """Return the newest quote, or where there is none beyond dispute, the list's price."""
        key = cache.price_key(self.symbol)
        quote = cache.newest([key], QuoteAnswer).get(key)
        if quote is not None and quote.ref == self.asset.ref and not quote.disputed:
            return Had(quote.price, quote.last_updated)
        row = listed.price(self.asset.ref) if self.asset.kind == AssetKind.CRYPTO else None
        return Had(*row) if row else None

    def _is_off(self, had: Had, end: End) -> bool:
        """Whether a coin's series ends further from a price of just now than it can by itself.

        The room is what two sources may differ by, what a price may move within the time
        between, and how far the series went within its last steps. What has gaps is a thin
        market, whose last trade may be old: nothing is said of it.
        """
        age = max(self.now - had.at, abs(end.at - had.at))
        is_coin = self.asset.kind == AssetKind.CRYPTO
        if not (is_coin and settings.DISPUTE_PERCENT and settings.JUMP_PERCENT) or age > _JUST_NOW:
            return False
        if end.moved is None:
            return False
        room = settings.DISPUTE_PERCENT + settings.JUMP_PERCENT * math.sqrt(age / doubts.STEADY)
        ratio = end.price / had.price
        if 100 * (max(ratio, 1 / ratio) - 1) <= room + end.moved:
            return False
        return not doubts.noted([self.asset.ref]).is_any  # Else it is the price that is in doubt.

    def _since(self) -> datetime:
        """Return from when on a price is of the present."""
        if self.asset.kind == AssetKind.STOCK:
            return latest_session(self.now).opens
        return self.now - _A_DAY

    def _is_jump(self, had: Had, end: End, told: Sequence[Split]) -> bool:
        age, price = abs(end.at - had.at), end.price
        if self.asset.kind == AssetKind.STOCK:
            age = min(age, _ROOM_OF_STOCKS)
        if price <= 0 or not doubts.is_beyond_reason(had.price, price, age):
            return False
        shares = self._shares(had, end, told) if self.asset.kind == AssetKind.STOCK else [1.0]
        return all(doubts.is_beyond_reason(had.price * by, price, age) for by in shares)

    def _is_another_close(self, had: Had, end: End, told: Sequence[Split]) -> bool:
        """Whether a stock's series ends with another close than a quote of that very moment.

        No time lies between them, so two sources differ. Asked only once the session is over
        for a while: a source that lags has the close by then.
        """
        if self.asset.kind != AssetKind.STOCK or not (
            settings.DISPUTE_PERCENT and settings.JUMP_PERCENT
        ):
            return False
        closes = latest_session(self.now).closes
        is_close = closes - _JUST_NOW <= had.at <= closes + AUCTION and end.at == closes
        if not is_close or self.now < closes + _LAGS_AT_MOST:
            return False
        if any(
            doubts.apart_percent(end.price, had.price * by) <= settings.DISPUTE_PERCENT
            for by in self._shares(had, end, told)
        ):
            return False
        return not doubts.noted([self.asset.ref]).is_any  # Else it is the price that is in doubt.

    def _shares(self, had: Had, end: End, told: Sequence[Split]) -> list[float]:
        """Return how many of a stock's shares may stand for one, by splits of these days."""
        days = (min(end.at, had.at) - _A_DAY).date(), self.now.date()
        known = dict(self.asset.splits.filter(day__range=days).values_list("day", "ratio"))
        known |= {one.day: one.ratio for one in told if days[0] <= one.day <= days[1]}
        ratio = math.prod(known.values())
        return [ratio, 1 / ratio]


def _ends_at(one: Candle | Point) -> float:
    return one.close if isinstance(one, Candle) else one.price


def _moved_percent(steps: Sequence[Candle | Point], width: Resolution) -> float | None:
    """Return how far a series goes within a step; None where there are few, or some are missing.

    It is the second furthest of the last ones: the furthest may be where a source began to err.
    """
    gap_s = 1.5 * width.minutes * 60
    pairs_of = list(pairwise(steps))
    if len(steps) < _STEPS or any(two.timestamp - one.timestamp > gap_s for one, two in pairs_of):
        return None
    moves = []
    for before, after in pairs_of:
        prices = [_ends_at(before), _ends_at(after)]
        if isinstance(after, Candle):
            prices += [after.high, after.low]
        if min(prices) <= 0:
            return None
        moves.append(100 * (max(prices) / min(prices) - 1))
    return sorted(moves)[-2]


def bars(source: Any, span: Window, resolution: Resolution, measure: Measure) -> Part:
    """Return a source's bars; of the closed ones it is asked only for those not in the store.

    Stocks are adjusted for splits. Raises NotListedError where the source has none, and
    UpstreamJumpError where what it has is not to be believed; nothing of it is kept then.
    """
    asset, now = measure.asset, measure.now
    kind = AssetKind(asset.kind)
    width = resolution if resolution.is_intraday else Resolution.DAY
    asked = span if resolution.is_intraday else aligned(span, resolution)
    series = _told(source, asked, width, measure)
    end = measure.end(source.name, series.candles, width)

    def days() -> Candles:
        return _told(source, aligned(span, Resolution.DAY), Resolution.DAY, measure)

    series = splits.adjusted(asset, series, source=source.name, days=days)
    held_at = ends(kind, series.candles[-1].timestamp, width) if series.candles else None
    if resolution in (Resolution.WEEK, Resolution.MONTH):
        series = roll_up(series, resolution, span, kind=kind, now=now)
    if not series.candles:
        raise nothing(source, asset, series.truncated_by)
    currency = pairs.quote_currency(asset, source.name)
    return Part(series, resolution, currency, held_at=held_at, end=end)


def nothing(source: Any, asset: Asset, cut: TruncatedBy | None) -> PricesError:
    """Return why a source has no bars: its plan, where that is what cut them off."""
    if cut is not TruncatedBy.PLAN:
        return NotListedError(source.name, asset.ref)
    return PlanRestrictedError(
        source.name, "its plan does not reach so far back", allowed_by="another plan"
    )


def ends(kind: AssetKind, opened: int, width: Resolution) -> int:
    """Return when a bar of up to a day ends, a stock's with its session at the latest."""
    return closing(opened, width) if kind is AssetKind.STOCK else bar_end(opened, width)


def points(source: Any, span: Window, step: Resolution, measure: Measure) -> Part:
    """Return a source's own points, or those its bars make. Raises what `bars` raises."""
    asset = measure.asset
    if not source.has_points:
        part = bars(source, span, step, measure)
        series: Points = source.points(part.series, span, step)
        end = part.end
    else:
        where = pairs.instrument(asset, source.name)
        series = source.history(where, span, step.minutes * 60)
        measure.check(source.name, series.points, step)
        end = measure.end(source.name, series.points, step)
    if not series.points:
        raise NotListedError(source.name, asset.ref)
    return Part(series, step, pairs.quote_currency(asset, source.name), end=end)


def _told(source: Any, span: Window, width: Resolution, measure: Measure) -> Candles:
    """Return bars as the source tells them, known ones from the store; keep what is new."""
    asset, now = measure.asset, measure.now
    where = pairs.instrument(asset, source.name)
    currency = pairs.quote_currency(asset, source.name)
    known = store.known(asset, source.name, width, span, currency)
    asked = _without_what_is_not_there(span, known)
    try:
        got: Candles = source.candles(where, asked, width, known=known.bars, now=now)
        if asset.kind == AssetKind.CRYPTO and store.is_restated(asset, known.bars, got.candles):
            # Sources of stocks look for themselves: a split is nothing rare.
            got = source.candles(where, span, width, now=now)
    except UpstreamError as exc:
        if exc.got:
            measure.check(source.name, exc.got, width)
            store.keep_part(asset, source.name, width, exc.got, known, currency)
        raise
    measure.check(source.name, got.candles, width, got.splits)
    if asked is not span and got.truncated_by is None:
        slack_s = max(3 * width.minutes * 60, _SLACK_S if asset.kind == AssetKind.STOCK else DAY_S)
        first = got.candles[0].timestamp if got.candles else None
        reached = int(span.start.timestamp()) if span.start else 0
        got = replace(got, truncated_by=why_later(first, span, reached, slack_s, None))
    if not is_holed(got, width):  # Its holes would be taken for times without trade.
        store.keep(asset, source.name, width, span, got, known, currency)
    return got


def is_holed(series: Candles, width: Resolution) -> bool:
    """Whether so many bars contradicted themselves and were dropped that it is no series."""
    days = max(1, width.minutes // Resolution.DAY.minutes)  # Of wide bars days are dropped.
    most = _DROPPED_AT_MOST * (len(series.candles) * days + series.dropped)
    return series.dropped > max(_FEW_DROPPED, most)


def _without_what_is_not_there(span: Window, known: Known) -> Window:
    """Return the window from the first known bar on, where the source has none before it."""
    if not known.bars or not known.covers(span.start):
        return span
    first = datetime.fromtimestamp(known.bars[0].timestamp, UTC)
    return span if span.start is not None and first <= span.start else Window(first, span.end)
