"""Recorded minutes go after their time; the hours and days that they made stay."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError

from prices import tasks
from prices.models import Asset, Bar, Series
from prices.services import recorder, recordings, store
from prices.sessions import Session, session_on
from prices.types import Adjustment, Candles, Resolution, Split, Window

pytestmark = [pytest.mark.django_db]

_SESSIONS = [session_on(date(2026, 3, day)) for day in (2, 3, 4, 5, 6, 9, 10, 11, 12, 13)]
SESSIONS: list[Session] = [one for one in _SESSIONS if one is not None]
LATER = SESSIONS[-1].closes + timedelta(hours=1)
WIDE = (Resolution.H1, Resolution.H4, Resolution.DAY, Resolution.WEEK)


@pytest.fixture
def aapl(settings: Any) -> Asset:
    settings.KEEP_MINUTES_DAYS, settings.KEEP_HOURS_DAYS = 4, 8
    return Asset.objects.create(ref="stock:AAPL", ticker="AAPL", name="Apple Inc", kind="stock")


def recorded(
    asset: Asset, session: Session, minutes: range = range(390), price: float = 100.0
) -> None:
    """Let the minutes of a session have been recorded, each a little above the one before."""
    series, _ = Series.objects.get_or_create(
        asset=asset,
        source=recordings.SOURCE,
        resolution=Resolution.M1,
        defaults={"renewed_at": session.closes},
    )
    opens = int(session.opens.timestamp())
    Bar.objects.bulk_create(
        Bar(
            series=series,
            opens=opens + minute * 60,
            open=price + minute / 100,
            high=price + minute / 100 + 1,
            low=price + minute / 100 - 1,
            close=price + minute / 100 + 0.5,
        )
        for minute in minutes
    )


def window(first: Session = SESSIONS[0]) -> Window:
    return Window(first.opens, LATER)


def told(asset: Asset, resolution: Resolution) -> tuple[Candles, float] | None:
    return recorder.candles(asset, window(), resolution, LATER)


def prune(at: datetime = LATER) -> None:
    with time_machine.travel(at):
        tasks.prune_store()


def kept(resolution: Resolution) -> int:
    return Bar.objects.filter(series__resolution=resolution).count()


def test_hours_days_and_weeks_are_the_same_after_their_minutes_went(aapl: Asset) -> None:
    for number, session in enumerate(SESSIONS):
        recorded(aapl, session, range(number % 3, 390, 1 + number % 2), price=100 + number)
    before = {width: told(aapl, width) for width in WIDE}
    minutes = kept(Resolution.M1)

    prune()

    assert kept(Resolution.M1) < minutes
    assert all(before.values())
    assert {width: told(aapl, width) for width in WIDE} == before


def test_minutes_go_by_whole_days(aapl: Asset) -> None:
    for session in SESSIONS:
        recorded(aapl, session)

    prune(SESSIONS[6].opens + timedelta(days=4, hours=3))

    days = {one.day: one.opens.timestamp() for one in SESSIONS[6:]}
    assert kept(Resolution.M1) == 390 * len(days)
    oldest = Bar.objects.filter(series__resolution="1").earliest("opens")
    assert oldest.opens == days[SESSIONS[6].day]


def test_hours_go_after_their_own_time_and_days_never(aapl: Asset) -> None:
    for session in SESSIONS:
        recorded(aapl, session)

    prune()
    prune(LATER + timedelta(days=100))
    prune(LATER + timedelta(days=101))

    assert (kept(Resolution.M1), kept(Resolution.H1), kept(Resolution.DAY)) == (0, 0, 10)


def test_a_day_that_was_not_recorded_to_its_end_does_not_become_closed(aapl: Asset) -> None:
    recorded(aapl, SESSIONS[0], range(200))
    recorded(aapl, SESSIONS[1])

    prune()

    got = told(aapl, Resolution.DAY)
    assert got is not None
    assert [one.closed for one in got[0].candles] == [False, True]
    assert got[1] == pytest.approx((200 + 390) / (10 * 390))


def test_widths_are_those_that_what_is_left_can_give(aapl: Asset) -> None:
    recorded(aapl, SESSIONS[0])
    for session in SESSIONS[5:]:
        recorded(aapl, session)

    def widths(first: Session) -> str:
        found = recorder.widths(aapl, window(first))
        assert all(recorder.candles(aapl, window(first), one, LATER) for one in found)
        return " ".join(found)

    assert widths(SESSIONS[5]) == "1 5 15 30 60 240 D W M"
    prune(LATER + timedelta(days=5))

    assert widths(SESSIONS[5]) == "60 240 D W M"
    store.prune(LATER + timedelta(days=60))
    assert widths(SESSIONS[5]) == "D W M"


def test_the_newest_minute_is_known_after_it_went(aapl: Asset) -> None:
    recorded(aapl, SESSIONS[0])
    last = recordings.newest(aapl, window())

    prune()

    assert recordings.newest(aapl, window()) == last == SESSIONS[0].closes.timestamp() - 60


def test_a_minute_that_comes_late_is_added_to_the_day_that_was_kept(aapl: Asset) -> None:
    recorded(aapl, SESSIONS[0], range(380))
    prune()
    recorded(aapl, SESSIONS[0], range(389, 390), price=200)
    whole = told(aapl, Resolution.DAY)

    prune()

    assert kept(Resolution.M1) == 0
    assert told(aapl, Resolution.DAY) == whole
    assert whole is not None
    assert (whole[0].candles[0].close, whole[0].candles[0].open) == (204.39, 100)


def test_days_that_outlived_their_minutes_are_adjusted_for_later_splits(aapl: Asset) -> None:
    recorded(aapl, SESSIONS[0], price=100)
    recorded(aapl, SESSIONS[-1], price=25)
    prune()
    aapl.splits.create(day=SESSIONS[-1].day, ratio=4, source="tiingo")

    got = told(aapl, Resolution.DAY)

    assert got is not None
    assert [one.open for one in got[0].candles] == [25, 25]
    assert got[0].adjustment is Adjustment.SPLITS
    assert got[0].splits == (Split(SESSIONS[-1].day, 4),)


def test_minutes_of_more_days_than_one_batch_go_at_once(
    aapl: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "_DAYS_AT_ONCE", 2)
    for session in SESSIONS:
        recorded(aapl, session, range(20))

    assert recordings.prune(LATER + timedelta(days=30)) == 200
    assert (kept(Resolution.H1), kept(Resolution.DAY)) == (10, 10)


def test_a_failure_while_days_are_kept_costs_no_minute(
    aapl: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(aapl, SESSIONS[0])
    keep = recordings._keep

    def failing(asset: Asset, width: Resolution, *rest: Any) -> None:
        keep(asset, width, *rest)
        if width is Resolution.DAY:
            raise DatabaseError("database is locked")

    monkeypatch.setattr(recordings, "_keep", failing)
    with pytest.raises(DatabaseError):
        recordings.prune(datetime.now(UTC))

    assert (kept(Resolution.M1), kept(Resolution.H1)) == (390, 0)
