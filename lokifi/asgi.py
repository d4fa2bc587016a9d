"""What every server serves: HTTP by Django, WebSockets by streaming."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lokifi.settings")

# First: it sets Django up, which what follows needs.
django = get_asgi_application()

from lokifi.origins import OriginGuard, refuse  # noqa: E402
from streaming.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django,
        "websocket": OriginGuard(URLRouter([*websocket_urlpatterns, re_path(r"", refuse)])),
    }
)
