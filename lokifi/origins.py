"""Which web pages may open a WebSocket.

The stock validator turns away every client that is no browser. The feed is
public and reads no cookie, so a missing Origin is let in; one that is there
must be our own page, a page named by setting or, in development, any page of
this machine.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    WebSocketCloseEvent,
    WebSocketScope,
)
from django.conf import settings
from django.http.request import split_domain_port, validate_host

_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}


class OriginGuard:
    """Refuse the handshake (403) to pages that may not listen."""

    def __init__(self, inner: ASGI3Application) -> None:
        self._inner = inner

    async def __call__(
        self, scope: WebSocketScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1")
        if origin and not may_listen(origin, host):
            await refuse(scope, receive, send)
            return
        await self._inner(scope, receive, send)


async def refuse(
    _scope: WebSocketScope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Answer a handshake with 403."""
    await receive()
    await send(WebSocketCloseEvent(type="websocket.close", code=1008, reason=None))


def may_listen(origin: str, host: str) -> bool:
    """Return whether a page of `origin` may open a socket to us, whom it calls `host`."""
    origin, host = origin.lower(), host.lower()
    if origin in {name.lower() for name in settings.WS_ALLOWED_ORIGINS}:
        return True
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not name:
        return False
    if settings.DEBUG and name in _THIS_MACHINE:
        return True
    # Our own page. The name is checked too: a foreign one may be made to point here.
    domain, _port = split_domain_port(host)
    return parts.netloc == host and validate_host(domain, settings.ALLOWED_HOSTS)
