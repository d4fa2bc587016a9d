"""What Twisted's transport does to whoever writes to it at the wrong time."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from txaio import _common
from websockets.sync.client import connect

from streaming.daphne import DaphneLine, line
from streaming.feed import Feed, Share, Traffic
from streaming.hearing import Counted
from streaming.protocol import Close
from streaming.ticks import Place
from tests.chaos.stage import Stage, seen
from tests.chaos.watched import GARBAGE
from tests.processes import until as wait_until
from tests.product import Web
from tests.streaming.sockets import until


class Transport:
    """As Twisted's: what is closed has no socket left, and no producer to be told."""

    def __init__(self) -> None:
        self.connected, self.disconnecting = True, False
        self.dataBuffer = self._tempDataBuffer = b""
        self.sent = b""

    def getHandle(self) -> Any:  # noqa: N802
        return SimpleNamespace(family=socket.AF_UNIX)  # which has nothing to be set

    def registerProducer(self, *_: Any) -> None:  # noqa: N802
        """Ask nobody for anything."""

    unregisterProducer = registerProducer  # noqa: N815

    def writeSomeData(self, data: bytes) -> int:  # noqa: N802
        if not self.connected:
            raise AttributeError("'Server' object has no attribute 'socket'")
        self.sent += data
        return len(data)


@pytest.mark.asyncio
@pytest.mark.parametrize("state", [{"connected": False}, {"disconnecting": True}])
async def test_a_tick_for_a_connection_that_daphne_has_closed_itself_is_dropped(
    state: dict[str, bool],
) -> None:
    transport = Transport()
    on = DaphneLine(SimpleNamespace(transport=transport, state=3, STATE_OPEN=3), lambda _: None)
    feed = Feed(Place("e1", 0), on, Traffic(2**20))
    tick = Share("price_update", Place("e1", 1), '"count":0}')
    feed.put_tick(tick)
    before = transport.sent
    vars(transport).update(state)

    feed.put_tick(Share("price_update", Place("e1", 2), '"count":0}'))

    assert before.endswith(tick.text(0).encode())
    assert transport.sent == before
    assert feed.is_ended
    assert not on.is_free


class Far(StringTransport):
    """A transport of Twisted's whose far end takes so much and then nothing more."""

    connected = True

    def __init__(self, takes: int = 1_000_000) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dataBuffer = self._tempDataBuffer = self.sent = b""
        self.takes = takes
        self.is_read = True

    def getHandle(self) -> Any:  # noqa: N802
        return SimpleNamespace(family=socket.AF_UNIX)

    def writeSomeData(self, data: bytes) -> int:  # noqa: N802
        taken = data[: self.takes]
        self.takes -= len(taken)
        self.sent += taken
        return len(taken)

    def write(self, data: bytes) -> None:
        self.dataBuffer += data

    def registerProducer(self, *_: Any) -> None:  # noqa: N802
        """Ask nobody for anything."""

    def unregisterProducer(self) -> None:  # noqa: N802
        """Forget nobody."""

    def pauseProducing(self) -> None:  # noqa: N802
        self.is_read = False

    def resumeProducing(self) -> None:  # noqa: N802
        self.is_read = True


def connected(far: Far, counted: Counted = lambda _: None) -> tuple[Any, DaphneLine]:
    """Return a connection of daphne's past its handshake, and the line on it."""
    connection = WebSocketFactory(SimpleNamespace(log_action=lambda *_: None)).buildProtocol(None)
    connection.makeConnection(far)
    # As after the handshake.
    connection.state, connection.websocket_version = connection.STATE_OPEN, 13
    connection.inside_message, connection.current_frame = False, None
    connection.client_addr = None
    connection.application_queue = asyncio.Queue()
    found = line(connection, counted)
    assert found is not None
    return connection, found


def client_frame(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.asyncio
async def test_of_many_pings_of_a_client_that_takes_nothing_the_newest_is_answered_later() -> None:
    far = Far(takes=10)
    connection, on = connected(far)

    for number in range(3):
        connection.dataReceived(client_frame(0x89, b"ping %d" % number) * 2)
    stuck = far.dataBuffer
    far.dataBuffer, far.takes = b"", 1000
    on.resumeProducing()

    assert len(stuck) < 10
    assert far.sent == b"\x8a\x06ping 0\x8a\x06" + b"\x8a\x06ping 2"


@pytest.mark.asyncio
async def test_a_read_full_of_small_frames_is_parsed_over_many_turns_of_the_event_loop() -> None:
    far = Far()
    counts: list[int] = []
    connection, _ = connected(far, counts.append)

    connection.dataReceived(client_frame(0x89, b"") * 2000)
    at_once = len(counts)
    assert not far.is_read
    await until(lambda: far.is_read)

    assert at_once == 0
    assert sum(counts) == 2000
    assert far.sent.count(b"\x8a\x00") == 2000


@pytest.mark.asyncio
async def test_messages_of_a_full_read_wait_until_those_before_were_answered() -> None:
    far = Far()
    connection, on = connected(far)
    most = taken = 0

    connection.dataReceived(client_frame(0x81, b"{}") * 1000)
    while taken < 1000:
        async with asyncio.timeout(10):
            await connection.application_queue.get()
        on.hold_back(True)
        most = max(most, connection.application_queue.qsize())
        taken += 1
        on.hold_back(False)
    await until(lambda: far.is_read)

    assert most < 300


@pytest.mark.asyncio
async def test_a_client_has_one_to_two_seconds_to_answer_a_close() -> None:
    far, clock = Far(), Clock()
    connection, on = connected(far)
    # As autobahn makes the timer of a factory, but for whose clock it goes by.
    timers: Any = _common._BatchedTimer
    connection.factory._batched_timer = timers(200, 100, clock.seconds, clock.callLater)
    clock.advance(7.99)

    on.end(Close.TOO_LARGE)
    clock.advance(0.99)
    after_a_second = far.disconnecting
    clock.advance(1.0)

    assert far.dataBuffer.endswith(b"\x03\xf1")
    assert not after_a_second
    assert far.disconnecting


@pytest.mark.timeout(120)
def test_a_connection_that_is_gone_leaves_nothing_to_the_garbage_collector(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        web = stage.watched("daphne")
        left = [_left_by(web, connections) for connections in (5, 30)]

    assert left[1] < 300, "some tens of objects would be thirty times as many"


def _left_by(web: Web, connections: int) -> int:
    """Return how much waits for the collector once so many connections are gone."""
    for _ in range(connections):
        with connect(web.socket_url) as client:
            client.send(json.dumps({"action": "subscribe", "symbols": ["BTC"]}))
            client.recv(timeout=10)
    wait_until(lambda: seen(web).sockets == 0, "the last to be gone")
    return int(web.get(GARBAGE).json())
