"""The shortest way out under uvicorn with httptools: ready bytes, straight to the connection.

uvicorn looks each header through with two patterns for each answer, which takes
longer than all the rest we do; ours were looked through when they were kept. Only
what it does at the end of a plain answer is done here, and only in the plain case: a
connection that stays, takes more, and whose requests nobody logs. Any other server,
version or state gets the same answer by ASGI.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from lokifi.frontcache.rules import Header

_CYCLE = "uvicorn.protocols.http.httptools_impl"
_NEEDED = frozenset(
    {
        *("access_log", "default_headers", "disconnected", "flow", "keep_alive"),
        *("message_event", "on_response", "response_complete", "response_started"),
        *("transport", "waiting_for_100_continue"),
    }
)
_STATUS = {200: b"HTTP/1.1 200 OK\r\n", 304: b"HTTP/1.1 304 Not Modified\r\n"}
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# Up to here one write with a copy of the body is cheaper than two.
_JOINED = 32 * 1024
_is_known: dict[type, bool] = {}


def lines(headers: list[Header]) -> bytes:
    """Return headers as they are sent; empty where one of them may not be."""
    if any(_FORBIDDEN.search(name) or _FORBIDDEN.search(value) for name, value in headers):
        return b""
    return joined(headers)


def joined(headers: list[Header]) -> bytes:
    """Return headers of our own making as they are sent."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def connection_of(send: object) -> Any | None:
    """Return uvicorn's request behind an ASGI `send`, where it may be answered directly."""
    cycle: Any = getattr(send, "__self__", None)
    kind = type(cycle)
    is_known = _is_known.get(kind)
    if is_known is None:
        is_known = _is_known[kind] = _has_all(cycle)
    if (
        not is_known
        or cycle.access_log
        or cycle.disconnected
        or not cycle.keep_alive
        or cycle.flow.write_paused
        or cycle.response_started
    ):
        return None
    return cycle


def _has_all(cycle: Any) -> bool:
    module = sys.modules.get(_CYCLE)
    if module is None or type(cycle) is not getattr(module, "RequestResponseCycle", None):
        return False
    return vars(cycle).keys() >= _NEEDED and hasattr(cycle.flow, "write_paused")


def answer(cycle: Any, status: int, head: bytes, extra: list[Header], body: bytes) -> None:
    """Send one whole answer and let uvicorn go on to the next request."""
    parts = [_STATUS[status]]
    for name, value in cycle.default_headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(head)
    for name, value in extra:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    if len(body) <= _JOINED:
        parts.append(body)
        cycle.transport.write(b"".join(parts))
    else:
        cycle.transport.write(b"".join(parts))
        cycle.transport.write(body)
    cycle.response_complete = True
    cycle.message_event.set()
    cycle.on_response()
