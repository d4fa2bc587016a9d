"""The command line of `make bench`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.__main__ import commit, load_settings, machine


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", default="", help="some rows, like known,gzip (ROWS)")
    parser.add_argument("--rounds", default="", help="interleaved rounds, 3 if empty (ROUNDS)")
    parser.add_argument("--no-page", action="store_true", help="leave docs/ alone")
    chosen = parser.parse_args()
    load_settings()
    from bench.http import page
    from bench.http.rows import ROWS
    from bench.http.servers import servers
    from bench.row import How
    from tests.product import Product

    names = chosen.rows.split(",") if chosen.rows else list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        sys.exit(f"There is no row {', '.join(unknown)}; there are {', '.join(ROWS)}.")
    how = How(rounds=int(chosen.rounds or 3))
    try:
        measured = commit() if chosen.no_page else page.commit()
    except page.UncommittedError as exc:
        sys.exit(f"The page names commits that can be checked out ({exc}). Or: NO_PAGE=1.")
    facts = f"{datetime.now(UTC):%Y-%m-%d %H:%M}, {measured}, {machine()}, {how.rounds} rounds"
    has_missed = False
    for name in names:
        print(f"{name} (load {os.getloadavg()[0]:.1f}):", flush=True)
        begun = time.monotonic()
        load = f"load {os.getloadavg()[0]:.1f} before it"
        folder = Path(tempfile.mkdtemp(prefix="lokifi-bench-"))
        with Product(folder) as product, servers(product) as at:
            row = ROWS[name](how, at)
        for what, value, reached in row.marks:
            print(f"  {what:<70} {value:>16}   {'reached' if reached else 'MISSED'}", flush=True)
        for line in (*page.table(row), *row.notes):
            print(f"  {line}")
        print(f"  took {time.monotonic() - begun:.0f} s", flush=True)
        has_missed = has_missed or not all(reached for _, _, reached in row.marks)
        if not chosen.no_page:
            page.put(name, row, f"{facts}, {load}")
    return int(has_missed)


if __name__ == "__main__":
    sys.exit(main())
