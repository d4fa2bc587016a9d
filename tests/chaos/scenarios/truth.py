"""What clients were shown, held against what was published."""

from __future__ import annotations

from collections.abc import Iterable

from tests.chaos.resuming import History
from tests.chaos.stage import Recorder


def not_as_published(recorder: Recorder, histories: Iterable[History]) -> int:
    """Return how many prices differ from those of the tick that they came with."""
    known = recorder.by_place
    wrong = 0
    for history in histories:
        for tick in history.ticks:
            published = known.get((tick.epoch, tick.seq))
            if published is not None:
                wrong += sum(published.prices.get(s) != q for s, q in tick.data.items())
    return wrong


def checked(recorder: Recorder, histories: Iterable[History]) -> int:
    """Return how many shown ticks could be held against what was published."""
    known = recorder.by_place
    return sum((t.epoch, t.seq) in known for history in histories for t in history.ticks)


def outcomes(histories: Iterable[History]) -> str:
    """Return how many reconnections were made good, and how many started over."""
    several = list(histories)
    recovered = sum(history.recovered for history in several)
    return f"{recovered}, {sum(history.started_over for history in several)}"
