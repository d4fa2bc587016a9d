"""`manage.py sandbox`: the market of our own, alone."""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from prices.sandbox.desk import Desk
from prices.sandbox.server import serve
from prices.sandbox.wire import Plan


class Command(BaseCommand):
    """Serve the sandbox market until told to stop."""

    help = "Serve a market of our own that answers like the sources of prices."
    # It needs neither database nor Redis: a broken one of these must not keep it from starting.
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8090)
        parser.add_argument("--plan", choices=[plan.value for plan in Plan])

    def handle(self, *args: Any, **options: Any) -> None:
        plan = Plan(options["plan"] or settings.SANDBOX_PLAN)
        try:
            asyncio.run(self._serve(plan, options["host"], options["port"]))
        except OSError as exc:
            where = f"{options['host']}:{options['port']}"
            raise CommandError(f"The sandbox cannot listen on {where}: {exc.strerror}.") from exc

    async def _serve(self, plan: Plan, host: str, port: int) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        def listening(host: str, port: int) -> None:
            self.stdout.write(f"sandbox market on http://{host}:{port}, plan {plan.value}")
            self.stdout.flush()

        await serve(Desk(plan), host, port, listening, stop)
