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
    times          prices `factor` times as high, and what goes with them
    repeats        `value` where numbers belong: a price that stands still while its time moves
    not_finite     NaN where numbers belong, which is no JSON
    bad_bars       candles whose close lies above their high
    frozen         the market stands still from the moment the fault is set
    huge           an answer of `size_bytes`
    redirect_loop  302 to the same address

A fault lasts for `seconds` or for a number of `calls`, or until it is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import count
from typing import Any

from prices.sandbox.sources import FAULTY, SOURCES
from prices.sandbox.spoiling import SPOILING_KINDS
from prices.sandbox.wire import Reply, iso, json_reply

TRANSPORT_KINDS = frozenset({"delay", "slow_drip", "reset", "truncated", "huge"})
KINDS = TRANSPORT_KINDS | SPOILING_KINDS | {"status", "html", "empty", "frozen", "redirect_loop"}
BODIES = frozenset({"default", "status", "nested", "top", "string", "int", "html", "empty", "text"})

_HTML = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    b"<body><h1>Sorry, something went wrong</h1><p>error code: 1015</p></body></html>"
)
_NUMBERS = ["seconds", "calls", "status", "delay_s", "bytes_per_s", "size_bytes", "factor", "value"]
_numbers = count(1)


class FaultError(ValueError):
    """A fault was described wrongly; the message says how."""


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, where, and for how long."""

    kind: str
    source: str | None = None  # one of FAULTY; every one where it is None
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
    factor: float = 2.0
    value: float = 1.0
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
    if content.get("source") not in (None, *FAULTY):
        raise FaultError(f"source must be one of {', '.join(FAULTY)}.")
    if content.get("body", "default") not in BODIES:
        raise FaultError(f"body must be one of {', '.join(sorted(BODIES))}.")
    for name in _NUMBERS:
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
    reply = SOURCES[source].failure(status, text)
    if source == "coingecko" and status != 429:
        return json_reply(status, shapes["status"])
    # The cached refusals of a source are its own: ours may get a header more.
    return Reply(reply.status, reply.body, dict(reply.headers))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
