"""What a scenario is, and how it is found by its number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.figures import Figure
from tests.chaos.stage import Stage

SHORT, DEFAULT, FULL = "short", "default", "full"
SEED = 20_261_124

# How large, by the name of the scale: what each number means is the scenario's own business.
Sizes = Mapping[str, Mapping[str, float]]


class Size:
    """The numbers of one scale, by name: `size.sockets`, `size.seconds`."""

    def __init__(self, numbers: Mapping[str, float]) -> None:
        self._numbers = numbers

    def __getattr__(self, name: str) -> Any:
        return self._numbers[name]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in self._numbers.items())


Run = Callable[[Stage, Size], Coroutine[Any, Any, list[Figure]]]


@dataclass(frozen=True)
class Scenario:
    """A fault, and what has to hold under it."""

    id: str
    title: str
    run: Run
    sizes: Sizes
    settings: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    beats: int = 1
    webs: int = 1  # of each server
    is_about_publishing: bool = False  # the servers are the same to it: both run at once

    def size(self, scale: str) -> Size:
        return Size(self.sizes[scale])

    def measure(self, stage: Stage, scale: str) -> list[Figure]:
        """Run it to its end, on an event loop of its own."""
        return asyncio.run(self._measure(stage, scale))

    async def _measure(self, stage: Stage, scale: str) -> list[Figure]:
        stage.forget_traces()
        figures = await self.run(stage, self.size(scale))
        await asyncio.sleep(0.2)  # for the last connections to be closed
        return figures


SCENARIOS: dict[str, Scenario] = {}


def scenario(id: str, title: str, sizes: Sizes, **how: Any) -> Callable[[Run], Run]:
    """Put a function under its number in the table."""

    def put(run: Run) -> Run:
        SCENARIOS[id] = Scenario(id, title, run, sizes, **how)
        return run

    return put
