"""A WebSocket's handshake under uvicorn, from the request that httptools has read already.

uvicorn writes that request down again for websockets to parse, which takes more than all
that httptools does with it. The handshake that nearly all clients send is checked here
instead; whatever is odd in one goes uvicorn's way, and is answered or refused there.
"""

from __future__ import annotations

import binascii
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streaming.uvicorn import Protocol

Headers = Sequence[tuple[bytes, bytes]]

# With more or longer ones websockets may refuse the request.
_MOST_HEADERS = 64
_LONGEST = 4096
# What has to be there; and what is rare enough to be left to websockets.
_NEEDED = frozenset({b"upgrade", b"connection", b"sec-websocket-version", b"sec-websocket-key"})
_ODD = frozenset({b"sec-websocket-protocol", b"content-length", b"transfer-encoding", b"expect"})
_KEY_BYTES = 16


class Http(HttpToolsProtocol):
    """uvicorn's HTTP, whose connections become WebSockets on a shorter way."""

    def handle_websocket_upgrade(self) -> None:
        key = self._key()
        if key is None:
            super().handle_websocket_upgrade()
        else:
            self.connections.discard(self)
            protocol = Protocol(self.config, self.server_state, self.app_state)
            protocol.greet(self.transport, self._websocket_scope(), key)
            self.transport.set_protocol(protocol)
        # The two hold each other, and are done: else garbage until the collector comes.
        self.parser = None  # type: ignore[assignment]

    def _key(self) -> str | None:
        """Return the key of a handshake that is as most are; None of any other."""
        # A line of the log for each connection is uvicorn's to write, deflate websockets' to do.
        if self.ws_protocol_class is not Protocol or self.logger.isEnabledFor(logging.INFO):
            return None
        if self.config.ws_per_message_deflate or self.scope["http_version"] != "1.1":
            return None
        is_plain = self.scope["method"] == "GET" and self.url[:1] == b"/" and self.url.isascii()
        return key_of(self.headers) if is_plain and len(self.url) <= _LONGEST else None

    def _websocket_scope(self) -> dict[str, Any]:
        raw_path, _, query = self.url.partition(b"?")
        scope: dict[str, Any] = dict(self.scope)
        del scope["method"]
        return scope | {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "scheme": "wss" if self.scheme == "https" else "ws",
            "path": self.root_path + unquote(raw_path.decode("ascii")),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }


def key_of(headers: Headers) -> str | None:
    """Return the key of a handshake (RFC 6455, 4.2.1) with nothing odd in it; else None.

    `headers` have names in lower case.
    """
    fields = dict(headers)
    if len(fields) < len(headers) or len(headers) > _MOST_HEADERS:
        return None
    if not fields.keys() >= _NEEDED or not _ODD.isdisjoint(fields):
        return None
    if max(map(len, fields)) + max(map(len, fields.values())) > _LONGEST:
        return None
    options = [option.strip() for option in fields[b"connection"].lower().split(b",")]
    if fields[b"upgrade"].lower() != b"websocket" or b"upgrade" not in options:
        return None
    key = fields[b"sec-websocket-key"]
    return key.decode() if fields[b"sec-websocket-version"] == b"13" and _is_key(key) else None


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False
