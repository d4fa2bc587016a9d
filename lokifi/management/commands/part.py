"""Become one part of the product: what containers run, with the flags that `up` uses."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandParser

from lokifi import parts


class Command(BaseCommand):
    help = "Run the web server, the worker or beat, in place of this process."
    requires_system_checks = ()  # the part makes its own

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", choices=["web", "worker", "beat"])

    def handle(self, *args: Any, **options: Any) -> None:
        started = {
            "web": lambda: parts.web(settings.HOST, settings.PORT),
            "worker": lambda: parts.worker(settings.CELERY_BROKER_URL),
            "beat": parts.beat,
        }
        command = list(started[options["name"]]().command)
        os.execv(command[0], command)  # noqa: S606
