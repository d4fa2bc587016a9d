"""Ready frames straight to the socket, under uvicorn's sans-IO WebSocket.

What ASGI's `send` costs a message is then saved: a frame that is the same for
many is made once and leaves without a coroutine. Where uvicorn's command line names
our classes (upgrade.py), connections are of them from their beginning. Any other is
given ours when the application asks for its line: whatever started the server,
nothing has to be set.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

from streaming.frames import framed, tell_of_trouble
from streaming.hearing import Counted, Hearing
from streaming.protocol import Close

if TYPE_CHECKING:
    from streaming.feed import Feed

logger = logging.getLogger(__name__)

_UNREADABLE = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 35\r\nconnection: close\r\n\r\nThis handshake could not be read.\r\n"
)
# For the client's own close frame; and for one that does not even read ours.
_CLOSE_WITHIN_S = 5.0
_CUT_WITHIN_S = 1.0
# What may follow our close frame, whose answer is behind whatever was on its way.
_FRAMES_AFTER_CLOSE = 2000

# What is used here of a connection and, in its websockets parser, called.
_RELIED_ON = (
    *("transport", "loop", "queue", "conn", "frames", "request", "response", "curr_msg_data_type"),
    *("close_sent", "close_timer", "handshake_initiated", "handshake_complete"),
    *("read_paused", "disconnected"),
    *("pause_writing", "resume_writing", "connection_lost", "data_received", "handle_events"),
    "shutdown",
    *("send_receive_event_to_app", "handle_parser_exception", "handle_ping", "handle_close"),
    "stop_keepalive",
)
_CALLED = ("send_close", "data_to_send")
_READ = ("events", "close_rcvd", "close_sent")


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol that also tells its line what it reads and writes."""

    line: UvicornLine | None = None
    family: int | None = None  # of its addresses, once asked for

    def adopt(self, counted: Counted) -> UvicornLine:
        """Return the line of a connection that was just accepted."""
        # Whatever the kernel does not take at once is told to us: one frame is all that
        # is ever buffered of ours.
        # TLS pauses at a limit already, not beyond it: at none it would whenever it is asked.
        self.transport.set_write_buffer_limits(high=int(self.scheme == "wss"))
        tell_of_trouble(self.transport.get_extra_info("socket"), self.family)
        # Ticks and heartbeats are signs of life enough, and who is dead does not acknowledge
        # them. With its answer and two timers a ping costs more than a tick.
        self.stop_keepalive()
        self.forget_handshake()
        self.line = line = UvicornLine(self, counted)
        # What is left of an answer from before this was a WebSocket: the transport has said so
        # already, or says it once, and we are told when all of it is gone.
        line.is_free = not self.transport.get_write_buffer_size()
        return line

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.line is not None:
            self.line.is_free = False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.line is not None:
            self.line.freed()

    def forget_handshake(self) -> None:
        """Let go of what is of no use any more, and adds up to kilobytes."""
        for name in ("request", "response", "scope"):
            if hasattr(self, name):
                delattr(self, name)

    def has_said_goodbye(self) -> bool:
        """Return whether the client's close frame came."""
        return self.conn.close_rcvd is not None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.handshake_complete and not self.has_said_goodbye():
            # The base says 1005, which is a close frame without a code.
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        line, self.line = self.line, None
        if line is not None:
            line.lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.line is not None:
            self.line.hear(data)
            return
        super().data_received(data)
        # It is given a whole request at once, and says nothing of one that it cannot read.
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(_UNREADABLE)
            self.transport.close()

    def parse(self, part: bytes) -> None:
        super().data_received(part)

    def handle_events(self) -> None:
        if self.line is not None:
            self.line.note(self.conn.events)
        super().handle_events()

    def handle_ping(self) -> None:
        line = self.line
        if line is None or line.is_free or self.conn.close_rcvd is not None:
            super().handle_ping()
        elif pongs := self.conn.data_to_send():
            line.keep(pongs[-1])

    # uvicorn then waits for whoever does not read.

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._end_within(_CLOSE_WITHIN_S)

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._end_within(_CLOSE_WITHIN_S)

    def _end_within(self, within_s: float) -> None:
        if self.close_timer is None and not self.disconnected:
            self.close_timer = self.loop.call_later(within_s, self.transport.abort)

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

    def shutdown(self) -> None:
        if self.transport.is_closing() and not self.close_sent:
            # Its own close was answered, and the answer waits for it to read. The base would send
            # one more, which raises: the whole server's stop would end there.
            self.stop_keepalive()
            self.transport.abort()
            return
        super().shutdown()
        # The base waits for who does not read, and so would the stop.
        self.loop.call_later(_CUT_WITHIN_S, self.transport.abort)

    def close(self, code: int, within_s: float) -> None:
        """Send a close frame behind what is buffered, and be gone within that time."""
        if self.close_sent or self.transport.is_closing() or not self.handshake_complete:
            return
        if self.conn.close_sent is not None:  # the answer to the client's own, not handled yet
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
        self._end_within(within_s)


class UvicornLine(Hearing):
    """The way to one subscriber through uvicorn's transport."""

    __slots__ = ("_frames_left", "_protocol", "feed", "is_free", "write")

    form = framed
    joins = True

    def __init__(self, protocol: Protocol, counted: Counted) -> None:
        super().__init__(counted)
        self.feed: Feed | None = None
        self.is_free = True
        self._frames_left = _FRAMES_AFTER_CLOSE
        self._protocol = protocol
        self.write: Callable[[bytes], None] = protocol.transport.write

    def freed(self) -> None:
        self.is_free = not self._protocol.close_sent
        if self._pong and self.is_free:
            pong, self._pong = self._pong, b""
            self.write(pong)
        if self.feed is not None:
            self.feed.flush()

    def lost(self) -> None:
        self.is_free = False
        self._stop_hearing()
        if self.feed is not None:
            self.feed.abandon()

    def end(self, code: Close) -> None:
        self.is_free = False
        self._protocol.close(code, _CLOSE_WITHIN_S)
        self._go_on_soon()  # for the client's answer to that

    def cut(self, code: Close) -> None:
        self.is_free = False
        self._protocol.close(code, _CUT_WITHIN_S)
        # Also where a close was under way, whose time is longer or has no end.
        self._protocol.loop.call_later(_CUT_WITHIN_S, self._protocol.transport.abort)

    def stop(self) -> None:
        self.is_free = False
        self._counted = None

    def hold_back(self, is_held: bool) -> None:
        """Go on with what was read; uvicorn by itself reads more when all messages were taken.

        All of one part's, that is: so many may wait while one is answered.
        """
        if not is_held:
            self._go_on_soon()

    def note(self, events: Sequence[object]) -> None:
        """Count what came and is no message; after a close everything, until we listen no more."""
        if not self._protocol.close_sent:
            self.count(sum(_is_extra(event) for event in events))
            return
        self._frames_left -= len(events)
        if self._frames_left < 0:
            self._stop_hearing()
            self._pause()

    def keep(self, pong: bytes) -> None:
        """Send it when the client takes something again, unless a newer one comes before."""
        self._pong = pong

    def _parse(self, part: bytes) -> None:
        self._protocol.parse(part)

    def _is_busy(self) -> bool:
        return not (self._protocol.close_sent or self._protocol.queue.empty())

    def _pause(self) -> None:
        # Its own pause ends when the last message was taken; ours lasts longer.
        self._protocol.read_paused = False
        if not self._protocol.transport.is_closing():
            self._protocol.transport.pause_reading()

    def _resume(self) -> None:
        protocol = self._protocol
        if protocol.transport.is_closing() or self._frames_left < 0:
            return
        protocol.read_paused = self._is_busy()
        if not protocol.read_paused:
            protocol.transport.resume_reading()


def _is_extra(event: object) -> bool:
    return isinstance(event, Frame) and event.opcode not in {Opcode.TEXT, Opcode.BINARY}


def _is_known(connection: WebSocketsSansIOProtocol) -> bool:
    """Return whether this uvicorn's connections have what we rely on, which is nobody's promise."""
    missing = [name for name in _RELIED_ON if not hasattr(connection, name)]
    conn = getattr(connection, "conn", None)
    missing += [name for name in _CALLED if not callable(getattr(conn, name, None))]
    missing += [name for name in _READ if not hasattr(conn, name)]
    if missing:
        _tell_once(", ".join(missing))
    return not missing


@functools.cache
def _tell_once(missing: str) -> None:
    logger.warning("uvicorn has no %s any more; frames go by ASGI's send, which is slower", missing)


def line(connection: Any, counted: Counted) -> UvicornLine | None:
    """Return a line on a connection that was accepted; None where it is closed already."""
    is_own = isinstance(connection, Protocol)
    if not is_own and (
        type(connection) is not WebSocketsSansIOProtocol or not _is_known(connection)
    ):
        return None
    if connection.close_sent or connection.transport.is_closing():
        return None
    if not is_own:
        # Its state stays as it is; only what it tells us when writing stops and goes on is new.
        connection.__class__ = Protocol
        # uvloop keeps the methods it calls, those of the class before.
        connection.transport.set_protocol(connection)
    return cast("Protocol", connection).adopt(counted)
