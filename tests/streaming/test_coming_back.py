"""Coming back to real servers: another process, a restart, the programs of docs/websocket.md."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from lokifi import parts
from lokifi.embedded import free_port
from tests.processes import ROOT, Process, responds, until
from tests.product import Product

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.xdist_group("coming-back"), pytest.mark.timeout(180)]

PAGE = (ROOT / "docs/websocket.md").read_text()
SERVE = {"daphne": parts.daphne, "uvicorn": parts.uvicorn}


class Server:
    """A server process that can be stopped and started again on the same port."""

    def __init__(self, product: Product, kind: str) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"ws://{self.address}/api/ws/prices"
        self._product = product
        self._serve = SERVE[kind]
        self.process = self._start()

    def restart(self) -> None:
        self.process.stop()
        self.process = self._start()

    def _start(self) -> Process:
        process = self._product.start("web", self._serve("127.0.0.1", self.port))
        url = f"http://{self.address}/livez"
        until(lambda: responds(url), "the server", told=lambda: process.said)
        return process


class Installation:
    def __init__(self, folder: Path) -> None:
        self.pages_port = free_port()
        self.pages = f"http://127.0.0.1:{self.pages_port}"
        self.product = Product(
            folder, PUBLISH_INTERVAL_S="1", TRACKED_SYMBOLS="BTC", WS_ALLOWED_ORIGINS=self.pages
        )
        self.servers = {kind: Server(self.product, kind) for kind in SERVE}
        self.product.worker()
        self.product.beat()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    running = Installation(tmp_path_factory.mktemp("coming-back"))
    with running.product:
        yield running


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(20):
        message: dict[str, Any] = json.loads(await socket.recv())
    return message


async def updates(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """Return so many price_updates of ticks; snapshots are skipped."""
    got: list[dict[str, Any]] = []
    while len(got) < count:
        message = await receive(socket)
        if message["type"] == "price_update" and "snapshot" not in message:
            got.append(message)
    return got


@asynccontextmanager
async def subscribed(
    server: Server, *symbols: str, **more: Any
) -> AsyncIterator[tuple[ClientConnection, dict[str, Any]]]:
    """A client and the answer to its subscribe."""
    async with connect(server.url) as socket:
        await socket.send(json.dumps({"action": "subscribe", "symbols": symbols, **more}))
        answer = await receive(socket)
        while answer["type"] != "subscribed":
            answer = await receive(socket)
        yield socket, answer


def seqs(messages: list[dict[str, Any]]) -> list[int]:
    return [message["seq"] for message in messages]


@pytest.mark.asyncio
@pytest.mark.parametrize(("first", "then"), [("daphne", "uvicorn"), ("uvicorn", "daphne")])
async def test_who_was_cut_off_for_three_ticks_has_every_tick_once_from_the_other_process(
    installation: Installation, first: str, then: str
) -> None:
    one, other = installation.servers[first], installation.servers[then]
    async with subscribed(one, "BTC", "ETH") as (watching, _):
        async with subscribed(one, "BTC", "ETH") as (cut, _):
            mine = await updates(cut, 3)
            cut.transport.abort()
        last = mine[-1]
        seen = await updates(watching, 1)
        while seen[-1]["seq"] < last["seq"] + 3:
            seen += await updates(watching, 1)

        since = {"since": last["seq"], "epoch": last["epoch"]}
        async with subscribed(other, "BTC", "ETH", **since) as (back, answer):
            mine += await updates(back, 6)
        while seen[-1]["seq"] < mine[-1]["seq"]:
            seen += await updates(watching, 1)

    assert answer["recovered"] is True
    assert seqs(mine) == list(range(mine[0]["seq"], mine[0]["seq"] + 9))
    assert [m["seq"] for m in mine if m.get("replay")][:3] == [last["seq"] + n for n in (1, 2, 3)]
    told = {m["seq"]: (m["timestamp"], m["data"]) for m in seen}
    for message in mine:
        if message["seq"] in told:
            assert (message["timestamp"], message["data"]) == told[message["seq"]]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", SERVE)
async def test_a_flood_of_subscribes_costs_sources_and_neighbours_nothing(
    installation: Installation, kind: str
) -> None:
    server = installation.servers[kind]
    names = [f"NO{n}" for n in range(1500)]
    flood = json.dumps({"action": "subscribe", "symbols": names})
    assert len(flood) < 16 * 1024
    async with subscribed(server, "BTC") as (good, _):
        got = await updates(good, 1)
        asked = installation.product.sandbox.count()
        codes = await asyncio.gather(*(flooded(server, flood) for _ in range(5)))
        calls = installation.product.sandbox.count() - asked
        async with connect(server.url) as late:
            now = (await receive(late))["seq"]
        while got[-1]["seq"] < now:
            got += await updates(good, 1)

    assert set(codes) == {4429}
    had = seqs(got)
    # Where the machine itself is behind for a second, the newer of two ticks is told alone.
    assert had == sorted(set(had))
    assert now - had[0] + 1 - len(had) <= 1
    assert calls <= len(got) + 1, "one call a tick, for BTC"


async def flooded(server: Server, message: str) -> int | None:
    """Send until the server has enough; return the code it closes with."""
    async with connect(server.url, max_size=None) as socket:
        try:
            for _ in range(200):
                await socket.send(message)
            while True:
                await receive(socket)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


def example(language: str, server: Server) -> str:
    """Return the program of the page, for a server of ours."""
    block = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert block, language
    assert "localhost:8000" in block[1]
    return block[1].replace("localhost:8000", server.address)


@pytest.mark.parametrize("kind", SERVE)
def test_the_python_program_of_the_page_stays_right_through_a_restart(
    installation: Installation, tmp_path: Path, kind: str
) -> None:
    server = installation.servers[kind]
    text = example("python", server).replace(", print))", ", lambda m: print(json.dumps(m))))")
    assert len([line for line in text.splitlines() if line.strip()]) == 20
    program = Process(
        [sys.executable, "-u", "-c", text], tmp_path / "said", installation.product.environment
    )

    def got() -> list[dict[str, Any]]:
        said = program.said.rpartition("\n")[0]
        return [json.loads(line) for line in said.splitlines()]

    def told() -> list[int]:
        return [m["seq"] for m in got() if m["type"] == "price_update" and "snapshot" not in m]

    until(lambda: len(told()) >= 3, "three ticks", told=lambda: program.said)
    server.restart()
    until(
        lambda: any(m.get("recovered") for m in got()),
        "the program's return",
        told=lambda: program.said,
    )
    behind = told()[-1]
    until(lambda: told()[-1] >= behind + 3, "three more ticks", told=lambda: program.said)
    program.stop()

    assert told() == list(range(told()[0], told()[-1] + 1))
    assert any(m.get("replay") for m in got())
    assert [m["code"] for m in got() if m["type"] == "notice"] == ["stopping"]


@pytest.mark.asyncio
async def test_the_python_program_of_the_page_waits_a_minute_where_it_was_too_much() -> None:
    async def closing(socket: ServerConnection) -> None:
        await socket.close(4429)

    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    async with serve(closing, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        text = block[1].replace("localhost:8000", f"127.0.0.1:{port}")
        text = text.replace("await asyncio.sleep(wait)", "return print(wait)")
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", text, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await program.communicate()

    assert said == b"60\n"


@pytest.fixture
def folder(installation: Installation, tmp_path: Path) -> Iterator[Path]:
    """A folder whose files a web server of another origin gives out."""

    class Pages(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", installation.pages_port), Pages) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield tmp_path
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("kind", SERVE)
def test_the_page_of_the_page_stays_right_through_a_restart(
    installation: Installation, browser: Browser, folder: Path, kind: str
) -> None:
    server = installation.servers[kind]
    got: list[dict[str, Any]] = []
    wrong: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda text: got.append(json.loads(text))),
    )
    (folder / "page.html").write_text(example("html", server))

    def told() -> list[int]:
        return [m["seq"] for m in got if m["type"] == "price_update" and "snapshot" not in m]

    def wait(holds: Any) -> None:
        for _ in range(600):
            if holds():
                return
            page.wait_for_timeout(50)
        raise AssertionError((wrong, got[-5:]))

    page.goto(f"{installation.pages}/page.html")
    wait(lambda: len(told()) >= 3)
    server.process.stop()
    page.wait_for_selector("#state:text('reconnecting')")
    server.restart()
    page.wait_for_selector("#state:text('live')")
    behind = told()[-1]
    wait(lambda: told()[-1] >= behind + 3)
    shown = page.locator("#BTC").inner_text()
    prices = [m["data"]["BTC"]["price"] for m in got if "BTC" in m.get("data", {})]
    context.close()

    assert wrong == []
    assert told() == list(range(told()[0], told()[-1] + 1))
    assert [m["recovered"] for m in got if "recovered" in m] == [True]
    assert float(shown.split()[1]) in prices[-2:]
