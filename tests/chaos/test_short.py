"""Each scenario once, small, on one installation with both servers; no mark is about time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tests.chaos.scenarios  # noqa: F401 (fills the table)
from tests.chaos.scenario import SCENARIOS, SHORT, Scenario
from tests.chaos.scenarios.network import SETTINGS
from tests.chaos.stage import Stage

# Processes are started anew in some, and what is waited for has generous limits.
pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("chaos"), **SETTINGS) as running:
        running.up(["daphne", "uvicorn"], workers=1, beats=2)
        yield running


IN_ORDER = sorted(SCENARIOS.values(), key=lambda one: int(one.id[1:]))


@pytest.mark.parametrize("one", IN_ORDER, ids=lambda one: f"{one.id}: {one.title}")
def test_what_has_to_hold_under_a_fault_holds_when(one: Scenario, stage: Stage) -> None:
    figures = one.measure(stage, SHORT)

    missed = [figure for figure in figures if figure.passed is False and not figure.timed]
    assert not missed
