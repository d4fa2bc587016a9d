"""Ready frames straight to the socket, under uvicorn's sans-IO WebSocket.

What ASGI's `send` costs a message is then saved: a frame that is the same for
many is made once and leaves without a coroutine. uvicorn's command line takes no
protocol class of ours, so a connection of its own is given our class when the
application asks for its line: whatever started the server, nothing is to be set.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from streaming.frames import framed, tell_of_trouble
from streaming.protocol import Close

if TYPE_CHECKING:
    from streaming.feed import Feed

logger = logging.getLogger(__name__)

# For the client's own close frame; and for one that does not even read ours.
_CLOSE_WITHIN_S = 5.0
_CUT_WITHIN_S = 1.0
_PING_EACH_S = 60.0


# What is used here of a connection and, in its websockets parser, called.
_RELIED_ON = (
    *("transport", "loop", "queue", "conn", "frames", "request", "response", "curr_msg_data_type"),
    *("ping_timer", "ping_interval", "stop_keepalive", "start_keepalive"),
    *("close_sent", "close_timer", "handshake_complete", "read_paused"),
    *("pause_writing", "resume_writing", "connection_lost"),
    *("send_receive_event_to_app", "handle_parser_exception"),
)
_CALLED = ("send_close", "data_to_send")


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, accepted already, that also tells its line how writing goes."""

    line: UvicornLine | None

    def adopt(self) -> UvicornLine:
        """Return the line of a connection that has just become one of this class."""
        # Whatever the kernel does not take at once is told to us: one frame is all that
        # is ever buffered here. With uvloop it also means that a frame leaves at once.
        self.transport.set_write_buffer_limits(high=0)
        sock = socket_of(self)
        if sock is not None:
            tell_of_trouble(sock)
        if self.ping_timer is not None:
            # Ticks and heartbeats are signs of life enough, and who is dead does not
            # acknowledge them. With its answer and two timers a ping costs more than a tick.
            self.stop_keepalive()
            self.ping_interval = _PING_EACH_S
            self.start_keepalive()
        # What the handshake was about is of no use any more, and adds up to kilobytes.
        del self.request, self.response
        self.line = UvicornLine(self)
        return self.line

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.line is not None:
            self.line.is_free = False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.line is not None:
            self.line.freed()

    def connection_lost(self, exc: Exception | None) -> None:
        line, self.line = self.line, None
        if line is not None:
            line.lost()
        super().connection_lost(exc)

    def send_receive_event_to_app(self) -> None:
        # The base class knows as well what is no UTF-8, and writes a stack trace for each.
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def close(self, code: int, within_s: float) -> None:
        """Send a close frame behind what is buffered, and be gone within that time."""
        if self.close_sent or self.transport.is_closing() or not self.handshake_complete:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})
        self.conn.send_close(code)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # Not `close`, which would wait for whoever reads nothing.
        self.close_timer = self.loop.call_later(within_s, self.transport.abort)


class UvicornLine:
    """The way to one subscriber through uvicorn's transport."""

    __slots__ = ("_protocol", "feed", "is_free", "write")

    form = staticmethod(framed)
    joins = True

    def __init__(self, protocol: Protocol) -> None:
        self.feed: Feed | None = None
        self.is_free = True
        self._protocol = protocol
        self.write: Callable[[bytes], None] = protocol.transport.write

    def freed(self) -> None:
        self.is_free = not self._protocol.close_sent
        if self.feed is not None:
            self.feed.flush()

    def lost(self) -> None:
        self.is_free = False
        if self.feed is not None:
            self.feed.abandon()

    def end(self, code: Close) -> None:
        self.is_free = False
        self._protocol.close(code, _CLOSE_WITHIN_S)

    def cut(self, code: Close) -> None:
        self.is_free = False
        self._protocol.close(code, _CUT_WITHIN_S)

    def stop(self) -> None:
        self.is_free = False

    def hold_back(self, is_held: bool) -> None:
        """Do nothing: uvicorn reads a message only when the last one was taken."""


def _is_known(connection: WebSocketsSansIOProtocol) -> bool:
    """Return whether this uvicorn's connections have what we rely on, which is nobody's promise."""
    missing = [name for name in _RELIED_ON if not hasattr(connection, name)]
    conn = getattr(connection, "conn", None)
    missing += [name for name in _CALLED if not callable(getattr(conn, name, None))]
    if missing:
        _tell_once(", ".join(missing))
    return not missing


@functools.cache
def _tell_once(missing: str) -> None:
    logger.warning("uvicorn has no %s any more; frames go by ASGI's send, which is slower", missing)


def socket_of(connection: Any) -> Any:
    """Return the socket of a connection, accepted or not."""
    return connection.transport.get_extra_info("socket")


def line(connection: Any) -> UvicornLine | None:
    """Return a line on a connection that was accepted; None where it is closed already."""
    if type(connection) is not WebSocketsSansIOProtocol or not _is_known(connection):
        return None
    if connection.close_sent:
        return None
    # Its state stays as it is; only what it tells us when writing stops and goes on is new.
    connection.__class__ = Protocol
    return Protocol.adopt(cast("Protocol", connection))
