"""docs/performance.md, made of what was measured and of nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.plot import svg
from bench.row import Row
from tests.processes import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
RESULTS = ROOT / "var" / "bench" / "stream.json"

_BEGIN = """# How fast the stream is

Written by `make bench-stream`. One process of ours serves the clients, another plays them; beside
it, in the same run and on the same Redis channel, stand peers that do nothing else: Node with `ws`,
picows (a WebSocket in Cython), and a program in C that sends one ready frame to everyone, the floor
(what it sends is nobody's own, and is not looked at). Rounds are interleaved, each from a fresh
start; the figures are medians of as many as a row names. What cannot be had on a machine (Node, a
compiler) is left out with a sentence.

```
make bench-stream                        # every row, about 30 minutes
make bench-stream ROWS=crowd,half        # some of them
make bench-stream ROWS=half PART=0.1     # a tenth as many clients, for a try
```

Times count from the `timestamp` that a tick bears, which is taken just before it is published, to
the moment a client's process has read the whole message. A connection counts as ready when its
snapshot is there. Clients and server share the machine's cores.
"""
_COLUMNS = {
    "last_ms": "last client, ms",
    "p50_ms": "median client, ms",
    "p99_ms": "p99 of clients, ms",
    "cpu_us_per_client_tick": "CPU per client and tick, us",
    "idle_kib_per_client": "memory per idle connection, KiB",
    "ready_per_s": "connections ready per second",
    "cpu_us_per_connection": "CPU per connection made, us",
    "lost": "lost",
    "wrong": "wrong",
    "bytes_per_message": "bytes a message",
    "ticks": "ticks",
    "symbols": "symbols",
    "median_ms": "median, ms",
    "p90_ms": "p90, ms",
}


def keep(key: str, row: Row, facts: dict[str, Any]) -> dict[str, Any]:
    """Put a row in the place of an older one; return all rows that are kept."""
    rows: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rows[key] = {**asdict(row), **facts}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def write(rows: dict[str, Any], order: list[str]) -> None:
    parts = [_BEGIN]
    for key in order:
        if key in rows:
            parts.append(section(key, rows[key]))
    PAGE.write_text("\n".join(parts).rstrip() + "\n")


def section(key: str, row: dict[str, Any]) -> str:
    """Return a row's facts, table and verdict, as they stand on a page."""
    lines = [
        f"## {row['name'][0].upper()}{row['name'][1:]}",
        "",
        f"{row['about']}. {row['at']}, commit {row['commit']}, `{row['command']}`, "
        f"rounds: {row['rounds']}, {row['machine']}. {_busy(row.get('load'))}",
        "",
        *_table(row["table"]),
        "",
    ]
    lines += [f"{note}\n" for note in row["notes"]]
    if row["marks"]:
        lines += ["| to reach | measured | |", "| --- | --- | --- |"]
        lines += [
            f"| {w} | {v} | {'reached' if ok else '**missed**'} |" for w, v, ok in row["marks"]
        ]
        lines.append("")
    lines += [_plot(key, what, points) for what, points in row["lines"].items()]
    return "\n".join(lines)


def _busy(load: float | None) -> str:
    """Return how busy the machine was before we came, as a sentence."""
    if load is None:
        return "How busy the machine was with other work is not known."
    return f"The load average just before was {load:g}: what else ran took its part of the cores."


def _table(table: dict[str, dict[str, float]]) -> list[str]:
    held = [name for name in _COLUMNS if any(name in figures for figures in table.values())]
    lines = [
        "| | " + " | ".join(_COLUMNS[name] for name in held) + " |",
        "| --- |" + " --- |" * len(held),
    ]
    for who, figures in table.items():
        cells = [f"{figures[name]:,.10g}" if name in figures else "" for name in held]
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    return lines


def _plot(key: str, what: str, points: list[tuple[float, float]]) -> str:
    PLOTS.mkdir(exist_ok=True)
    file: Path = PLOTS / f"{key}-{what.replace(' ', '-')}.svg"
    file.write_text(svg(f"Publish to the last client, by {what}", what, "ms", points))
    return f"![Publish to the last client, by {what}](performance/{file.name})\n"
