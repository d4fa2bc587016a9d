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
from streaming.lines import line_of
from streaming.plain import PlainLine
from streaming.uvicorn import UvicornLine, _tell_once
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

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: here is room for everything."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: nobody is there."""


async def line_on(wire: Wire, *missing: str) -> Line:
    """Return the line on an accepted connection whose uvicorn does not have what is missing."""
    found: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
    connections: list[Any] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for name in missing:
            delattr(connections[0], name)
        found.set_result(line_of(send, lambda: None))
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
