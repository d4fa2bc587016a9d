"""Which way to a subscriber is the fastest that this server has; nobody has to say so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

from streaming.feed import Line
from streaming.hearing import Counted
from streaming.plain import PlainLine

# By the module of the connection's class, so that no server's code is loaded for another's.
_WAYS = {
    "uvicorn.protocols.websockets.websockets_sansio_impl": "streaming.uvicorn",
    "streaming.uvicorn": "streaming.uvicorn",
    "streaming.upgrade": "streaming.uvicorn",
    "daphne.ws_protocol": "streaming.daphne",
}


def line_of(send: Any, ended: Callable[[], None], counted: Counted) -> Line:
    """Return a line on the accepted connection behind an ASGI `send`.

    `ended` is called where the application has to end, since its server would not say so;
    `counted` when frames came that the server itself deals with, where that can be known.
    """
    connection = _connection(send)
    way = _way(type(connection).__module__)
    found: Line | None = way.line(connection, counted) if way else None
    return found or PlainLine(send, ended)


def _connection(send: Any) -> Any:
    # uvicorn gives a method of the connection, daphne a partial with it.
    return getattr(send, "__self__", None) or next(iter(getattr(send, "args", ())), None)


@functools.cache
def _way(server: str) -> Any:
    """Return the module of ours for connections of a server's module; None where there is none."""
    return import_module(_WAYS[server]) if server in _WAYS else None
