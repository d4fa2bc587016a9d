"""Reading single values of a foreign payload: numbers, times, words.

A source may send anything where a number belongs: null, a string, NaN, a
bool, a price below zero. What is not certainly a value is None here, so that
no slip of a source ever becomes a price.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

import msgspec

ABSURD_PRICE = 1e10  # dollars; no coin or share was ever worth a ten-thousandth of it
CLOCK_SKEW = timedelta(minutes=5)

_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_EARLIEST_S = 86_400
_LATEST_S = 253_402_300_800  # the year 10000, of which Python knows nothing
_MILLISECONDS_FROM = 1e11  # as seconds, the year 5138
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{0,30})?([eE][+-]?\d{1,3})?", re.ASCII)


def price(value: object) -> float | None:
    """Return a price in dollars, or None for what cannot be one. Zero is no price."""
    number = figure(value)
    return number if number is not None and 0 < number < ABSURD_PRICE else None


def reckoned(number: float) -> float:
    """Return a product or quotient: behind the twelfth digit there is its noise alone."""
    return float(f"{number:.12g}")


def stated_price(value: object) -> float | None:
    """Return a price, or None where the source says it has none: null, or a zero.

    Raises ValueError for anything else: a body that cannot be right must not
    read as "no price".
    """
    number = price(value)
    if number is None and value is not None and (isinstance(value, bool) or value != 0):
        raise ValueError("not a price")
    return number


def figure(value: object) -> float | None:
    """Return any finite number as a float, or None."""
    # bool is an int to Python, and no source means a number by it.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def number(value: object) -> object:
    """Return the number that a text holds; anything else as it is.

    For sources that send numbers as texts. What it returns is no surer than
    what it was given: `price`, `figure` and `amount` judge it.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return value


def change_since(value: float, before: float | None) -> tuple[float | None, float | None]:
    """Return by how much and by how many percent a price differs from an earlier one."""
    if before is None:
        return None, None
    # Ten digits: more would be noise of the subtraction.
    change, percent = (f"{one:.10g}" for one in (value - before, (value / before - 1) * 100))
    return figure(float(change)), figure(float(percent))


def amount(value: object) -> float | None:
    """Return a figure that cannot be below zero: a volume, a supply, a market cap."""
    number = figure(value)
    return number if number is not None and number >= 0 else None


def known_amount(value: object) -> float | None:
    """Return an amount, or None for 0 where 0 stands for "not known"."""
    return amount(value) or None


def is_id(value: object) -> TypeGuard[str]:
    """Whether a source's id is one that we can store and send back as it is."""
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def rank(value: object) -> int | None:
    """Return a place in a ranking, from 1, or None."""
    number = figure(value)
    return int(number) if number is not None and 1 <= number < 1e9 else None


def text(value: object, *, limit: int = 200) -> str:
    """Return trimmed text of one line, or "" for what is not text."""
    if not isinstance(value, str):
        return ""
    return " ".join(value[: 4 * limit].split())[:limit]


def said(body: bytes, *keys: str) -> str:
    """Return the words of an error body, under whichever of the keys has some; "" for none."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    if not isinstance(payload, dict):
        return ""
    return next((words for key in keys if (words := text(payload.get(key)))), "")


def moment(value: object) -> datetime | None:
    """Return the moment an ISO 8601 text, Unix seconds or milliseconds name, or None."""
    if isinstance(value, str):
        return _iso(value)
    number = figure(value)
    if number is None:
        return None
    seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
    try:
        return _sane(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, OSError, ValueError):
        return None


def past_moment(value: object) -> datetime | None:
    """Return a moment, or None for one in the future beyond what clocks differ by."""
    at = moment(value)
    return at if at is not None and at <= datetime.now(UTC) + CLOCK_SKEW else None


def seconds(value: object) -> int | None:
    """Return a moment as whole Unix seconds, rounded down, or None."""
    if isinstance(value, str):
        at = _iso(value)
        return None if at is None else math.floor(at.timestamp())
    # A series has hundreds: without making a date of each.
    number = figure(value)
    if number is None:
        return None
    whole = math.floor(number / 1000 if number >= _MILLISECONDS_FROM else number)
    return whole if _EARLIEST_S < whole < _LATEST_S else None


def _iso(value: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    # A time without an offset is read as UTC, which every source means.
    return _sane(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))


def _sane(at: datetime) -> datetime | None:
    return at if at > _EARLIEST else None
