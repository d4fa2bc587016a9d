"""A reader of server-sent events, by the specification of EventSource."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.product import Web

PATH = "/api/v1/prices/stream"


@dataclass
class Event:
    """One block of a stream. `retry` and `id` are empty where it has none."""

    type: str = "message"
    id: str = ""
    retry: str = ""
    comment: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def data(self) -> Any:
        return json.loads("\n".join(self.lines))

    @property
    def seq(self) -> int:
        return int(self.id.partition(":")[2])


class Stream:
    """Reads events as the specification of EventSource says."""

    def __init__(self, response: httpx.Response) -> None:
        self.headers = response.headers
        self._lines = response.aiter_lines()

    async def event(self) -> Event:
        """Return the next event or comment. Raises StopAsyncIteration at the end of the stream."""
        event = Event()
        async with asyncio.timeout(20):
            while (line := await anext(self._lines)) != "":
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "":
                    event.comment = value
                elif name == "event":
                    event.type = value
                elif name == "data":
                    event.lines.append(value)
                else:
                    assert name in {"id", "retry"}, line
                    setattr(event, name, value)
        return event

    async def end(self) -> None:
        """Read what is left; raise httpx.RemoteProtocolError where it breaks off."""
        with suppress(StopAsyncIteration):
            while True:
                await self.event()

    async def message(self, kind: str = "message") -> Event:
        """Return the next event of a type, comments and others left out."""
        while (event := await self.event()).type != kind or not event.lines:
            pass
        return event


@asynccontextmanager
async def stream(web: Web, symbols: str, last: str = "", **query: str) -> AsyncIterator[Stream]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream(
            "GET", f"{web.url}{PATH}", params={"symbols": symbols, **query}, headers=headers
        ) as response,
    ):
        assert response.status_code == 200
        yield Stream(response)
