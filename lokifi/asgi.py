"""What every server serves: what is known at once, else HTTP by Django; streams by streaming."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import markcoroutinefunction
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lokifi.settings")

from lokifi import handler

# First: it sets Django up, which what follows needs.
try:
    django = handler.application()
except ImproperlyConfigured as exc:
    sys.exit(f"{exc} (docs/settings.md lists the settings.)")

from lokifi.collector import tune
from lokifi.front import in_front_of
from lokifi.headers import BoundedHeaders
from prices import sessions
from prices.mode import claim_or_exit
from streaming.events import EventStreams
from streaming.routing import application as websockets
from streaming.stopping import heed_no_failure_yet

claim_or_exit()
heed_no_failure_yet()
# New York's calendar takes most of a second to load: not at some subscriber's cost.
sessions.next_session(datetime.now(UTC))
requests = EventStreams(in_front_of(django, refusing=django), preparing=django)


@markcoroutinefunction
def by_protocol(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    """Hand over what speaks HTTP or WebSocket. Raises ValueError for anything else.

    A server that tells of its own beginning and end takes that as nobody listening.
    """
    if scope["type"] == "http":
        return requests(scope, receive, send)
    if scope["type"] == "websocket":
        return websockets(scope, receive, send)
    raise ValueError(f"Nothing here speaks {scope['type']}.")


application = BoundedHeaders(by_protocol)
tune()
