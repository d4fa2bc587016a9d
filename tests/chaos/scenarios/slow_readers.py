"""T1, T9, T10 and T31: many who read, and some who never do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bench import wire
from tests.chaos.clients import PATH, Swarm
from tests.chaos.figures import Figure, at_most, exactly, percentile, told, within
from tests.chaos.scenario import SEED, Size, scenario
from tests.chaos.stage import Recorder, Stage, rss_mib, seen
from tests.product import Web

_GONE_WITHIN_S = 70
_ESTABLISHED = "01"


@scenario(
    "T1",
    "A thousand sockets get every tick",
    sizes={
        "short": {"sockets": 40, "ticks": 2},
        "default": {"sockets": 1000, "ticks": 30},
        "full": {"sockets": 1000, "ticks": 30},
    },
)
async def all_get_all(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 200)
    swarm = Swarm(symbols, 50, SEED)
    await swarm.open(stage.webs, size.sockets, keeps_prices=size.sockets < 100)
    await swarm.ticks(1, within_s=20)
    begin = time.time()
    with Recorder(stage) as recorder:
        await swarm.ticks(size.ticks, within_s=20)
        end = time.time()
    published = {(t.epoch, t.seq) for t in recorder.ticks if begin <= t.at < end - 0.5}
    missing = [len(published - {(h.epoch, h.seq) for h in c.live}) for c in swarm.clients]
    delays = swarm.delays(begin)
    sights = [seen(web) for web in stage.webs]
    figures = [
        exactly("sockets closed", swarm.lost, 0),
        told("ticks published", len(published)),
        exactly("ticks that any socket missed", sum(missing), 0),
        within("publish to client, p99", percentile(delays, 0.99), 0.5),
        told("publish to client, median", percentile(delays, 0.5), "s"),
        at_most("memory of the server", max(s.rss_mib for s in sights), 300, "MiB"),
    ]
    await swarm.close()
    return figures


class Deaf:
    """A client that asks for prices and never reads; some send a byte now and then."""

    def __init__(self, web: Web, symbols: list[str], *, dribbles: bool) -> None:
        self._server_port = web.port
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", web.port))
        self._own_port = self._socket.getsockname()[1]
        self._socket.sendall(wire.handshake("127.0.0.1", web.port, PATH))
        self._read_welcome()
        asked = json.dumps({"action": "subscribe", "symbols": symbols}).encode()
        self._socket.sendall(wire.frame(asked))
        self._dribble = self._bytes() if dribbles else None
        self.gone_at: float | None = None
        self.begun_at = time.monotonic()

    def _read_welcome(self) -> None:
        said = b""
        while b'"type":"welcome"' not in said:
            more = self._socket.recv(1024)
            if not more:
                raise ConnectionError("closed before the welcome")
            said += more

    def _bytes(self) -> Iterator[int]:
        while True:
            # Unasked-for pongs: allowed, and of no meaning.
            yield from wire.frame(b"", wire.PONG)

    def dribble(self) -> None:
        if self._dribble is not None:
            with contextlib.suppress(OSError):
                self._socket.send(bytes([next(self._dribble)]))

    def push(self, data: bytes, times: int) -> bool:
        """Send it so many times; return whether all of it was taken."""
        self._socket.settimeout(30)
        try:
            for _ in range(times):
                self._socket.sendall(data)
        except OSError:
            return False
        return True

    def look(self, held: set[tuple[int, int]]) -> None:
        """Note whether the server still holds the connection."""
        if self.gone_at is None and (self._server_port, self._own_port) not in held:
            self.gone_at = time.monotonic()

    def lasted_s(self) -> float:
        return (self.gone_at or time.monotonic()) - self.begun_at

    def close(self) -> None:
        self._socket.close()


def held_by(ports: set[int]) -> set[tuple[int, int]]:
    """Return local and peer port of each connection that a process still has open there."""
    found = set()
    ends = tuple(f":{port:04X}" for port in ports)
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        if not any(end in line for end in ends):
            continue
        fields = line.split()
        local, peer = (int(end.split(":")[1], 16) for end in fields[1:3])
        # An inode of 0: the process has let go of it, the kernel has not yet.
        if local in ports and fields[3] == _ESTABLISHED and fields[9] != "0":
            found.add((local, peer))
    return found


_SIZES = {
    "short": {"deaf": 2, "sockets": 10, "symbols": 100, "before": 1, "at_least_s": 1, "wait": 0},
    "default": {
        "deaf": 20,
        "sockets": 200,
        "symbols": 200,
        "before": 15,
        "at_least_s": 15,
        "wait": _GONE_WITHIN_S + 10,
    },
    "full": {
        "deaf": 20,
        "sockets": 200,
        "symbols": 200,
        "before": 30,
        "at_least_s": 60,
        "wait": _GONE_WITHIN_S + 10,
    },
}


@scenario("T9", "Clients that never read cost nobody but themselves", sizes=_SIZES)
async def never_read(stage: Stage, size: Size) -> list[Figure]:
    return await _with_deaf_ones(stage, size, dribbles=False)


@scenario("T10", "The same where they send a byte every 5 s", sizes=_SIZES)
async def never_read_but_send(stage: Stage, size: Size) -> list[Figure]:
    return await _with_deaf_ones(stage, size, dribbles=True)


async def _with_deaf_ones(stage: Stage, size: Size, *, dribbles: bool) -> list[Figure]:
    symbols = await stage.aside(stage.follow, size.symbols)
    swarm = Swarm(symbols, len(symbols), SEED)
    await swarm.open(stage.webs, size.sockets)
    await swarm.ticks(2, within_s=20)
    begin = time.time()
    await swarm.ticks(size.before, within_s=20)
    rss = [seen(web).rss_mib for web in stage.webs]
    count = size.deaf * len(stage.webs)
    deaf = [
        await stage.aside(Deaf, stage.webs[n % len(stage.webs)], symbols, dribbles=dribbles)
        for n in range(count)
    ]
    middle = time.time()
    most = await _watch(stage, deaf, size)
    await swarm.ticks(1, within_s=20)
    before = percentile(swarm.delays(begin, middle), 0.99)
    during = percentile(swarm.delays(middle), 0.99)
    grown = max(now - then for now, then in zip(most, rss, strict=True))
    left = sum(one.gone_at is None for one in deaf)
    not_reading = sum(seen(web).figures.get("closed_4409", 0) for web in stage.webs)
    for one in deaf:
        one.close()
    figures = [
        exactly("good sockets closed", swarm.lost, 0),
        within("good ones' p99 with them there", during, _a_little_more(before)),
        told("good ones' p99 before", before, "s"),
        at_most("growth of the server's memory", grown, 40, "MiB"),
        told("bytes a tick to each", _size_of_tick(stage)),
    ]
    if size.wait:
        longest = max(one.lasted_s() for one in deaf)
        figures += [
            exactly(f"deaf ones still held after {size.wait} s", left, 0),
            within("the last deaf one was let go after", longest, _GONE_WITHIN_S),
            exactly("of them closed with 4409, by the server's count", not_reading, count),
        ]
    await swarm.close()
    return figures


async def _watch(stage: Stage, deaf: list[Deaf], size: Size) -> list[float]:
    """Look until all deaf ones are gone or time is up; return the most memory of each server."""
    ports = {web.port for web in stage.webs}
    most = [0.0 for _ in stage.webs]
    begin = time.monotonic()
    dribble_at = begin
    while time.monotonic() - begin < max(size.wait, size.at_least_s):
        held = await stage.aside(held_by, ports)
        for one in deaf:
            one.look(held)
        now = [rss_mib(web.process.pid) for web in stage.webs]
        most = [max(one) for one in zip(most, now, strict=True)]
        all_gone = all(one.gone_at is not None for one in deaf)
        if all_gone and time.monotonic() - begin > size.at_least_s:
            break
        if time.monotonic() > dribble_at:
            dribble_at += 5
            for one in deaf:
                one.dribble()
        await asyncio.sleep(1)
    return most


def _a_little_more(before_s: float) -> float:
    """Return a fifth more, or what a busy machine adds to any single tick."""
    if before_s == float("inf"):  # Nothing was measured to compare with.
        return 0.0
    return max(before_s * 1.2, before_s + 0.015)


_FLOODS = {
    "empty pings": wire.frame(b"", wire.PING) * 20_000,
    "full pings": wire.frame(b"x" * 125, wire.PING) * 1_000,
    "empty fragments": wire.frame(b"{", fin=False) + wire.frame(b"", 0, fin=False) * 20_000,
}


@scenario(
    "T31",
    "Pings and fragments as fast as they go, of clients that read nothing",
    sizes={
        "short": {"sockets": 10, "flooders": 1, "times": 300},
        "default": {"sockets": 200, "flooders": 20, "times": 300},
        "full": {"sockets": 200, "flooders": 100, "times": 300},
    },
)
async def ping_floods(stage: Stage, size: Size) -> list[Figure]:
    symbols = await stage.aside(stage.follow, 50)
    swarm = Swarm(symbols, 10, SEED)
    await swarm.open(stage.webs, size.sockets)
    await swarm.ticks(2, within_s=20)
    rss = [seen(web).rss_mib for web in stage.webs]
    begin = time.time()
    floods = [
        stage.aside(_flood, web, symbols, frames, size.times)
        for web in stage.webs
        for frames in _FLOODS.values()
        for _ in range(size.flooders)
    ]
    borne = sum(await asyncio.gather(*floods))
    end = time.time()
    await swarm.ticks(1, within_s=20)
    sights = [seen(web) for web in stage.webs]
    grown = max(now.rss_mib - then for now, then in zip(sights, rss, strict=True))
    figures = [
        told("floods", len(floods)),
        exactly("floods that the server took to their end", borne, 0),
        at_most("growth of the server's memory", grown, 30, "MiB"),
        within("the event loop was late by at most", max(s.lag_s for s in sights), 0.2),
        exactly("good sockets closed", swarm.lost, 0),
        within("good ones' p99 meanwhile", percentile(swarm.delays(begin, end), 0.99), 0.5),
        exactly("stack traces of servers", stage.traces(), 0),
    ]
    await swarm.close()
    return figures


def _flood(web: Web, symbols: list[str], frames: bytes, times: int) -> bool:
    """Send frames and read nothing; return whether the server took all of them."""
    deaf = Deaf(web, symbols, dribbles=False)
    try:
        return deaf.push(frames, times)
    finally:
        deaf.close()


def _size_of_tick(stage: Stage) -> int:
    with stage.client() as client:
        return int(client.strlen("lokifi:snapshot"))
