"""Where the WebSocket is. lokifi/asgi.py serves `application`."""

from __future__ import annotations

from typing import Any, cast

from channels.routing import URLRouter
from django.urls import path, re_path

from streaming.consumers import PriceConsumer
from streaming.origins import OriginGuard, deny

# Typed by hand: the stubs know paths to views only.
websocket_urlpatterns: list[Any] = [
    path("api/ws/prices", cast("Any", PriceConsumer.as_asgi())),
    # Any other path is refused like a wrong page, rather than with a stack trace.
    re_path("", cast("Any", deny)),
]
application = OriginGuard(URLRouter(websocket_urlpatterns))
