"""The command line of `make chaos`."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from tests.processes import ROOT

SERVERS = ("daphne", "uvicorn")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--only", default="", help="scenarios, like T2 or T2,T9 (ONLY)")
    parser.add_argument("--server", default="", help="daphne or uvicorn; both if empty (SERVER)")
    parser.add_argument("--scale", default="default", help="short, default or full (CHAOS_SCALE)")
    parser.add_argument("--no-page", action="store_true", help="leave docs/reliability.md alone")
    chosen = parser.parse_args()
    chosen.scale = chosen.scale or "default"
    return chosen


def load_settings() -> None:
    """Give this process settings: the parts' command lines are made of them."""
    os.environ.update(
        {
            "DJANGO_SETTINGS_MODULE": "lokifi.settings",
            "ENV_FILE": "/dev/null",
            "SECRET_KEY": "only-for-tests",
            "UPSTREAM": "sandbox",
            "VAR_DIR": str(ROOT / "var"),
        }
    )
    import django

    django.setup()
    # There is no Redis for this process itself.
    logging.disable(logging.WARNING)


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def commit() -> str:
    """Return the short name of what is checked out; with a + where files differ from it."""
    words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def runs(only: str, server: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each scenario's number and the servers that are up at once."""
    from tests.chaos.scenario import SCENARIOS

    names = [name for name in only.upper().split(",") if name] or list(SCENARIOS)
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown or server not in {"", *SERVERS}:
        sys.exit(f"ONLY is one of {', '.join(SCENARIOS)}, SERVER one of {', '.join(SERVERS)}.")
    chosen = (server,) if server else SERVERS
    for name in sorted(names, key=lambda name: int(name[1:])):
        if SCENARIOS[name].is_about_publishing and not server:
            yield name, SERVERS
        else:
            yield from ((name, (one,)) for one in chosen)


def main() -> int:
    chosen = arguments()
    load_settings()
    import tests.chaos.scenarios  # noqa: F401 (fills the table)
    from tests.chaos import page
    from tests.chaos.running import measure, show
    from tests.chaos.scenario import SCENARIOS

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    has_missed = False
    for name, servers in runs(chosen.only, chosen.server):
        one = SCENARIOS[name]
        server = servers[0] if len(servers) == 1 else "both"
        print(f"{name} {one.title} ({server})", flush=True)
        begin = time.monotonic()
        figures = measure(one, servers, chosen.scale)
        show(figures)
        print(f"  took {time.monotonic() - begin:.0f} s", flush=True)
        result = page.Result(
            id=name,
            server=server,
            scale=chosen.scale,
            size=str(one.size(chosen.scale)),
            at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            command=f"make chaos ONLY={name}" + _scaled(chosen.scale),
            machine=machine(),
            commit=commit(),
            figures=figures,
        )
        has_missed = has_missed or not result.passed
        results = page.keep(result)
        if not chosen.no_page:
            page.write(results)
    return int(has_missed)


def _scaled(scale: str) -> str:
    return "" if scale == "default" else f" CHAOS_SCALE={scale}"


if __name__ == "__main__":
    sys.exit(main())
