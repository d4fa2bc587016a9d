"""One connected client."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from msgspec import UNSET

from prices.services.symbols import Resolution
from streaming import daphne, protocol
from streaming.feed import Feed
from streaming.hub import Hub, hub
from streaming.limits import Allowance, Manners
from streaming.lookup import Lookup, literal
from streaming.protocol import (
    Action,
    Close,
    Code,
    Command,
    ProtocolError,
    WireQuote,
    error_frame,
)

logger = logging.getLogger(__name__)

# From the request to its snapshot a second may pass, and the way to the client counts too.
ANSWER_WITHIN_S = 0.9
# What a client has asked for and not taken yet; more of its requests are read only then.
MAX_UNREAD_ANSWERS = 64


class PriceConsumer(AsyncWebsocketConsumer):
    """Speaks the protocol; the hub decides what is told when.

    Without a channel layer of its own: the hub's one subscription serves the
    whole process, and a Redis that goes away closes no socket.
    """

    channel_layer_alias = None  # type: ignore[assignment]  # the stubs know names only

    def __init__(self, lookup: Lookup | None = None) -> None:
        super().__init__()
        self._lookup = lookup or Lookup()
        self._hub: Hub | None = None
        self._feed: Feed | None = None
        self._address: str | None = None
        self._writer: asyncio.Task[None] | None = None
        self._too_old: asyncio.TimerHandle | None = None
        self._read = asyncio.Event()
        self._is_closing = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Also where the server cancels us without a word of the disconnect.
            self._go()

    async def dispatch(self, message: dict[str, Any]) -> None:
        # The base class first closes old database connections, in the one thread
        # that all sync views of the process share. We have none to close.
        match message["type"]:
            case "websocket.connect":
                await self.connect()
            case "websocket.receive":
                await self.receive(message.get("text"))
            case _:
                raise StopConsumer

    # --- Coming and going ------------------------------------------------------------

    async def connect(self) -> None:
        offered = self.scope.get("subprotocols", [])
        await self.accept(protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None)
        self._hub = hub()
        if self._hub.count >= settings.WS_MAX_CONNECTIONS:
            await self._refuse(Code.FULL, "WS_MAX_CONNECTIONS", "This server is full")
            return
        if not self._is_let_in(self._hub):
            await self._refuse(
                Code.LIMIT, "WS_MAX_CONNECTIONS_PER_ADDRESS", "Your address has many connections"
            )
            return
        await self._hub.ready()
        if self._hub.is_stopping:
            self._is_closing = True
            await self._close(Close.RESTARTING)
            return
        self._feed = self._hub.join()
        self._manners = Manners(
            Allowance(
                settings.WS_MAX_MESSAGES, settings.WS_MESSAGE_BURST, settings.WS_MAX_MISTAKES
            ),
            _now(),
        )
        self._feed.put(self._welcome(self._hub), *self._hub.notices())
        self._writer = asyncio.create_task(self._write(self._feed))
        self._too_old = asyncio.get_running_loop().call_later(
            settings.WS_MAX_AGE_S, self._end, Close.TOO_OLD
        )

    def _is_let_in(self, hub: Hub) -> bool:
        client = self.scope.get("client")
        if not client:
            return True  # Behind a Unix socket nobody has an address.
        address = str(client[0])
        if not hub.addresses.let_in(address, settings.WS_MAX_CONNECTIONS_PER_ADDRESS):
            return False
        self._address = address
        return True

    async def _refuse(self, code: Code, setting: str, why: str) -> None:
        _log_once(setting)
        self._is_closing = True
        error = ProtocolError(code, f"{why} ({setting}); come back later.")
        await self.send(text_data=error_frame(error).text)
        await self._close(Close.FULL)

    def _welcome(self, hub: Hub) -> protocol.Welcome:
        return protocol.Welcome(
            client_id=self._client_id(),
            epoch=hub.place.epoch,
            seq=hub.place.seq,
            update_interval=hub.interval_s,
            heartbeat_s=settings.WS_HEARTBEAT_S,
            dead_after_s=settings.WS_DEAD_AFTER_S,
            limits=protocol.Limits(
                max_message_bytes=settings.WS_MAX_MESSAGE_BYTES,
                max_symbols=settings.WS_MAX_SYMBOLS,
                max_messages=settings.WS_MAX_MESSAGES,
                message_burst=settings.WS_MESSAGE_BURST,
                max_mistakes=settings.WS_MAX_MISTAKES,
                max_age_s=settings.WS_MAX_AGE_S,
            ),
        )

    def _client_id(self) -> str:
        query = parse_qs(self.scope.get("query_string", b"").decode("latin1"))
        given = query.get("client_id", [""])[0]
        return given if protocol.is_client_id(given) else f"client-{secrets.token_hex(8)}"

    async def _write(self, feed: Feed) -> None:
        """Send what the feed holds, at this client's pace. The only place that sends."""
        try:
            while True:
                item = await feed.next()
                if isinstance(item, Close):
                    await self._close(item)
                    return
                await self.send(text_data=item)
                self._read.set()
        except Exception as exc:  # noqa: BLE001 (servers raise what they like for a dead socket)
            logger.debug("a socket is gone: %r", exc)
            self._leave()
        finally:
            self._read.set()

    async def _close(self, code: Close) -> None:
        if not daphne.close(self.base_send, int(code)):
            await self.close(int(code))

    def _end(self, code: Close) -> None:
        self._is_closing = True
        if self._feed is not None:
            self._feed.end(code)
        self._leave()

    def _leave(self) -> None:
        if self._hub is not None and self._feed is not None:
            self._hub.leave(self._feed)

    def _go(self) -> None:
        self._leave()
        if self._hub is not None and self._address is not None:
            self._hub.addresses.let_go(self._address)
            self._address = None
        if self._too_old is not None:
            self._too_old.cancel()
        if self._writer is not None:
            self._writer.cancel()

    # --- Requests ----------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message; a mistake is answered too, and the connection stays open."""
        if self._is_closing or self._feed is None or self._hub is None:
            return
        feed = self._feed
        try:
            self._manners.message(_now())
            command = protocol.parse(text_data, settings.WS_MAX_MESSAGE_BYTES)
            await _OBEY[command.action](self, command, feed, self._hub)
        except ProtocolError as exc:
            self._scold(exc, feed)
        except Exception:
            logger.exception("a message could not be answered")
            feed.put(
                error_frame(ProtocolError(Code.INTERNAL_ERROR, "Our fault; please connect again."))
            )
            self._end(Close.INTERNAL_ERROR)
        await self._until_read(feed)

    def _scold(self, exc: ProtocolError, feed: Feed) -> None:
        feed.put(error_frame(exc))
        close = exc.close
        if exc.code is Code.RATE_LIMITED:
            _log_once("WS_MAX_MESSAGES")
        elif exc.code is Code.TOO_LARGE:
            _log_once("WS_MAX_MESSAGE_BYTES")
        try:
            if exc.code is not Code.RATE_LIMITED:
                self._manners.mistake(_now())
        except ProtocolError as last:
            _log_once("WS_MAX_MISTAKES")
            feed.put(error_frame(last))
            close = close or last.close
        if close is not None:
            self._end(close)

    async def _until_read(self, feed: Feed) -> None:
        while len(feed) > MAX_UNREAD_ANSWERS and self._writer and not self._writer.done():
            self._read.clear()
            await self._read.wait()

    async def _subscribe(self, command: Command, feed: Feed, hub: Hub) -> None:
        until = _now() + ANSWER_WITHIN_S
        found = await self._lookup.resolution(command.symbols, until) if command.symbols else None
        accepted, rejected = self._sorted(command, found, feed)
        symbols = list(dict.fromkeys(accepted.values()))
        refs = {s: one.asset.ref for s, one in found.assets.items()} if found else {}
        hub.expect(symbols)
        quotes = await self._quotes(symbols, refs, hub, until)
        # From here on nothing is awaited: a tick that came meanwhile is in the answer,
        # and one that comes now is behind it.
        quotes = _newest(symbols, _about(refs, hub.known(symbols)), quotes)
        hub.follow(feed, symbols)
        retry = Code.UPSTREAM_UNAVAILABLE in rejected.values()
        feed.put(
            protocol.Subscribed(
                symbols=symbols,
                count=len(feed.symbols),
                rejected=rejected,
                pending=[symbol for symbol in symbols if symbol not in quotes],
                resolved={n: s for n, s in found.resolved.items() if n in accepted}
                if found
                else {},
                retry_after_ms=protocol.RETRY_AFTER_MS if retry else UNSET,
                id=_echo(command),
            ),
            hub.snapshot(quotes),
        )

    def _sorted(
        self, command: Command, found: Resolution | None, feed: Feed
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return symbols of what is accepted and codes of what is not, by what was asked."""
        accepted: dict[str, str] = {}
        rejected: dict[str, str] = {}
        for name in command.symbols:
            if found is None:
                # The catalogue itself could not be read; nothing is known of the symbol.
                rejected[name] = Code.UPSTREAM_UNAVAILABLE
            elif name in found.rejected:
                code = found.rejected[name]
                is_passing = code.startswith("upstream")
                rejected[name] = Code.UPSTREAM_UNAVAILABLE if is_passing else code
            elif self._has_room(feed, accepted, found.found[name]):
                accepted[name] = found.found[name]
            else:
                rejected[name] = Code.LIMIT
        return accepted, rejected

    def _has_room(self, feed: Feed, accepted: dict[str, str], symbol: str) -> bool:
        held = feed.symbols | set(accepted.values())
        if symbol in held or len(held) < settings.WS_MAX_SYMBOLS:
            return True
        _log_once("WS_MAX_SYMBOLS")
        return False

    async def _quotes(
        self, symbols: list[str], refs: Mapping[str, str], hub: Hub, until: float
    ) -> dict[str, WireQuote]:
        """Return what is known of `symbols` now, and what can be fetched in time."""
        quotes = _about(refs, hub.known(symbols)) if hub.is_current else {}
        for ask in (self._lookup.held, self._lookup.fetched):
            missing = [symbol for symbol in symbols if symbol not in quotes]
            if missing:
                got = await ask(missing, until)
                quotes |= _about(refs, {s: WireQuote.of(quote) for s, quote in got.items()})
        return quotes

    async def _unsubscribe(self, command: Command, feed: Feed, hub: Hub) -> None:
        until = _now() + ANSWER_WITHIN_S
        found = await self._lookup.resolution(command.symbols, until) if command.symbols else None
        meant = found.found if found else {}
        symbols: list[str] = []
        for name in command.symbols:
            # The name it was followed by counts, even where it means another one by now.
            names = [literal(name), *([meant[name]] if name in meant else [])]
            symbols += [n for n in names if n in feed.symbols] or names[1:]
        hub.unfollow(feed, symbols)
        feed.put(
            protocol.Unsubscribed(
                symbols=list(dict.fromkeys(symbols)), count=len(feed.symbols), id=_echo(command)
            )
        )

    async def _ping(self, command: Command, feed: Feed, hub: Hub) -> None:
        feed.put(protocol.Pong(id=_echo(command)))

    async def _get_subscriptions(self, command: Command, feed: Feed, hub: Hub) -> None:
        symbols = sorted(feed.symbols)
        feed.put(protocol.Subscriptions(symbols=symbols, count=len(symbols), id=_echo(command)))


_OBEY: dict[Action, Callable[[PriceConsumer, Command, Feed, Hub], Awaitable[None]]] = {
    Action.SUBSCRIBE: PriceConsumer._subscribe,
    Action.UNSUBSCRIBE: PriceConsumer._unsubscribe,
    Action.PING: PriceConsumer._ping,
    Action.GET_SUBSCRIPTIONS: PriceConsumer._get_subscriptions,
}


def _about(refs: Mapping[str, str], quotes: Mapping[str, WireQuote]) -> dict[str, WireQuote]:
    """Leave out what is of an asset that its symbol does not mean any more."""
    return {s: quote for s, quote in quotes.items() if refs.get(s, quote.ref) == quote.ref}


def _newest(symbols: list[str], *known: Mapping[str, WireQuote]) -> dict[str, WireQuote]:
    """Return the newest quote of each symbol, in the order of `symbols`."""
    newest: dict[str, WireQuote] = {}
    for symbol in symbols:
        if found := [quotes[symbol] for quotes in known if symbol in quotes]:
            newest[symbol] = max(found, key=lambda quote: (quote.last_updated, not quote.stale))
    return newest


def _now() -> float:
    return asyncio.get_running_loop().time()


def _echo(command: Command) -> Any:
    return UNSET if command.id is None else command.id


_logged: set[str] = set()


def _log_once(setting: str) -> None:
    """Name the setting behind a refusal, the first time it refuses anyone."""
    if setting not in _logged:
        _logged.add(setting)
        logger.warning("a client met the limit %s; said once", setting)
