"""WebSocket frames (RFC 6455) of texts, ready to be written to any connection."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from struct import Struct
from typing import Any

from streaming.forms import Form

_TEXT = 0x81  # a whole text message in one frame
_PONG = 0x8A
_SHORT = Struct("!BB").pack
_MEDIUM = Struct("!BBH").pack
_LONG = Struct("!BBQ").pack

# What the kernel may hold of a connection that was not sent yet. Beyond it a
# socket takes no more, so that a slow reader is known to be one while what waits
# for it can still be replaced by something newer. What is on its way does not
# count: a far reader is no slow one.
_UNSENT_BYTES = 32 * 1024
_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
# A peer that acknowledges nothing for so long is gone: its cable, not its program.
_DEAD_AFTER_MS = 60_000
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


class _Frames(Form):
    """Texts as text frames."""

    __slots__ = ()

    def __call__(self, text: str) -> bytes:
        payload = text.encode()
        return _head(len(payload)) + payload

    def members(self, start: bytes, members: Sequence[bytes]) -> bytes:
        # The longest part is copied twice: to add up the lengths of members takes longer.
        body = b",".join(members)
        size = len(start) + len(body) + 2
        is_medium = 126 <= size < 65_536  # as most are
        head = _MEDIUM(_TEXT, 126, size) if is_medium else _head(size)
        return b"".join((head, start, body, b"}}"))


framed = _Frames()


def _head(size: int) -> bytes:
    """Return how the frame of a text of so many bytes begins."""
    if size < 126:
        return _SHORT(_TEXT, size)
    if size < 65_536:
        return _MEDIUM(_TEXT, 126, size)
    return _LONG(_TEXT, 127, size)


def pong(payload: bytes) -> bytes:
    """Return the frame that answers a ping, whose payload has 125 bytes at most."""
    return _SHORT(_PONG, len(payload)) + payload


def tcp_family(sock: Any) -> int | None:
    """Return the family of addresses of a transport's socket; None where that is of no TCP."""
    family = None if sock is None else sock.family
    return family if family in {socket.AF_INET, socket.AF_INET6} else None


def borrowed(sock: Any, family: int) -> socket.SocketType:
    """Return a transport's TCP socket to be asked and told something, and then to be detached.

    uvloop's own would open and close another descriptor for each question.
    """
    return socket.SocketType(family, socket.SOCK_STREAM, 0, sock.fileno())


def tell_of_trouble(sock: Any, family: int | None = None) -> None:
    """Have a TCP socket say early that its reader is slow or gone, where the system can.

    `family` is `tcp_family` of it where that is known; to ask for it takes a while.
    """
    family = family or tcp_family(sock)
    if family is None:
        return
    own = borrowed(sock, family)
    try:
        if _NOTSENT_LOWAT is not None:
            own.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT_BYTES)
        if _USER_TIMEOUT is not None:
            own.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, _DEAD_AFTER_MS)
    finally:
        own.detach()
