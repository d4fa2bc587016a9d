"""The command line of `make bench-stream`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from datetime import UTC, datetime

from tests.chaos.__main__ import commit, load_settings, machine


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-stream", description=__doc__)
    parser.add_argument("--rows", default="", help="some rows, like crowd,half (ROWS)")
    parser.add_argument("--rounds", default="", help="interleaved rounds, 3 if empty (ROUNDS)")
    parser.add_argument("--part", default="", help="part of the clients, for a try (PART)")
    parser.add_argument("--no-page", action="store_true", help="leave docs/performance.md alone")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    load_settings()
    from bench import page
    from bench.row import How
    from bench.rows import ROWS

    names = chosen.rows.split(",") if chosen.rows else list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        sys.exit(f"There is no row {', '.join(unknown)}; there are {', '.join(ROWS)}.")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    how = How(rounds=int(chosen.rounds or 3), part=float(chosen.part or 1))
    has_missed = False
    for name in names:
        print(f"{name}:", flush=True)
        begin, busy = time.monotonic(), os.getloadavg()[0]
        row = ROWS[name](how)
        for what, value, reached in row.marks:
            print(f"  {what:<70} {value:>16}   {'reached' if reached else 'MISSED'}", flush=True)
        print(f"  took {time.monotonic() - begin:.0f} s", flush=True)
        has_missed = has_missed or not all(reached for _, _, reached in row.marks)
        part = f" PART={chosen.part}" if chosen.part else ""
        facts = {
            "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "commit": commit(),
            "command": f"make bench-stream ROWS={name}{part}",
            "machine": machine(),
            "rounds": row.rounds,
            "load": round(busy, 1),
        }
        rows = page.keep(name, row, facts)
        if not chosen.no_page:
            page.write(rows, list(ROWS))
    return int(has_missed)


if __name__ == "__main__":
    sys.exit(main())
