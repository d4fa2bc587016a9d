"""The rows of the table in docs/performance.md: each measures, and says what it is to reach."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import servers
from bench.due import due
from bench.row import INTERVAL_S, How, Row, stage
from bench.servers import Unavailable
from tests.chaos.stage import Stage


@contextmanager
def fed(made: Stage, count: int, interval_s: int = INTERVAL_S) -> Iterator[Path]:
    """Publish prices of `count` symbols; yield the file of those that clients may follow."""
    made.webs = [made.web("uvicorn")]
    found = made.follow(min(count, 200))
    made.webs.pop().process.stop()
    names = made.folder / "followed"
    names.write_text("\n".join(found))
    made_up = [f"SYM{number:03d}" for number in range(count - len(found))]
    with servers.fed(made, found + made_up, interval_s):
        time.sleep(1)
        yield names


def one_round(
    made: Stage, names: Path, name: str, clients: int, message_bytes: int, **more: int
) -> dict[str, Any]:
    """Measure one server once, from a fresh start."""
    is_ours = name in {"uvicorn", "daphne"}
    if name == "C floor":
        more["checked"] = 0  # It tells everyone the same, which is not what each follows.
    start = servers.ours(made, name) if is_ours else servers.peer(made, name, message_bytes)
    with start as running:
        if is_ours:
            # What a process loads with its first connection is no connection's.
            servers.load(running, names, clients=1, ticks=1, warm=0)
        return servers.load(running, names, clients=clients, **more)


def interleaved(
    row: Row, made: Stage, names: Path, who: Sequence[str], clients: int, how: How, **more: int
) -> None:
    """Measure every server once a round, and keep the medians in the row."""
    measured: dict[str, list[dict[str, Any]]] = {}
    row.rounds = how.rounds
    message_bytes = 2400
    left_out: set[str] = set()
    for _ in range(how.rounds):
        for name in (one for one in who if one not in left_out):
            try:
                result = one_round(made, names, name, clients, message_bytes, **more)
            except Unavailable as exc:
                row.notes.append(str(exc))
                left_out.add(name)
                continue
            if name == who[0]:
                message_bytes = result["bytes_per_message"]
            measured.setdefault(name, []).append(result)
            print(f"    {name}: {result}", flush=True)
    for name, results in measured.items():
        row.table[name] = _middle(results)


def _nothing_lost(row: Row) -> None:
    for name in ("uvicorn", "daphne"):
        if name in row.table:
            own = row.table[name]
            wrong = own["failed"] + own["lost"] + own["wrong"] + own["incomplete"]
            row.judge(f"{name}: lost, refused, wrong or incomplete", wrong, 0)


def _ratio(row: Row, one: str, other: str, most: float) -> None:
    if one in row.table and other in row.table:
        ratio = row.table[one]["last_ms"] / row.table[other]["last_ms"]
        row.judge(f"last client, {one} to {other}", ratio, most)


def crowd(how: How) -> Row:
    clients = how.clients(10_000)
    row = Row("10,000 clients", f"{clients:,} clients, 10 of 200 symbols, a tick every 2 s")
    with stage() as made, fed(made, 200) as names:
        interleaved(row, made, names, ["uvicorn", "node ws", "picows", "C floor"], clients, how)
    own = row.table["uvicorn"]
    _ratio(row, "uvicorn", "node ws", 1.0)
    _ratio(row, "uvicorn", "C floor", 1.6)
    _nothing_lost(row)
    row.judge("CPU per client and tick", own["cpu_us_per_client_tick"], 22, "us")
    row.judge("memory per idle connection", own["idle_kib_per_client"], 26, "KiB")
    if "node ws" in row.table:
        least = row.table["node ws"]["ready_per_s"] / 2
        row.judge_least("connections with their snapshot", own["ready_per_s"], least, "a second")
    return row


def half_a_crowd(how: How) -> Row:
    clients = how.clients(5_000)
    row = Row("5,000 clients", f"{clients:,} clients, 10 of 200 symbols, a tick every 2 s")
    with stage() as made, fed(made, 200) as names:
        interleaved(row, made, names, ["uvicorn", "node ws", "daphne"], clients, how)
    _ratio(row, "uvicorn", "node ws", 1.0)
    _ratio(row, "daphne", "node ws", 2.5)
    _nothing_lost(row)
    return row


def fast_ticks(how: How) -> Row:
    clients, ticks = how.clients(5_000), max(10, int(300 * how.part))
    about = f"{clients:,} clients, a tick of 500 symbols every second, {ticks} ticks"
    row = Row("1 s cadence", about)
    with stage(1) as made, fed(made, 500, 1) as names, servers.ours(made, "uvicorn") as running:
        servers.load(running, names, clients=1, ticks=1, warm=0)
        begin = servers.load(running, names, clients=clients, ticks=10)
        result = servers.load(running, names, clients=clients, warm=10, ticks=ticks)
    row.table["uvicorn"] = _numbers(result)
    _nothing_lost(row)
    row.judge("last client, median", result["last_ms"], begin["last_ms"] + 100, "ms")
    row.judge("p99 over clients", result["p99_ms"], 500, "ms")
    grown = (result["rss_kib"] - result["rss_warm_kib"]) / 1024
    row.judge("memory more than after the first ticks", grown, 10, "MiB")
    return row


def two_processes(how: How) -> Row:
    clients = how.clients(5_000)
    about = f"{clients:,} clients on one process, then shared by two"
    row = Row("two processes", about, rounds=how.rounds)
    alone_each, shared_each = [], []
    with stage() as made, fed(made, 200) as names:
        for _ in range(how.rounds):
            alone_each.append(one_round(made, names, "uvicorn", clients, 0))
            shared_each.append(_shared(made, names, clients))
    row.table["uvicorn"], row.table["each of two"] = _middle(alone_each), _middle(shared_each)
    alone = row.table["uvicorn"]["cpu_us_per_client_tick"]
    shared = row.table["each of two"]["cpu_us_per_client_tick"]
    row.judge("CPU per client and tick, two to one", shared / alone, 1.1)
    return row


def _shared(made: Stage, names: Path, clients: int) -> dict[str, float]:
    """Return what each of two processes measures on average while they share the clients."""
    with servers.ours(made, "uvicorn") as one, servers.ours(made, "uvicorn") as two:
        both = [made.in_thread(_half, running, names, clients) for running in (one, two)]
        halves = [result.result() for result in both]
    return {key: statistics.mean(half[key] for half in halves) for key in _numbers(halves[0])}


def _half(running: servers.Running, names: Path, clients: int) -> dict[str, float]:
    return servers.load(running, names, clients=clients // 2)


def growth(how: How) -> Row:
    row = Row("how it grows", "last client, by how many there are and by how much each follows")
    with stage() as made, fed(made, 200) as names:
        for count in (1_000, 2_000, 5_000, 10_000, 20_000):
            clients = min(how.clients(count), _most_clients())
            result = one_round(made, names, "uvicorn", clients, 0)
            row.table[f"{clients:,} clients"] = _numbers(result)
            row.lines.setdefault("clients", []).append((clients, result["last_ms"]))
        for per_client in (1, 10, 100):
            clients = how.clients(2_000)
            result = one_round(made, names, "uvicorn", clients, 0, per_client=per_client)
            row.table[f"{clients:,} clients, {per_client} symbols each"] = _numbers(result)
            row.lines.setdefault("symbols a client", []).append((per_client, result["last_ms"]))
    return row


def _middle(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the median of each number of several rounds."""
    return {key: statistics.median(one[key] for one in results) for key in _numbers(results[0])}


def _numbers(result: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in result.items() if isinstance(value, int | float)}


def _most_clients() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200


ROWS: dict[str, Callable[[How], Row]] = {
    "crowd": crowd,
    "half": half_a_crowd,
    "cadence": fast_ticks,
    "due": due,
    "two": two_processes,
    "growth": growth,
}
