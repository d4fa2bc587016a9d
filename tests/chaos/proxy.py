"""A bad network on loopback: a TCP proxy that delays, stalls, starves, deafens and cuts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_CHUNK = 16 * 1024


@dataclass
class Weather:
    """How the network is now; all connections feel a change at once."""

    delay_s: float = 0.0
    stall_part: float = 0.0  # of chunks, as a lost packet makes what is behind it wait
    stall_s: float = 0.4
    bytes_per_s: float = 0.0  # 0: as fast as it goes
    is_half_open: bool = False  # what is sent is taken and never arrives


class Proxy:
    """Listens on `port` and passes on to the first of `targets` that takes the connection."""

    def __init__(self, targets: Sequence[int], seed: int) -> None:
        self.targets = list(targets)
        self.weather = Weather()
        self.port = 0
        self.accepted: list[float] = []
        self._random = random.Random(seed)
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, part: float = 1.0) -> None:
        """Reset that part of the connections, on both sides."""
        for writer in list(self._open):
            if self._random.random() < part:
                raw = writer.get_extra_info("socket")
                linger = struct.pack("ii", 1, 0)
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(asyncio.get_running_loop().time())
        self._open.add(writer)
        far = await self._reach()
        if far is None:
            self._end(writer)
            return
        far_reader, far_writer = far
        self._open.add(far_writer)
        # Cancelled when the proxy itself ends.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._pass_on(reader, far_writer), self._pass_on(far_reader, writer)
            )
        self._end(writer)
        self._end(far_writer)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to a target, each in its turn; the next one where one is not there."""
        for _ in range(len(self.targets)):
            self._turn += 1
            port = self.targets[self._turn % len(self.targets)]
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one direction on; chunks keep their order and each its own delay."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        sending = loop.create_task(self._send(queue, writer))
        self._tasks.add(sending)
        sending.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            while data := await reader.read(self._piece()):
                await queue.put((loop.time() + self.weather.delay_s, data))
        await queue.put((0.0, b""))
        with contextlib.suppress(OSError):
            await sending

    def _piece(self) -> int:
        rate = self.weather.bytes_per_s
        return max(64, int(rate / 10)) if rate else _CHUNK

    async def _send(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        is_deaf = False
        while True:
            due, data = await queue.get()
            if not data:
                writer.transport.abort()
                return
            weather = self.weather
            if self._random.random() < weather.stall_part:
                await asyncio.sleep(weather.stall_s)
            if weather.bytes_per_s:
                await asyncio.sleep(len(data) / weather.bytes_per_s)
            await asyncio.sleep(max(0.0, due - loop.time()))
            # For good: what comes after lost bytes cannot arrive either.
            is_deaf = is_deaf or weather.is_half_open
            if is_deaf or writer.transport.is_closing():
                continue
            writer.write(data)
            await writer.drain()
