"""`manage.py up` and `manage.py runserver` as a person starts them, each in a folder of its own."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lokifi.embedded import free_port
from tests.processes import Process, descendants, environment, is_alive, until

IS_UP = "Everything is up"


class Start:
    """One start of the product; everything it started is gone when the block ends."""

    def __init__(self, folder: Path, *words: str, **settings: str) -> None:
        self.var = folder / "var"
        asked = settings.get("PORT", "")
        self.port = int(asked) if asked.isdecimal() else free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        defaults = {
            "PORT": str(self.port),
            "PUBLISH_INTERVAL_S": "1",
            "PYTHONUNBUFFERED": "1",
            "UPSTREAM": "sandbox",
            "VAR_DIR": str(self.var),
        }
        self.process = Process(
            [sys.executable, "manage.py", *(words or ("up",))],
            folder / f"{'-'.join(words) or 'up'}-{self.port}.log",
            environment(**{**defaults, **settings}),
        )

    def __enter__(self) -> Start:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.process.stop(timeout_s=8)

    def wait_until_up(self) -> list[int]:
        """Return the processes it consists of, itself not among them."""
        self.process.wait_until_said(IS_UP, timeout_s=80)
        return list(descendants(self.process.pid))

    @property
    def said(self) -> str:
        return self.process.said

    def notes(self) -> dict[str, Any]:
        notes: dict[str, Any] = json.loads((self.var / "run.json").read_text())
        return notes

    def part(self, words: str) -> int:
        """Return the process whose command line holds `words`."""
        for pid in descendants(self.process.pid):
            # What is listed may have ended by the time it is looked at.
            with suppress(FileNotFoundError, ProcessLookupError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words in line:
                    return pid
        raise AssertionError(f"no process with {words!r}:\n{self.said}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send(number)
        return self.process.wait()


def until_gone(pids: list[int], timeout_s: float = 10) -> None:
    until(lambda: not any(map(is_alive, pids)), f"the end of {pids}", timeout_s)
