"""What the exchanges have in common: bars of pairs around the clock, with the volume traded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import ClassVar

from prices.errors import ResolutionUnavailableError, UpstreamError
from prices.providers.bars import (
    DAY_S,
    aligned,
    bar_end,
    bar_start,
    merged,
    roll_up,
    why_later,
)
from prices.providers.base import HttpProvider
from prices.types import (
    AssetKind,
    Candle,
    Candles,
    Capability,
    Instrument,
    Origin,
    Pair,
    Point,
    Points,
    Resolution,
    Window,
)

BAR_UNITS = "bar_units"
"""Volume is what was traded within the bar, in units of the coin."""

MOST_CALLS = 24

_LATE_S = 10  # an exchange's last trades of a bar come in a little after its end
_HOLE_S = 10 * DAY_S  # no shorter hole says that nothing was traded before
EVERY_WIDTH: Mapping[Resolution, Resolution] = {
    **{width: width for width in Resolution},
    # Their own weeks and months, where they have any, begin on other days than ours, or are the
    # same and would be kept twice.
    Resolution.WEEK: Resolution.DAY,
    Resolution.MONTH: Resolution.DAY,
}
_STEPS = {300: Resolution.M5, 3600: Resolution.H1, DAY_S: Resolution.DAY}


class Exchange(HttpProvider):
    """Coins at one venue. `Instrument.upstream_id` is the symbol of one of its `pairs`.

    Prices are in the pair's own currency, which `Pair.quote` names: a pair
    against USDT is not converted here. Subclasses name the widths of bars they
    have and read one page of them.
    """

    offers = frozenset(
        {Capability.QUOTES, Capability.HISTORY, Capability.CANDLES, Capability.PAIRS}
    )

    has_points = False
    made_of: ClassVar[Mapping[Resolution, Resolution]] = EVERY_WIDTH
    """Which width is asked for to give a width: itself, or one that divides it."""
    rows_a_call: ClassVar[int]
    calls_a_request: ClassVar[int] = MOST_CALLS
    empty_pages: ClassVar[int] = 2
    """How many pages without a bar, one behind the other, are the end of the pair's past.

    What the end is taken to be is kept in the store, so one, which may be a slip, is not enough.
    """
    has_assets_whole = False  # It lists a coin some time after it began, or much later.

    def pairs(self) -> list[Pair]:
        """Return all pairs the exchange lists, also those that do not trade now."""
        self._not_offered(Capability.PAIRS)

    def page(
        self, symbol: str, width: Resolution, since: int, until: int
    ) -> tuple[list[Candle], int]:
        """Return the bars that open from `since` to `until`, and how many were dropped.

        At most `rows_a_call` bars are asked for. Bars outside the span may be
        among them, in any order; `closed` is not yet known of any.
        """
        raise NotImplementedError

    def resolutions(self, window: Window) -> list[Resolution]:
        most = self.rows_a_call * self.calls_a_request
        return [
            resolution
            for resolution, asked in self.made_of.items()
            if self._count(window, resolution, asked) <= most
        ]

    def history(self, instrument: Instrument, window: Window, step_s: int) -> Points:
        """Return closing prices at the moments they held, with the units traded before each."""
        resolution = _STEPS[step_s]
        return self.points(self.candles(instrument, window, resolution), window, resolution)

    def points(self, bars: Candles, window: Window, resolution: Resolution) -> Points:
        """Return the closing prices of bars; as many as the window has whole steps, at most."""
        end_s = min(int(datetime.now(UTC).timestamp()), int(window.end.timestamp()))
        points: dict[int, Point] = {}
        for bar in bars.candles:
            at = min(bar_end(bar.timestamp, resolution), end_s)
            points[at] = Point(at, bar.close, bar.volume)
        found = list(points.values())
        if window.start is not None:
            steps = (end_s - window.start.timestamp()) / (resolution.minutes * 60)
            found = found[-max(1, round(steps)) :]
        return Points(found, bars.truncated_by, BAR_UNITS, origin=bars.origin)

    def candles(
        self,
        instrument: Instrument,
        window: Window,
        resolution: Resolution,
        *,
        known: Sequence[Candle] = (),
        now: datetime | None = None,
    ) -> Candles:
        """Return bars with the units of the coin that were traded in them.

        `known` are closed bars of the asked width from earlier answers of this
        source, one run of them; of days where weeks or months are asked for. The
        last of them is asked for again, since it may have been early.
        """
        available = self.resolutions(window)
        if resolution not in available:
            raise ResolutionUnavailableError(resolution, available)
        now = now or datetime.now(UTC)
        if resolution.is_intraday or resolution is Resolution.DAY:
            return self._series(instrument, window, resolution, known, now)
        days = self._series(instrument, aligned(window, resolution), Resolution.DAY, known, now)
        return roll_up(days, resolution, window, kind=AssetKind.CRYPTO, now=now)

    def _series(
        self,
        instrument: Instrument,
        window: Window,
        resolution: Resolution,
        known: Sequence[Candle],
        now: datetime,
    ) -> Candles:
        asked = self.made_of[resolution]
        first = self._first(window, resolution)
        last = int(min(now, window.end).timestamp())
        bars = {
            one.timestamp: one for one in known if one.closed and first <= one.timestamp <= last
        }
        dropped = 0
        page_s = self.rows_a_call * asked.minutes * 60
        for since, until in _missing(first, last, bars, page_s):
            try:
                fresh, bad = self._pages(instrument.upstream_id, asked, since, until)
            except UpstreamError as exc:
                got = bars | _widened(exc.got, resolution)
                exc.got = _ended([got[at] for at in sorted(got)], resolution, now)
                raise
            dropped += bad
            bars |= _widened(fresh, resolution)
        found = _ended([bars[at] for at in sorted(bars)], resolution, now)
        begins = found[0].timestamp if found else None
        slack_s = max(3 * resolution.minutes * 60, DAY_S)
        return Candles(
            found,
            Origin.PROVIDER if asked is resolution else Origin.DERIVED,
            dropped,
            why_later(begins, window, first, slack_s, None),
            BAR_UNITS,
        )

    def _pages(
        self, symbol: str, width: Resolution, since: int, until: int
    ) -> tuple[list[Candle], int]:
        """Return the bars of a span, asked for page by page, newest first."""
        step_s = width.minutes * 60
        found: dict[int, Candle] = {}
        dropped = empty = 0
        newest = bar_start(until, width)
        begins = newest + step_s
        while newest >= since:
            oldest = max(since, newest - (self.rows_a_call - 1) * step_s)
            try:
                bars, bad = self.page(symbol, width, oldest, newest)
            except UpstreamError as exc:
                # The next request goes on from here instead of asking for all again.
                exc.got = [found[at] for at in sorted(found)]
                raise
            dropped += bad
            page = {bar.timestamp: bar for bar in bars if oldest <= bar.timestamp <= newest}
            found |= page
            begins = min(page, default=begins)
            empty = 0 if page else empty + 1
            if empty >= self.empty_pages and begins - oldest > _HOLE_S:
                break  # Nothing was traded before.
            newest = oldest - step_s
        return [found[at] for at in sorted(found)], dropped

    def _first(self, window: Window, resolution: Resolution) -> int:
        start = self.began if window.start is None else max(window.start, self.began)
        return bar_start(int(start.timestamp()), resolution)

    def _count(self, window: Window, resolution: Resolution, asked: Resolution) -> int:
        span_s = int(window.end.timestamp()) - self._first(window, resolution)
        return span_s // (asked.minutes * 60) + 1


def _missing(
    first: int, last: int, known: Mapping[int, Candle], page_s: int
) -> Iterator[tuple[int, int]]:
    """Yield the spans around the known bars, newest first; one span where one page holds all."""
    oldest = min(known, default=last)
    if not known or (first < oldest and last - first < page_s):
        yield first, last
        return
    yield max(known), last
    if first < oldest:
        yield first, oldest - 1


def _widened(bars: Sequence[Candle], resolution: Resolution) -> dict[int, Candle]:
    """Return bars of the width made of bars that divide it; they may be of it already."""
    groups = groupby(bars, key=lambda bar: bar_start(bar.timestamp, resolution))
    return {start: merged(list(members), start, closed=False) for start, members in groups}


def _ended(bars: Sequence[Candle], resolution: Resolution, now: datetime) -> list[Candle]:
    """Return the bars marked as closed, all but one at the end that may still change."""
    ended = [replace(bar, closed=True) for bar in bars]
    if ended and bar_end(ended[-1].timestamp, resolution) + _LATE_S > now.timestamp():
        ended[-1] = replace(ended[-1], closed=False)
    return ended
