from __future__ import annotations

from datetime import UTC, date, datetime, time
from itertools import pairwise

import pytest

from prices.sessions import (
    NEW_YORK,
    closures,
    is_open,
    latest_session,
    next_session,
    session_on,
    sessions_between,
)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc] # never more than six parts


def test_a_session_runs_from_half_past_nine_to_four_in_new_york_summer_and_winter() -> None:
    summer, winter = session_on(date(2026, 7, 1)), session_on(date(2026, 12, 1))
    assert summer is not None
    assert winter is not None
    assert (summer.opens, summer.closes) == (utc(2026, 7, 1, 13, 30), utc(2026, 7, 1, 20))
    assert (winter.opens, winter.closes) == (utc(2026, 12, 1, 14, 30), utc(2026, 12, 1, 21))


def test_the_hours_follow_the_american_clock_change_and_not_the_european() -> None:
    before, after = session_on(date(2026, 10, 30)), session_on(date(2026, 11, 2))
    assert before is not None
    assert after is not None
    assert before.opens == utc(2026, 10, 30, 13, 30)
    assert after.opens == utc(2026, 11, 2, 14, 30)


def test_thanksgiving_is_closed_and_the_day_after_closes_at_one() -> None:
    assert session_on(date(2026, 11, 26)) is None
    half = session_on(date(2026, 11, 27))
    assert half is not None
    assert half.closes == utc(2026, 11, 27, 18)


@pytest.mark.parametrize(
    "day",
    [
        pytest.param(date(2001, 9, 12), id="attacks of 2001"),
        pytest.param(date(2012, 10, 29), id="hurricane of 2012"),
        pytest.param(date(2018, 12, 5), id="day of mourning"),
        pytest.param(date(2025, 4, 18), id="good friday"),
        pytest.param(date(2026, 7, 3), id="independence day observed"),
        pytest.param(date(2022, 6, 20), id="juneteenth observed"),
        pytest.param(date(2026, 11, 28), id="a saturday"),
    ],
)
def test_closed_days_have_no_session(day: date) -> None:
    assert session_on(day) is None


@pytest.mark.parametrize(
    "day",
    [
        pytest.param(date(2021, 12, 31), id="new year on a saturday is not observed"),
        pytest.param(date(2020, 6, 19), id="juneteenth before it was a holiday"),
        pytest.param(date(1997, 1, 20), id="king day before the exchange kept it"),
    ],
)
def test_days_that_look_like_holidays_but_are_not_have_a_session(day: date) -> None:
    assert session_on(day) is not None


@pytest.mark.parametrize("year", range(1990, 2036))
def test_every_year_has_a_plausible_calendar(year: int) -> None:
    sessions = sessions_between(utc(year, 1, 1), utc(year + 1, 1, 1))
    assert 248 <= len(sessions) <= 254
    for session in sessions:
        assert session.opens.astimezone(NEW_YORK).time() == time(9, 30)
        assert session.closes.astimezone(NEW_YORK).hour in (13, 14, 16)
        assert session.day.weekday() < 5
    assert any(closure.closes is None for closure in closures(year))


def test_the_latest_session_is_the_one_running_or_the_last_that_ran() -> None:
    assert latest_session(utc(2026, 11, 23, 14, 30)).day == date(2026, 11, 23)
    assert latest_session(utc(2026, 11, 23, 14, 29)).day == date(2026, 11, 20)
    assert latest_session(utc(2026, 11, 26, 18)).day == date(2026, 11, 25)
    assert latest_session(utc(2026, 1, 1, 12)).day == date(2025, 12, 31)
    assert latest_session(utc(2026, 1, 1, 3)).day == date(2025, 12, 31)


def test_the_exchange_is_open_from_the_opening_up_to_but_not_at_the_close() -> None:
    assert not is_open(utc(2026, 11, 23, 14, 29, 59))
    assert is_open(utc(2026, 11, 23, 14, 30))
    assert is_open(utc(2026, 11, 23, 20, 59, 59))
    assert not is_open(utc(2026, 11, 23, 21))
    assert not is_open(utc(2026, 11, 27, 18, 30))


def test_the_next_session_is_found_over_the_turn_of_the_year() -> None:
    assert next_session(utc(2026, 12, 31, 15)).day == date(2027, 1, 4)


def test_a_span_has_every_session_that_shares_time_with_it() -> None:
    days = [s.day.day for s in sessions_between(utc(2026, 11, 23, 20), utc(2026, 11, 27, 15))]
    assert days == [23, 24, 25, 27]
    touching = sessions_between(utc(2026, 11, 23, 21), utc(2026, 11, 24, 14, 30))
    assert touching == []
    inside = sessions_between(utc(2026, 11, 23, 15), utc(2026, 11, 23, 15, 1))
    assert [s.day for s in inside] == [date(2026, 11, 23)]
    assert sessions_between(utc(2026, 11, 24), utc(2026, 11, 23)) == []


def test_a_span_over_years_is_whole_and_in_order() -> None:
    sessions = sessions_between(utc(2024, 12, 30, 22), utc(2026, 1, 5, 23))
    assert sessions[0].day == date(2024, 12, 31)
    assert sessions[-1].day == date(2026, 1, 5)
    assert all(b.opens > a.closes for a, b in pairwise(sessions))
