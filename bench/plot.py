"""A line of points as an SVG file: axes, labels, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE, _RIGHT = 640, 320, 70, 50, 30, 30
_GRID = 4


def svg(title: str, x_label: str, y_label: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a plot of y over x, both from zero on."""
    most_x = max(x for x, _ in points)
    most_y = max(y for _, y in points) * 1.1 or 1

    def place(x: float, y: float) -> tuple[float, float]:
        across = (_WIDTH - _LEFT - _RIGHT) * x / most_x
        up = (_HEIGHT - _ABOVE - _BELOW) * y / most_y
        return round(_LEFT + across, 1), round(_HEIGHT - _BELOW - up, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="18" font-weight="bold">{title}</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 10}" text-anchor="end">{x_label}</text>',
        f'<text x="8" y="{_ABOVE + 4}">{y_label}</text>',
    ]
    for step in range(_GRID + 1):
        value = most_y * step / _GRID
        _, y = place(0, value)
        parts.append(f'<path d="M{_LEFT} {y}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
    places = [place(x, y) for x, y in points]
    line = " ".join(f"{x},{y}" for x, y in places)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0a6" stroke-width="2"/>')
    for (x, y), (value, _) in zip(places, points, strict=True):
        parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="#0a6"/>')
        below = _HEIGHT - _BELOW + 16
        parts.append(f'<text x="{x}" y="{below}" text-anchor="middle">{value:,.0f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
