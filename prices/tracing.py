"""How one answer came about, noted while it is made: only where somebody asked for it.

A trace is found through a context variable, as `budget.spending` is, so that
nothing is handed from function to function. Without one the notes cost a look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from prices.errors import PricesError


@dataclass(slots=True)
class Asked:
    """One source that was asked: what HTTP said to each call, how long it took, what it meant.

    `code` is empty where it answered. A source that was left alone has no statuses.
    """

    source: str
    statuses: list[int | None] = field(default_factory=list)
    latency_ms: float = 0.0
    code: str = ""


@dataclass(slots=True)
class Trace:
    """What was looked up under which key, who was asked, and what that cost.

    budget holds the calls of the last minute and of the month, before and after.
    """

    keys: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    budget: dict[str, dict[str, Mapping[str, int] | None]] = field(default_factory=dict)
    _open: list[Asked] = field(default_factory=list)

    def replied(self, status: int | None) -> None:
        if self._open:
            self._open[-1].statuses.append(status)

    @contextmanager
    def calling(self, source: str, spent: Callable[[], Mapping[str, int] | None]) -> Iterator[None]:
        one, began = Asked(source), time.monotonic()
        counts = self.budget.setdefault(source, {"before": spent()})
        self.asked.append(one)
        self._open.append(one)
        try:
            yield
        except PricesError as exc:
            one.code = exc.code
            raise
        finally:
            self._open.remove(one)
            one.latency_ms = round((time.monotonic() - began) * 1000, 1)
            counts["after"] = spent()


_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def tracing() -> Iterator[Trace]:
    """Note what happens within."""
    trace = Trace()
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


@contextmanager
def calling(source: str, spent: Callable[[], Mapping[str, int] | None]) -> Iterator[None]:
    """Note that a source is asked; `spent` counts its calls."""
    trace = _trace.get()
    if trace is None:
        yield
        return
    with trace.calling(source, spent):
        yield


def replied(status: int | None) -> None:
    """Note what HTTP said to a call; None where nothing came."""
    trace = _trace.get()
    if trace is not None:
        trace.replied(status)


def looked_up(keys: Mapping[str, str]) -> None:
    """Note what keys of the cache held: hit, miss or stale."""
    trace = _trace.get()
    if trace is not None:
        trace.keys |= keys
