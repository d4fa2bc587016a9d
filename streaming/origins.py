"""Which pages may open the WebSocket.

The feed is public and reads no cookie, so a client without an Origin (anything
but a browser) is let in. A page must be of this host, of a developer's machine
while DEBUG is on, or be listed in WS_ALLOWED_ORIGINS.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from asgiref.sync import markcoroutinefunction
from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from django.conf import settings
from django.http.request import split_domain_port, validate_host

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_LOCAL = {"localhost", "127.0.0.1", "::1"}


class OriginGuard:
    """Refuses a handshake from a page that is not allowed; ASGI servers answer 403."""

    def __init__(self, application: ASGI3Application) -> None:
        self._application = application

    @markcoroutinefunction
    def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Awaitable[None]:
        # Not a coroutine of its own, which would live as long as the connection.
        fields: dict[bytes, bytes] = dict(cast("Any", scope).get("headers", ()))
        page = fields.get(b"origin")
        if page is None:
            return self._application(scope, receive, send)
        is_let_in = is_allowed(page.decode("latin1"), fields.get(b"host", b"").decode("latin1"))
        return (self._application if is_let_in else deny)(scope, receive, send)


async def deny(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Refuse a handshake."""
    await receive()
    await send({"type": "websocket.close", "code": 1000, "reason": None})


def is_allowed(origin: str | None, host: str) -> bool:
    """Return whether a page of `origin` may connect to the server addressed as `host`."""
    if origin is None:
        return True
    allowed = {entry.lower().rstrip("/") for entry in settings.WS_ALLOWED_ORIGINS}
    if "*" in allowed or origin.lower() in allowed:
        return True
    page = _parsed(origin)
    if page is None:
        return False
    if settings.DEBUG and page.hostname in _LOCAL:
        return True
    return _is_own(page, host)


def _parsed(origin: str) -> SplitResult | None:
    """Return the parts of an origin that is `scheme://host[:port]` and nothing more."""
    try:
        parts = urlsplit(origin)
        is_plain = parts.hostname and origin.lower() == f"{parts.scheme}://{parts.netloc}".lower()
        if parts.scheme not in _DEFAULT_PORTS or not is_plain or "@" in parts.netloc:
            return None
        parts.port  # noqa: B018 (raises ValueError where it is no port)
    except ValueError:
        return None
    return parts


def _is_own(page: SplitResult, host: str) -> bool:
    name, port = split_domain_port(host)
    if not name or not validate_host(name, settings.ALLOWED_HOSTS):
        return False
    # Behind a proxy that ends TLS we do not know our own scheme: the page's counts.
    default = _DEFAULT_PORTS[page.scheme]
    return (name.strip("[]"), int(port or default)) == (page.hostname, page.port or default)
