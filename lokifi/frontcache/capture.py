"""What the application answers, on its way: held back whole where it can be, else let through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from time import monotonic
from typing import Any

from lokifi.frontcache.copies import Copy, tags_of
from lokifi.frontcache.rules import Header, Life, fields_of, is_passing, life

Message = MutableMapping[str, Any]

# A longer answer goes out as it comes.
MAX_HELD_BYTES = 8 * 2**20
_INTERNAL = frozenset({b"surrogate-control", b"surrogate-key"})


def lowered(headers: Iterable[Header]) -> list[Header]:
    """Return headers as ASGI wants them; Django does not write their names in lower case."""
    return [(bytes(name).lower(), bytes(value)) for name, value in headers]


def without_internals(headers: Collection[Header]) -> tuple[list[Header], Mapping[str, int]]:
    """Return headers as clients may see them, and the tags that were among them."""
    keys = b" ".join(value for name, value in headers if name == b"surrogate-key")
    return [(n, v) for n, v in headers if n not in _INTERNAL], tags_of(keys)


class Capture:
    """The two ends that the application is given. `copy` is its answer, once that is whole.

    What comes in parts, has no announced length and may not be kept is a stream: it goes
    through to the client as it comes, and `goes_through` is called with its tags.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        own: Collection[bytes],
        is_head: bool,
        goes_through: Callable[[Mapping[str, int]], None],
    ) -> None:
        self.copy: Copy | None = None
        self.life = Life(is_public=False, may_be_kept=False, fresh_s=0.0)
        self.is_passing = False
        self._receive = receive
        self._send = send
        self._own = own
        self._is_head = is_head
        self._goes_through = goes_through
        self._start: Message = {}
        self._parts: list[bytes] = []
        self._length = 0
        self._is_stream = False
        self._is_through = False
        self._is_over = False
        self._was_asked = False
        self._through = asyncio.Event()
        # An answer's life is counted from when it was asked for (RFC 9111, 4.2.3): what it
        # says of itself was true at some moment after that.
        self._asked_at = monotonic()

    async def receive(self) -> Message:
        """Give an empty body; a client that leaves is told of only while a stream runs.

        An answer that is held back is for others too.
        """
        if not self._was_asked:
            self._was_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._through.wait()
        if self._is_over:
            return {"type": "http.disconnect"}
        return await self._receive()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._is_through:
            await self._forward(message)
        else:
            await self._hold(message)

    async def _begin(self, message: Message) -> None:
        self._start = {**message, "headers": lowered(message["headers"])}
        fields = fields_of(self._start["headers"])
        self.life = life(message["status"], fields)
        self.is_passing = is_passing(fields)
        length = fields.get(b"content-length", b"")
        is_long = length.isdigit() and int(length) > MAX_HELD_BYTES
        is_live = fields.get(b"content-type", b"").startswith(b"text/event-stream")
        self._is_stream = not length and not self.life.may_be_kept
        if is_long or is_live:
            await self._let_through()

    async def _hold(self, message: Message) -> None:
        if self._is_stream and message.get("more_body", False):
            await self._let_through()
            await self._forward(message)
            return
        part = bytes(message.get("body", b""))
        self._parts.append(part)
        self._length += len(part)
        if self._length > MAX_HELD_BYTES:
            await self._let_through()
            body, self._parts = b"".join(self._parts), []
            await self._forward({**message, "body": body})
        elif not message.get("more_body", False):
            self._finish()

    def _finish(self) -> None:
        headers = self._start["headers"]
        body = b"".join(self._parts)
        self.copy = Copy(
            self._start["status"],
            headers,
            fields_of(headers),
            body,
            self._own,
            self.life,
            self._asked_at,
        )

    async def _let_through(self) -> None:
        self._is_through = True
        headers, tags = without_internals(self._start["headers"])
        self._goes_through(tags)
        self._through.set()
        await self._send({**self._start, "headers": headers})
        if self._is_head:
            self._is_over = True
            await self._send({"type": "http.response.body", "body": b""})

    async def _forward(self, message: Message) -> None:
        if not self._is_over:
            await self._send(message)
