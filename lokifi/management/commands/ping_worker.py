"""Whether a worker takes tasks; for a container's health check."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError

from lokifi import parts


class Command(BaseCommand):
    help = "Ask the workers of this broker for a sign of life; fail where there is none."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if not parts.worker_answers(settings.CELERY_BROKER_URL):
            raise CommandError("No worker answers.")
