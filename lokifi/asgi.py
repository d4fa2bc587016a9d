"""What every server serves: HTTP by Django, WebSockets by streaming."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lokifi.settings")

# First: it sets Django up, which what follows needs.
django = get_asgi_application()

from streaming.routing import application as websockets  # noqa: E402

application = ProtocolTypeRouter({"http": django, "websocket": websockets})
