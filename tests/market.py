"""The sandbox market as a process of its own, and its controls. docs/sandbox.md has them all."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tests.processes import Process, environment, responds, until


class Sandbox:
    """A running sandbox server at `url`."""

    def __init__(self, url: str, plan: str | None = None) -> None:
        self.url = url
        self.plan = plan or "all"
        folder = Path(tempfile.mkdtemp(prefix="lokifi-sandbox-"))
        self.process = Process(
            [sys.executable, "manage.py", "sandbox", "--port", str(urlsplit(url).port)],
            folder / "sandbox.log",
            environment(
                SANDBOX_PLAN=self.plan,
                SANDBOX_URL=url,
                SECRET_KEY="only-for-tests",
                UPSTREAM="sandbox",
                VAR_DIR=str(folder),
            ),
        )
        ping = f"{url}/coingecko/api/v3/ping"
        until(lambda: responds(ping), "the sandbox", told=lambda: self.process.said)

    def stop(self) -> None:
        self.process.stop(timeout_s=3)

    def calls(self, path: str = "") -> Any:
        """Return what was asked since the last reset: counts by path and key, and each call."""
        return self.control("GET", f"calls?path={quote(path)}")

    def count(self, path: str = "") -> int:
        """Return how many calls paths that begin with `path` have had."""
        return sum(self.calls(path)["paths"].values())

    def price(self, path: str, field: str) -> float:
        """Return a number as a source itself tells it."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as response:
            return float(json.loads(response.read())[field])

    def fault(self, kind: str, **how: object) -> None:
        """Set a fault: `source`, `path`, `calls`, `seconds` and the kind's own options."""
        self.control("POST", "faults", {"kind": kind, **how})

    def heal(self) -> None:
        """Take every fault away; counts stay."""
        self.control("DELETE", "faults")

    def reset(self) -> None:
        """Forget faults, counts, and what was spent of the limits; be here and now again."""
        self.control("POST", "plan", {"plan": self.plan})
        self.control("POST", "clock", {"shift_s": 0})
        self.control("POST", "reset")

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Ask one of the controls under /_sandbox/."""
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read() or b"null")
