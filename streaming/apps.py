"""The streaming application: sockets and the tick."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

from streaming.layer import log_outages_once


class StreamingConfig(AppConfig):
    name = "streaming"
    verbose_name = "Streaming"

    def ready(self) -> None:
        import_module("streaming.checks")
        log_outages_once()
