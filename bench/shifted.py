"""A running product whose processes and market all go by another clock than ours."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.stage import Stage

_CLOCK = Path(__file__).parent / "clock"


class ShiftedStage(Stage):
    """An installation whose every process, and its market, go by a clock `shift_s` ahead."""

    def __init__(self, folder: Path, shift_s: float, **settings: str) -> None:
        self._shift_s = shift_s
        clock = {"PYTHONPATH": str(_CLOCK), "CLOCK_SHIFT_S": str(shift_s)}
        super().__init__(folder, **settings, **clock)

    def manage(self, *words: str) -> str:
        # The market first: prices of a time to come are no prices.
        self.sandbox.control("POST", "clock", {"shift_s": self._shift_s})
        return super().manage(*words)
