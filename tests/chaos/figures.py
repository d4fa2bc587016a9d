"""A figure beside its pass mark."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing measured. `passed` is None for what has no mark."""

    what: str
    value: str
    mark: str = ""
    passed: bool | None = None
    timed: bool = False  # of no meaning where the machine is busy with something else

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def at_most(what: str, value: float, most: float, unit: str = "", *, timed: bool = False) -> Figure:
    mark = f"at most {_said(most, unit)}"
    return Figure(what, _said(value, unit), mark, passed=value <= most, timed=timed)


def at_least(what: str, value: float, least: float, unit: str = "") -> Figure:
    return Figure(what, _said(value, unit), f"at least {_said(least, unit)}", value >= least)


def exactly(what: str, value: object, wanted: object) -> Figure:
    return Figure(what, str(value), str(wanted), value == wanted)


def within(what: str, value_s: float, most_s: float) -> Figure:
    """Return a figure of how long something took."""
    return at_most(what, value_s, most_s, "s", timed=True)


def told(what: str, value: object, unit: str = "") -> Figure:
    """Return a figure without a mark."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Figure(what, _said(float(value), unit) if is_number else str(value))  # type: ignore[arg-type]  # a number


def percentile(values: list[float], part: float) -> float:
    """Return the value that `part` of them do not exceed.

    Without any it is infinite: what was not measured is within no mark.
    """
    if not values:
        return float("inf")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def _said(value: float, unit: str) -> str:
    if value == float("inf"):
        return "never"
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    else:
        text = f"{value:,.3f}" if abs(value) < 1 else f"{value:,.2f}"
    return f"{text} {unit}".strip()
