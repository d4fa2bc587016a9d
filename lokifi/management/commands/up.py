"""Start everything, supervise it, stop it as one."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand

from lokifi import parts
from lokifi.development import CannotStartError, only_one
from lokifi.embedded import EmbeddedServerError
from lokifi.product import Product

EXIT_REFUSED = 2


class Command(BaseCommand):
    help = "Start Redis, the sandbox, the web server, the worker and beat as one."
    requires_system_checks = ()  # `prepare` runs them, once Redis is there

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = settings.HOST, settings.PORT
        try:
            with only_one(settings.VAR_DIR):
                parts.demand_free(host, port)
                sys.exit(Product(parts.web(host, port), host, port).run())
        except (CannotStartError, EmbeddedServerError) as exc:
            self.stderr.write(str(exc))
            sys.exit(EXIT_REFUSED)
