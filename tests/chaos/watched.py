"""The product's application with pages more, which tell what only its process can know."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

from lokifi.asgi import application as product

PAGE = "/_watched"
# How many objects were unreachable, and waited for Python's collector until this.
GARBAGE = "/_garbage"
_EVERY_S = 0.01


class Lag:
    """How late the event loop was, at the most, since it was last asked."""

    def __init__(self) -> None:
        self._worst_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def watch(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._measure())

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self._worst_s = max(self._worst_s, loop.time() - due)

    def taken(self) -> float:
        worst, self._worst_s = self._worst_s, 0.0
        return worst


_lag = Lag()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        _lag.watch()
    if scope["type"] == "http" and scope["path"] == PAGE:
        await _tell(send)
    elif scope["type"] == "http" and scope["path"] == GARBAGE:
        await _say(send, gc.collect())
    else:
        await product(scope, receive, send)


async def _tell(send: Any) -> None:
    from streaming.hub import hub

    known = {
        "tasks": len(asyncio.all_tasks()),
        "sockets": hub().count,
        "lag_s": _lag.taken(),
        "figures": hub().figures(),
    }
    await _say(send, known)


async def _say(send: Any, known: object) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(known).encode()})
