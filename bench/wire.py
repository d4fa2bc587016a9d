"""The client's side of RFC 6455, no more than a load needs. Standard library only."""

from __future__ import annotations

import base64
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_KEY = base64.b64encode(b"a load of clients").decode()[:22] + "=="
_SHORT, _LONG = 126, 127


def handshake(host: str, port: int, path: str, origin: str | None = None, **more: str) -> bytes:
    """Return the request that asks for a WebSocket; `more` are further headers."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {_KEY}",
    ]
    if origin is not None:
        lines.append(f"Origin: {origin}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin1")


def head(length: int, opcode: int = TEXT, *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return a client frame's head with a mask of zeros, which leaves the payload as it is."""
    first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if length < _SHORT:
        size = bytes([0x80 | length])
    elif length < 1 << 16:
        size = bytes([0x80 | _SHORT]) + length.to_bytes(2, "big")
    else:
        size = bytes([0x80 | _LONG]) + length.to_bytes(8, "big")
    return first + size + bytes(4)


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return a whole client frame."""
    return head(len(payload), opcode, fin=fin, rsv=rsv) + payload


def pong(payload: bytes) -> bytes:
    return frame(payload, PONG)


class Frames:
    """What a server sends, cut into frames. Fragments are given as they come."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield opcode and payload of each frame that is complete now."""
        data = self._rest + data if self._rest else data
        at = 0
        while (found := size_at(data, at)) is not None:
            begin, end = found
            if end > len(data):
                break
            yield data[at] & 15, data[begin:end]
            at = end
        self._rest = data[at:]


def size_at(data: bytes, at: int) -> tuple[int, int] | None:
    """Return where the payload of the frame at `at` begins and ends; None where that is not told.

    Servers do not mask.
    """
    left = len(data) - at
    if left < 2:
        return None
    length, begin = data[at + 1] & 127, at + 2
    if length == _SHORT:
        if left < 4:
            return None
        length, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
    elif length == _LONG:
        if left < 10:
            return None
        length, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
    return begin, begin + length
