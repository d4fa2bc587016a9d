"""Django's runserver (daphne's), with everything else the product needs beside it."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser
from typing import Any

from daphne.management.commands.runserver import Command as DaphneRunserver
from django.conf import settings
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from lokifi import parts
from lokifi.development import (
    SUPERVISED,
    AlreadyRunningError,
    CannotStartError,
    only_one,
    running_notes,
)
from lokifi.embedded import EmbeddedServerError
from lokifi.leash import die_with_parent
from lokifi.product import Product
from lokifi.supervisor import Lines, Part

EXIT_REFUSED = 2
_OTHER_STARTS_WITHIN_S = 30
_RELOADER = "LOKIFI_RELOADER_PID"


class Command(DaphneRunserver):  # type: ignore[misc]  # daphne has no types
    """The server itself runs in a child, so that a reload restarts it and nothing else."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        self.default_port = str(settings.PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        if os.environ.get(SUPERVISED):
            _hold_on_to_reloader()
            super().handle(*args, **options)
            return
        try:
            with only_one(settings.VAR_DIR):
                host, port = _address(options.get("addrport"))
                sys.exit(Product(self._web(), host, port).run())
        except AlreadyRunningError as exc:
            self._beside(exc, *args, **options)
        except (CannotStartError, EmbeddedServerError) as exc:
            self.stderr.write(str(exc))
            sys.exit(EXIT_REFUSED)

    def _web(self) -> Part:
        # Up at once: what it has to say, a person reads; a failed start ends it.
        return Part(
            name="web",
            command=parts.manage(*sys.argv[1:]),
            answers=_always,
            stop_within_s=2.2,
            in_foreground=True,
        )

    def _beside(self, refusal: AlreadyRunningError, *args: Any, **options: Any) -> None:
        """Serve with the Redis, the sandbox and the worker that run here already."""
        deadline = time.monotonic() + _OTHER_STARTS_WITHIN_S
        while not (notes := running_notes(settings.VAR_DIR)):
            if time.monotonic() > deadline:
                self.stderr.write(str(refusal))
                sys.exit(EXIT_REFUSED)
            time.sleep(0.2)
        self.stdout.write(f"Using what process {notes['pid']} runs in this checkout.")
        os.environ.update(
            {
                SUPERVISED: "1",
                "REDIS_URL": notes["redis_url"],
                "CELERY_BROKER_URL": notes["broker_url"],
                "UPSTREAM": notes["upstream"],
                "SANDBOX_URL": notes["sandbox_url"],
            }
        )
        # Anew, since the settings of this process were read before they were known.
        os.execv(sys.executable, parts.manage(*sys.argv[1:]))  # noqa: S606


def _hold_on_to_reloader() -> None:
    """Let the server end with Django's reloader, which starts it without a leash."""
    if os.environ.get(DJANGO_AUTORELOAD_ENV) == "true":
        # Not whoever is the parent by now: the reloader may be gone already.
        die_with_parent(int(os.environ[_RELOADER]))
    else:
        os.environ[_RELOADER] = str(os.getpid())


def _always(_lines: Lines) -> bool:
    return True


def _address(addrport: str | None) -> tuple[str, int]:
    """Return host and port as runserver will read them; it explains itself what is wrong."""
    host, _, port = (addrport or str(settings.PORT)).rpartition(":")
    return host or settings.HOST, int(port) if port.isdecimal() else settings.PORT
