"""One connected client."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any
from urllib.parse import parse_qs

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from streaming import daphne, protocol
from streaming.feed import Feed
from streaming.hub import Hub, hub
from streaming.limits import Allowance, Manners, log_once
from streaming.lookup import Lookup
from streaming.protocol import Close, Code, ProtocolError, error_frame
from streaming.proxies import client_address, counted_as
from streaming.requests import Requests

logger = logging.getLogger(__name__)

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
        self._manners = Manners(_allowance(), _now())
        self._requests = Requests(self._lookup, self._feed, self._hub, self._manners)
        self._feed.put(self._welcome(self._hub), *self._hub.notices())
        self._writer = asyncio.create_task(self._write(self._feed))
        self._too_old = asyncio.get_running_loop().call_later(
            settings.WS_MAX_AGE_S, self._end, Close.TOO_OLD
        )

    def _is_let_in(self, hub: Hub) -> bool:
        address = client_address(self.scope, settings.TRUSTED_PROXIES)
        if address is None:
            return True
        address = counted_as(address)
        if not hub.addresses.let_in(address, settings.WS_MAX_CONNECTIONS_PER_ADDRESS):
            return False
        self._address = address
        return True

    async def _refuse(self, code: Code, setting: str, why: str) -> None:
        log_once(setting)
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
        if self._is_closing or self._feed is None:
            return
        feed = self._feed
        try:
            self._manners.message(_now())
            command = protocol.parse(text_data, settings.WS_MAX_MESSAGE_BYTES)
            await self._requests.obey(command)
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
            log_once("WS_MAX_MESSAGES")
        elif exc.code is Code.TOO_LARGE:
            log_once("WS_MAX_MESSAGE_BYTES")
        try:
            if exc.code is not Code.RATE_LIMITED:
                self._manners.mistake(_now())
        except ProtocolError as last:
            log_once("WS_MAX_MISTAKES")
            feed.put(error_frame(last))
            close = close or last.close
        if close is not None:
            self._end(close)

    async def _until_read(self, feed: Feed) -> None:
        while len(feed) > MAX_UNREAD_ANSWERS and self._writer and not self._writer.done():
            self._read.clear()
            await self._read.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _allowance() -> Allowance:
    return Allowance(
        settings.WS_MAX_MESSAGES,
        settings.WS_MESSAGE_BURST,
        settings.WS_MAX_MISTAKES,
        settings.WS_MAX_SYMBOLS,
    )
