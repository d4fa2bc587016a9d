"""Start several processes as one and stop them as one.

A part that ends by itself takes the rest down. A part cannot outlive this
process (leash.py). What the parts are is not known here; see parts.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lokifi.embedded import leashed

_LAST_LINES = 15
_LOOK_EVERY_S = 0.1
_NAME_WIDTH = 8
# How long a stopped part's last words are waited for.
STOP_READS_S = 0.1

Lines = Collection[str]


@dataclass(frozen=True)
class Part:
    """One process: how it starts, when it counts as up, and how long it may take to stop."""

    name: str
    command: Sequence[str]
    # Called over and over, in a thread, with the last lines of output; True once it serves.
    answers: Callable[[Lines], bool]
    ready_within_s: float = 30.0
    stop_within_s: float = 1.3
    # What the kernel sends it when this process is gone.
    when_orphaned: signal.Signals = signal.SIGKILL
    # Shares the terminal: no prefix, reads the keyboard, gets Ctrl-C itself.
    in_foreground: bool = False
    # Lines that hold one of these are not shown.
    hides: tuple[str, ...] = ()


class PartFailedError(Exception):
    """A part ended, or did not come up; carries what it said last."""

    def __init__(self, name: str, what: str, lines: Lines) -> None:
        super().__init__(f"{name} {what}.")
        self.name = name
        self.lines = list(lines)


class PartEndedError(PartFailedError):
    """A part ended by itself."""


class Running:
    """A part that has been started."""

    def __init__(self, part: Part, process: asyncio.subprocess.Process) -> None:
        self.part = part
        self.process = process
        self.lines: deque[str] = deque(maxlen=_LAST_LINES)
        self.pump: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        return self.process.returncode is None


class Supervisor:
    """Parts that live and die together. Use one in one event loop, once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._running: list[Running] = []

    async def start(self, part: Part, environment: Mapping[str, str]) -> None:
        """Start `part` and return when it answers. Raises PartFailedError."""
        running = await self._spawn(part, environment)
        deadline = asyncio.get_running_loop().time() + part.ready_within_s
        while not await asyncio.to_thread(part.answers, running.lines):
            if not running.is_up:
                self._running.remove(running)
                raise await self._ended(running)
            if asyncio.get_running_loop().time() > deadline:
                what = f"did not answer within {part.ready_within_s:g} s"
                raise PartFailedError(part.name, what, running.lines)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _spawn(self, part: Part, environment: Mapping[str, str]) -> Running:
        output = None if part.in_foreground else asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *leashed(list(part.command), part.when_orphaned),
            env=environment,
            stdin=None if part.in_foreground else asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=None if part.in_foreground else asyncio.subprocess.STDOUT,
            # Ctrl-C reaches the whole group of the terminal; the parts are to
            # stop in our order and not each by itself.
            start_new_session=not part.in_foreground,
        )
        running = Running(part, process)
        self._running.append(running)
        if process.stdout is not None:
            running.pump = asyncio.create_task(self._pump(running, process.stdout))
        return running

    async def _pump(self, running: Running, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(65536):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                self._say(running, line)
        if rest:
            self._say(running, rest)

    def _say(self, running: Running, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            running.lines.append(text)
        if text and not any(hidden in text for hidden in running.part.hides):
            self._write(f"{running.part.name:<{_NAME_WIDTH}} | {text}")

    async def run_to_end(self, part: Part, environment: Mapping[str, str]) -> str:
        """Run what ends by itself; return its last line. Raises PartFailedError."""
        step = await self._spawn(part, environment)
        await step.process.wait()
        if step.process.returncode != 0:
            raise await self._ended(step)
        await self._read_out(step, 0.5)
        self._running.remove(step)
        return step.lines[-1] if step.lines else ""

    async def first_end(self) -> PartFailedError:
        """Wait until some part ends; return which one, and its last lines.

        Where none runs yet (Redis and the sources are somebody else's) it waits for ever.
        """
        ends = {asyncio.create_task(one.process.wait()): one for one in self._running}
        if not ends:
            await asyncio.Event().wait()
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return await self._ended(ends[next(iter(done))])
        finally:
            for task in ends:
                task.cancel()

    async def _ended(self, running: Running) -> PartEndedError:
        await running.process.wait()
        await self._read_out(running, 0.5)
        code = running.process.returncode or 0
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        return PartEndedError(running.part.name, how, running.lines)

    async def _read_out(self, running: Running, within_s: float) -> None:
        if running.pump is not None:
            # A grandchild may hold the pipe open; what it says later is not waited for.
            await asyncio.wait({running.pump}, timeout=within_s)

    def tell(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part that is up and no terminal's."""
        for one in self._running:
            if one.part.name == name and one.is_up and not one.part.in_foreground:
                with suppress(ProcessLookupError):
                    one.process.send_signal(number)

    async def stop(self, *order: Collection[str]) -> None:
        """Stop the parts named first, then the next, and at the end whatever is left."""
        for names in order:
            await asyncio.gather(
                *(self._stop(one) for one in self._running if one.part.name in names)
            )
        await asyncio.gather(*(self._stop(one) for one in self._running))

    async def _stop(self, running: Running) -> None:
        if running.is_up:
            with suppress(ProcessLookupError):
                running.process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(running.process.wait(), running.part.stop_within_s)
        self._kill_group(running)
        await running.process.wait()
        await self._read_out(running, STOP_READS_S)

    def _kill_group(self, running: Running) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if running.part.in_foreground:
                if running.is_up:
                    running.process.kill()
            else:
                os.killpg(running.process.pid, signal.SIGKILL)


def to_stdout(line: str) -> None:
    """Write a line; a reader that has gone away (`| head`) is not our trouble."""
    with suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
