"""What the streaming tests share: quotes, ticks by hand, and clients of the consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator

from prices import redis_clients
from prices.answers import QuoteAnswer
from prices.models import Asset
from prices.services.symbols import Resolution, Resolved
from prices.types import AssetKind, Freshness
from streaming import hub as hubs
from streaming import publisher, ticks
from streaming.consumers import PriceConsumer
from streaming.feed import Feed
from streaming.forms import Form
from streaming.lookup import Lookup
from streaming.protocol import Close, WireQuote, entry, share, stamp
from streaming.ticks import UNKNOWN, Place

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
LISTED = {"BTC", "ETH", "SOL", "AAPL", "stock:STX"}


def quote(
    symbol: str, price: float = 100.0, *, stale: bool = False, ref: str | None = None
) -> QuoteAnswer:
    return QuoteAnswer(
        source="sandbox",
        as_of=AT,
        fetched_at=AT,
        cached=True,
        stale=stale,
        symbol=symbol,
        ref=ref or f"ref:{symbol}",
        name=symbol,
        kind=AssetKind.CRYPTO,
        price=price,
        change=1.0,
        change_percent=1.01,
        high=None,
        low=None,
        volume=5e9,
        market_cap=None,
        last_updated=AT,
        freshness=Freshness.STALE if stale else Freshness.LIVE,
        market=None,
        session=None,
        disputed=False,
        quote_currency="USD",
        fallback_from=[],
        change_basis="24h",
        volume_basis="24h_currency",
        alternatives=[],
    )


def wire(
    symbol: str, price: float = 100.0, *, stale: bool = False, ref: str | None = None
) -> dict[str, Any]:
    """Return what a client gets for `quote` with the same arguments."""
    return {
        "symbol": symbol,
        "ref": ref or f"ref:{symbol}",
        "price": price,
        "change": 1.0,
        "change_percent": 1.01,
        "high": None,
        "low": None,
        "volume": 5e9,
        "market_cap": None,
        "last_updated": "2026-11-23T12:00:00Z",
        "source": "sandbox",
        "stale": stale,
        "freshness": "stale" if stale else "live",
        "market": None,
        "session": None,
        "disputed": False,
    }


def publish_now(
    *, known: Place = UNKNOWN, interval_s: int = 30, tell: bool = True, **prices: float
) -> Place:
    """Publish a tick as the publisher does, claims and sources apart."""
    entries = [entry(s, WireQuote.of(quote(s, price))) for s, price in prices.items()]
    place = ticks.publish(redis_clients.client(), known, interval_s, share(stamp(), entries))
    if tell:
        publisher.announce(place)
    return place


async def publish(**arguments: Any) -> Place:
    return await sync_to_async(publish_now, thread_sensitive=False)(**arguments)


@asynccontextmanager
async def running_hub() -> AsyncIterator[hubs.Hub]:
    """This event loop's hub, having looked; gone at the end."""
    hub = hubs.hub()
    try:
        await hub.ready()
        await until(lambda: hub.is_listening)
        yield hub
    finally:
        await hub.close()
        del hubs._hubs[asyncio.get_running_loop()]


async def until(holds: Callable[[], object], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 (what holds is not always ours to signal)
            await asyncio.sleep(0.01)


class Inbox:
    """A line whose reader takes one frame at a time, when it asks for one."""

    form = Form()
    joins = False

    def __init__(self) -> None:
        self.feed: Feed | None = None
        self.is_free = False
        self.was_cut: Close | None = None
        self._got: asyncio.Queue[str | Close] = asyncio.Queue()

    def write(self, made: str) -> None:
        self._give(made)

    def end(self, code: Close) -> None:
        self._give(code)

    def cut(self, code: Close) -> None:
        self.was_cut = code
        self.is_free = False

    def stop(self) -> None:
        self.is_free = False

    def hold_back(self, is_held: bool) -> None:
        """Do nothing: this reader asks for nothing."""

    def _give(self, item: str | Close) -> None:
        self.is_free = False
        self._got.put_nowait(item)

    async def next(self) -> str | Close:
        """Return the next frame, or the code the line is closed with."""
        if self._got.empty() and self.feed is not None:
            self.is_free = True
            self.feed.flush()
        return await self._got.get()


def inbox(feed: Feed) -> Inbox:
    """Return the line of a feed of `following`."""
    assert isinstance(feed.line, Inbox)
    return feed.line


async def following(hub: hubs.Hub, *symbols: str) -> Feed:
    feed = hub.join(Inbox())
    hub.follow(feed, symbols)
    return feed


def resolve(asked: Collection[str]) -> Resolution:
    """Resolve by LISTED alone: any case, and `crypto:BTC` for BTC."""
    result = Resolution()
    for name in asked:
        folded = name.upper().removeprefix("CRYPTO:")
        symbol = next((s for s in LISTED if s.upper() == folded), None)
        if symbol is None:
            result.rejected[name] = "unknown_symbol" if name.isalnum() else "invalid_symbol"
            continue
        result.found[name] = symbol
        if symbol != name.upper():
            result.resolved[name] = symbol
    return result


def meaning(
    asked: Collection[str], names: Mapping[str, str], refs: Mapping[str, str]
) -> Resolution:
    """Resolve to assets: each name is its own symbol, of `quote`'s ref, unless told otherwise."""
    result = Resolution()
    for name in asked:
        symbol = result.found[name] = names.get(name, name)
        ref = refs.get(symbol, f"ref:{symbol}")
        asset = Asset(ref=ref, ticker=symbol, kind=AssetKind.CRYPTO)
        result.assets[symbol] = Resolved(asset, symbol, [])
    return result


def knowing(
    cached: Collection[str] = (),
    fetched: Callable[[Collection[str]], Collection[str]] = lambda wanted: wanted,
    resolution: Callable[[Collection[str]], Resolution] = resolve,
    price: float = 200.0,
) -> Lookup:
    """Return a lookup that finds `cached` at once and asks `fetched` for the rest."""
    return Lookup(
        resolve=resolution,
        cached=lambda wanted: {s: quote(s) for s in wanted if s in cached},
        fetch=lambda wanted: {s: quote(s, price) for s in fetched(wanted)},
    )


class Client:
    """A connected client; `welcome` is its first message."""

    def __init__(self, socket: WebsocketCommunicator) -> None:
        self.socket = socket
        self.welcome: dict[str, Any] = {}
        self.subprotocol: str | None = None

    async def send(self, **message: Any) -> None:
        await self.socket.send_json_to(message)

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.socket.receive_json_from(timeout=5)
        return message

    async def ask(self, action: str, *symbols: str, **more: Any) -> dict[str, Any]:
        """Send a request and return the next message."""
        if symbols:
            more["symbols"] = list(symbols)
        await self.send(action=action, **more)
        return await self.receive()

    async def subscribe(self, *symbols: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the answer and the snapshot that follows it."""
        return await self.ask("subscribe", *symbols), await self.receive()

    async def closed(self) -> int:
        """Return the code the server closes with, after whatever it still says."""
        while True:
            output = await self.socket.receive_output(timeout=5)
            if output["type"] == "websocket.close":
                code: int = output["code"]
                return code


@asynccontextmanager
async def client(
    lookup: Lookup | None = None,
    query: str = "",
    subprotocols: list[str] | None = None,
    address: str | None = None,
) -> AsyncIterator[Client]:
    application = PriceConsumer.as_asgi(lookup=lookup or knowing())
    path = f"/api/ws/prices{query}"
    socket = WebsocketCommunicator(application, path, subprotocols=subprotocols)
    if address is not None:
        socket.scope["client"] = (address, 50_000)
    connected = Client(socket)
    accepted, subprotocol = await socket.connect(timeout=5)
    assert accepted
    connected.subprotocol = None if subprotocol is None else str(subprotocol)
    connected.welcome = await connected.receive()
    try:
        yield connected
    finally:
        await socket.disconnect()


async def published(hub: hubs.Hub, *prices: float, known: Place = UNKNOWN, **more: Any) -> Place:
    """Publish a tick for each price of BTC (and half of it of ETH); return the last."""
    for price in prices:
        place = await publish(BTC=price, ETH=price / 2, known=known, **more)
    await until(lambda: hub.place == place)
    return place


async def resume(
    socket: Client, since: int, epoch: str | None, *symbols: str, **more: Any
) -> dict[str, Any]:
    return await socket.ask("subscribe", *(symbols or ["BTC"]), since=since, epoch=epoch, **more)


def nobody(wanted: Collection[str]) -> Collection[str]:
    raise AssertionError(wanted)
