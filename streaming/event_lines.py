"""The ways of server-sent events to one subscriber: a line for each server's HTTP response.

What an ASGI `send` takes is at the end of its way under uvicorn alone; daphne's
buffers without end for a client that does not read. So each server's own means
say when a response takes no more, and what waits stays in the feed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streaming.forms import Form
from streaming.frames import tell_of_trouble
from streaming.plain import PlainLine
from streaming.protocol import Close
from streaming.ticks import UNKNOWN

if TYPE_CHECKING:
    from streaming.feed import Feed, Line

_HEAD = re.compile(r'\{"type":"(\w+)"(?:,"epoch":"([^"\\]*)","seq":(\d+))?')
_RETRY = re.compile(r'"retry_after_ms":(\d+)')
_LAST = {"type": "http.response.body", "body": b"", "more_body": False}


def event(text: str) -> bytes:
    """Return a frame's text as an event.

    A price_update is a plain message and a heartbeat a comment, so that `onmessage`
    gets prices alone; all else is an event of its own type. The id is the tick's
    place. A comment with an id gives a browser the place, and its page no event.
    """
    found = _HEAD.match(text)
    kind, epoch, seq = found.groups() if found else ("message", None, None)
    place = f"id: {epoch}:{seq}\n" if epoch and epoch != UNKNOWN.epoch else ""
    if kind == "price_update":
        return f"{place}data: {text}\n\n".encode()
    if kind == "heartbeat":
        return f": heartbeat\n{place}\n".encode()
    wait = _RETRY.search(text) if kind == "notice" else None
    retry = f"retry: {wait.group(1)}\n" if wait else ""
    return f"event: {kind}\n{retry}data: {text}\n\n".encode()


def chunk(text: str) -> bytes:
    """Return a frame's text as an event in a chunk of HTTP/1.1's chunked coding."""
    body = event(text)
    return b"%x\r\n%b\r\n" % (len(body), body)


class _Events(Form):
    """Texts as one of the above has them."""

    __slots__ = ("_made",)

    def __init__(self, made: Callable[[str], bytes]) -> None:
        self._made = made

    def __call__(self, text: str) -> bytes:
        return self._made(text)


_EVENTS, _CHUNKS = _Events(event), _Events(chunk)


def line_of(send: Any, ended: Callable[[], None]) -> Line:
    """Return a line on the response that was begun by an ASGI `send`.

    `ended` is called where the application has to end, since its server would not say so.
    """
    # uvicorn gives a method of the request, daphne a partial with it.
    request: Any = getattr(send, "__self__", None) or next(iter(getattr(send, "args", ())), None)
    module = type(request).__module__
    if module == "daphne.http_protocol" and request.channel is not None:
        is_plain = hasattr(request.channel.transport, "writeSomeData")
        return DaphneChunks(request) if request.chunked and is_plain else DaphneEvents(request)
    if module == "uvicorn.protocols.http.httptools_impl" and request.chunked_encoding:
        is_gone = request.transport.is_closing()
        return PlainEvents(send, ended) if is_gone else UvicornEvents(request)
    return PlainEvents(send, ended)


class PlainEvents(PlainLine):
    """Sends by ASGI alone, under any server."""

    __slots__ = ()

    form = _EVENTS

    def _message(self, made: Any) -> dict[str, Any]:
        return {"type": "http.response.body", "body": made, "more_body": True}

    def _closing(self, code: Close) -> dict[str, Any]:
        return _LAST

    async def _cut(self, code: Close) -> None:
        # Once the application ends, the server drops a response that is not complete.
        self._gone()


class UvicornEvents:
    """Writes to uvicorn's transport, which says when it takes no more."""

    __slots__ = ("_cycle", "_task", "_write", "feed", "is_free")

    form = _CHUNKS
    joins = False

    def __init__(self, cycle: Any) -> None:
        self.feed: Feed | None = None
        self.is_free = True
        self._cycle = cycle
        self._write = cycle.transport.write
        self._task: asyncio.Task[None] | None = None
        # Whatever the kernel does not take at once is told to us.
        cycle.transport.set_write_buffer_limits(high=0)
        sock = cycle.transport.get_extra_info("socket")
        if sock is not None:
            tell_of_trouble(sock)

    def write(self, made: bytes) -> None:
        if self._cycle.transport.is_closing():
            # The application hears of that only in a moment, and uvloop's transport raises.
            self.is_free = False
            return
        self._write(made)
        if self._cycle.flow.write_paused:
            self.is_free = False
            self._task = asyncio.create_task(self._drained())

    async def _drained(self) -> None:
        # Also where the connection is lost, and then there is nobody left to write to.
        await self._cycle.flow.drain()
        self._task = None
        if self.feed is not None and not self._cycle.disconnected:
            self.is_free = True
            self.feed.flush()

    def end(self, code: Close) -> None:
        self.is_free = False
        self._task = asyncio.create_task(self._cycle.send(_LAST))

    def cut(self, code: Close) -> None:
        self.stop()
        self._cycle.transport.abort()

    def stop(self) -> None:
        self.is_free = False

    def hold_back(self, is_held: bool) -> None:
        """Do nothing: a subscriber to events asks for nothing more."""


class DaphneEvents:
    """Writes to Twisted's request, which takes it for a producer of the response."""

    __slots__ = ("_request", "feed", "is_free")

    form = _EVENTS
    joins = False

    def __init__(self, request: Any) -> None:
        self.feed: Feed | None = None
        self.is_free = True
        self._request = request
        # The response says that it is the last of its connection.
        request.channel.persistent = False
        get_handle = getattr(request.channel.transport, "getHandle", None)
        if get_handle is not None:
            tell_of_trouble(get_handle())
        request.registerProducer(self, True)

    def write(self, made: bytes) -> None:
        self._request.write(made)

    def end(self, code: Close) -> None:
        self.is_free = False
        if self._request.channel is not None:
            self._request.unregisterProducer()
            self._request.handle_reply(_LAST)

    def cut(self, code: Close) -> None:
        self.is_free = False
        if self._request.channel is not None:
            self._request.channel.transport.abortConnection()

    def stop(self) -> None:
        self.is_free = False

    def hold_back(self, is_held: bool) -> None:
        """Do nothing: a subscriber to events asks for nothing more."""

    # --- Twisted's names, for its producers -----------------------------------------------

    def pauseProducing(self) -> None:  # noqa: N802
        self.is_free = False

    def resumeProducing(self) -> None:  # noqa: N802
        if self.feed is not None and self._request.channel is not None:
            self.is_free = True
            self.feed.flush()

    def stopProducing(self) -> None:  # noqa: N802
        self.is_free = False


class DaphneChunks(DaphneEvents):
    """Writes chunks of HTTP/1.1 to the socket itself, as long as that takes them.

    Twisted's own writing costs each event a turn of the event loop.
    """

    __slots__ = ()

    form = _CHUNKS

    def write(self, made: bytes) -> None:
        if self._request.channel is None:
            self.is_free = False
            return
        transport = self._request.channel.transport
        sent = 0
        if not (transport.dataBuffer or transport._tempDataBuffer):
            sent = transport.writeSomeData(made)
            if not isinstance(sent, int):
                # The connection is lost; Twisted finds that out by reading.
                self.is_free = False
                return
        if sent < len(made):
            transport.write(made[sent:])
