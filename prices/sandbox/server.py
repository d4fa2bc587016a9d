"""The sandbox on a socket: HTTP/1.1 with keep-alive, and faults of the wire."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from prices.sandbox.desk import Answer, Desk, Request
from prices.sandbox.faults import Fault
from prices.sandbox.market import session_table
from prices.sandbox.quotes import ranks
from prices.sandbox.sources import SOURCES
from prices.sandbox.wire import Plan, Reply, json_reply

_MAX_HEAD_BYTES = 64 * 1024
_MAX_BODY_BYTES = 1024 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)


class _BadRequestError(Exception):
    """What came is not HTTP/1.1 that we read."""


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that serves from a thread of this process."""

    desk: Desk
    url: str

    @property
    def coingecko_url(self) -> str:
        return self.address("coingecko")

    @property
    def finnhub_url(self) -> str:
        return self.address("finnhub")

    def address(self, source: str) -> str:
        """Return where a source's paths begin, by its name in SOURCES."""
        return f"{self.url}{SOURCES[source].prefix}"


@contextmanager
def running(plan: Plan = Plan.ALL, host: str = "127.0.0.1", port: int = 0) -> Iterator[Running]:
    """Serve from a thread of this process, on a free port unless one is named."""
    desk, loop, started, ports = Desk(plan), asyncio.new_event_loop(), threading.Event(), [port]
    stop = asyncio.Event()

    def listening(_host: str, bound: int) -> None:
        ports[0] = bound
        started.set()

    async def main() -> None:
        try:
            await serve(desk, host, port, listening, stop)
        finally:
            started.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    started.wait()
    try:
        yield Running(desk, f"http://{host}:{ports[0]}")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def serve(
    desk: Desk,
    host: str,
    port: int,
    listening: Callable[[str, int], None],
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set, then drop every connection at once.

    `listening` is called with the address when it can be reached. Raises OSError
    when the port is taken.
    """
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        await _Connection(desk, reader, writer).run()

    server = await asyncio.start_server(connected, host, port, limit=_MAX_HEAD_BYTES, backlog=1024)
    listening(host, server.sockets[0].getsockname()[1])
    # Worked out once, now rather than in somebody's first request.
    session_table()
    ranks(desk.now())
    await stop.wait()
    server.close()
    for task in list(connections):
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


class _Connection:
    """One client's connection, request after request."""

    def __init__(
        self, desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._writer = writer

    async def run(self) -> None:
        try:
            while await self._exchange():
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        except asyncio.CancelledError:
            # Cancelled when the server stops; streams of Python 3.11 log it if it is raised.
            pass
        finally:
            self._writer.close()

    async def _exchange(self) -> bool:
        """Answer one request; return whether the connection stays open."""
        try:
            request = await _read(self._reader)
        except _BadRequestError as exc:
            self._write(json_reply(400, {"error": str(exc)}), keep=False)
            await self._writer.drain()
            return False
        if request is None:
            return False
        answer = self._desk.answer(request)
        keep = request.headers.get("connection", "").lower() != "close"
        if request.headers.get("if-none-match") == answer.reply.headers.get("etag", "-"):
            answer = Answer(Reply(304, b"", answer.reply.headers), answer.faults)
        return await self._send(answer, keep=keep, with_body=request.method != "HEAD")

    async def _send(self, answer: Answer, *, keep: bool, with_body: bool) -> bool:
        for fault in answer.faults:
            if fault.kind == "delay":
                await asyncio.sleep(fault.delay_s)
                continue
            await self._misbehave(fault, answer.reply)
            return False
        self._write(answer.reply, keep=keep, with_body=with_body)
        await self._writer.drain()
        return keep

    async def _misbehave(self, fault: Fault, reply: Reply) -> None:
        """Send, or do not send, in the way of the fault; the connection ends with it."""
        writer = self._writer
        if fault.kind == "reset":
            self._reset()
        elif fault.kind == "truncated":
            writer.write(_head(reply, keep=False) + reply.body[: len(reply.body) // 2])
            await writer.drain()
        elif fault.kind == "slow_drip":
            writer.write(_head(reply, keep=False))
            for byte in reply.body:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(1 / max(fault.bytes_per_s, 0.01))
        else:
            await self._flood(fault.size_bytes, reply)

    async def _flood(self, size: int, reply: Reply) -> None:
        """Send a body of `size` bytes whose length is not told: good JSON, then blanks."""
        head = Reply(200, b"", {**reply.headers, "transfer-encoding": "chunked"})
        self._writer.write(_head(head, keep=False))
        self._writer.write(_chunk(reply.body))
        blanks, left = b" " * 65_536, size - len(reply.body)
        while left > 0:
            self._writer.write(_chunk(blanks[:left]))
            left -= len(blanks)
            await self._writer.drain()
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def _reset(self) -> None:
        plain = self._writer.get_extra_info("socket")
        if plain is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._writer.transport.abort()

    def _write(self, reply: Reply, *, keep: bool, with_body: bool = True) -> None:
        self._writer.write(_head(reply, keep=keep) + (reply.body if with_body else b""))


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Return the next request, or None where the client has closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if not exc.partial:
            return None
        raise
    except asyncio.LimitOverrunError:
        raise _BadRequestError("The head of the request is too long.") from None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _BadRequestError("Not an HTTP/1.1 request.")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise _BadRequestError("Send the body with a Content-Length.")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
        raise _BadRequestError("The body is too long.")
    body = await reader.readexactly(int(length)) if int(length) else b""
    return Request(words[0], words[1], headers, body)


def _head(reply: Reply, *, keep: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {_phrase(reply.status)}",
        f"date: {formatdate(usegmt=True)}",
        f"connection: {'keep-alive' if keep else 'close'}",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
    ]
    if "transfer-encoding" not in reply.headers and reply.status != 304:
        lines.append(f"content-length: {len(reply.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase
    return "Unknown"


def _chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n" if content else b""
