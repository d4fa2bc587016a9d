"""The product's application behind a `send` that tells nothing of its server.

uvicorn tests.streaming.hidden:application
"""

from __future__ import annotations

from typing import Any

from lokifi.asgi import application as whole


async def application(scope: Any, receive: Any, send: Any) -> None:
    async def plain(message: Any) -> None:
        await send(message)

    await whole(scope, receive, plain)
