"""What Twisted's transport does to whoever writes to it at the wrong time."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from streaming.daphne import DaphneLine
from streaming.feed import Feed, Share, Traffic
from streaming.ticks import Place


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


@pytest.mark.parametrize("state", [{"connected": False}, {"disconnecting": True}])
def test_a_tick_for_a_connection_that_daphne_has_closed_itself_is_dropped(
    state: dict[str, bool],
) -> None:
    transport = Transport()
    line = DaphneLine(SimpleNamespace(transport=transport, state=3, STATE_OPEN=3))
    feed = Feed(Place("e1", 0), line, Traffic(2**20))
    tick = Share("price_update", Place("e1", 1), '"count":0}')
    feed.put_tick(tick)
    before = transport.sent
    vars(transport).update(state)

    feed.put_tick(Share("price_update", Place("e1", 2), '"count":0}'))

    assert before.endswith(tick.text(0).encode())
    assert transport.sent == before
    assert feed.is_ended
    assert not line.is_free
