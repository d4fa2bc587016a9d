"""Ready frames rely on what is inside uvicorn; without it they go as any server takes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop
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

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return self.is_gone

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Stay with the one there is, whose class alone is another."""

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        """Do nothing: nobody is there."""


def holding(counted: Counted, *missing: str) -> tuple[asyncio.Future[Line], Config]:
    """Return what serves a connection without what is missing, and the line it comes to hold."""
    found: asyncio.Future[Line] = asyncio.get_running_loop().create_future()

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for name in missing:
            delattr(send.__self__, name)
        found.set_result(line_of(send, lambda: None, counted))
        await asyncio.Event().wait()

    config = Config(application, ws="websockets-sansio", log_config=None)
    config.load()
    return found, config


async def line_on(wire: Wire, *missing: str, counted: Counted = lambda _: None) -> Line:
    """Return the line on an accepted connection whose uvicorn does not have what is missing."""
    found, config = holding(counted, *missing)
    connection = WebSocketsSansIOProtocol(config, ServerState(), {})
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


@pytest.mark.parametrize("missing", ["frames", "response", "close_timer", "read_paused"])
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


async def test_all_clients_who_send_without_end_share_each_turn_of_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.hearing._TURN_S", 0.0)
    wires = [Wire() for _ in range(20)]
    protocols = [await protocol_on(wire) for wire in wires]
    for protocol in protocols:
        protocol.data_received(client_frame(PING, b"") * 1000)
    turns = 0

    async with asyncio.timeout(10):
        while not all(wire.is_read for wire in wires):
            await asyncio.sleep(0)
            turns += 1

    assert turns > 100, "not a part of each in each turn"
    assert {wire.sent.count(pong(b"")) for wire in wires} == {1000}


async def test_what_uvloop_reads_is_parsed_in_parts_too() -> None:
    frames = client_frame(PING, b"") * 10_000

    async def talk() -> list[int]:
        counts: list[int] = []
        line, config = holding(counts.append)
        server = await asyncio.get_running_loop().create_server(
            lambda: WebSocketsSansIOProtocol(config, ServerState(), {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(HELLO)
        await reader.readuntil(b"\r\n\r\n")
        await line
        writer.write(frames)
        async with asyncio.timeout(20):
            await reader.readexactly(10_000 * len(pong(b"")))
        writer.close()
        server.close()
        return counts

    counts = await asyncio.to_thread(lambda: uvloop.run(talk()))

    assert sum(counts) == 10_000
    assert max(counts) < 400


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

    protocol.line.end(Close.FULL)
    protocol.line.cut(Close.NOT_READING)

    await until(lambda: wire.is_aborted)
