"""What a row of the table holds, and the installation that it is measured on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.stage import Stage

INTERVAL_S = 2  # long enough for a tick to be over before the next, whoever serves


@dataclass
class Row:
    """What was measured for one row: medians by server, what was left out, the verdict."""

    name: str
    about: str
    table: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    marks: list[tuple[str, str, bool]] = field(default_factory=list)  # what, measured, reached
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # to be plotted
    rounds: int = 1  # that the figures are medians of

    def judge(self, what: str, value: float, most: float, unit: str = "") -> None:
        text = f"{value:,.2f} {unit}".strip()
        self.marks.append((f"{what}: at most {most:,.2f} {unit}".strip(), text, value <= most))

    def judge_least(self, what: str, value: float, least: float, unit: str = "") -> None:
        text = f"{value:,.2f} {unit}".strip()
        self.marks.append((f"{what}: at least {least:,.2f} {unit}".strip(), text, value >= least))


@dataclass(frozen=True)
class How:
    """How large and how often; `part` makes everything smaller for a try."""

    rounds: int = 3
    part: float = 1.0

    def clients(self, count: int) -> int:
        return max(10, int(count * self.part))


@contextmanager
def stage(interval_s: int = INTERVAL_S, **settings: str) -> Iterator[Stage]:
    """Yield an installation without worker and beat: what is published is made up."""
    room = {"WS_MAX_CONNECTIONS": "100000", "WS_MAX_CONNECTIONS_PER_ADDRESS": "100000"}
    more = {"PUBLISH_INTERVAL_S": str(interval_s), **room, **settings}
    with Stage(Path(tempfile.mkdtemp(prefix="lokifi-bench-")), **more) as made:
        yield made
