"""The product's HTTP with Django counted: each of its answers bears how many it has given.

What leaves ahead of Django repeats the number of an answer that was there before.
"""

from __future__ import annotations

from typing import Any

from lokifi import asgi
from lokifi.front import in_front_of
from tests.lokifi.raw import COUNT

_given = 0


async def _counted(scope: Any, receive: Any, send: Any) -> None:
    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            global _given
            _given += 1
            headers = [*message["headers"], (COUNT.encode(), b"%d" % _given)]
            message = {**message, "headers": headers}
        await send(message)

    await asgi.django(scope, receive, sent)


application = in_front_of(_counted, refusing=asgi.django)
