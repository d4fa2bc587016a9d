"""The whole product as one: what starts in which order, and what a person is told."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings

from lokifi import development, embedded, parts
from lokifi.banner import Facts, banner
from lokifi.supervisor import Part, PartEndedError, PartFailedError, Supervisor, to_stdout
from streaming.stopping import FAILED

EXIT_STOPPED, EXIT_FAILED = 0, 1
_OTHER_PORTS = 3
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Product:
    """Everything that runs in one checkout. `web` is what serves HTTP on `port`."""

    def __init__(self, web: Part, host: str, port: int) -> None:
        self._web = web
        self._host = host
        self._port = port
        self._environment = dict(os.environ)
        self._environment[development.SUPERVISED] = "1"
        self._environment["PYTHONUNBUFFERED"] = "1"
        self._environment["UPSTREAM"] = settings.UPSTREAM_MODE
        self._supervisor = Supervisor(to_stdout)

    def run(self) -> int:
        """Run until stopped by a signal or by the end of a part; return the exit code."""
        try:
            return asyncio.run(self._run())
        except KeyboardInterrupt:
            return EXIT_STOPPED

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._start_and_wait())
        for number in _STOPS:
            loop.add_signal_handler(number, work.cancel)
        try:
            failure = await work
            # Who follows prices is not to wait for what nobody starts again.
            self._supervisor.tell(self._web.name, FAILED)
        except asyncio.CancelledError:
            to_stdout("Stopping.")
            return EXIT_STOPPED
        except PartFailedError as exc:
            failure = exc
        finally:
            for number in _STOPS:
                loop.add_signal_handler(number, _stopping_already)
            await self._supervisor.stop(*parts.STOP_ORDER)
        self._explain(failure)
        return EXIT_FAILED

    async def _start_and_wait(self) -> PartFailedError:
        await self._start_redis()
        await self._start_sandbox()
        facts = await self._prepare()
        broker = self._environment["CELERY_BROKER_URL"]
        await self._start_together(self._web, parts.worker(broker), parts.beat())
        self._write_notes()
        to_stdout(banner(self._environment, self._host, self._port, facts))
        return await self._supervisor.first_end()

    async def _start_together(self, *several: Part) -> None:
        """Start parts side by side, unless one that was up already ends meanwhile."""
        ending = asyncio.create_task(self._supervisor.first_end())
        starting = {asyncio.create_task(self._start(part)) for part in several}
        left = set(starting)
        try:
            while left:
                done, _ = await asyncio.wait({ending, *left}, return_when=asyncio.FIRST_COMPLETED)
                if ending in done:
                    raise ending.result()
                for task in done:
                    task.result()
                    left.discard(task)
        finally:
            for task in (ending, *starting):
                task.cancel()
            # What the others came to is of no concern any more, but has to be asked.
            await asyncio.gather(ending, *starting, return_exceptions=True)

    async def _start(self, part: Part) -> None:
        await self._supervisor.start(part, self._environment)

    async def _start_redis(self) -> None:
        if not self._environment.get("REDIS_URL", "").strip():
            port = await self._start_valkey()
            self._environment["REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
            self._own_broker(f"redis://127.0.0.1:{port}/2")
        else:
            await asyncio.to_thread(parts.demand_redis, settings.REDIS_URL)
            self._environment["REDIS_URL"] = settings.REDIS_URL
        self._own_broker(settings.CELERY_BROKER_URL)

    def _own_broker(self, url: str) -> None:
        if not self._environment.get("CELERY_BROKER_URL", "").strip():
            self._environment["CELERY_BROKER_URL"] = url

    async def _start_valkey(self) -> int:
        # A dump for each mode, so that neither ever sees the other's keys.
        folder = settings.VAR_DIR / settings.UPSTREAM_MODE
        return await self._start_on_a_port(
            embedded.DEFAULT_PORT, lambda port: parts.valkey(port, folder)
        )

    async def _start_on_a_port(self, usual: int, part_on: Callable[[int], Part]) -> int:
        """Start a part on its usual port, or another where that is taken; return which."""
        port = embedded.free_port(usual)
        for _ in range(_OTHER_PORTS):
            try:
                await self._start(part_on(port))
            except PartEndedError:
                # Free a moment ago; somebody was faster.
                if not parts.is_taken("127.0.0.1", port):
                    raise
                port = embedded.free_port()
            else:
                return port
        await self._start(part_on(port))
        return port

    async def _start_sandbox(self) -> None:
        if settings.UPSTREAM_MODE == "sandbox" and not self._environment.get("SANDBOX_URL"):
            usual = urlsplit(settings.SANDBOX_URL).port or 0
            port = await self._start_on_a_port(usual, parts.sandbox)
            self._environment["SANDBOX_URL"] = f"http://127.0.0.1:{port}"

    async def _prepare(self) -> Facts:
        password = settings.ADMIN_PASSWORD
        if settings.DEBUG and not password:
            password = secrets.token_urlsafe(9)
        environment = {**self._environment, "ADMIN_PASSWORD": password}
        told = json.loads(await self._supervisor.run_to_end(parts.prepare(), environment))
        if told["made_superuser"]:
            # At once: should a later step fail, nobody could know it any more.
            said = f"{password} (shown this once)"
            if settings.ADMIN_PASSWORD:
                said = "is that of ADMIN_PASSWORD"
            to_stdout(f"The admin's user is admin, the password {said}.")
        return Facts(told["made_superuser"], told["assets"])

    def _write_notes(self) -> None:
        development.write_notes(
            settings.VAR_DIR,
            {
                "pid": os.getpid(),
                "port": self._port,
                "upstream": settings.UPSTREAM_MODE,
                "redis_url": self._environment["REDIS_URL"],
                "broker_url": self._environment["CELERY_BROKER_URL"],
                "sandbox_url": self._environment.get("SANDBOX_URL", ""),
            },
        )

    def _explain(self, failure: PartFailedError) -> None:
        to_stdout(f"\n{failure} Everything was stopped.")
        if failure.lines:
            to_stdout(f"The last lines of {failure.name}:")
        for line in failure.lines:
            to_stdout(f"    {line}")


def _stopping_already() -> None:
    to_stdout("Stopping already.")
