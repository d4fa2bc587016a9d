"""What is measured: the product, and peers beside it on the same Redis channel."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lokifi.embedded import free_port, leashed
from tests.processes import ROOT, Process, until
from tests.product import Product

PEERS = ROOT / "bench" / "peers"
BUILT = ROOT / "var" / "bench"
PATH = "/api/ws/prices"


class Unavailable(Exception):  # noqa: N818 (no error: the figure is left out with a sentence)
    """A peer cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Running:
    """A server that takes connections."""

    name: str
    url: str
    pids: list[int]


@contextmanager
def ours(product: Product, server: str, **settings: str) -> Iterator[Running]:
    """Run the product's server, one process of it."""
    web = product.web(server, **settings)
    try:
        yield Running(server, web.socket_url, [web.process.pid])
    finally:
        web.process.stop()


@contextmanager
def peer(product: Product, name: str, message_bytes: int) -> Iterator[Running]:
    """Run a peer. Raises Unavailable."""
    port = free_port()
    command, more = PEERS_BY_NAME[name](port, product.redis.port, message_bytes)
    log = product.folder / f"{name}-{port}.log"
    process = Process(command, log, {**os.environ, **more})
    try:
        until(lambda: _listens(port), name, told=lambda: process.said)
        yield Running(name, f"ws://127.0.0.1:{port}{PATH}", [process.pid])
    finally:
        process.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


Made = tuple[list[str], dict[str, str]]


def node_ws(port: int, redis_port: int, _: int) -> Made:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise Unavailable("Node `ws` was left out: there is no node or no npm here.")
    folder = BUILT / "node"
    if not (folder / "node_modules" / "ws").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(PEERS / "package.json", folder)
        _make([npm, "install", "--silent", "--no-audit", "--no-fund"], folder, "Node `ws`")
    shutil.copy(PEERS / "node_ws.js", folder)
    return [node, str(folder / "node_ws.js"), str(port)], {"REDIS_PORT": str(redis_port)}


def picows(port: int, redis_port: int, _: int) -> Made:
    folder = BUILT / "picows"
    if not (folder / "picows").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _make([*pip, "--target", str(folder), "picows==2.3.1"], ROOT, "picows")
    more = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}", "PYTHONPATH": str(folder)}
    return [sys.executable, str(PEERS / "picows_peer.py"), str(port)], more


def floor(port: int, redis_port: int, message_bytes: int) -> Made:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Unavailable("The floor in C was left out: there is no C compiler here.")
    BUILT.mkdir(parents=True, exist_ok=True)
    program = BUILT / "floor"
    _make([compiler, "-O2", "-o", str(program), str(PEERS / "floor.c")], ROOT, "The floor in C")
    return [str(program), str(port), str(message_bytes), str(redis_port)], {}


PEERS_BY_NAME: dict[str, Callable[[int, int, int], Made]] = {
    "node ws": node_ws,
    "picows": picows,
    "C floor": floor,
}


def _make(command: list[str], folder: Path, what: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Unavailable(f"{what} was left out: it cannot be built here ({' '.join(last)[:120]}).")


@contextmanager
def fed(product: Product, symbols: list[str], interval_s: int) -> Iterator[Process]:
    """Publish made-up prices of these symbols, for as long as the block runs."""
    names = product.folder / "symbols"
    names.write_text("\n".join(symbols))
    command = [sys.executable, "-m", "bench.feed", str(names), str(interval_s)]
    settings = {**product.environment, "DJANGO_SETTINGS_MODULE": "lokifi.settings"}
    process = Process(command, product.folder / f"feed-{free_port()}.log", settings)
    try:
        yield process
    finally:
        process.stop()


def load(running: Running, symbols: Path, **options: int) -> dict[str, float]:
    """Run the clients in a process of their own; return what they measured."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    pids = [f"--pid={pid}" for pid in running.pids]
    module = "bench.load" if running.url.startswith("ws:") else "bench.event_load"
    command = [sys.executable, "-m", module, running.url, "--symbol-file", str(symbols)]
    done = subprocess.run(
        leashed([*command, *words, *pids, "--label", running.name]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured
