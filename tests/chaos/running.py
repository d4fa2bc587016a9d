"""One scenario on one stage, and how it looks in a terminal."""

from __future__ import annotations

import shutil
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.figures import Figure
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage


def measure(one: Scenario, servers: Sequence[str], scale: str) -> list[Figure]:
    """Run a scenario on an installation of its own; what it stumbles over is a missed mark."""
    folder = Path(tempfile.mkdtemp(prefix=f"lokifi-chaos-{one.id}-"))
    figures: list[Figure] = []
    try:
        with Stage(folder, **one.settings) as stage:
            stage.up([s for s in servers for _ in range(one.webs)], one.workers, one.beats)
            figures = one.measure(stage, scale)
    except Exception as exc:  # noqa: BLE001 (the next scenario still runs)
        traceback.print_exc()
        figures = [Figure("ended early", repr(exc)[:200].replace("|", "/"), "no", passed=False)]
    if all(figure.passed is not False for figure in figures):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"  logs are in {folder}")
    return figures


def show(figures: Sequence[Figure]) -> None:
    for figure in figures:
        verdict = {True: "met", False: "MISSED", None: ""}[figure.passed]
        print(f"  {figure.what:<58} {figure.value:>18}   {figure.mark:<22} {verdict}", flush=True)
