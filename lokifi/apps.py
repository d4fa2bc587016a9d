"""The project as an app: its commands, and Celery for whoever sends a task."""

from __future__ import annotations

import time
from importlib import import_module

from django.apps import AppConfig

# When this process started, on the clock that only goes forward.
STARTED = time.monotonic()


class LokifiConfig(AppConfig):
    name = "lokifi"

    def ready(self) -> None:
        # A process that sends tasks needs the app that knows the broker.
        import_module("lokifi.celery")
