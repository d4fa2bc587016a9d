"""A price series as the geometry of a small chart. Numbers only: no markup, no upstream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prices.types import Point

WIDTH, HEIGHT = 640, 160
# One lowest and one highest price for each of so many columns keep every spike.
COLUMNS = 240


@dataclass(frozen=True, slots=True)
class Sketch:
    """A line through a series within WIDTH by HEIGHT; `line` and `area` are SVG points."""

    line: str
    area: str
    low: float
    high: float
    first: float
    last: float
    begins: datetime
    ends: datetime
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def change_percent(self) -> float:
        return (self.last / self.first - 1) * 100

    @property
    def has_risen(self) -> bool:
        return self.last >= self.first


def sketch(points: Sequence[Point]) -> Sketch | None:
    """Return the chart of a series, oldest first; None for fewer than two points."""
    if len(points) < 2:
        return None
    prices = [point.price for point in points]
    low, high = min(prices), max(prices)
    begins, ends = points[0].timestamp, points[-1].timestamp

    def place(point: Point) -> str:
        x = (point.timestamp - begins) / ((ends - begins) or 1) * WIDTH
        # A price that never moved is a line in the middle.
        y = (high - point.price) / (high - low) * HEIGHT if high > low else HEIGHT / 2
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(point) for point in _thinned(points))
    return Sketch(
        line=line,
        area=f"0,{HEIGHT} {line} {WIDTH},{HEIGHT}",
        low=low,
        high=high,
        first=prices[0],
        last=prices[-1],
        begins=datetime.fromtimestamp(begins, UTC),
        ends=datetime.fromtimestamp(ends, UTC),
    )


def _thinned(points: Sequence[Point]) -> Iterator[Point]:
    """Yield the points a chart can show: the ends, and each column's extremes in order."""
    if len(points) <= 2 * COLUMNS:
        yield from points
        return
    yield points[0]
    inner = points[1:-1]
    for column in range(COLUMNS):
        part = inner[column * len(inner) // COLUMNS : (column + 1) * len(inner) // COLUMNS]
        low, high = min(part, key=lambda p: p.price), max(part, key=lambda p: p.price)
        yield from sorted({low, high}, key=lambda p: p.timestamp)
    yield points[-1]
