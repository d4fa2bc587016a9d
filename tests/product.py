"""A whole installation for one test: its own Redis, sandbox and database, real processes.

with Product(tmp_path, PUBLISH_INTERVAL_S="1") as product:
    one, two = product.web(), product.web("uvicorn")
    product.worker()
    product.beat()
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lokifi import parts
from lokifi.embedded import EmbeddedServer, free_port
from tests.market import Sandbox
from tests.processes import ROOT, Process, environment, responds, until

# Databases as `prepare` makes them, by the sandbox's plan.
_prepared: dict[str, bytes] = {}
_MAKES_ANOTHER_DATABASE = {"ADMIN_PASSWORD", "DATABASE_URL", "UPSTREAM", "TRACKED_SYMBOLS"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """One server process."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.socket_url = f"ws://127.0.0.1:{port}/api/ws/prices"

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self._ask("GET", path, None, headers or {})

    def post(self, path: str, body: object) -> Answer:
        return self._ask("POST", path, json.dumps(body), {"Content-Type": "application/json"})

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()


class Product:
    """Starts parts by name and stops whatever it started."""

    starts_within_s = 30.0

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.redis = EmbeddedServer(folder / "redis")
        self.sandbox = Sandbox(f"http://127.0.0.1:{free_port()}", plan=settings.get("SANDBOX_PLAN"))
        self._started: list[Process] = []
        self.environment = environment(
            CELERY_BROKER_URL=f"{self.redis.url}/2",
            DATABASE_URL=f"sqlite:///{folder / 'product.sqlite3'}",
            PYTHONUNBUFFERED="1",
            REDIS_URL=f"{self.redis.url}/0",
            SANDBOX_URL=self.sandbox.url,
            SECRET_KEY="only-for-tests",
            UPSTREAM="sandbox",
            VAR_DIR=str(folder / "var"),
        )
        self.environment.update(settings)
        (folder / "var").mkdir(exist_ok=True)
        self._prepare(settings)

    def _prepare(self, settings: Mapping[str, str]) -> None:
        """Have the tables and the catalogue: prepared once by this process, then copied."""
        if settings.keys() & _MAKES_ANOTHER_DATABASE:
            self.manage("prepare")
            return
        database = self.folder / "product.sqlite3"
        plan = self.sandbox.plan
        if plan in _prepared:
            database.write_bytes(_prepared[plan])
        else:
            self.manage("prepare")
            _prepared[plan] = database.read_bytes()

    def __enter__(self) -> Product:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for process in reversed(self._started):
            process.stop(timeout_s=3)
        self.sandbox.stop()
        self.redis.kill()

    def manage(self, *words: str) -> str:
        """Run a management command to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def web(self, server: str = "daphne", **settings: str) -> Web:
        """Start a server process on a free port; return when it answers."""
        port = free_port()
        serve = parts.uvicorn if server == "uvicorn" else parts.daphne
        process = self.start(f"web-{port}", serve("127.0.0.1", port), **settings)
        url = f"http://127.0.0.1:{port}/livez"
        until(lambda: responds(url), "the web server", told=lambda: process.said)
        return Web(process, port)

    def worker(self, **settings: str) -> Process:
        """Start a Celery worker; return when it takes tasks."""
        process = self.start("worker", parts.worker("").command, **settings)
        process.wait_until_said(" ready.", self.starts_within_s)
        return process

    def beat(self, **settings: str) -> Process:
        """Start a beat with a schedule file of its own."""
        number = len(self._started)
        schedule = str(self.folder / f"beat-{number}")
        process = self.start("beat", [*parts.beat().command, "-s", schedule], **settings)
        process.wait_until_said("beat: Starting", self.starts_within_s)
        return process

    def start(self, name: str, command: Sequence[str], **settings: str) -> Process:
        log = self.folder / f"{name}-{len(self._started)}.log"
        process = Process(command, log, {**self.environment, **settings})
        self._started.append(process)
        return process

    @property
    def logs(self) -> str:
        """Everything that every part has said, for a failing test's message."""
        return "\n".join(f"== {p.log.name}\n{p.said}" for p in self._started)
