"""Clients by the thousand on one event loop: they note what they hear and when."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from bench import wire
from tests.chaos.stage import Prices
from tests.product import Web

PATH = "/api/ws/prices"
CUT = 1006
_OPEN_AT_ONCE = 100


class Heard(msgspec.Struct, frozen=True):
    """One message about a tick, as it came."""

    kind: str
    epoch: str
    seq: int
    prev_seq: int
    at: float  # when it was here, by time.time()
    delay_s: float  # since it was published
    is_live: bool  # neither snapshot nor replay
    is_replay: bool
    data: Any  # prices by symbol, where they are kept


class _Message(msgspec.Struct):
    type: str
    epoch: str = ""
    seq: int = 0
    prev_seq: int = 0
    timestamp: str = ""
    snapshot: bool = False
    replay: bool = False
    data: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(_Message).decode
_decode_prices = msgspec.json.Decoder(Prices).decode


class Client(asyncio.Protocol):
    """One connection. `heard` has its ticks, `said` everything else with its time."""

    def __init__(
        self,
        symbols: Sequence[str] = (),
        *,
        keeps_prices: bool = False,
        since: tuple[str, int] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.symbols = symbols
        self.heard: list[Heard] = []
        self.said: list[tuple[float, dict[str, Any]]] = []
        self.status = 0
        self.welcomed: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.subscribed: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.gone: asyncio.Future[int] = loop.create_future()
        self.count = 0  # of live ticks
        self.last_at = time.time()
        self.on_tick: Callable[[Heard], None] | None = None
        self._keeps_prices = keeps_prices
        self._since = since
        self._frames = wire.Frames()
        self._begin = b""
        self._transport: asyncio.Transport | None = None
        self._code = CUT
        self.request = b""

    # --- What a scenario does ------------------------------------------------------

    async def open(
        self,
        port: int,
        path: str = PATH,
        within_s: float = 30,
        address: str = "127.0.0.1",
        **more: Any,
    ) -> Client:
        """Connect and wait for the welcome, and where there are symbols for the answer.

        `address` is one of 127.0.0.0/8: the server counts it as another client's.
        """
        self.request = wire.handshake("127.0.0.1", port, path, **more)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within_s):
            whence = (address, 0)
            await loop.create_connection(lambda: self, "127.0.0.1", port, local_addr=whence)
            answer = self.subscribed if self.symbols else self.welcomed
            several: set[asyncio.Future[Any]] = {answer, self.gone}
            await asyncio.wait(several, return_when=asyncio.FIRST_COMPLETED)
        return self

    def send(self, **message: Any) -> None:
        self.write(wire.frame(json.dumps(message).encode()))

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        return self.welcomed.done() and not self.gone.done()

    @property
    def live(self) -> list[Heard]:
        return [h for h in self.heard if h.is_live and h.kind == "price_update"]

    def last_said(self, kind: str) -> dict[str, Any] | None:
        return next((m for _, m in reversed(self.said) if m["type"] == kind), None)

    # --- What the event loop tells -----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self.request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(self._code)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self.last_at = now
        if not self.status:
            self._begin += data
            begin, end, data = self._begin.partition(b"\r\n\r\n")
            if not end:
                return
            self.status = int(begin[9:12])
            self._begin = b""
        for opcode, payload in self._frames.feed(data):
            self._take(opcode, payload, now)

    def _take(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == wire.TEXT:
            self._read(payload, now)
        elif opcode == wire.PING:
            self.write(wire.pong(payload))
        elif opcode == wire.CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.write(wire.frame(payload[:2], wire.CLOSE))

    def _read(self, payload: bytes, now: float) -> None:
        message = _decode(payload)
        if message.type in {"price_update", "heartbeat"}:
            self._hear(message, now)
            return
        said = json.loads(payload)
        self.said.append((now, said))
        if message.type == "welcome":
            self.welcomed.set_result(said)
            if self.symbols:
                self._subscribe()
        elif message.type == "subscribed" and not self.subscribed.done():
            self.subscribed.set_result(said)

    def _subscribe(self) -> None:
        asked: dict[str, Any] = {"action": "subscribe", "symbols": list(self.symbols)}
        if self._since is not None:
            asked["epoch"], asked["since"] = self._since
        self.send(**asked)

    def _hear(self, message: _Message, now: float) -> None:
        prices = _decode_prices(message.data) if self._keeps_prices else None
        heard = Heard(
            kind=message.type,
            epoch=message.epoch,
            seq=message.seq,
            prev_seq=message.prev_seq,
            at=now,
            delay_s=now - datetime.fromisoformat(message.timestamp).timestamp(),
            is_live=not (message.snapshot or message.replay),
            is_replay=message.replay,
            data=prices,
        )
        self.heard.append(heard)
        self.count += heard.is_live and heard.kind == "price_update"
        if self.on_tick is not None:
            self.on_tick(heard)


class Swarm:
    """Many clients of one or several servers."""

    def __init__(self, symbols: Sequence[str], per_client: int, seed: int) -> None:
        self._symbols = symbols
        self._per_client = min(per_client, len(symbols))
        self._random = random.Random(seed)
        self.clients: list[Client] = []

    async def open(self, webs: Sequence[Web], count: int, **options: Any) -> list[Client]:
        """Open `count` more clients, shared out among `webs`; return them."""
        new = [
            Client(self._random.sample(self._symbols, self._per_client), **options)
            for _ in range(count)
        ]
        self.clients += new
        turns = asyncio.Semaphore(_OPEN_AT_ONCE)

        async def one(number: int, client: Client) -> None:
            async with turns:
                await client.open(webs[number % len(webs)].port, within_s=60)

        await asyncio.gather(*(one(number, client) for number, client in enumerate(new)))
        return new

    @property
    def lost(self) -> int:
        return sum(client.gone.done() for client in self.clients)

    async def ticks(self, count: int, within_s: float, cadence_s: float = 1) -> None:
        """Wait until every open client has heard `count` more live ticks, or for so long."""
        targets = [(c, c.count + count) for c in self.clients if c.is_open]
        await until(
            lambda: all(c.count >= target for c, target in targets if c.is_open),
            within_s + count * cadence_s,
        )

    def delays(self, begin: float = 0.0, end: float = float("inf")) -> list[float]:
        """Return how long live ticks took from publishing to each client."""
        return [h.delay_s for c in self.clients for h in c.live if begin <= h.at < end]

    async def close(self) -> None:
        for client in self.clients:
            client.close()
        await asyncio.sleep(0.1)


async def until(holds: Callable[[], object], within_s: float) -> bool:
    """Wait until it holds; return whether it did in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def doubles(heard: Iterable[Heard]) -> int:
    """Return how many live or replayed ticks came again, or after a later one."""
    seen: dict[str, int] = {}
    wrong = 0
    for one in heard:
        if one.kind == "price_update" and (one.is_live or one.is_replay):
            wrong += one.seq <= seen.get(one.epoch, -1)
            seen[one.epoch] = max(one.seq, seen.get(one.epoch, -1))
    return wrong


def codes(clients: Iterable[Client]) -> Counter[int]:
    return Counter(client.gone.result() for client in clients if client.gone.done())
