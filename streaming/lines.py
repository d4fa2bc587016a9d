"""Which way to a subscriber is the fastest that this server has; nobody has to say so."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from streaming.feed import Line
from streaming.plain import PlainLine

# By the module of the connection's class, so that no server's code is loaded for another's.
_WAYS = {
    "uvicorn.protocols.websockets.websockets_sansio_impl": "streaming.uvicorn",
    "daphne.ws_protocol": "streaming.daphne",
}


def line_of(send: Any, ended: Callable[[], None]) -> Line:
    """Return a line on the accepted connection behind an ASGI `send`.

    `ended` is called where the application has to end, since its server would not say so.
    """
    # uvicorn gives a method of the connection, daphne a partial with it.
    connection = getattr(send, "__self__", None) or next(iter(getattr(send, "args", ())), None)
    way = _WAYS.get(type(connection).__module__)
    found: Line | None = import_module(way).line(connection) if way else None
    return found or PlainLine(send, ended)
