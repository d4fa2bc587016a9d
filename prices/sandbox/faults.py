"""Faults on command: what the sources do wrong on their bad days.

    status         an error status, with or without Retry-After, in any body shape
    delay          the right answer, `delay_s` late
    slow_drip      the right answer, `bytes_per_s` slow
    reset          the connection is reset before an answer
    truncated      the body ends half-way, then the connection does
    html           200 and an HTML page
    empty          200 and nothing
    wrong_types    text where numbers belong
    nulls          null where numbers belong
    negative       prices below zero
    absurd         prices a million million times too high
    not_finite     NaN where numbers belong, which is no JSON
    bad_bars       candles whose close lies above their high
    frozen         the market stands still from the moment the fault is set
    huge           an answer of `size_bytes`
    redirect_loop  302 to the same address

A fault lasts for `seconds` or for a number of `calls`, or until it is taken away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from itertools import count
from typing import Any

from prices.sandbox import coingecko, finnhub
from prices.sandbox.wire import Reply, encoded, iso, json_reply

TRANSPORT_KINDS = frozenset({"delay", "slow_drip", "reset", "truncated", "huge"})
_SPOILING_KINDS = frozenset(
    {"wrong_types", "nulls", "negative", "absurd", "not_finite", "bad_bars"}
)
KINDS = TRANSPORT_KINDS | _SPOILING_KINDS | {"status", "html", "empty", "frozen", "redirect_loop"}
BODIES = frozenset({"default", "status", "nested", "top", "string", "int", "html", "empty", "text"})

# Numbers that tell a time or a place, not a value.
_KEPT = frozenset({"t", "last_updated_at", "market_cap_rank", "page", "count", "updated_at"})
_HTML = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    b"<body><h1>Sorry, something went wrong</h1><p>error code: 1015</p></body></html>"
)
_numbers = count(1)


class FaultError(ValueError):
    """A fault was described wrongly; the message says how."""


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, where, and for how long."""

    kind: str
    source: str | None = None  # "coingecko" or "finnhub"; both where it is None
    path: str | None = None  # a prefix, as /coingecko/api/v3/coins/markets
    seconds: float | None = None
    calls: int | None = None
    status: int = 500
    retry_after: int | None = None
    body: str = "default"
    text: str = ""
    delay_s: float = 5.0
    bytes_per_s: float = 50.0
    size_bytes: int = 64 * 1024 * 1024
    only: list[str] = field(default_factory=list)  # ids or tickers of the rows to spoil
    names: list[str] = field(default_factory=list)  # the fields to spoil
    number: int = field(default_factory=_numbers.__next__)
    began: float = 0.0
    market_time: float = 0.0
    seen: int = 0

    def is_over(self, clock: float) -> bool:
        if self.calls is not None and self.seen >= self.calls:
            return True
        return self.seconds is not None and clock >= self.began + self.seconds

    def hits(self, source: str, path: str) -> bool:
        return self.source in (None, source) and path.startswith(self.path or "")

    def shown(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


def fault_from(content: Any, *, began: float, market_time: float) -> Fault:
    """Read a fault as a person sends it. Raises FaultError.

    `began` is on the clock that `seconds` run by, `market_time` on the market's own.
    """
    if not isinstance(content, dict):
        raise FaultError("A fault is a JSON object.")
    known = {item.name for item in fields(Fault)} - {"number", "began", "market_time", "seen"}
    unknown = sorted(set(content) - known)
    if unknown:
        raise FaultError(
            f"Unknown fields: {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )
    if content.get("kind") not in KINDS:
        raise FaultError(f"kind must be one of {', '.join(sorted(KINDS))}.")
    if content.get("source") not in (None, "coingecko", "finnhub"):
        raise FaultError("source must be coingecko or finnhub.")
    if content.get("body", "default") not in BODIES:
        raise FaultError(f"body must be one of {', '.join(sorted(BODIES))}.")
    for name in ("seconds", "calls", "delay_s", "bytes_per_s", "size_bytes", "status"):
        value = content.get(name)
        if name in content and not (value is None or (_is_number(value) and value >= 0)):
            raise FaultError(f"{name} must be a number from 0.")
    return Fault(**content, began=began, market_time=market_time)


def replaced(fault: Fault, source: str, url: str, now: float) -> Reply | None:
    """Return the answer that stands in the place of the right one, or None."""
    match fault.kind:
        case "status":
            return _status_reply(fault, source, now)
        case "html":
            return Reply(200, _HTML, {"content-type": "text/html; charset=UTF-8"})
        case "empty":
            return Reply(200, b"", {"content-type": "application/json; charset=utf-8"})
        case "redirect_loop":
            return Reply(302, b"", {"location": url, "content-type": "text/html"})
    return None


def spoiled(fault: Fault, reply: Reply) -> Reply:
    """Return a right answer with its values made wrong; anything else as it is."""
    if fault.kind not in _SPOILING_KINDS or reply.status != 200:
        return reply
    content = json.loads(reply.body)
    if fault.kind == "bad_bars":
        body = encoded(_bad_bars(content))
    else:
        body = encoded(_walk(content, _WRONG[fault.kind], fault, inside=not fault.only))
    headers = {name: value for name, value in reply.headers.items() if name != "etag"}
    return Reply(reply.status, body, headers)


def _status_reply(fault: Fault, source: str, now: float) -> Reply:
    reply = _body_of(fault, source, now)
    if fault.retry_after is not None:
        reply.headers["retry-after"] = str(fault.retry_after)
    return reply


def _body_of(fault: Fault, source: str, now: float) -> Reply:
    status, text = fault.status, fault.text or "Something went wrong"
    told = {"timestamp": iso(now), "error_code": status, "error_message": text}
    shapes: dict[str, Any] = {
        "status": {"status": told},
        "nested": {"error": {"status": told}},
        "top": {"error_code": status, "status": {"error_message": text}},
        "string": {"error": text},
        "int": {"status": status, "error": text},
    }
    if fault.body in shapes:
        return json_reply(status, shapes[fault.body])
    if fault.body == "text":
        return Reply(status, text.encode(), {"content-type": "text/plain; charset=utf-8"})
    if fault.body == "empty":
        return Reply(status, b"", {})
    if fault.body == "html" or status >= 500:
        return Reply(status, _HTML, {"content-type": "text/html; charset=UTF-8"})
    if status == 429:
        if source == "coingecko":
            return coingecko.rate_limited(None)
        return finnhub.rate_limited(60, int(now) + 60)
    return json_reply(status, shapes["status" if source == "coingecko" else "string"])


_WRONG: Mapping[str, Callable[[float], Any]] = {
    "wrong_types": lambda _: "n/a",
    "nulls": lambda _: None,
    "negative": lambda value: -abs(value) or -1,
    "absurd": lambda value: value * 1e12,
    "not_finite": lambda _: float("nan"),
}


def _walk(content: Any, wrong: Callable[[float], Any], fault: Fault, *, inside: bool) -> Any:
    """Return the content with each value made wrong; stamps and ranks are left alone.

    `inside` tells whether this part is among the rows and fields to spoil.
    """
    if isinstance(content, dict):
        row = inside or content.get("id") in fault.only or content.get("symbol") in fault.only
        return {
            name: _walk(value, wrong, fault, inside=row or name in fault.only)
            if _is_spoilt(name, value, fault)
            else value
            for name, value in content.items()
        }
    if isinstance(content, list):
        first = content[:1] if _is_point(content) else []
        rest = content[len(first) :]
        return first + [_walk(value, wrong, fault, inside=inside) for value in rest]
    return wrong(content) if inside and _is_number(content) else content


def _is_spoilt(name: str, value: Any, fault: Fault) -> bool:
    if name in _KEPT:
        return False
    return not fault.names or name in fault.names or isinstance(value, dict)


def _bad_bars(content: Any) -> Any:
    """Put every third candle's close above its high, in either source's form."""
    if isinstance(content, dict) and {"c", "h"} <= content.keys():
        if isinstance(content["c"], list):
            for number in range(0, len(content["c"]), 3):
                content["c"][number] = content["h"][number] * 1.5
        else:
            content["c"] = content["h"] * 1.5
    elif isinstance(content, list):
        for row in content[::3]:
            if isinstance(row, list) and len(row) == 5:
                row[4] = row[2] * 1.5
    return content


def _is_point(content: list[Any]) -> bool:
    """Whether a list is a moment in milliseconds with values behind it."""
    return len(content) > 1 and _is_number(content[0]) and content[0] > 1e11


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
