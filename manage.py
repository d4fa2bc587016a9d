#!/usr/bin/env python
"""Django's command line for this project."""

from __future__ import annotations

import os
import sys

OURS = {"lokifi", "prices", "streaming"}


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever starts it by hand with an older one)
        sys.exit("Python 3.11 or later is needed.")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lokifi.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line

        from lokifi.development import settle

        try:
            settle(sys.argv[1] if len(sys.argv) > 1 else "help")
            execute_from_command_line(sys.argv)
        except ImproperlyConfigured as exc:
            fail(f"{exc} (docs/settings.md lists the settings.)")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] in OURS:
            raise
        fail(f"{exc.name} is not installed here: pip install -r requirements.txt, or `make run`.")


def fail(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
