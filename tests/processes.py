"""Real processes for tests: start, read what they say, wait for a sign, stop by pid."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lokifi.embedded import leashed

ROOT = Path(__file__).resolve().parent.parent


class Process:
    """A process and the file its output goes to."""

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path = ROOT
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                leashed(list(command)),
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 20) -> int:
        """Return the exit code."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s:\n{self.said}") from None

    def wait_until_said(self, text: str, timeout_s: float = 30) -> None:
        def has_said() -> bool:
            if text not in self.said and not self.is_running:
                raise AssertionError(f"ended without a word of {text!r}:\n{self.said}")
            return text in self.said

        until(has_said, f"{text!r} from it", timeout_s, told=lambda: self.said)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10) -> None:
        if not self.is_running:
            return
        self.send(number)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def until(
    holds: Callable[[], object],
    what: str,
    timeout_s: float = 30,
    told: Callable[[], str] = lambda: "",
) -> None:
    """Wait until `holds()` is true; fail naming `what` when it never is."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}\n{told()}")
        time.sleep(0.05)


def responds(url: str) -> bool:
    """Return whether `url` answers with a status below 500."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def descendants(pid: int) -> Iterator[int]:
    """Yield every process below `pid`, whatever session it made for itself (Linux)."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name may hold spaces and brackets; what follows the last one does not.
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
        yield from more


def is_alive(pid: int) -> bool:
    """Return whether the process exists and is more than an entry nobody has collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a person: none of our own settings but the ones given."""
    ours = {"COINGECKO", "FINNHUB", "SANDBOX", "LOKIFI", "WS", "CORS", "REDIS", "CELERY"}
    single = {"DEBUG", "SECRET_KEY", "UPSTREAM", "VAR_DIR", "ENV_FILE", "DATABASE_URL"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in single
        and name.partition("_")[0] not in ours
        and not name.startswith(("PYTEST", "ALLOWED_HOSTS", "DJANGO_SETTINGS"))
    }
    return {**kept, "ENV_FILE": "/dev/null", **settings}
