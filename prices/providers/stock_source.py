"""What sources of US stocks have in common: bars of regular sessions, days kept and completed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import groupby
from typing import ClassVar, NamedTuple

from prices.errors import ResolutionUnavailableError, UpstreamNotFoundError
from prices.providers.bars import DAY_S, aligned, merged, midnight, roll_up, why_later
from prices.providers.base import HttpProvider
from prices.providers.values import (
    amount,
    change_since,
    figure,
    past_moment,
    price,
    stated_price,
)
from prices.sessions import (
    NEW_YORK,
    Session,
    latest_session,
    next_session,
    session_on,
    sessions_between,
)
from prices.types import (
    Adjustment,
    AssetKind,
    Candle,
    Candles,
    Capability,
    Instrument,
    Origin,
    Point,
    Points,
    Quote,
    Resolution,
    Split,
    TruncatedBy,
    Window,
)

BAR_SHARES = "bar_shares"
"""Volume is the shares traded within the bar, at all exchanges together."""

_BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)  # nothing before has a time that we can tell
_SLACK_S = 5 * DAY_S  # no two sessions are further apart but in a crisis
_SAME = 0.005  # a close corrected by less is the same bar; a split changes it by more
_STEPS = {300: Resolution.M5, 3600: Resolution.H1, DAY_S: Resolution.DAY}
_TICKER = re.compile(r"[A-Z0-9]{1,10}([.-][A-Z0-9]{1,6})?", re.ASCII)


class Read(NamedTuple):
    """What a source said: bars, oldest first, and the splits it tells of within them.

    `dropped` were left out because they contradict themselves; `cut` is why there
    may be older ones, where the source does not give all that it was asked for.
    """

    bars: list[Candle]
    dropped: int
    splits: tuple[Split, ...] = ()
    cut: TruncatedBy | None = None


class StockSource(HttpProvider):
    """US stocks in dollars. `Instrument.upstream_id` is the ticker, BRK.B with its point.

    Subclasses read daily and intraday bars as their source tells them; here
    they are held to the sessions of New York, and made wider where need be.
    """

    offers = frozenset({Capability.QUOTES, Capability.HISTORY, Capability.CANDLES})

    has_points = False
    began = _BEGINNING
    made_of: ClassVar[Mapping[Resolution, Resolution]]
    """Which intraday width is asked for to give one: itself, or one that divides it."""
    most_bars: ClassVar[int]
    """How many intraday bars of the asked width a request may reach back."""
    intraday_basis: ClassVar[str] = BAR_SHARES
    adjustment: ClassVar[Adjustment] = Adjustment.SPLITS
    """What its daily bars are adjusted for."""
    intraday_adjustment: ClassVar[Adjustment] = Adjustment.SPLITS

    def oldest(self, width: Resolution, now: datetime) -> datetime:
        """Return from when on the source has intraday bars of that width."""
        raise NotImplementedError

    def days(self, ticker: str, first: date) -> Read:
        """Return daily bars from that day up to now, stamped 00:00 UTC."""
        raise NotImplementedError

    def minutes(self, ticker: str, width: Resolution, first: datetime, last: datetime) -> Read:
        """Return intraday bars that open from `first` to `last`, stamped at their opening."""
        raise NotImplementedError

    def ticker(self, symbol: str) -> str:
        """Return a ticker as the source writes it. What is none would ask for something else."""
        if not _TICKER.fullmatch(symbol):
            raise UpstreamNotFoundError(self.name, "no such name can be of a stock there")
        return symbol

    def resolutions(self, window: Window) -> list[Resolution]:
        intraday = [one for one in self.made_of if self._reaches(window, self.made_of[one])]
        return [*intraday, Resolution.DAY, Resolution.WEEK, Resolution.MONTH]

    def history(self, instrument: Instrument, window: Window, step_s: int) -> Points:
        """Return closing prices at the moments they held, with the shares traded before each."""
        resolution = _STEPS[step_s]
        return self.points(self.candles(instrument, window, resolution), window, resolution)

    def points(self, bars: Candles, window: Window, resolution: Resolution) -> Points:
        return closes(bars, window, resolution)

    def candles(
        self,
        instrument: Instrument,
        window: Window,
        resolution: Resolution,
        *,
        known: Sequence[Candle] = (),
        now: datetime | None = None,
    ) -> Candles:
        """Return bars of the regular sessions, with the shares traded in them.

        `known` are closed bars of the asked width from earlier answers of this
        source, one run of them; of days where weeks or months are asked for.
        They are asked on from the last one, and believed only where the source
        still says the same of that one: a split changes every bar before it.
        """
        available = self.resolutions(window)
        if resolution not in available:
            raise ResolutionUnavailableError(resolution, available)
        now = now or datetime.now(UTC)
        if resolution.is_intraday:
            return self._intraday(instrument, window, resolution, known, now)
        if resolution is Resolution.DAY:
            return self._daily(instrument, window, known, now)
        days = self._daily(instrument, aligned(window, resolution), known, now)
        return roll_up(days, resolution, window, kind=AssetKind.STOCK, now=now)

    def _daily(
        self, instrument: Instrument, window: Window, known: Sequence[Candle], now: datetime
    ) -> Candles:
        ticker = self.ticker(instrument.upstream_id)
        start = max(window.start or _BEGINNING, _BEGINNING)
        first = latest_session(start)
        if first.closes <= start:
            first = next_session(start)

        def ask(since: int) -> Read:
            read = self.days(ticker, datetime.fromtimestamp(since, UTC).date())
            return read._replace(bars=list(of_sessions(read.bars, since, now)))

        since = midnight(first.day)
        read = completed(known, since, ask)
        end_s = window.end.timestamp()
        bars = [bar for bar in read.bars if bar.timestamp <= end_s]
        oldest = _opening(bars)
        reached = oldest if read.cut and oldest is not None else since
        return Candles(
            bars,
            Origin.PROVIDER,
            read.dropped,
            why_later(oldest, window, reached, _SLACK_S, read.cut),
            BAR_SHARES,
            self.adjustment,
            read.splits,
        )

    def _intraday(
        self,
        instrument: Instrument,
        window: Window,
        resolution: Resolution,
        known: Sequence[Candle],
        now: datetime,
    ) -> Candles:
        ticker = self.ticker(instrument.upstream_id)
        assert window.start is not None  # noqa: S101 - or the width would not be available
        sessions = sessions_between(window.start, window.end)
        if not sessions:
            return Candles(
                [], Origin.PROVIDER, 0, None, self.intraday_basis, self.intraday_adjustment
            )
        asked = self.made_of[resolution]

        def ask(since: int) -> Read:
            first = datetime.fromtimestamp(since, UTC)
            read = self.minutes(ticker, asked, first, min(window.end, now))
            kept = [bar for bar in _regular(read.bars, sessions, asked) if bar.timestamp >= since]
            return read._replace(bars=list(widened(kept, resolution, now)))

        first = first_bar(sessions[0], window.start, resolution)
        read = completed(known, first, ask)
        return Candles(
            read.bars,
            Origin.PROVIDER if asked is resolution else Origin.DERIVED,
            read.dropped,
            why_later(_opening(read.bars), window, first, _SLACK_S, None),
            self.intraday_basis,
            self.intraday_adjustment,
            read.splits,
        )

    def _reaches(self, window: Window, asked: Resolution) -> bool:
        now = datetime.now(UTC)
        if window.start is None or window.start < self.oldest(asked, now):
            return False
        # Bars are counted back from now, whenever the window ends.
        sessions = sessions_between(window.start, max(window.end, now))
        return sum(_count(session, asked) for session in sessions) <= self.most_bars


def session_quote(
    value: object,
    *times: object,
    before: object = None,
    change: object = None,
    percent: object = None,
    high: object = None,
    low: object = None,
    volume: object = None,
) -> Quote | None:
    """Return a quote of what a source says; None without a price or a time.

    `times` are where it may be told when the price held, the best first. The change is
    as the source tells it, or else against `before`, the previous close.
    """
    stated = stated_price(value)
    as_of = next((at for at in map(past_moment, times) if at is not None), None)
    if stated is None or as_of is None:
        return None
    told = figure(change), figure(percent)
    if before is not None:
        told = change_since(stated, price(before))
    return Quote(
        stated,
        as_of,
        change=told[0],
        change_percent=told[1],
        high=price(high),
        low=price(low),
        volume=amount(volume),
    )


def closes(bars: Candles, window: Window, resolution: Resolution) -> Points:
    """Return the closing prices of a stock's bars at the moments they held."""
    last_s = min(int(datetime.now(UTC).timestamp()), int(window.end.timestamp()))
    points: dict[int, Point] = {}
    for bar in bars.candles:
        at = min(closing(bar.timestamp, resolution), last_s)
        points[at] = Point(at, bar.close, bar.volume)
    return Points(
        list(points.values()),
        bars.truncated_by,
        bars.volume_basis,
        bars.adjustment,
        bars.origin,
    )


def closing(timestamp: int, resolution: Resolution) -> int:
    """Return when a stock's bar ends: with its session at the latest."""
    opening = datetime.fromtimestamp(timestamp, UTC)
    if not resolution.is_intraday:
        session = session_on(opening.date())
        return int(session.closes.timestamp()) if session else timestamp
    closes = int(latest_session(opening).closes.timestamp())
    return min(timestamp + resolution.minutes * 60, closes)


def in_session(timestamp: int, width: Resolution) -> int:
    """Return when the bar of the width opens that a moment of a session falls within."""
    opens = int(latest_session(datetime.fromtimestamp(timestamp, UTC)).opens.timestamp())
    return timestamp - (timestamp - opens) % (width.minutes * 60)


def new_york_day(timestamp: int) -> date:
    return datetime.fromtimestamp(timestamp, NEW_YORK).date()


def completed(known: Sequence[Candle], first: int, ask: Callable[[int], Read]) -> Read:
    """Return the bars from `first` on, asking on from the last known one where that is enough."""
    held = [bar for bar in known if bar.closed and bar.timestamp >= first]
    if held and held[0].timestamp == first:
        fresh = ask(held[-1].timestamp)
        if fresh.bars and is_same(held[-1], fresh.bars[0]):
            return fresh._replace(bars=[*held[:-1], *fresh.bars])
    return ask(first)


def is_same(one: Candle, other: Candle) -> bool:
    return one.timestamp == other.timestamp and abs(one.close / other.close - 1) < _SAME


def of_sessions(bars: Sequence[Candle], since: int, now: datetime) -> Iterator[Candle]:
    """Yield the daily bars of days on which New York traded."""
    for bar in bars:
        session = session_on(datetime.fromtimestamp(bar.timestamp, UTC).date())
        if session is not None and bar.timestamp >= since and session.opens <= now:
            yield replace(bar, closed=session.closes <= now)


def _regular(
    bars: Sequence[Candle], sessions: Sequence[Session], width: Resolution
) -> Iterator[Candle]:
    """Yield the bars that open within a regular session, one a place in it."""
    spans = {session.day: session for session in sessions}

    def place(bar: Candle) -> int | None:
        opening = datetime.fromtimestamp(bar.timestamp, UTC)
        # Regular hours in New York fall on one and the same day in UTC.
        session = spans.get(opening.date())
        if session is None or not session.opens <= opening < session.closes:
            return None
        return in_session(bar.timestamp, width)

    for at, members in groupby(bars, key=place):
        if at is not None:
            yield merged(list(members), at, closed=False)


def widened(bars: Sequence[Candle], resolution: Resolution, now: datetime) -> Iterator[Candle]:
    """Yield bars of the width, counted from each session's start, made of bars that divide it."""
    for start, members in groupby(bars, key=lambda bar: in_session(bar.timestamp, resolution)):
        closed = closing(start, resolution) <= now.timestamp()
        yield merged(list(members), start, closed=closed)


def first_bar(session: Session, start: datetime, resolution: Resolution) -> int:
    """Return when the first bar opens that shares time with a window that begins at `start`."""
    return in_session(int(max(session.opens, start).timestamp()), resolution)


def _count(session: Session, width: Resolution) -> int:
    length_s = int((session.closes - session.opens).total_seconds())
    return -(-length_s // (width.minutes * 60))


def _opening(bars: Sequence[Candle]) -> int | None:
    return bars[0].timestamp if bars else None
