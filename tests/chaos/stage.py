"""The installation that faults happen to, and what is seen of it from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lokifi import parts
from lokifi.embedded import EmbeddedServer, free_port
from streaming.ticks import COUNT, SNAPSHOT
from tests.chaos.watched import PAGE
from tests.processes import Process, descendants, responds, until
from tests.product import Product, Web

MARKETS = "/coingecko/api/v3/coins/markets"
T = TypeVar("T")

_PLAIN, _WATCHED = "lokifi.asgi:application", "tests.chaos.watched:application"
# One machine plays all clients, so nothing may depend on their common address.
_ROOM = {"WS_MAX_CONNECTIONS_PER_ADDRESS": "20000", "TRACKED_SYMBOLS": "SOL"}


class Stage(Product):
    """Servers, workers, beats, Redis and market of one scenario."""

    starts_within_s = 90.0  # all of them start at once, some while others work

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **{"PUBLISH_INTERVAL_S": "1", **_ROOM, **settings})
        self.interval_s = int(settings.get("PUBLISH_INTERVAL_S", "1"))
        self.webs: list[Web] = []
        self.workers: list[Process] = []
        self.beats: list[Process] = []
        self._known_traces: dict[int, int] = {}
        # What a thread has started ends with that thread (see lokifi/leash.py), so these stay.
        self._threads = ThreadPoolExecutor(32, thread_name_prefix="stage")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of_an_error: Any) -> None:
        super().__exit__(*of_an_error)
        self._threads.shutdown()

    async def aside(self, call: Callable[..., T], *arguments: Any, **more: Any) -> T:
        """Await a call that blocks, or that starts a process."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(call, *arguments, **more))

    def in_thread(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        return self._threads.submit(call, *arguments)

    def up(self, servers: Sequence[str], workers: int = 1, beats: int = 1) -> None:
        """Start everything at once; return when all of it is up."""
        begin = self._threads.submit
        webs = [begin(self.watched, name) for name in servers]
        others = [begin(self.worker) for _ in range(workers)]
        clocks = [begin(self.beat) for _ in range(beats)]
        self.webs = [one.result() for one in webs]
        self.workers = [one.result() for one in others]
        self.beats = [one.result() for one in clocks]

    def watched(self, server: str, **settings: str) -> Web:
        """Start a server process that also tells what only it can know."""
        port = free_port()
        serve = parts.uvicorn if server == "uvicorn" else parts.daphne
        command = [_WATCHED if w == _PLAIN else w for w in serve("127.0.0.1", port)]
        process = self.start(f"{server}-{port}", command, **settings)
        url = f"http://127.0.0.1:{port}/livez"
        until(lambda: responds(url), server, self.starts_within_s, told=lambda: process.said)
        web = Web(process, port)
        seen(web)
        return web

    def restart_redis(self) -> None:
        """Start an empty Redis where the killed one was."""
        folder = self.folder / f"redis-{time.monotonic_ns()}"
        self.redis = EmbeddedServer(folder, self.redis.port)

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis(
            port=self.redis.port,
            db=database,
            socket_timeout=0.5,
            socket_connect_timeout=0.5,
            retry=Retry(NoBackoff(), 0),
        )

    def symbols(self, count: int) -> list[str]:
        """Return tickers of coins that the market quotes, largest first."""
        url = f"{self.sandbox.url}{MARKETS}?vs_currency=usd&per_page=250&page=1"
        with urllib.request.urlopen(url, timeout=20) as response:
            rows = json.load(response)
        plain = [row["symbol"].upper() for row in rows if row["current_price"]]
        unique = [s for s in dict.fromkeys(plain) if plain.count(s) == 1 and s.isalnum()]
        return [s for s in unique if s.isascii()][:count]

    def follow(self, count: int) -> list[str]:
        """Return `count` symbols that a client of the first server may follow by those names."""
        from websockets.sync.client import connect

        wanted = self.symbols(min(250, count + 40))
        with connect(self.webs[0].socket_url) as socket:
            json.loads(socket.recv(20))
            socket.send(json.dumps({"action": "subscribe", "symbols": wanted}))
            while (answer := json.loads(socket.recv(20)))["type"] != "subscribed":
                pass
        return [symbol for symbol in wanted if symbol in answer["symbols"]][:count]

    def upstream_calls(self) -> dict[str, int]:
        """Return how often each path of the market was asked."""
        paths: dict[str, int] = self.sandbox.calls()["paths"]
        return paths

    def traces(self) -> int:
        """Return how many stack traces the servers have written in this scenario."""
        return sum(_traces(web) - self._known_traces.get(web.port, 0) for web in self.webs)

    def forget_traces(self) -> None:
        self._known_traces = {web.port: _traces(web) for web in self.webs}


def _traces(web: Web) -> int:
    return web.process.said.count("Traceback (most recent")


def kill(process: Process) -> None:
    """End a process and its children as a power cut would."""
    children = list(descendants(process.pid))
    process.stop(signal.SIGKILL)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def pause(process: Process, number: signal.Signals) -> None:
    """Send SIGSTOP or SIGCONT to a process and its children."""
    for pid in [process.pid, *descendants(process.pid)]:
        os.kill(pid, number)


@dataclass(frozen=True)
class Sight:
    """A server process at one moment."""

    rss_mib: float
    fds: int
    tasks: int
    sockets: int
    lag_s: float
    figures: dict[str, int]  # the hub's own counts


def seen(web: Web) -> Sight:
    """Look at a server process; its lag counts from the look before."""
    known: dict[str, Any] = web.get(PAGE).json()
    return Sight(
        rss_mib=rss_mib(web.process.pid),
        fds=len(list(Path(f"/proc/{web.process.pid}/fd").iterdir())),
        tasks=known["tasks"],
        sockets=known["sockets"],
        lag_s=known["lag_s"],
        figures=known["figures"],
    )


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def status_of(url: str, timeout_s: float = 10) -> tuple[int, float, bytes]:
    """Return status, seconds and body of a GET; status 0 where there is no answer."""
    begin = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return response.status, time.monotonic() - begin, response.read()
    except urllib.error.HTTPError as exc:
        return exc.code, time.monotonic() - begin, exc.read()
    except OSError:
        return 0, time.monotonic() - begin, b""


class Priced(msgspec.Struct, frozen=True):
    """What is looked at of a quote."""

    price: float
    stale: bool
    last_updated: datetime


Prices = dict[str, Priced]


@dataclass(frozen=True)
class Published:
    """A tick as Redis had it."""

    epoch: str
    seq: int
    at: float
    interval_s: int
    count: int
    prices: Prices


class Recorder:
    """Notes every tick that is published, by looking at the snapshot key again and again.

    Not by listening: listeners are among what gets killed.
    """

    def __init__(self, stage: Stage) -> None:
        self.ticks: list[Published] = []
        self.torn: list[str] = []
        self._stage = stage
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(5)

    @property
    def by_place(self) -> dict[tuple[str, int], Published]:
        return {(tick.epoch, tick.seq): tick for tick in self.ticks}

    def _record(self) -> None:
        client = self._stage.client()
        last: Any = None
        while not self._stopped.wait(0.015):
            try:
                place = client.hmget(COUNT, "epoch", "seq")
                if place != last and all(place):
                    self._note(client.get(SNAPSHOT))
                    last = place
            except redis.RedisError:
                time.sleep(0.05)
        client.close()

    def _note(self, body: Any) -> None:
        if body is None:
            return
        try:
            tick = json.loads(body)["tick"]
            found = Published(
                epoch=tick["epoch"],
                seq=tick["seq"],
                at=datetime.fromisoformat(tick["timestamp"]).timestamp(),
                interval_s=json.loads(body)["update_interval"],
                count=tick["count"],
                prices=msgspec.convert(tick["data"], Prices),
            )
        except (ValueError, KeyError, TypeError) as exc:
            self.torn.append(repr(exc))
            return
        if found.count != len(found.prices):
            self.torn.append(f"tick {found.seq}: count {found.count}, {len(found.prices)} prices")
        if not self.ticks or (found.epoch, found.seq) != (self.ticks[-1].epoch, self.ticks[-1].seq):
            self.ticks.append(found)
