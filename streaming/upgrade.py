"""A WebSocket's beginning under uvicorn: a handshake, and a message or two of its client.

uvicorn writes the request, which httptools has read, down again for websockets to parse,
and makes what websockets needs for frames of any kind. That takes as much as all else
about a new connection. The handshake that nearly all clients send is answered here, and
so are messages that come as one whole frame each: websockets has its part from whatever
comes first that is neither, and what is odd in a handshake goes uvicorn's way.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
import re
from collections.abc import Sequence
from struct import unpack_from
from typing import Any, cast
from urllib.parse import unquote

from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import is_ssl
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.utils import accept_key, apply_mask

from streaming.frames import borrowed, tcp_family
from streaming.hearing import Counted
from streaming.uvicorn import Protocol, UvicornLine

Headers = Sequence[tuple[bytes, bytes]]

# What websockets takes of a request line; headers of whatever length are bounded by our own
# rule (lokifi/headers.py), and by shorter ones where a handshake goes uvicorn's way.
_LONGEST_URL = 8000
# What has to be there; and what is rare enough to be left to websockets.
_NEEDED = frozenset({b"upgrade", b"connection", b"sec-websocket-version", b"sec-websocket-key"})
_ODD = frozenset({b"content-length", b"transfer-encoding", b"expect"})
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_are_tokens = re.compile(_TOKEN + rb"([ \t]*,[ \t]*" + _TOKEN + rb")*").fullmatch
_KEY_BYTES = 16
_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
# A whole text in one frame, masked; and how its length is told where that is not in seven bits.
_TEXT, _MASKED, _IN_16_BITS, _IN_64_BITS = 0x81, 0x80, 126, 127


class Http(HttpToolsProtocol):
    """uvicorn's HTTP, whose connections become WebSockets on a shorter way."""

    family: int | None = None
    _is_upgrade: bool | None = None
    _is_waiting = False  # with a handshake, for answers to what was asked before

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        sock = transport.get_extra_info("socket")
        self.family = tcp_family(sock)
        if self.family is None or self.logger.isEnabledFor(TRACE_LOG_LEVEL):
            super().connection_made(transport)
            return
        self.connections.add(self)
        self.transport, self.flow = transport, FlowControl(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        # As the base, which has uvloop open a descriptor for each question.
        own = borrowed(sock, self.family)
        try:
            self.server = own.getsockname()[:2]
            self.client = own.getpeername()[:2]
        except OSError:
            self.client = None  # It is gone already.
        finally:
            own.detach()

    def on_message_begin(self) -> None:
        self._is_upgrade = None
        super().on_message_begin()

    def _should_upgrade(self) -> bool:
        # Asked three times of each handshake.
        if self._is_upgrade is None:
            self._is_upgrade = super()._should_upgrade()
        return self._is_upgrade

    def handle_websocket_upgrade(self) -> None:
        asked_before: Any = self.cycle
        if asked_before is not None and not asked_before.response_complete:
            # That is answered first; nothing is heard meanwhile.
            self._is_waiting = True
            self.flow.pause_reading()
            return
        key = self._key()
        if key is None:
            super().handle_websocket_upgrade()
        else:
            self.connections.discard(self)
            protocol = Greeted(self, self._websocket_scope(), key)
            self.transport.set_protocol(protocol)
            protocol.start()
        # The two hold each other, and are done: else garbage until the collector comes.
        self.parser = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._is_waiting:
            # uvicorn reads on after each answer; what comes before a handshake's is dropped.
            self.flow.pause_reading()
        else:
            super().data_received(data)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_waiting and self.cycle.response_complete and not self.transport.is_closing():
            self._is_waiting = False
            self._unset_keepalive_if_required()
            self.handle_websocket_upgrade()

    def _key(self) -> str | None:
        """Return the key of a handshake that is as most are; None of any other."""
        # A line of the log for each connection is uvicorn's to write, deflate websockets' to do.
        if self.ws_protocol_class is not Protocol or self.logger.isEnabledFor(logging.INFO):
            return None
        if self.config.ws_per_message_deflate or self.scope["http_version"] != "1.1":
            return None
        is_plain = self.scope["method"] == "GET" and self.url[:1] == b"/" and self.url.isascii()
        return key_of(self.headers) if is_plain and len(self.url) <= _LONGEST_URL else None

    def _websocket_scope(self) -> dict[str, Any]:
        raw_path, _, query = self.url.partition(b"?")
        offered = _listed(dict(self.headers).get(b"sec-websocket-protocol", b""))
        scope: dict[str, Any] = cast("Any", self.scope)  # which no request will have any more
        del scope["method"]
        scope.update(
            type="websocket",
            asgi={"version": self.asgi_version, "spec_version": "2.4"},
            scheme="wss" if self.scheme == "https" else "ws",
            path=self.root_path + unquote(raw_path.decode("ascii")),
            raw_path=self.root_path.encode("ascii") + raw_path,
            query_string=query,
            subprotocols=[one.decode() for one in offered],
            extensions={"websocket.http.response": {}},
        )
        return scope


class Inbox:
    """What an application is to receive, as asyncio's queue, for one that receives by itself.

    That one is four times as large, and each connection has one.
    """

    __slots__ = ("_awaited", "_messages")

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._awaited: asyncio.Future[None] | None = None

    def put_nowait(self, message: Any) -> None:
        self._messages.append(message)
        if self._awaited is not None:
            if not self._awaited.done():
                self._awaited.set_result(None)
            self._awaited = None

    def qsize(self) -> int:
        return len(self._messages)

    def empty(self) -> bool:
        return not self._messages

    async def get(self) -> Any:
        while not self._messages:
            self._awaited = asyncio.get_running_loop().create_future()
            await self._awaited
        return self._messages.pop(0)


class Greeted(Protocol):
    """A connection whose handshake was read for it and found good."""

    # What the base sets for each, as most of them leave it.
    handshake_initiated = True
    handshake_complete = close_sent = disconnected = read_paused = False
    close_timer = ping_timer = pong_timer = initial_response = pending_ping_payload = None
    close_timeout = 10.0
    ping_sent_at = last_ping_rtt = 0.0
    curr_msg_data_type = "bytes"
    _conn: ServerProtocol | None = None
    _early = b""  # what came before the handshake was answered
    _answer = b""  # to the handshake, until it is written
    _writable: asyncio.Event | None = None

    def __init__(self, http: Http, scope: Any, key: str) -> None:
        config = http.config
        self.config, self.app, self.loop, self.logger = config, http.app, http.loop, http.logger
        self.root_path, self.asgi_version = http.root_path, http.asgi_version
        self.app_state = http.app_state
        self.connections, self.tasks = http.connections, http.tasks
        self.default_headers = http.server_state.default_headers
        self.transport, self.family = http.transport, http.family
        self.server, self.client, self.scheme = http.server, http.client, scope["scheme"]
        self.ping_interval, self.ping_timeout = config.ws_ping_interval, config.ws_ping_timeout
        self.queue = Inbox()  # type: ignore[assignment]
        self.scope = scope
        self._key = key  # until that is answered

    @property
    def conn(self) -> ServerProtocol:  # type: ignore[override]
        """websockets' part, for what is more than a whole message in a frame."""
        if self._conn is None:
            state = State.OPEN if self.handshake_complete else State.CONNECTING
            most = self.config.ws_max_size
            self._conn = ServerProtocol(state=state, max_size=most, logger=self.logger)
            self.frames = []
        return self._conn

    @property
    def writable(self) -> asyncio.Event:  # type: ignore[override]
        """What ASGI's `send` waits for; our lines never do."""
        if self._writable is None:
            self._writable = asyncio.Event()
            self._writable.set()
        return self._writable

    def start(self) -> None:
        """Run the application."""
        self.connections.add(self)
        self.queue.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    async def send(self, message: Any) -> None:
        if self._key and message["type"] == "websocket.accept" and not self.disconnected:
            self._accept(message)
        else:
            self._write_answer()
            await super().send(message)

    def _accept(self, message: Any) -> None:
        key, self._key = self._key, ""
        if self.transport.is_closing():
            return
        headers = [*self.default_headers, *message.get("headers", ())]
        if message.get("subprotocol"):
            headers.append((b"Sec-WebSocket-Protocol", message["subprotocol"].encode()))
        self.handshake_complete = True
        lines = [b"%b: %b\r\n" % header for header in headers]
        key = accept_key(key)
        self._answer = b"".join([_ACCEPTED, key.encode(), b"\r\n", *lines, b"\r\n"])
        self.loop.call_soon(self._go_on)

    def adopt(self, counted: Counted) -> UvicornLine:
        line = super().adopt(counted)
        if self._answer:
            line.write = self._write_first
        return line

    def _write_first(self, made: bytes) -> None:
        """Write the first frame behind the handshake's answer, and with it: one packet of the two.

        A packet wakes its reader, which costs more than all else about a short message.
        """
        answer, self._answer = self._answer, b""
        if self.line is not None:
            self.line.write = self.transport.write
        self.transport.write(answer + made)

    def _write_answer(self) -> None:
        if self._answer and not self.transport.is_closing():
            self._write_first(b"")

    def _go_on(self) -> None:
        """Write the answer, where no frame took it along, and take what came before it."""
        self._write_answer()
        early, self._early = self._early, b""
        if early and not self.transport.is_closing():
            self.transport.resume_reading()
            self.data_received(early)

    def close(self, code: int, within_s: float) -> None:
        self._write_answer()
        super().close(code, within_s)

    def shutdown(self) -> None:
        self._write_answer()
        super().shutdown()

    def send_500_response(self) -> None:
        # Where the application failed. One that returns before it waited for anything has the
        # connection closed without an answer; ours waits for its client to go.
        self._write_answer()
        super().send_500_response()

    def forget_handshake(self) -> None:
        del self.scope

    def has_said_goodbye(self) -> bool:
        return self._conn is not None and self._conn.close_rcvd is not None

    def data_received(self, data: bytes) -> None:
        if self.line is None and self._key:
            self._early += data
            self.transport.pause_reading()
            return
        # What is heard may be answered at once; and uvloop may hear it before our turn comes.
        self._write_answer()
        super().data_received(data)

    def parse(self, part: bytes) -> None:
        # Without websockets' part whatever came before ended with its frame.
        text = None if self._conn is not None else whole_text(part)
        if text is None:
            super().parse(part)
            return
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        # One that comes while another is answered may wait; to pause for each takes longer.
        if self.queue.qsize() > 1 and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()


def whole_text(part: bytes) -> str | None:
    """Return the text of a client's message that came as one frame and alone; else None."""
    if len(part) < 6 or part[0] != _TEXT or part[1] < _MASKED:
        return None
    size, at = part[1] - _MASKED, 2
    if size == _IN_64_BITS:
        return None
    if size == _IN_16_BITS:
        (size,) = unpack_from("!H", part, 2)
        at = 4
    if len(part) != at + 4 + size:
        return None
    try:
        return apply_mask(part[at + 4 :], part[at : at + 4]).decode()
    except UnicodeDecodeError:
        return None


def key_of(headers: Headers) -> str | None:
    """Return the key of a handshake (RFC 6455, 4.2.1) with nothing odd in it; else None.

    `headers` have names in lower case.
    """
    fields = dict(headers)
    if len(fields) < len(headers) or not fields.keys() >= _NEEDED:
        return None
    values = [*fields.values()]
    if not _ODD.isdisjoint(fields) or values != [*map(bytes.strip, values)]:
        return None  # Spaces behind a value are websockets' to take off.
    options, offered = fields[b"connection"].lower(), fields.get(b"sec-websocket-protocol")
    if not _are_tokens(options) or b"upgrade" not in _listed(options):
        return None
    if offered is not None and not _are_tokens(offered):
        return None
    if fields[b"upgrade"].lower() != b"websocket":
        return None
    key = fields[b"sec-websocket-key"]
    return key.decode() if fields[b"sec-websocket-version"] == b"13" and _is_key(key) else None


def _listed(value: bytes) -> list[bytes]:
    return [one.strip() for one in value.split(b",")] if value else []


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False
