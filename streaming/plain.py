"""The way to a subscriber under any ASGI server: its `send`, at the subscriber's own pace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from streaming.forms import Form
from streaming.protocol import Close

if TYPE_CHECKING:
    from streaming.feed import Feed

logger = logging.getLogger(__name__)

_CUT_WITHIN_S = 1.0

Send = Callable[[Any], Awaitable[None]]


class PlainLine:
    """Sends by a task that lives only while there is something to send.

    `gone` is called when the server takes nothing more, or nothing more is wanted.
    """

    __slots__ = ("_gone", "_next", "_send", "_task", "feed", "is_free")

    joins = False
    form: Form = Form()

    def __init__(self, send: Send, gone: Callable[[], None]) -> None:
        self.feed: Feed | None = None
        self.is_free = True
        self._send = send
        self._gone = gone
        self._next: Any = None
        self._task: asyncio.Task[None] | None = None

    def write(self, made: Any) -> None:
        self._give(made)

    def end(self, code: Close) -> None:
        self._give(code)

    def cut(self, code: Close) -> None:
        self.stop()
        self._task = asyncio.create_task(self._cut(code))

    def hold_back(self, is_held: bool) -> None:
        """Do nothing: what is read ahead is the server's own affair."""

    def stop(self) -> None:
        self.is_free = False
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _message(self, made: Any) -> dict[str, Any]:
        return {"type": "websocket.send", "text": made}

    def _closing(self, code: Close) -> dict[str, Any]:
        return {"type": "websocket.close", "code": int(code)}

    def _give(self, item: Any) -> None:
        self.is_free = False
        self._next = item
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._next is not None:
                item, self._next = self._next, None
                if isinstance(item, Close):
                    await self._send(self._closing(item))
                    return
                await self._send(self._message(item))
                self.is_free = True
                if self.feed is not None:
                    self.feed.flush()
        except Exception as exc:  # noqa: BLE001 (servers raise what they like for a dead socket)
            logger.debug("a socket is gone: %r", exc)
            self.is_free = False
            self._gone()
        finally:
            self._task = None

    async def _cut(self, code: Close) -> None:
        try:
            async with asyncio.timeout(_CUT_WITHIN_S):
                await self._send(self._closing(code))
        except TimeoutError:
            logger.debug("a socket could not even be told %d", code)
        except Exception as exc:  # noqa: BLE001 (as above)
            logger.debug("a socket is gone: %r", exc)
        self._gone()
