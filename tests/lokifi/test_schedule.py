from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest

from lokifi.celery import AlignedSchedule, app

HALF_PAST = datetime(2026, 11, 23, 10, 0, 30, tzinfo=UTC)


def at(second: float) -> datetime:
    return datetime.fromtimestamp(HALF_PAST.timestamp() + second, tz=UTC)


def schedule_at(now: datetime, every_s: float = 30) -> AlignedSchedule:
    return AlignedSchedule(every_s, nowfun=lambda: now, app=app)


@pytest.mark.parametrize(
    ("last", "now", "is_due", "next_s"),
    [
        (at(-29), at(0), True, 30),
        (at(0.2), at(12), False, 18),
        (at(0.2), at(29.9), False, 0.1),
        (at(0.9), at(30), True, 30),
        (at(-1000), at(5), True, 25),
        (at(900), at(10), True, 20),
    ],
    ids=[
        "on the multiple",
        "between",
        "a moment before",
        "late last time",
        "after a pause",
        "clock set back",
    ],
)
def test_a_tick_falls_on_each_multiple_of_the_interval(
    last: datetime, now: datetime, is_due: bool, next_s: float
) -> None:
    state = schedule_at(now).is_due(last)
    assert state.is_due is is_due
    assert state.next == pytest.approx(next_s, abs=1e-3)


def test_a_run_that_comes_late_does_not_move_the_next() -> None:
    last, runs = at(0), []
    for tenth in range(1, 3000):
        now = at(tenth / 10)
        if schedule_at(now).is_due(last).is_due:
            last = at(tenth / 10 + 0.07)
            runs.append(tenth / 10)
    assert runs == [30.0 * number for number in range(1, 10)]


def test_beat_can_write_the_schedule_down() -> None:
    assert pickle.loads(pickle.dumps(AlignedSchedule(30))) == AlignedSchedule(30)
