"""What a follower of server-sent events costs, beside one of the WebSocket: `make bench-events`.

The same symbols, ticks and server processes for both; rounds are interleaved, each
from a fresh start, and the medians go to docs/performance-events.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.__main__ import commit, load_settings, machine
from tests.processes import ROOT

if TYPE_CHECKING:
    from bench.row import Row
    from tests.chaos.stage import Stage

PAGE = ROOT / "docs" / "performance-events.md"
# What the line does beyond the WebSocket's: a chunk's size and an id, some 60 bytes of 3,500.
MOST_TIMES_A_SOCKET = 1.25
_HEAD = """# What a follower of server-sent events costs

Written by `make bench-events`. One process of ours serves so many followers of
[the stream of events](events.md), and, from another fresh start, as many of the
[WebSocket](websocket.md), with the same symbols and ticks. Rounds are interleaved; the figures are
medians. CPU is the server process's own, as the kernel counts it. Clients share the machine's
cores, so times are theirs too; [performance.md](performance.md) tells what they count.
"""
_WAYS = {"events": "http", "WebSocket": "ws"}
_WRONG = ("failed", "lost", "wrong", "incomplete")


def measure(clients: int, rounds: int) -> Row:
    from bench.row import INTERVAL_S, Row, stage
    from bench.rows import fed

    about = f"{clients:,} followers, 10 of 200 symbols, a tick every {INTERVAL_S} s"
    row = Row(f"{clients:,} followers", about)
    found: dict[str, list[dict[str, float]]] = {}
    with stage() as made, fed(made, 200) as names:
        for _ in range(rounds):
            for server in ("uvicorn", "daphne"):
                for way in _WAYS:
                    result = one_round(made, names, server, way, clients)
                    print(f"  {server}, {way}: {result}", flush=True)
                    found.setdefault(f"{server}, {way}", []).append(result)
    row.table = {name: medians(results) for name, results in found.items()}
    judge(row)
    return row


def one_round(made: Stage, names: Path, server: str, way: str, clients: int) -> dict[str, float]:
    """Measure one server and one way to it, from a fresh start."""
    from bench import servers
    from streaming.events import PATH

    with servers.ours(made, server) as running:
        if way == "events":
            url = running.url.replace("ws:", "http:", 1).replace(servers.PATH, PATH)
            running = replace(running, url=url)
        # What a process loads with its first connection is no connection's.
        servers.load(running, names, clients=1, ticks=1, warm=0)
        result = servers.load(running, names, clients=clients)
    if not result["ticks"]:
        raise RuntimeError("No tick was heard: what publishes them has ended.")
    return result


def medians(results: Sequence[dict[str, float]]) -> dict[str, float]:
    told = [key for key in results[0] if key != "label"]
    return {key: statistics.median(one[key] for one in results) for key in told}


def judge(row: Row) -> None:
    for server in ("uvicorn", "daphne"):
        events, socket = (row.table[f"{server}, {way}"] for way in _WAYS)
        ratio = events["cpu_us_per_client_tick"] / socket["cpu_us_per_client_tick"]
        row.judge(f"CPU, {server}: events to WebSocket", ratio, MOST_TIMES_A_SOCKET)
    wrong = sum(figures[key] for figures in row.table.values() for key in _WRONG)
    row.judge("lost, refused, wrong or incomplete", wrong, 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-events", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000, help="followers (CLIENTS)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (ROUNDS)")
    parser.add_argument("--no-page", action="store_true", help="leave docs/ alone")
    chosen = parser.parse_args()
    load_settings()
    from bench.page import section

    busy = os.getloadavg()[0]
    row = measure(chosen.clients, chosen.rounds)
    facts = {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "command": f"make bench-events CLIENTS={chosen.clients}",
        "machine": machine(),
        "rounds": chosen.rounds,
        "load": round(busy, 1),
    }
    text = f"{_HEAD}\n{section('events', {**asdict(row), **facts})}".rstrip() + "\n"
    print(text)
    if not chosen.no_page:
        PAGE.write_text(text)
    return 0 if all(is_reached for _, _, is_reached in row.marks) else 1


if __name__ == "__main__":
    sys.exit(main())
