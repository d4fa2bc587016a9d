"""What docs/reliability.md is made of."""

from __future__ import annotations

from pathlib import Path

from tests.chaos import page
from tests.chaos.scenario import SHORT


def result(scale: str, at: str) -> page.Result:
    return page.Result(
        id="T17", server="uvicorn", scale=scale, size="", at=at, command="", machine="", commit=""
    )


def test_a_short_run_takes_the_place_of_another_and_of_no_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    kept = [
        page.keep(result(scale, at), path)[0].at
        for scale, at in [(SHORT, "1"), (SHORT, "2"), ("default", "3"), (SHORT, "4"), ("full", "5")]
    ]

    assert kept == ["1", "2", "3", "3", "5"]
