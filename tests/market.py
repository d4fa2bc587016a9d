"""The sandbox market as a process of its own, and its controls. docs/sandbox.md has them all."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.processes import Process, environment, responds, until


class Sandbox:
    """A running sandbox server at `url`."""

    def __init__(self, url: str, plan: str | None = None) -> None:
        self.url = url
        folder = Path(tempfile.mkdtemp(prefix="lokifi-sandbox-"))
        self.process = Process(
            [sys.executable, "manage.py", "sandbox", "--port", str(urlsplit(url).port)],
            folder / "sandbox.log",
            environment(
                SANDBOX_PLAN=plan or "all",
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
