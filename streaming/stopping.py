"""A server that is told to stop says so to its subscribers first.

daphne just drops its connections and uvicorn closes them without a word of when
to come back. So the hub's process takes the signal, lets the notice and the
close go out, and then hands the signal on to the server's own handler. FAILED
before that signal tells that nobody will start the server again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from types import FrameType
from typing import Any, Protocol

from streaming.protocol import Notice, NoticeFrame

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
FAILED = signal.SIGUSR1
# The whole stop has a few seconds, and the server needs some of them.
_WITHIN_S = 0.7
_POLL_S = 0.02
_COME_BACK_MS = (500, 5000)
# So many come back in a second at most: one process takes no more of them.
_BACK_PER_S = 400
_PERHAPS_BACK_MS = (30_000, 60_000)


class Stoppable(Protocol):
    is_failed: bool

    async def stop(self) -> None:
        """Say goodbye to everyone; where `is_failed`, without a promise to come back."""

    @property
    def has_said_goodbye(self) -> bool:
        """Whether all of it was sent."""


def goodbye(count: int, *, is_failed: bool) -> NoticeFrame:
    """Return what one of so many is told who have to leave, and when to come back.

    Not all at once: another server has to take them.
    """
    first, last = _PERHAPS_BACK_MS if is_failed else _COME_BACK_MS
    last = max(last, 1000 * count // _BACK_PER_S)
    message = "This server stops; connect again."
    if is_failed:
        message = "A part of this server failed: it stops, and does not come back by itself."
    after_ms = random.randint(first, last)  # noqa: S311 (spreads load, keeps no secret)
    return NoticeFrame(code=Notice.STOPPING, message=message, retry_after_ms=after_ms)


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
        try:
            await self._say_goodbye()
        except Exception:
            logger.exception("not everyone could be told that this server stops")
        finally:
            # Whatever failed: a server that was told to stop does.
            signal.signal(number, self._servers)
            signal.raise_signal(number)

    async def _say_goodbye(self) -> None:
        await self._who.stop()
        deadline = self._loop.time() + _WITHIN_S
        while not self._who.has_said_goodbye and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
