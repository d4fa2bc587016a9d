"""The streaming application: sockets and the tick."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class StreamingConfig(AppConfig):
    name = "streaming"
    verbose_name = "Streaming"

    def ready(self) -> None:
        import_module("streaming.checks")
