"""docs/reliability.md, made of what was measured and of nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.figures import Figure
from tests.chaos.scenario import SCENARIOS, SHORT, Scenario
from tests.processes import ROOT

PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "var" / "chaos" / "results.json"

_BEGIN = """# What breaks, and what then

Written by `make chaos`: faults are brought about under real processes (server, worker, beat,
Redis, the sandbox market), and what is measured stands beside what was asked for. Seeds are
fixed. Both servers run the same scenarios; those about publishing alone have both up at once.

```
make chaos                               # everything, about 45 minutes
make chaos ONLY=T2 SERVER=uvicorn        # one scenario, one server
make chaos CHAOS_SCALE=full              # the long runs as long as they can be
```

A run with a missed mark ends with an exit code other than 0. `make test` has a short form of
each scenario, without the marks that are about time.
"""
_NAMES = {"daphne": "daphne", "uvicorn": "uvicorn", "both": "both servers"}


@dataclass(frozen=True)
class Result:
    """One scenario on one server, once."""

    id: str
    server: str
    scale: str
    size: str
    at: str  # when, in UTC
    command: str
    machine: str
    commit: str
    figures: list[Figure] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(figure.passed is not False for figure in self.figures)


def read(path: Path = RESULTS) -> list[Result]:
    """Return what was kept of earlier runs."""
    if not path.exists():
        return []
    return [_result(row) for row in json.loads(path.read_text())]


def _result(row: dict[str, Any]) -> Result:
    return Result(**{**row, "figures": [Figure(**figure) for figure in row["figures"]]})


def keep(new: Result, path: Path = RESULTS) -> list[Result]:
    """Put a result in the place of an older one of the same scenario and server.

    Unless the new one alone is short: a look in passing takes nothing away that was shown.
    """
    kept = {(r.id, r.server): r for r in read(path)}
    before = kept.get((new.id, new.server))
    if before is None or new.scale != SHORT or before.scale == SHORT:
        kept[new.id, new.server] = new
    results = sorted(kept.values(), key=lambda r: (int(r.id[1:]), r.server))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return results


def write(results: list[Result], page: Path = PAGE) -> None:
    page.write_text(text(results))


def text(results: list[Result]) -> str:
    parts = [_BEGIN, _overview(results)]
    for one in in_order():
        own = [r for r in results if r.id == one.id]
        if own:
            parts.append(f"## {one.id}: {one.title}\n")
            parts += [_section(result) for result in own]
    return "\n".join(parts).rstrip() + "\n"


def in_order() -> list[Scenario]:
    return sorted(SCENARIOS.values(), key=lambda one: int(one.id[1:]))


def _overview(results: list[Result]) -> str:
    rows = ["| | fault | measured on | all marks met |", "| --- | --- | --- | --- |"]
    for one in in_order():
        for result in (r for r in results if r.id == one.id):
            verdict = "yes" if result.passed else "**no**"
            rows.append(f"| {one.id} | {one.title} | {_NAMES[result.server]} | {verdict} |")
    return "\n".join(rows) + "\n"


def _section(result: Result) -> str:
    rows = [
        f"{_NAMES[result.server].capitalize()}, {result.at}, commit {result.commit}, "
        f"`{result.command}`, {result.machine}.",
        f"Size: {result.size or 'as it is'}.",
        "",
        "| figure | measured | mark | |",
        "| --- | --- | --- | --- |",
    ]
    rows += [_row(figure) for figure in result.figures]
    return "\n".join(rows) + "\n"


def _row(figure: Figure) -> str:
    verdict = {True: "met", False: "**missed**", None: ""}[figure.passed]
    return f"| {figure.what} | {figure.value} | {figure.mark} | {verdict} |"
