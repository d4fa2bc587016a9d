"""Where the WebSocket is. lokifi/asgi.py serves `application`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from asgiref.sync import markcoroutinefunction

from streaming.consumers import PriceConsumer
from streaming.events import route_of
from streaming.origins import OriginGuard, deny

_PATH = "api/ws/prices"

_prices = PriceConsumer.as_asgi()


@markcoroutinefunction
def by_path(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    """Hand a WebSocket to whom its path belongs; any other is refused like a wrong page.

    Not by Channels' routers: each keeps a coroutine and a copy of the scope for as long as
    the connection lives, and matches patterns for it.
    """
    is_prices = route_of(scope).lstrip("/") == _PATH
    return (_prices if is_prices else deny)(scope, receive, send)


application = OriginGuard(by_path)
