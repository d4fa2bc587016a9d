"""A server that is told to stop says so to its subscribers first.

daphne just drops its connections and uvicorn closes them without a word of when
to come back. So the hub's process takes the signal, lets the notice and the
close go out, and then hands the signal on to the server's own handler. FAILED
before that signal tells that nobody will start the server again.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any, Protocol

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
FAILED = signal.SIGUSR1
# The whole stop has a few seconds, and the server needs some of them.
_WITHIN_S = 0.7
_POLL_S = 0.02


class Stoppable(Protocol):
    is_failed: bool

    def stop(self) -> None:
        """Say goodbye to everyone; where `is_failed`, without a promise to come back."""

    @property
    def has_said_goodbye(self) -> bool:
        """Whether all of it was sent."""


def heed_no_failure_yet() -> None:
    """Let FAILED not end a process that has nobody to say goodbye to."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(FAILED, signal.SIG_IGN)


def say_goodbye_first(who: Stoppable) -> None:
    """Let `who` stop before the server does; without a server of its own handlers, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(FAILED, lambda *_: setattr(who, "is_failed", True))
    for number in _SIGNALS:
        servers = signal.getsignal(number)
        if callable(servers) and servers is not signal.default_int_handler:
            signal.signal(number, _Handler(who, servers))


class _Handler:
    def __init__(self, who: Stoppable, servers: Any) -> None:
        self._who = who
        self._servers = servers
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._stop(number))

    async def _stop(self, number: int) -> None:
        self._who.stop()
        deadline = self._loop.time() + _WITHIN_S
        while not self._who.has_said_goodbye and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        signal.signal(number, self._servers)
        signal.raise_signal(number)
