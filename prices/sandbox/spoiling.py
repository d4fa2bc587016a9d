"""Right answers with their values made wrong, in every source's form.

Values are numbers, and text that is a number where a source writes numbers so. Times,
ranks and counts are left alone: they say where a value belongs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Any

from prices.sandbox.wire import Reply, encoded

SPOILING_KINDS = frozenset(
    {"wrong_types", "nulls", "negative", "absurd", "times", "repeats", "not_finite", "bad_bars"}
)

# Numbers that tell a time or a place, not a value; and what holds nothing else.
_TIMES_AND_PLACES = """
t last_updated_at market_cap_rank page count updated_at timestamp last_quote_at trade_id
openTime closeTime serverTime firstId lastId regularMarketTime firstTradeDate gmtoffset
priceHint scale currentTradingPeriod events splits rateLimits epoch code
"""
_KEPT = frozenset(_TIMES_AND_PLACES.split())
_WRONG: dict[str, Callable[[float], Any]] = {
    "wrong_types": lambda _: "n/a",
    "nulls": lambda _: None,
    "negative": lambda value: -abs(value) or -1,
    "absurd": lambda value: value * 1e12,
    "not_finite": lambda _: float("nan"),
}
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?\Z")
_OLDEST_STAMP = 1e9  # seconds, or milliseconds; rows of candles and charts begin with one


def spoiled(
    reply: Reply,
    kind: str,
    *,
    only: Collection[str] = (),
    names: Collection[str] = (),
    asked: Collection[str] = (),
    writes_text: bool = False,
    factor: float = 1.0,
    value: float = 1.0,
) -> Reply:
    """Return a right answer spoiled; anything else as it is.

    `only` names the rows to spoil, by id or ticker, all where it is empty; an answer
    that is about one of them because it was `asked` for is spoiled whole. `names` are
    the fields, all where it is empty. `factor` is what `times` multiplies by,
    `value` what `repeats` tells.
    """
    if kind not in SPOILING_KINDS or reply.status != 200:
        return reply
    content = json.loads(reply.body)
    is_all = not only or any(name in only for name in asked)
    if kind == "bad_bars":
        if is_all:
            _bad_bars(content)
        body = encoded(content)
    else:
        told = _WRONG | {"times": lambda right: right * factor, "repeats": lambda _: value}
        wrong = told[kind]
        walk = _Walk(wrong, only, names, writes_text)
        body = encoded(walk.through(content, inside=is_all))
    headers = {name: value for name, value in reply.headers.items() if name != "etag"}
    return Reply(reply.status, body, headers)


class _Walk:
    """Goes through an answer and makes each value wrong."""

    def __init__(
        self,
        wrong: Callable[[float], Any],
        only: Collection[str],
        names: Collection[str],
        writes_text: bool,
    ) -> None:
        self._wrong = wrong
        self._only = only
        self._names = names
        self._writes_text = writes_text

    def through(self, content: Any, *, inside: bool, in_list: bool = False) -> Any:
        """`inside` tells whether this part is among the rows and fields to spoil."""
        if isinstance(content, dict):
            row = inside or any(content.get(name) in self._only for name in ("id", "symbol"))
            return {
                name: self.through(value, inside=row or name in self._only)
                if self._is_spoilt(name, value)
                else value
                for name, value in content.items()
            }
        if isinstance(content, list):
            kept = _stamps(content) if in_list else ()
            return [
                value if place in kept else self.through(value, inside=inside, in_list=True)
                for place, value in enumerate(content)
            ]
        return self._value(content) if inside else content

    def _is_spoilt(self, name: str, value: Any) -> bool:
        if name in _KEPT or (name == "last" and isinstance(value, int) and value > _OLDEST_STAMP):
            return False
        return not self._names or name in self._names or isinstance(value, dict)

    def _value(self, content: Any) -> Any:
        if _is_number(content):
            return self._wrong(content)
        if self._writes_text and isinstance(content, str) and _NUMBER.match(content):
            wrong = self._wrong(float(content))
            return wrong if wrong is None or isinstance(wrong, str) else _text(wrong)
        return content


def _text(value: float) -> str:
    return "NaN" if value != value else f"{value:.8f}"


def _stamps(row: list[Any]) -> tuple[int, ...]:
    """Return the places of a row that hold times, none where it is no row of a moment."""
    if len(row) < 2 or not _is_number(row[0]) or row[0] < _OLDEST_STAMP:
        return ()
    return (0, 6) if len(row) == 12 else (0,)


def _bad_bars(content: Any) -> None:
    """Put every third candle's close above its high, in any source's form."""
    if isinstance(content, dict):
        for high, close in (("h", "c"), ("high", "close")):
            if high in content and close in content:
                _close_above(content, high, close)
        for value in content.values():
            _bad_bars(value)
    elif isinstance(content, list):
        rows = [row for row in content if isinstance(row, list | dict)]
        for row in rows[::3]:
            if isinstance(row, list) and len(row) in (5, 6, 8, 12) and _stamps(row):
                row[4] = _above(row[2])
            elif isinstance(row, dict):
                _bad_bars(row)


def _close_above(content: dict[str, Any], high: str, close: str) -> None:
    highs, closes = content[high], content[close]
    if not isinstance(highs, list):
        content[close] = _above(highs)
        return
    for number in range(0, len(closes), 3):
        closes[number] = _above(highs[number])


def _above(high: Any) -> Any:
    if isinstance(high, str):
        return _text(float(high) * 1.5) if _NUMBER.match(high) else high
    return high * 1.5 if _is_number(high) else high


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
