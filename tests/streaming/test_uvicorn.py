"""Ready frames rely on what is inside uvicorn; without it they go as any server takes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from streaming.feed import Line
from streaming.frames import framed
from streaming.hearing import Counted
from streaming.lines import line_of
from streaming.plain import PlainLine
from streaming.protocol import Close
from streaming.uvicorn import Protocol, UvicornLine, _tell_once
from tests.streaming.sockets import until

pytestmark = pytest.mark.asyncio

HELLO = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


class Wire(asyncio.Transport):
    """The far end of uvicorn's connection."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_read = True
        self.is_aborted = False
        self.is_gone_once_accepted = False

    @property
    def is_gone(self) -> bool:
        return self.is_gone_once_accepted and b" 101 " in self.sent

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Here is room for everything."""
        if self.is_gone:
            raise RuntimeError("the handler is closed")  # as uvloop has it

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return self.is_gone

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        """Do nothing: nobody is there."""


async def line_on(wire: Wire, *missing: str, counted: Counted = lambda _: None) -> Line:
    """Return the line on an accepted connection whose uvicorn does not have what is missing."""
    found: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
    connections: list[Any] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for name in missing:
            delattr(connections[0], name)
        found.set_result(line_of(send, lambda: None, counted))
        await asyncio.Event().wait()

    config = Config(application, ws="websockets-sansio", log_config=None)
    config.load()
    connection = WebSocketsSansIOProtocol(config, ServerState(), {})
    connections.append(connection)
    connection.connection_made(wire)
    connection.data_received(HELLO)
    async with asyncio.timeout(10):
        return await found


async def test_frames_go_straight_to_the_socket_under_the_uvicorn_we_know() -> None:
    wire = Wire()

    line = await line_on(wire)
    assert isinstance(line, UvicornLine)
    line.write(line.form("ready"))

    assert wire.sent.endswith(framed("ready"))


async def test_who_is_gone_when_accepted_is_no_trouble() -> None:
    wire = Wire()
    wire.is_gone_once_accepted = True

    line = await line_on(wire)

    assert isinstance(line, PlainLine)


@pytest.mark.parametrize("missing", ["ping_timer", "response", "close_timer", "read_paused"])
async def test_a_uvicorn_that_has_changed_inside_takes_frames_by_its_send(
    missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    _tell_once.cache_clear()
    wire = Wire()

    line = await line_on(wire, missing)
    assert isinstance(line, PlainLine)
    line.write(line.form("as ever"))
    await until(lambda: wire.sent.endswith(framed("as ever")))

    told = [record.message for record in caplog.records if record.name == "streaming.uvicorn"]
    assert len(told) == 1
    assert missing in told[0]


PING, TEXT = 0x89, 0x81


def client_frame(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


def pong(payload: bytes) -> bytes:
    return bytes([0x8A, len(payload)]) + payload


async def protocol_on(wire: Wire, counted: Counted = lambda _: None) -> Protocol:
    line = await line_on(wire, counted=counted)
    assert isinstance(line, UvicornLine)
    return line._protocol


async def test_of_many_pings_of_a_client_that_takes_nothing_the_newest_is_answered_later() -> None:
    wire = Wire()
    protocol = await protocol_on(wire)
    protocol.data_received(client_frame(PING, b"at once"))
    answered = wire.sent

    protocol.pause_writing()
    for number in range(3):
        protocol.data_received(client_frame(PING, b"late %d" % number) * 2)
    meanwhile = wire.sent
    protocol.resume_writing()

    assert answered.endswith(pong(b"at once"))
    assert meanwhile == answered
    assert wire.sent == answered + pong(b"late 2")


async def test_a_read_full_of_small_frames_is_parsed_over_many_turns_of_the_event_loop() -> None:
    wire = Wire()
    turns: list[int] = []
    protocol = await protocol_on(wire, turns.append)

    protocol.data_received(client_frame(PING, b"") * 10_000)
    assert not wire.is_read
    await until(lambda: wire.is_read)

    assert sum(turns) == 10_000
    assert max(turns) < 400
    assert wire.sent.count(pong(b"")) == 10_000


async def test_messages_of_a_full_read_wait_until_those_before_were_answered() -> None:
    wire = Wire()
    protocol = await protocol_on(wire)
    assert protocol.line is not None
    most = taken = 0

    protocol.data_received(client_frame(TEXT, b"{}") * 2000)
    while taken < 2000:
        async with asyncio.timeout(10):
            assert (await protocol.receive())["type"] == "websocket.receive"
        most = max(most, protocol.queue.qsize())
        taken += 1
        protocol.line.hold_back(False)
    await until(lambda: wire.is_read)

    assert most < 300


async def test_pings_pongs_and_fragments_are_counted_and_messages_are_not() -> None:
    counts: list[int] = []
    protocol = await protocol_on(Wire(), counts.append)

    protocol.data_received(client_frame(TEXT, b"{}") + client_frame(0x01, b"{"))
    protocol.data_received(client_frame(0x00, b"") * 3 + client_frame(0x80, b"}"))
    protocol.data_received(client_frame(PING, b"") + client_frame(0x8A, b""))

    assert counts == [4, 2]


async def test_who_goes_on_sending_after_our_close_is_not_listened_to_for_ever() -> None:
    wire = Wire()
    protocol = await protocol_on(wire)
    assert protocol.line is not None
    protocol.line.end(Close.FULL)
    said = wire.sent

    protocol.data_received(client_frame(PING, b"") * 10_000)
    await until(lambda: protocol.line is not None and protocol.line._frames_left < 0)

    assert not wire.is_read
    assert wire.sent == said


async def test_a_cut_ends_a_connection_that_was_being_closed_already() -> None:
    wire = Wire()
    protocol = await protocol_on(wire)
    assert protocol.line is not None

    protocol.keepalive_timeout()
    protocol.line.cut(Close.NOT_READING)

    # uvicorn's own way would wait until the client has taken everything.
    await until(lambda: wire.is_aborted)
