"""When the New York stock exchange trades: sessions, holidays and half days.

Times are aware and in UTC; days are the exchange's own calendar days. Regular
hours are 09:30 to 16:00 in New York, with an earlier close on half days. Of our own
code only the nouns are imported here.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from prices.types import MarketState

NEW_YORK = ZoneInfo("America/New_York")

_OPENS = time(9, 30)
_CLOSES = time(16, 0)
# Trade before and after the regular session; after a half day it ends earlier too.
_PRE_OPENS = time(4, 0)
_POST_LASTS = timedelta(hours=4)
_EARLY_CLOSE = re.compile(r"\s*\(markets close at (\d{1,2}):(\d{2})pm\)")


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day. The exchange is open from `opens` up to, not including, `closes`."""

    day: date
    opens: datetime
    closes: datetime


@dataclass(frozen=True, slots=True)
class Closure:
    """A weekday the exchange stays closed on, or closes early where `closes` is given."""

    day: date
    name: str
    closes: time | None


@dataclass(frozen=True, slots=True)
class _Year:
    """A year's sessions, oldest first, with their openings beside them for bisecting."""

    sessions: tuple[Session, ...]
    opens: tuple[datetime, ...]
    by_day: dict[date, Session]


def session_on(day: date) -> Session | None:
    """Return the session of that day in New York, or None where there is none."""
    return _year(day.year).by_day.get(day)


def latest_session(at: datetime) -> Session:
    """Return the newest session that has begun at `at`; it may have ended."""
    year = _new_york_day(at).year
    found = bisect_right(_year(year).opens, at)
    return _year(year).sessions[found - 1] if found else _year(year - 1).sessions[-1]


def next_session(at: datetime) -> Session:
    """Return the first session that begins after `at`."""
    year = _new_york_day(at).year
    found = bisect_right(_year(year).opens, at)
    sessions = _year(year).sessions
    return sessions[found] if found < len(sessions) else _year(year + 1).sessions[0]


def sessions_between(start: datetime, end: datetime) -> list[Session]:
    """Return the sessions that share time with `start` to `end`, oldest first.

    A session that only touches the span, closing at `start` or opening at `end`,
    is left out.
    """
    if end <= start:
        return []
    found: list[Session] = []
    for year in range(_new_york_day(start).year, _new_york_day(end).year + 1):
        table = _year(year)
        # The session before the first that opens after `start` may still be running.
        first = max(0, bisect_left(table.opens, start) - 1)
        last = bisect_left(table.opens, end)
        found.extend(s for s in table.sessions[first:last] if s.closes > start)
    return found


def is_open(at: datetime) -> bool:
    return at < latest_session(at).closes


def pre_opens(session: Session) -> datetime:
    """Return when trading before the regular session begins on its day."""
    return _utc(session.day, _PRE_OPENS)


def post_closes(session: Session) -> datetime:
    """Return when trading after the regular session ends on its day."""
    return session.closes + _POST_LASTS


def phase(at: datetime) -> tuple[MarketState, datetime]:
    """Return what New York does at `at`, and when that changes next, strictly after it."""
    # All that changes does so at a whole second, and a tick asks for each of its quotes.
    return _phase(at.replace(microsecond=0))


@lru_cache(maxsize=64)
def _phase(at: datetime) -> tuple[MarketState, datetime]:
    latest = latest_session(at)
    if at < latest.closes:
        return MarketState.OPEN, latest.closes
    if at < post_closes(latest):
        return MarketState.POST, post_closes(latest)
    coming = next_session(at)
    if at < pre_opens(coming):
        return MarketState.CLOSED, pre_opens(coming)
    return MarketState.PRE, coming.opens


@lru_cache(maxsize=128)
def closures(year: int) -> tuple[Closure, ...]:
    """Return the year's holidays and half days that fall on weekdays, oldest first."""
    # The package takes most of a second to import: paid by whoever first asks.
    from holidays.financial.ny_stock_exchange import NewYorkStockExchange

    calendar: Callable[..., Mapping[date, str]] = NewYorkStockExchange
    whole = calendar(years=year, expand=False)
    half = calendar(years=year, categories=("half_day",), expand=False)
    found = {day: _half_day(day, name) for day, name in half.items()}
    # A day both lists know is closed: the longer closing is the safer belief.
    found |= {day: Closure(day, name, None) for day, name in whole.items()}
    return tuple(found[day] for day in sorted(found) if day.weekday() < 5)


def _half_day(day: date, text: str) -> Closure:
    match = _EARLY_CLOSE.search(text)
    closes = time(int(match[1]) % 12 + 12, int(match[2])) if match else time(13, 0)
    return Closure(day, _EARLY_CLOSE.sub("", text), closes)


@lru_cache(maxsize=128)
def _year(year: int) -> _Year:
    special = {closure.day: closure.closes for closure in closures(year)}
    sessions = []
    day = date(year, 1, 1)
    while day.year == year:
        closes = special.get(day, _CLOSES)
        if day.weekday() < 5 and closes is not None:
            sessions.append(Session(day, _utc(day, _OPENS), _utc(day, closes)))
        day += timedelta(days=1)
    return _Year(
        sessions=tuple(sessions),
        opens=tuple(session.opens for session in sessions),
        by_day={session.day: session for session in sessions},
    )


def _utc(day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, NEW_YORK).astimezone(UTC)


def _new_york_day(at: datetime) -> date:
    return at.astimezone(NEW_YORK).date()
