"""The command lines of `make bench-page` and `make screenshots`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.__main__ import commit, load_settings, machine

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.lokifi.site import Site


@contextmanager
def running() -> Iterator[tuple[Site, Browser]]:
    """Yield a product that ticks once a second, and a browser."""
    load_settings()
    from playwright.sync_api import sync_playwright

    from tests.lokifi.site import Site

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("There is no chromium on PATH.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        site = Site(Path(folder))
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            with site.product:
                yield site, browser
        finally:
            browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.dashboard", description=__doc__)
    parser.add_argument("what", choices=["figures", "screenshots"])
    parser.add_argument("--rounds", type=int, default=5, help="fresh browsers a view (ROUNDS)")
    parser.add_argument("--no-page", action="store_true", help="leave docs/ alone")
    chosen = parser.parse_args()
    from bench.dashboard import figures, screenshots

    with running() as (site, browser):
        if chosen.what == "screenshots":
            screenshots.take(site, browser)
            return 0
        made = figures.measure(site, browser, chosen.rounds)
    facts = f"{datetime.now(UTC):%Y-%m-%d %H:%M}, {commit()}, {machine()}, {chosen.rounds} rounds"
    facts += f", load {os.getloadavg()[0]:.1f}"
    text = figures.page(made, facts)
    print(text)
    if not chosen.no_page:
        figures.PAGE.write_text(text)
    return 0 if all(view.is_good for view in made) else 1


if __name__ == "__main__":
    sys.exit(main())
