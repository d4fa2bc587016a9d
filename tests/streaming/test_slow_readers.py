"""Readers that do not keep up, and the ways frames take: real servers, real ticks."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lokifi import parts
from lokifi.embedded import free_port
from streaming import demand
from tests.chaos.stage import rss_mib
from tests.processes import descendants, responds, until
from tests.product import Product, Web

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timeout(180),  # five processes are started first
    pytest.mark.xdist_group("slow-readers"),
]

HELLO = (
    b"GET /api/ws/prices HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
GRANIAN = shutil.which("granian", path=str(Path(sys.executable).parent))


def plain_uvicorn(host: str, port: int) -> list[str]:
    return [*parts.uvicorn(host, port)[:-1], "tests.streaming.hidden:application"]


def granian(host: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", host),
        *("--port", str(port), "lokifi.asgi:application"),
    ]


SERVERS: dict[str, Callable[[str, int], list[str]]] = {
    "daphne": parts.daphne,
    "uvicorn": parts.uvicorn,
    "plain send": plain_uvicorn,
    "granian": granian,
}


class Installation:
    def __init__(self, folder: Path) -> None:
        self.product = Product(folder, PUBLISH_INTERVAL_S="1", WS_SLOW_AFTER_S="2")
        self.webs = {name: self._web(name) for name in SERVERS if name != "granian" or GRANIAN}
        self.product.worker()
        self.product.beat()

    def _web(self, server: str) -> Web:
        port = free_port()
        url = f"http://127.0.0.1:{port}/livez"
        process = self.product.start("web", SERVERS[server]("127.0.0.1", port))
        until(lambda: responds(url), "the web server", told=lambda: process.said)
        return Web(process, port)

    def figures(self, web: Web) -> dict[str, int]:
        """Return what one server process counts, as it last said."""
        # granian serves from a child of its own.
        pids = {str(pid) for pid in [web.process.pid, *descendants(web.process.pid)]}
        with Redis.from_url(self.product.redis.url) as redis:
            for name, figures in demand.figures(redis).items():
                if name.split(":")[-2] in pids:
                    return figures
        return {}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    running = Installation(tmp_path_factory.mktemp("slow"))
    with running.product:
        yield running


@pytest.fixture(params=list(SERVERS))
def web(request: pytest.FixtureRequest, installation: Installation) -> Web:
    if request.param not in installation.webs:
        pytest.skip("granian is not installed here")
    return installation.webs[request.param]


def followed(web: Web) -> list[str]:
    rows = web.get("/api/v1/prices/crypto/top?limit=100").json()["cryptos"]
    return list(dict.fromkeys(row["symbol"] for row in rows))


def framed(message: object) -> bytes:
    """Return a client's frame of a message, masked with nothing."""
    payload = json.dumps(message).encode()
    return b"\x81" + bytes([0x80 | 126]) + len(payload).to_bytes(2, "big") + bytes(4) + payload


class Deaf:
    """A client that subscribes and then never reads."""

    def __init__(self, web: Web, symbols: list[str]) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", web.port))
        self._socket.sendall(HELLO)
        self._socket.recv(1000)
        self._socket.sendall(framed({"action": "subscribe", "symbols": symbols}))

    def mutter(self) -> None:
        """Send something that asks for nothing: a pong."""
        with suppress(OSError):  # it is gone then, which is what is waited for
            self._socket.sendall(b"\x8a\x80" + bytes(4))

    def pushed(self, data: bytes, times: int) -> bool:
        """Send it so many times; return whether all of it was taken."""
        self._socket.settimeout(30)
        try:
            for _ in range(times):
                self._socket.sendall(data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


# The others' buffers, which are not ours to bound, hold many ticks more.
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_who_never_reads_is_closed_with_4409_and_nobody_else_notices(
    installation: Installation, server: str
) -> None:
    web = installation.webs[server]
    symbols = await asyncio.to_thread(followed, web)
    silent = [Deaf(web, symbols) for _ in range(2)]
    muttering = Deaf(web, symbols)
    seqs: list[int] = []
    try:
        async with connect(web.socket_url, max_queue=None) as good:
            await good.send(json.dumps({"action": "subscribe", "symbols": symbols[:10]}))
            async with asyncio.timeout(90):
                while installation.figures(web).get("closed_4409", 0) < 3:
                    message: dict[str, Any] = json.loads(await good.recv())
                    muttering.mutter()
                    if message["type"] == "price_update" and "snapshot" not in message:
                        seqs.append(message["seq"])
    finally:
        for deaf in (*silent, muttering):
            deaf.close()

    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    figures = installation.figures(web)
    assert figures["slow"] == figures["closed_4409"] == 3
    assert figures["conflated"] > 0
    assert "Traceback" not in web.process.said


async def closing(client: ClientConnection) -> AsyncIterator[str | bytes]:
    """Yield what comes until the server closes, whatever its code."""
    with suppress(ConnectionClosed):
        while True:
            yield await client.recv()


def flooded(web: Web) -> bool:
    """Send pings and read nothing; return whether the server ended that before it had taken all."""
    deaf = Deaf(web, ["BTC"] * 50)
    pings = (b"\x89\xfd" + bytes(4) + b"x" * 125) * 1000
    try:
        return not deaf.pushed(pings, times=250)
    finally:
        deaf.close()


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_who_sends_pings_and_never_reads_is_cut_off_and_costs_no_memory(
    installation: Installation, server: str
) -> None:
    web = installation.webs[server]
    before = rss_mib(web.process.pid)

    was_ended = await asyncio.to_thread(flooded, web)

    assert was_ended
    assert rss_mib(web.process.pid) < before + 20
    assert "Traceback" not in web.process.said


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_pings_are_answered_and_too_many_of_them_end_the_connection_with_4429(
    installation: Installation, server: str
) -> None:
    async with connect(installation.webs[server].socket_url, ping_interval=None) as client:
        for _ in range(90):
            await (await client.ping())
        for _ in range(200):
            with suppress(ConnectionClosed):
                await client.ping()
        async with asyncio.timeout(20):
            said = [json.loads(text) async for text in closing(client)]

    assert client.close_code == 4429
    assert [m["code"] for m in said if m["type"] == "error"] == ["rate_limited"] * 3
    assert "WS_MAX_MESSAGES" in said[-1]["error"]


async def test_a_server_counts_what_it_sends(installation: Installation, web: Web) -> None:
    before = {"frames": 0, "bytes": 0, "ticks": 0, **installation.figures(web)}
    async with connect(web.socket_url) as one:
        await one.send(json.dumps({"action": "subscribe", "symbols": ["BTC", "ETH"]}))
        async with asyncio.timeout(20):
            while not _has_grown(before, figures := installation.figures(web)):
                await one.recv()
        assert figures["subscriptions"] == 2


async def test_a_server_counts_who_leaves_apart_from_whom_it_closes(
    installation: Installation, web: Web
) -> None:
    def left() -> dict[str, int]:
        now = installation.figures(web)
        grown = {name: n - before.get(name, 0) for name, n in now.items()}
        # Without a close frame it is 1005 by uvicorn and 1006 by daphne.
        lost = grown.pop("left_1005", 0) + grown.pop("left_1006", 0)
        names = {n for n in grown if n.startswith(("left_", "closed_")) and grown[n]}
        return {"lost": lost, **{name: grown[name] for name in names}}

    async def seen(holds: Callable[[], object]) -> None:
        await asyncio.to_thread(until, holds, "the count", told=lambda: str(left()))

    before: dict[str, int] = {}
    await seen(lambda: not installation.figures(web).get("sockets"))
    async with connect(web.socket_url):  # A server without a client says nothing.
        await seen(lambda: installation.figures(web).get("sockets") == 1)
        before = installation.figures(web)
        for code in (1000, 1001, 3000, 4000, 4409, 4440):
            async with connect(web.socket_url) as one:
                await one.recv()
                await one.close(code)
        for is_reset in (True, False, True, False):
            await asyncio.to_thread(partial(lost, web, is_reset=is_reset))
        await seen(lambda: left() == {"lost": 4, "left_1000": 1, "left_1001": 1, "left_other": 4})


def lost(web: Web, *, is_reset: bool) -> None:
    """Connect, and be gone without a close frame."""
    with socket.create_connection(("127.0.0.1", web.port)) as one:
        one.sendall(HELLO)
        got = b""
        while b"welcome" not in got:
            got += one.recv(2000)
        if is_reset:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _has_grown(before: dict[str, int], now: dict[str, int]) -> bool:
    """Return whether two more ticks were told to the one client that is there."""
    return (
        now.get("ticks", 0) >= before["ticks"] + 2
        and now["frames"] >= before["frames"] + 4
        and now["bytes"] > before["bytes"] + 1000
        and (now["sockets"], now["subscriptions"]) == (1, 2)
    )


async def test_a_long_frame_reaches_a_slow_reader_whole(web: Web) -> None:
    symbols = await asyncio.to_thread(followed, web)
    async with connect(web.socket_url, max_size=None) as slow:
        await slow.send(json.dumps({"action": "subscribe", "symbols": symbols}))
        async with asyncio.timeout(60):
            seen = 0
            while seen < 3:
                message = json.loads(await slow.recv())
                if message["type"] == "price_update" and "snapshot" not in message:
                    assert message["count"] == len(message["data"])
                    # The market lists a coin or two without a price.
                    seen += message["count"] > 90
                    await asyncio.sleep(0.3)
