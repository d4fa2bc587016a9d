"""What daphne cannot do through ASGI, done on its connection.

daphne hands a close code to autobahn, which takes 1000 and 3000 to 4999 from an
application and raises for all others. The contract's 1009, 1012 and 1013 are
the server's to send, and here we are the server.

daphne also buffers without end for a client that does not read, and reads
without end from one that does not wait for answers. Twisted tells its producers
when its buffer fills and empties, so the line is one: it buffers one frame at
most, and hands everything else back to the feed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daphne.ws_protocol import WebSocketProtocol

from streaming.frames import framed, pong, tell_of_trouble
from streaming.hearing import Counted, Hearing
from streaming.protocol import Close

if TYPE_CHECKING:
    from streaming.feed import Feed

_CUT_WITHIN_S = 1.0
# What a client has to answer a close, before autobahn drops it with what it was not sent yet.
# autobahn ends that on the whole second before: of its own one second that leaves nothing.
_ANSWERED_WITHIN_S = 2
_MESSAGES = {1, 2}  # the opcodes of frames that begin a message


class Connection(WebSocketProtocol):  # type: ignore[misc]
    """daphne's protocol, accepted already, that also tells its line what it reads."""

    line: DaphneLine

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.line.hear(data)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        super().connectionLost(reason)
        del self.line
        # It holds the connection that holds it: garbage until the collector comes, which is
        # late where thousands come and go.
        self.is_closed.result = None

    def parse(self, part: bytes) -> None:
        if self.state != self.STATE_CLOSED:
            super().dataReceived(part)

    def onFrameEnd(self) -> bool | None:  # noqa: N802
        if self.current_frame.opcode not in _MESSAGES:
            self.line.count(1)
        ended: bool | None = super().onFrameEnd()
        return ended

    def onPing(self, payload: bytes) -> None:  # noqa: N802
        if self.state == self.STATE_OPEN:
            self.line.answer(pong(payload))


class DaphneLine(Hearing):
    """The way to one subscriber through Twisted's transport, which takes it for a producer."""

    __slots__ = ("_connection", "_is_held", "_transport", "_try", "feed", "is_free")

    form = framed
    joins = False

    def __init__(self, connection: Any, counted: Counted) -> None:
        super().__init__(counted)
        self.feed: Feed | None = None
        self.is_free = True
        self._is_held = False
        self._connection = connection
        self._transport = transport = connection.transport
        # A TLS connection has none: what it writes are not the bytes it is given.
        self._try = getattr(transport, "writeSomeData", None)
        if self._try is not None:
            tell_of_trouble(transport.getHandle())
        # That of the HTTP request this once was; the two hold each other, and are done.
        if requests := getattr(getattr(transport, "producer", None), "requests", None):
            requests.clear()
        transport.unregisterProducer()
        # One that "pulls" is told whenever the buffer is empty, and never to pause: we do
        # that ourselves. TLS asks such a one for more all the time, and buffers 64 KiB.
        transport.registerProducer(self, self._try is None)

    def write(self, made: bytes) -> None:
        transport = self._transport
        if not transport.connected or transport.disconnecting:
            # Closed by daphne itself, after a malformed frame; it asks its producer no more.
            self.stopProducing()
            return
        if self._try is None:
            self._transport.write(made)
            return
        sent = 0
        if not (self._transport.dataBuffer or self._transport._tempDataBuffer):
            # Twisted's own writing costs each frame a turn of the event loop.
            sent = self._try(made)
            if not isinstance(sent, int):
                # The connection is lost; Twisted finds that out by reading.
                self.is_free = False
                return
        if sent < len(made):
            self.is_free = False
            self._transport.write(made[sent:] if sent else made)

    def end(self, code: Close) -> None:
        self.is_free = False
        self._connection.sendCloseFrame(code=int(code))
        self._go_on_soon()  # for the client's answer to that

    def cut(self, code: Close) -> None:
        self.end(code)
        asyncio.get_running_loop().call_later(_CUT_WITHIN_S, self._transport.abortConnection)

    def stop(self) -> None:
        self.is_free = False
        self._counted = None

    def hold_back(self, is_held: bool) -> None:
        self._is_held = is_held
        if is_held:
            self._pause()
        elif self._rest:
            self._go_on_soon()
        else:
            self._resume()

    def answer(self, pong: bytes) -> None:
        """Answer a ping; the newest alone, and later, while the client takes nothing."""
        if self.is_free:
            self.write(pong)
        else:
            self._pong = pong

    def _parse(self, part: bytes) -> None:
        self._connection.parse(part)

    def _is_busy(self) -> bool:
        is_open = self._connection.state == self._connection.STATE_OPEN
        return is_open and (self._is_held or not self._connection.application_queue.empty())

    def _pause(self) -> None:
        self._transport.pauseProducing()

    def _resume(self) -> None:
        transport = self._transport
        if not self._is_held and transport.connected and not transport.disconnecting:
            transport.resumeProducing()

    # --- Twisted's names, for its producers -----------------------------------------------

    def pauseProducing(self) -> None:  # noqa: N802
        self.is_free = False

    def resumeProducing(self) -> None:  # noqa: N802
        if self._transport.disconnecting:
            # It waits for its producer before it closes.
            self._transport.unregisterProducer()
            return
        self.is_free = self._connection.state == self._connection.STATE_OPEN
        if self._pong and self.is_free:
            pong, self._pong = self._pong, b""
            self.write(pong)
        if self.feed is not None and self.is_free:
            self.feed.flush()

    def stopProducing(self) -> None:  # noqa: N802
        self.is_free = False
        self._stop_hearing()
        if self.feed is not None:
            self.feed.abandon()


def line(connection: Any, counted: Counted) -> DaphneLine | None:
    """Return a line on a connection that was accepted; None where it is closed already."""
    if connection.state != connection.STATE_OPEN:
        return None
    found = DaphneLine(connection, counted)
    # Its state stays as it is; only what it tells us of what it reads is new.
    connection.__class__ = Connection
    connection.line = found
    connection.closeHandshakeTimeout = _ANSWERED_WITHIN_S
    return found
