"""The floor: a bare asyncio protocol on uvloop that finds the whole answer by the request line.

bare_http.py PORT TARGET=KEY ...: what each target answers is what Redis holds under its key.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import cast

import redis
import uvloop

ABSENT = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def answers() -> dict[bytes, bytes]:
    store = redis.Redis.from_url(os.environ["REDIS_URL"])
    found = {}
    for word in sys.argv[2:]:
        target, _, key = word.rpartition("=")
        body = store.get(key)
        assert isinstance(body, bytes), f"nothing under {key}"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        found[b"GET %b HTTP/1.1" % target.encode()] = head % len(body) + body
    return found


ANSWERS = answers()


class Bare(asyncio.Protocol):
    """One connection; a request is taken to come in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By its word: uvloop's are of no class of asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWERS.get(data[: data.find(b"\r\n")], ABSENT))


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


uvloop.run(serve())
