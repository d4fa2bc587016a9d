"""How much a request's headers may be, in front of everything else.

uvicorn with httptools takes headers of any length, and whoever reads one part by part
in the event loop holds up every other request and every socket of the process.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest

from lokifi.frontcache.cache import below_root
from lokifi.frontcache.rules import Header
from prices.problems import problem

Scope = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

MAX_BYTES = 32 * 1024
# Each line has a colon, a space and an end: so many empty ones are a lot too.
_OF_A_LINE = 4


class BoundedHeaders:
    """Requests with headers of reasonable length go on to `app`; the others are refused with 431.

    A WebSocket is refused before it is accepted, which servers answer with 403.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    @markcoroutinefunction
    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        # Not a coroutine of its own, which would live as long as a connection.
        # There are no headers in the scope of a server's start and end.
        if _size(scope.get("headers", ())) <= MAX_BYTES:
            return self._app(scope, receive, send)
        refuse = _refuse if scope["type"] == "http" else _refuse_websocket
        return refuse(scope, send)


def _size(headers: Collection[Header]) -> int:
    size = _OF_A_LINE * len(headers)
    for name, value in headers:
        size += len(name) + len(value)
    return size


async def _refuse_websocket(_scope: Scope, send: Any) -> None:
    await send({"type": "websocket.close", "code": 1009})


async def _refuse(scope: Scope, send: Any) -> None:
    """Answer with a problem; the middlewares of Django would read what is refused here."""
    request = HttpRequest()
    request.path = scope["path"]
    request.path_info = below_root(scope)
    request.request_id = uuid.uuid4().hex  # type: ignore[attr-defined]
    detail = f"All headers together may have {MAX_BYTES} bytes."
    response = problem(request, 431, "headers_too_large", detail)
    response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
    response["Content-Length"] = str(len(response.content))
    raw = [(n.lower().encode(), v.encode("latin-1")) for n, v in response.items()]
    body = b"" if scope["method"] == "HEAD" else response.content
    await send({"type": "http.response.start", "status": response.status_code, "headers": raw})
    await send({"type": "http.response.body", "body": body})
