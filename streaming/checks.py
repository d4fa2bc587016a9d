"""What `manage.py check` finds wrong with the streaming settings before a client does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

_LAYER = "streaming.layer.PatientLayer"


@register()
def settings_agree(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.WS_DEAD_AFTER_S <= settings.WS_HEARTBEAT_S:
        found.append(
            Error(
                "WS_DEAD_AFTER_S must be longer than WS_HEARTBEAT_S.",
                hint="Clients give a connection up after WS_DEAD_AFTER_S without a message; "
                "three heartbeats are usual.",
                id="streaming.E001",
            )
        )
    backend = settings.CHANNEL_LAYERS.get("default", {}).get("BACKEND")
    if backend != _LAYER:
        found.append(
            Warning(
                f"The hub was made for {_LAYER}, not {backend}.",
                hint="The core layer closes sockets when Redis goes away (docs/websocket.md).",
                id="streaming.W001",
            )
        )
    return found
