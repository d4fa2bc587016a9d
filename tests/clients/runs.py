"""The clients of clients/ side by side against one server, which is restarted in the middle."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from tests.lokifi.site import Site
from tests.processes import ROOT, until

HERE = Path(__file__).parent
WITHIN_S = 150.0
AWAY_S = 2.5  # some ticks

Results = dict[str, str]
Restarted = Callable[[], Awaitable[None]]


class Run(Protocol):
    """One client on its way through the list."""

    @property
    def waits(self) -> bool:
        """Whether it has come to where the server is restarted."""

    def go_on(self) -> None:
        """Tell it that the server was restarted."""

    @property
    def results(self) -> Results | None:
        """What came of each behaviour, once all is over."""


def shown(site: Site, runs: dict[str, Run]) -> dict[str, Results]:
    """Take all clients through the list, with one restart for all of them."""
    until(lambda: all(run.waits for run in runs.values()), "the restart", WITHIN_S)
    site.web.stop()
    time.sleep(AWAY_S)
    site.web = site.start()
    for run in runs.values():
        run.go_on()
    until(lambda: all(run.results is not None for run in runs.values()), "the results", WITHIN_S)
    return {name: run.results or {} for name, run in runs.items()}


class NodeRun:
    """The TypeScript client in Node."""

    def __init__(self, node: str, url: str) -> None:
        self.waits = False
        self.results: Results | None = None
        self._process = subprocess.Popen(
            [node, "--experimental-websocket", str(HERE / "run.mjs"), url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.results = json.loads(line)
            self.waits = True
        if self.results is None:
            self.results = {"node": "it ended without results"}


class PythonRun:
    """The Python client, on an event loop in a thread of its own."""

    def __init__(self, url: str, run: Callable[[str, Restarted], Coroutine[Any, Any, Results]]):
        self.waits = False
        self.results: Results | None = None
        self._url = url
        self._run = run
        self._restarted = threading.Event()
        threading.Thread(target=self._show, daemon=True).start()

    def go_on(self) -> None:
        self._restarted.set()

    async def _wait(self) -> None:
        self.waits = True
        await asyncio.to_thread(self._restarted.wait, WITHIN_S)

    def _show(self) -> None:
        try:
            self.results = asyncio.run(self._run(self._url, self._wait))
        except Exception as exc:  # noqa: BLE001 (a test tells of it)
            self.results = {"python": repr(exc)}
        self.waits = True


class PageRun:
    """Something that runs in a browser's page: `script` sets waits, and results in the end."""

    def __init__(self, page: Any, script: str) -> None:
        self._page = page
        page.evaluate(
            """async (script) => {
              window.restarted = () => new Promise((resolve) => {
                window.goOn = resolve;
                window.waits = true;
              });
              const { run } = await import(script);
              run(window.restarted).then(
                (results) => { window.results = results; },
                (error) => { window.results = { page: `${error.stack ?? error}` }; },
              ).finally(() => { window.waits = true; });
            }""",
            script,
        )

    @property
    def waits(self) -> bool:
        return bool(self._page.evaluate("window.waits ?? false"))

    def go_on(self) -> None:
        self._page.evaluate("window.goOn?.()")

    @property
    def results(self) -> Results | None:
        found: Results | None = self._page.evaluate("window.results ?? null")
        return found
