"""How the admin's pages write prices, ages and sizes."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from django import template

register = template.Library()

NOTHING = "–"  # noqa: RUF001  a dash that is as wide as a figure


@register.filter
def dollars(price: float | None) -> str:
    """Return a price with the digits that matter: 67,234.50 and 0.0000123456."""
    if price is None:
        return NOTHING
    if price == 0 or abs(price) >= 1:
        return f"${price:,.2f}"
    return f"${price:.{5 - math.floor(math.log10(abs(price)))}f}"


@register.filter
def percent(value: float | None) -> str:
    """Return a change in percent with its sign."""
    if value is None:
        return NOTHING
    return f"{value:+.2f} %" if abs(value) >= 0.005 else "0.00 %"


@register.filter
def span(seconds: float | None) -> str:
    """Return a length of time in its largest whole unit: 12 s, 3 min, 5 h, 2 d."""
    if seconds is None:
        return NOTHING
    for name, width in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * width or (name != "min" and seconds >= width):
            return f"{int(seconds // width)} {name}"
    return f"{max(0, int(seconds))} s"


@register.filter
def age(moment: datetime | None) -> str:
    """Return how long ago a moment was."""
    return NOTHING if moment is None else span((datetime.now(UTC) - moment).total_seconds())


@register.filter
def utc(moment: datetime | None) -> str:
    """Return a moment to the second, in UTC."""
    return NOTHING if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def day(moment: datetime | None) -> str:
    """Return a moment to the minute, in UTC, short enough for the end of an axis."""
    return NOTHING if moment is None else f"{moment.astimezone(UTC):%d %b %Y %H:%M}"


@register.filter
def size(count: float) -> str:
    """Return a number of bytes in its largest unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
