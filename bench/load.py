"""Thousands of WebSocket clients in one process, and how long a tick takes to reach them.

python -m bench.load ws://127.0.0.1:8000/api/ws/prices --clients 5000 --pid 4711

Raw sockets and epoll, so that what is measured is the server. Each client follows some of the
symbols (drawn by a seed) and counts as ready when its snapshot is there. Of each tick it is noted
when it reached each client, counted from the `timestamp` in the message. Prints one JSON object.
`wrong` must be 0: the messages of the first clients are read and held against what they follow.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import select
import socket
import statistics
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import proc, wire

_READY = b'"snapshot":true'
_UPDATE = b'"type":"price_update"'
_STAMP = b'"timestamp":"'
_STAMP_CHARS = 24  # 2026-11-24T12:00:00.000Z
_HEAD_BYTES = 250  # within which the type and the time of a message are told
_CONNECTING, _SHAKING, ASKED = range(3)
_READ_BYTES = 1 << 18
_QUIET_S = 0.2


@dataclass(eq=False, slots=True)
class Connection:
    number: int
    socket: socket.socket
    state: int = _CONNECTING
    rest: bytes = b""
    is_ready: bool = False


@dataclass
class Options:
    url: str
    clients: int = 1000
    per_client: int = 10
    symbols: list[str] = field(default_factory=list)
    seed: int = 1
    ticks: int = 5
    warm: int = 1
    within_s: float = 120
    at_once: int = 256
    pids: list[int] = field(default_factory=list)
    checked: int = 50
    label: str = ""


class Load:
    """The clients, and what they have heard."""

    def __init__(self, options: Options) -> None:
        chance = random.Random(options.seed)
        self.options = options
        self.sets = [
            sorted(chance.sample(options.symbols, min(options.per_client, len(options.symbols))))
            for _ in range(options.clients)
        ]
        self.ready = self.failed = self.lost = self.wrong = 0
        self.bytes = 0
        # When each message of a tick was here, by the tick's time as it is written.
        self.ticks: dict[bytes, list[float]] = {}
        self.last_at = 0.0
        parts = urlsplit(options.url)
        self.target = (parts.hostname or "127.0.0.1", parts.port or 80)
        query = f"?{parts.query}" if parts.query else ""
        self.path = parts.path + query
        self._hello = wire.handshake(*self.target, self.path)
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._buffer = bytearray(_READ_BYTES)
        self._view = memoryview(self._buffer)
        self._kept: deque[tuple[int, bytes]] = deque()
        self._records = False

    # --- What a measurement does -----------------------------------------------------

    def connect(self) -> float:
        """Open all connections, so many at a time; return the seconds until all are ready."""
        begin = time.monotonic()
        begun = 0
        while self.ready + self.failed < self.options.clients:
            if time.monotonic() - begin > self.options.within_s:
                break
            under_way = begun - self.ready - self.failed
            for _ in range(min(self.options.at_once - under_way, self.options.clients - begun)):
                self._begin(begun)
                begun += 1
            self.pump(0.05)
        return time.monotonic() - begin

    def record(self) -> None:
        self._records = True

    def pump(self, wait_s: float) -> None:
        """Take in whatever has come, or wait for it for so long."""
        for fd, _ in self._epoll.poll(wait_s, 4096):
            connection = self._connections.get(fd)
            if connection is None:
                continue
            if connection.state == _CONNECTING:
                self._greet(fd, connection)
            else:
                self._read(fd, connection)

    def check(self) -> None:
        """Hold the messages that were kept against what their clients follow."""
        while self._kept:
            number, payload = self._kept.popleft()
            data = json.loads(payload)["data"]
            self.wrong += set(data) != set(self.sets[number])

    # --- One connection ------------------------------------------------------------------

    def _begin(self, number: int) -> None:
        one = socket.socket()
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.connect_ex(self.target)
        self._connections[one.fileno()] = Connection(number, one)
        self._epoll.register(one.fileno(), select.EPOLLOUT)

    def _greet(self, fd: int, connection: Connection) -> None:
        if connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._drop(fd, connection)
            return
        self._greeted(connection)
        self._epoll.modify(fd, select.EPOLLIN)

    def _greeted(self, connection: Connection) -> None:
        connection.socket.send(self._hello)
        connection.state = _SHAKING

    def _drop(self, fd: int, connection: Connection) -> None:
        del self._connections[fd]
        self._epoll.unregister(fd)
        connection.socket.close()
        if connection.is_ready:
            self.lost += 1
        else:
            self.failed += 1

    def _ask(self, connection: Connection) -> None:
        asked = {"action": "subscribe", "symbols": self.sets[connection.number]}
        connection.socket.send(wire.frame(json.dumps(asked).encode()))
        connection.state = ASKED

    def _read(self, fd: int, connection: Connection) -> None:
        try:
            count = connection.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self._drop(fd, connection)
            return
        now = time.time()
        data = self._view[:count].tobytes()
        if connection.rest:
            data = connection.rest + data
        if connection.state == _SHAKING:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                connection.rest = head
                return
            if b" 101 " not in head[:16]:
                self._drop(fd, connection)
                return
            self._ask(connection)
        self._frames(fd, connection, data, now)

    def _frames(self, fd: int, connection: Connection, data: bytes, now: float) -> None:
        at = 0
        while (found := wire.size_at(data, at)) is not None:
            begin, end = found
            if end > len(data):
                break
            opcode = data[at] & 15
            if opcode == wire.TEXT:
                self._hear(connection, data, begin, end, now)
            elif opcode == wire.PING:
                connection.socket.send(wire.pong(data[begin:end]))
            elif opcode == wire.CLOSE:
                self._drop(fd, connection)
                return
            at = end
        connection.rest = data[at:]

    def _hear(self, connection: Connection, data: bytes, begin: int, end: int, now: float) -> None:
        within = min(end, begin + _HEAD_BYTES)
        if data.find(_UPDATE, begin, within) < 0:
            return
        if not connection.is_ready:
            if data.find(_READY, begin, within) >= 0:
                connection.is_ready = True
                self.ready += 1
            return
        if not self._records:
            return
        at = data.find(_STAMP, begin, within) + len(_STAMP)
        key = data[at : at + _STAMP_CHARS]
        heard = self.ticks.get(key)
        if heard is None:
            heard = self.ticks[key] = []
        heard.append(now)
        self.last_at = now
        self.bytes += end - begin
        if connection.number < self.options.checked:
            self._kept.append((connection.number, data[begin:end]))


def measure(load: Load) -> dict[str, Any]:
    """Connect, listen to so many ticks, and return what was measured."""
    options = load.options
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rss_before, idle_cpu = proc.rss_kib(options.pids), proc.cpu_s(options.pids)
    setup_s = load.connect()
    setup_cpu = proc.cpu_s(options.pids) - idle_cpu
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        load.pump(0.05)
    rss_idle = proc.rss_kib(options.pids)
    load.record()
    _listen(load, options.warm)
    rss_warm = proc.rss_kib(options.pids)
    begin_cpu, seen_before = proc.cpu_s(options.pids), set(load.ticks)
    begin_own = time.process_time()
    _listen(load, options.ticks)
    cpu = proc.cpu_s(options.pids) - begin_cpu
    own_cpu = time.process_time() - begin_own
    load.check()
    ticks = [(t, heard) for t, heard in load.ticks.items() if t not in seen_before]
    ready = max(1, load.ready)
    parts = ready * max(1, len(ticks))
    return {
        "label": options.label,
        "clients": options.clients,
        "ready": load.ready,
        "failed": load.failed,
        "lost": load.lost,
        "wrong": load.wrong,
        "setup_s": round(setup_s, 2),
        "ready_per_s": round(load.ready / setup_s),
        "idle_kib_per_client": round((rss_idle - rss_before) / ready, 2),
        "rss_warm_kib": rss_warm,
        "rss_kib": proc.rss_kib(options.pids),
        "cpu_us_per_connection": round(setup_cpu * 1e6 / ready, 2),
        "cpu_us_per_client_tick": round(cpu * 1e6 / parts, 2),
        "load_cpu_us": round(own_cpu * 1e6 / parts, 2),
        "bytes_per_message": round(load.bytes / max(1, sum(map(len, load.ticks.values())))),
        **_times(ticks, ready),
    }


def _times(own: list[tuple[bytes, list[float]]], ready: int) -> dict[str, Any]:
    """Return medians over ticks of when the last client had it, and of the spread over clients."""
    rows = []
    for stamp, heard in own:
        t0 = datetime.fromisoformat(stamp.decode()).timestamp()
        delays = sorted((at - t0) * 1000 for at in heard)
        rows.append((delays, len(heard)))
    if not rows:
        return {"ticks": 0, "incomplete": 0}

    def median_of(part: float) -> float:
        at = [delays[min(len(delays) - 1, int(len(delays) * part))] for delays, _ in rows]
        return round(statistics.median(at), 2)

    return {
        "ticks": len(rows),
        "incomplete": sum(count != ready for _, count in rows),
        "first_ms": median_of(0),
        "p50_ms": median_of(0.5),
        "p99_ms": median_of(0.99),
        "last_ms": median_of(1),
        "worst_ms": round(max(delays[-1] for delays, _ in rows), 2),
    }


def _listen(load: Load, ticks: int) -> None:
    """Pump until so many more ticks have come and it is quiet again."""
    wanted = len(load.ticks) + ticks
    deadline = time.monotonic() + load.options.within_s + 10 * ticks
    while time.monotonic() < deadline:
        load.pump(0.02)
        if len(load.ticks) >= wanted and time.time() - load.last_at > _QUIET_S:
            return


def options_from(words: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--per-client", type=int, default=10)
    parser.add_argument("--symbol-file", type=Path, help="one symbol a line")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ticks", type=int, default=5)
    parser.add_argument("--warm", type=int, default=1, help="ticks not counted")
    parser.add_argument("--within", type=float, default=120, help="seconds to connect")
    parser.add_argument("--pid", type=int, action="append", default=[], help="of the server")
    parser.add_argument("--checked", type=int, default=50, help="clients whose messages are read")
    parser.add_argument("--label", default="")
    given = parser.parse_args(words)
    made_up = [f"SYM{number:03d}" for number in range(200)]
    symbols = given.symbol_file.read_text().split() if given.symbol_file else made_up
    return Options(
        url=given.url,
        clients=given.clients,
        per_client=given.per_client,
        symbols=symbols,
        seed=given.seed,
        ticks=given.ticks,
        warm=given.warm,
        within_s=given.within,
        pids=given.pid,
        checked=given.checked,
        label=given.label,
    )


if __name__ == "__main__":
    # A load that waits for its turn measures itself: no garbage collection while it listens.
    import gc

    gc.disable()
    json.dump(measure(Load(options_from(sys.argv[1:]))), sys.stdout)
    print()
