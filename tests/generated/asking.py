"""Asks what was made up, and collects what is outside the document."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.generated.judging import Given, Judge
from tests.generated.requests import Asked, requests

SEED = 6


def faults(
    judge: Judge, answer: Callable[[Asked], Given], cases: int, seed_: int = SEED
) -> list[str]:
    """Ask `cases` requests, the same ones for the same seed; return each fault with its request."""
    found: list[str] = []

    @seed(seed_)
    @settings(
        max_examples=cases,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(judge.document))
    def ask(asked: Asked) -> None:
        found.extend(f"{asked}: {fault}" for fault in judge.faults(asked, answer(asked)))

    ask()
    return found
