"""An application for the front cache to stand before: it answers as told, and counts."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from lokifi.frontcache import FrontCache
from lokifi.frontcache.cache import Receive, Scope, Send

Message = MutableMapping[str, Any]
PUBLIC = "public, max-age=60"


@dataclass
class Origin:
    """Answers every request alike; `gate`, where there is one, is waited for first."""

    headers: dict[str, str] = field(default_factory=lambda: {"Cache-Control": PUBLIC})
    body: bytes = b'{"price":1}'
    status: int = 200
    gate: asyncio.Event | None = None
    parts: int = 1
    is_announced: bool = True
    asked: list[Scope] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope)
        headers, body = dict(self.headers), self.body
        if self.gate is not None:
            await self.gate.wait()
        if self.is_announced:
            headers["Content-Length"] = str(len(body))
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        step = -(-len(body) // self.parts)
        for number in range(self.parts):
            part = body[number * step : (number + 1) * step]
            more = number + 1 < self.parts
            await send({"type": "http.response.body", "body": part, "more_body": more})

    @property
    def count(self) -> int:
        return len(self.asked)

    def header(self, name: bytes) -> bytes | None:
        """Return a header of the last request as the application saw it."""
        return dict(self.asked[-1]["headers"]).get(name)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def front(origin: Any, max_bytes: int = 2**20, **more: Any) -> FrontCache:
    return FrontCache(origin, max_bytes=max_bytes, prefix="/api/", **more)


def read_after(reads: asyncio.Event, app: Any) -> Any:
    """Return an application as it is for a client that takes nothing before `reads` is set."""

    async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
        async def wait_and_send(message: Message) -> None:
            await reads.wait()
            await send(message)

        await app(scope, receive, wait_and_send)

    return slowly


async def ask(
    app: Any,
    target: str = "/api/x",
    method: str = "GET",
    *,
    root_path: str = "",
    **headers: str | list[str],
) -> Answer:
    """Ask as a client does; `if_none_match="…"` is a header, a list one in several lines."""
    path, _, query = target.partition("?")
    raw = [(b"host", b"testserver")] if "host" not in headers else []
    for name, values in headers.items():
        written = name.replace("_", "-").encode()
        for value in [values] if isinstance(values, str) else values:
            raw.append((written, value.encode()))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": raw,
        "scheme": "http",
        "root_path": root_path,
    }
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(scope, receive, send)
    start, *rest = sent
    named = {n.decode().lower(): v.decode() for n, v in start["headers"]}
    return Answer(start["status"], named, b"".join(m.get("body", b"") for m in rest))
