"""How far a number can be taken for the present one. Pure: the time is an argument.

Decided by the source's own time, against New York's calendar for stocks and
against how often that source changes. That a price repeats says nothing: a coin
may stand at one dollar for an hour. That its time stands still does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from prices.sessions import (
    Session,
    is_open,
    latest_session,
    next_session,
    phase,
    post_closes,
    pre_opens,
)
from prices.types import AssetKind, Freshness, MarketState, Resolution, TradingSession

# So many of a source's usual steps may its time stand still before it counts as frozen.
PATIENCE = 5
# Trades of the closing auction are stamped some moments after it.
AUCTION = timedelta(minutes=1)
# A thinly traded stock's last trade may lie so long before the close.
LAST_TRADE = timedelta(minutes=15)
# What a series may lag beside the width of its bars: sources take a while to make them.
MAKING = timedelta(minutes=10)
LONGEST_WAIT = timedelta(minutes=30)
# A series whose newest bar is over is asked for again, though no more often than this.
SOONEST = timedelta(minutes=1)


# What is so much later is later, as far as answers tell their times.
_NEXT = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Cadence:
    """How a source's own time moves: every `changes_s`, `delay_s` behind the market."""

    changes_s: float
    delay_s: float = 0.0

    # Reckoned once: a tick asks it of each of hundreds of quotes.

    @cached_property
    def patience(self) -> timedelta:
        return timedelta(seconds=PATIENCE * self.changes_s)

    @cached_property
    def delay(self) -> timedelta:
        return timedelta(seconds=self.delay_s)

    @cached_property
    def reach(self) -> timedelta:
        """How old the newest that the source has may be, at most, while there is trade."""
        return self.patience + self.delay


class Verdict(NamedTuple):
    """What a number's time comes to, and the rule that decided it, with room for `spans`."""

    freshness: Freshness
    rule: str
    spans: tuple[timedelta, ...] = ()

    @property
    def why(self) -> str:
        """The rule as a sentence; most verdicts are passed without anybody's asking why."""
        return self.rule.format(*map(_told, self.spans))


SeriesJudge = Callable[[AssetKind, datetime, Resolution, datetime, Cadence], Verdict]


def of_quote(
    kind: AssetKind, as_of: datetime, now: datetime, cadence: Cadence, *, is_timed: bool = True
) -> Verdict:
    """Return how fresh a price is that held at `as_of` by its source."""
    if not is_timed:
        return Verdict(Freshness.UNKNOWN, "the source tells no time of its own")
    if kind is AssetKind.CRYPTO:
        return _moving(as_of, now, cadence)
    session = latest_session(now)
    if now >= session.closes:
        return _after_close(as_of, now, session, cadence)
    is_of_last = as_of >= _before(session).closes - LAST_TRADE
    if is_of_last and as_of < session.opens and now < session.opens + cadence.reach:
        return Verdict(Freshness.DELAYED, "the session has begun; its first price is awaited")
    return _moving(as_of, now, cadence)


def quote_holds_until(
    kind: AssetKind, as_of: datetime, now: datetime, cadence: Cadence, *, is_timed: bool = True
) -> datetime | None:
    """Return when what `of_quote` says, or what New York does, changes by time alone."""
    ends = [as_of + cadence.patience, as_of + cadence.reach]
    if kind is AssetKind.CRYPTO:
        return min((at for at in ends if is_timed and at >= now), default=None)
    session = latest_session(now)
    ends += [session.opens + cadence.reach, session.closes + cadence.reach]
    return min([at for at in ends if is_timed and at >= now] + [phase(now)[1]])


def _moving(as_of: datetime, now: datetime, cadence: Cadence) -> Verdict:
    age = now - as_of
    if age <= cadence.patience:
        return Verdict(Freshness.LIVE, "its time is {} old, of {}", (age, cadence.patience))
    if cadence.delay and age <= cadence.reach:
        return Verdict(Freshness.DELAYED, "the source lags by up to {}", (cadence.delay,))
    return Verdict(Freshness.STALE, "its time stands still since {}", (age,))


def _after_close(as_of: datetime, now: datetime, session: Session, cadence: Cadence) -> Verdict:
    is_moving = as_of > session.closes + AUCTION and now - as_of <= cadence.patience
    if is_moving and phase(as_of)[0] in (MarketState.PRE, MarketState.POST):
        return Verdict(Freshness.LIVE, "trade goes on outside the session, and its time moves")
    if as_of >= session.closes - LAST_TRADE:
        return Verdict(Freshness.CLOSED, "the market is closed; it is of the last session's end")
    if now < session.closes + cadence.reach and as_of >= session.opens:
        return Verdict(Freshness.DELAYED, "the session is just over; its last price is awaited")
    return Verdict(Freshness.STALE, "it is older than the last session's end")


def of_series(
    kind: AssetKind, last: datetime, step: Resolution, now: datetime, cadence: Cadence
) -> Verdict:
    """Return how fresh a series is whose newest bar opened at `last`; see `of_points` too."""
    width, ends = timedelta(minutes=step.minutes), _ends(last, step)
    if kind is AssetKind.CRYPTO:
        return _behind(now - ends, width, cadence)
    session = latest_session(now)
    if not step.is_intraday:
        return _daily(last, ends, session, now)
    if now < session.closes:
        is_of_last = ends >= _before(session).closes - LAST_TRADE
        is_begun = now < session.opens + min(width, LONGEST_WAIT) + MAKING + cadence.delay
        if is_of_last and last < session.opens and is_begun:
            return Verdict(Freshness.DELAYED, "the session has begun; its first bar is awaited")
        return _behind(now - ends, width, cadence)
    if ends >= session.closes - LAST_TRADE:
        return Verdict(Freshness.CLOSED, "the market is closed; it reaches the last session's end")
    if last >= session.opens and now < session.closes + width + MAKING + cadence.delay:
        return Verdict(Freshness.DELAYED, "the session is just over; its last bar is awaited")
    return Verdict(Freshness.STALE, "it ends before the last session did")


def of_points(
    kind: AssetKind, last: datetime, step: Resolution, now: datetime, cadence: Cadence
) -> Verdict:
    """Return how fresh a series of points is, stamped when their prices held."""
    if kind is AssetKind.STOCK and not step.is_intraday:
        return of_series(kind, last.replace(hour=0, minute=0, second=0), step, now, cadence)
    return of_series(kind, last - timedelta(minutes=step.minutes), step, now, cadence)


def series_holds_until(
    judge: SeriesJudge,
    kind: AssetKind,
    last: datetime,
    step: Resolution,
    now: datetime,
    cadence: Cadence,
) -> datetime | None:
    """Return when what `judge`, one of the two above, says changes by time alone."""
    told = judge(kind, last, step, now, cadence).freshness
    width = timedelta(minutes=step.minutes)
    allowed = min(width, LONGEST_WAIT) + MAKING
    begins = {last + allowed, _ends(last, step) + allowed}
    if kind is AssetKind.STOCK:
        session = latest_session(now)
        begins |= {session.closes, session.opens + allowed, session.closes + width + MAKING}
        begins |= {phase(now)[1]}
    for at in sorted(begins | {at + cadence.delay for at in begins}):
        if at >= now and judge(kind, last, step, at + _NEXT, cadence).freshness is not told:
            return at
    return None


def worth_renewing_at(
    kind: AssetKind, last: datetime, step: Resolution, fetched_at: datetime
) -> datetime | None:
    """Return when there is more to be had than the bar or point of `last`; None without trade.

    Not before a twentieth of a bar: wide ones are not worth a call a minute.
    """
    soonest = max(SOONEST, timedelta(minutes=step.minutes) / 20)
    at = max(_ends(last, step), fetched_at + soonest)
    return at if kind is AssetKind.CRYPTO or is_open(at) else None


def _behind(behind: timedelta, width: timedelta, cadence: Cadence) -> Verdict:
    allowed = min(width, LONGEST_WAIT) + MAKING
    if behind <= allowed:
        return Verdict(Freshness.LIVE, "its newest bar is the one to be expected")
    if behind <= allowed + cadence.delay:
        return Verdict(Freshness.DELAYED, "the source lags by up to {}", (cadence.delay,))
    return Verdict(Freshness.STALE, "its newest bar ended {} ago", (behind,))


def _daily(last: datetime, ends: datetime, session: Session, now: datetime) -> Verdict:
    if last.date() <= session.day < ends.date():
        if now < session.closes:
            return Verdict(Freshness.LIVE, "its newest bar holds the running session")
        return Verdict(
            Freshness.CLOSED, "the market is closed; its newest bar holds the last session"
        )
    if last.date() <= _before(session).day < ends.date():
        return Verdict(Freshness.DELAYED, "its newest bar is of the session before the last")
    return Verdict(Freshness.STALE, "it ends more than one session ago")


def _ends(opened: datetime, step: Resolution) -> datetime:
    if step is Resolution.MONTH:
        return (opened.replace(day=1) + timedelta(days=32)).replace(day=1)
    return opened + timedelta(minutes=step.minutes)


def _before(session: Session) -> Session:
    return latest_session(session.opens - timedelta(seconds=1))


def session_of(as_of: datetime) -> TradingSession:
    """Return which part of its day a stock's price is of, by its time."""
    latest = latest_session(as_of)
    if as_of <= latest.closes + AUCTION:
        return TradingSession.REGULAR
    if as_of <= post_closes(latest):
        return TradingSession.POST
    if as_of >= pre_opens(next_session(as_of)):
        return TradingSession.PRE
    return TradingSession.POST


def _told(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60} min"
