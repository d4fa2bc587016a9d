"""uvicorn with our classes or its own, and what a client sends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from streaming.lines import line_of
from streaming.uvicorn import UvicornLine

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
PLAIN = {
    "Host": "here",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
OURS: dict[str, Any] = {"http": "streaming.upgrade:Http", "ws": "streaming.uvicorn:Protocol"}
UVICORNS: dict[str, Any] = {"http": "httptools", "ws": "websockets-sansio"}


def request(target: str = "/", *more: str, method: str = "GET", **changed: str | None) -> bytes:
    """Return a handshake as plain as most, but for what is changed, left out (None) or added."""
    fields = PLAIN | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, *more, "", ""]).encode("latin-1")


class Serving:
    """A uvicorn of ours or its own, and the scopes that its application was called with."""

    def __init__(self, ways: dict[str, Any], *, deflates: bool = False) -> None:
        self.scopes: list[Any] = []
        self.protocols: list[Any] = []
        how: dict[str, Any] = {"interface": "asgi3", "proxy_headers": False, "log_config": None}
        config = Config(self.application, ws_per_message_deflate=deflates, **how, **ways)
        config.load()
        self.config = config
        state = self.state = ServerState()
        state.default_headers = [(b"date", b"today")]
        protocol_class: Any = config.http_protocol_class
        self.make = lambda: protocol_class(config=config, server_state=state, app_state={})

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.protocols.append(send.__self__)
        await receive()
        if scope["path"] == "/refused":
            await send({"type": "websocket.close"})
            return
        chosen = "lokifi.prices.v1" if scope["path"] == "/chosen" else None
        said = [(b"x-said", b"by us")]
        await send({"type": "websocket.accept", "headers": said, "subprotocol": chosen})
        line = line_of(send, lambda: None, lambda _: None) if scope["path"] == "/line" else None
        assert line is None or isinstance(line, UvicornLine)
        while (message := await receive())["type"] == "websocket.receive":
            text = message["text"] + "!"
            if line is None:
                await send({"type": "websocket.send", "text": text})
            else:
                line.write(line.form(text))

    @asynccontextmanager
    async def port(self, ssl: SSLContext | None = None) -> AsyncIterator[int]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self.make, "127.0.0.1", 0, ssl=ssl)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def answer(self, asked: bytes) -> bytes:
        """Return what is answered before the connection is closed by us."""
        async with self.port() as port, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(asked)
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return answer


def frame(first: int, payload: bytes, mask: bytes = bytes(4)) -> bytes:
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    size = len(payload)
    head = [first, 0x80 | size] if size < 126 else [first, 0x80 | 126, *size.to_bytes(2)]
    return bytes(head) + mask + masked


def text_frame(text: str) -> bytes:
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode()
