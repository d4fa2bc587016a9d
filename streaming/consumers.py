"""One connected client."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import markcoroutinefunction

from streaming import commands, protocol
from streaming.feed import Feed, Line
from streaming.hub import Hub, hub
from streaming.limits import Manners, log_once
from streaming.lines import line_of
from streaming.lookup import Lookup
from streaming.protocol import Close, Code, ProtocolError, error_frame
from streaming.requests import Requests

logger = logging.getLogger(__name__)

# What a client has asked for and not taken yet; more of its requests are read only then.
MAX_UNREAD_ANSWERS = 64
_NO_STATUS, _LOST = 1005, 1006
_LOOKUP = Lookup()

Receive = Callable[[], Awaitable[dict[str, Any]]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


class PriceConsumer:
    """Speaks the protocol; the hub decides what is told when.

    An ASGI application for one connection. Not one of Channels' consumers: they
    keep two tasks and a handler in a thread a connection, and a channel layer
    that would close every socket when Redis goes away.
    """

    __slots__ = (
        "_address",
        "_feed",
        "_hub",
        "_is_over",
        "_lookup",
        "_manners",
        "_max_bytes",
        "_requests",
        "_task",
    )

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or _LOOKUP
        self._hub: Hub | None = None
        self._feed: Feed | None = None
        self._address: str | None = None
        self._task: asyncio.Task[Any] | None = None  # this application's own
        self._is_over = False

    @classmethod
    def as_asgi(cls, lookup: Lookup | None = None) -> Application:
        @markcoroutinefunction
        def application(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
            # Not a coroutine of its own, which would live as long as the connection.
            return cls(lookup)(scope, receive, send)

        return application

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        try:
            await receive()
            await self._come(scope, send)
            del scope  # a kilobyte of headers and more, which nobody asks for again
            while (message := await receive())["type"] == "websocket.receive":
                await self._answer(message.get("text"))
            self._go(message.get("code") or _NO_STATUS)
        except asyncio.CancelledError:
            if not self._is_over:
                raise
        finally:
            # Also where the server cancels us without a word of the disconnect.
            self._go()

    # --- Coming and going ------------------------------------------------------------

    async def _come(self, scope: Any, send: Any) -> None:
        offered = scope.get("subprotocols", ())
        chosen = protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None
        await send({"type": "websocket.accept", "subprotocol": chosen, "headers": []})
        self._hub = here = hub()
        await here.ready()
        self._task = asyncio.current_task()
        line = line_of(send, self._end, self._count)
        if here.is_stopping:
            self._feed = here.visit(line)
            here.dismiss(self._feed)
        elif here.count >= here.rules.max_connections:
            self._feed = _refuse(here, line, Code.FULL, "WS_MAX_CONNECTIONS", "This server is full")
        elif not self._is_let_in(here, scope):
            why = "Your address has many connections"
            limit = "WS_MAX_CONNECTIONS_PER_ADDRESS"
            self._feed = _refuse(here, line, Code.LIMIT, limit, why)
        else:
            self._feed = feed = here.join(line)
            shared = here.addresses.of(self._address)
            self._max_bytes = here.rules.max_message_bytes
            self._manners = Manners(here.rules.allowance, monotonic(), shared)
            self._requests = Requests(self._lookup, feed, here, self._manners)
            feed.put(_welcome(here, scope), *here.notices())

    def _end(self) -> None:
        """End the application: nothing goes through to this client any more."""
        self._go()
        if self._task is not None and not self._is_over:
            self._is_over = True
            self._task.cancel()

    def _is_let_in(self, hub: Hub, scope: Any) -> bool:
        address = hub.rules.address_of(scope)
        if address is None:
            return True
        if not hub.addresses.let_in(address, hub.rules.max_of_address):
            return False
        self._address = address
        return True

    def _go(self, code: int = _LOST) -> None:
        if self._hub is not None and self._feed is not None:
            self._feed.count_left(code)
            self._hub.leave(self._feed)
            self._feed.abandon()
        if self._hub is not None and self._address is not None:
            self._hub.addresses.let_go(self._address)
            self._address = None

    # --- Requests ----------------------------------------------------------------------

    async def _answer(self, text: str | None) -> None:
        """Answer one message; a mistake is answered too, and the connection stays open."""
        feed = self._feed
        if feed is None or feed.is_ended:
            return
        line = feed.line
        line.hold_back(True)
        try:
            self._allow(text)
            await self._requests.obey(commands.parse(text, self._max_bytes))
        except ProtocolError as exc:
            self._scold(exc, feed)
        except Exception:
            logger.exception("a message could not be answered")
            feed.put(
                error_frame(ProtocolError(Code.INTERNAL_ERROR, "Our fault; please connect again."))
            )
            self._close(feed, Close.INTERNAL_ERROR)
        if len(feed) > MAX_UNREAD_ANSWERS:
            await feed.room(MAX_UNREAD_ANSWERS)
        line.hold_back(False)

    def _allow(self, text: str | None) -> None:
        """Count a message. Raises ProtocolError, with the message's id, where it comes too soon."""
        try:
            self._manners.message(monotonic())
        except ProtocolError as exc:
            exc.id = commands.id_in(text, self._max_bytes)
            raise

    def _count(self, frames: int) -> None:
        """Count pings and the like; who sends too many and reads nothing is gone at once."""
        feed, now = self._feed, monotonic()
        for _ in range(frames):
            if feed is None or feed.is_ended:
                return
            try:
                self._manners.frame(now)
            except ProtocolError as exc:
                self._scold(exc, feed)
                if exc.close is not None and len(feed):
                    feed.give_up(Close.TOO_MUCH)

    def _scold(self, exc: ProtocolError, feed: Feed) -> None:
        feed.put(error_frame(exc))
        close = exc.close
        if exc.code is Code.TOO_LARGE:
            log_once("WS_MAX_MESSAGE_BYTES")
        try:
            if exc.code is not Code.RATE_LIMITED:
                self._manners.mistake(monotonic())
        except ProtocolError as last:
            log_once("WS_MAX_MISTAKES")
            feed.put(error_frame(last))
            close = close or last.close
        if close is not None:
            self._close(feed, close)

    def _close(self, feed: Feed, code: Close) -> None:
        feed.end(code)
        if self._hub is not None:
            self._hub.leave(feed)


def _refuse(hub: Hub, line: Line, code: Code, setting: str, why: str) -> Feed:
    log_once(setting)
    feed = hub.visit(line)
    feed.put(error_frame(ProtocolError(code, f"{why} ({setting}); come back later.")))
    feed.end(Close.FULL)
    return feed


def _welcome(hub: Hub, scope: Any) -> protocol.Welcome:
    return protocol.Welcome(
        client_id=_client_id(scope),
        epoch=hub.place.epoch,
        seq=hub.place.seq,
        update_interval=hub.interval_s,
        heartbeat_s=hub.rules.heartbeat_s,
        dead_after_s=hub.rules.dead_after_s,
        limits=hub.rules.limits,
    )


def _client_id(scope: Any) -> str:
    query: bytes = scope.get("query_string", b"")
    given = parse_qs(query.decode("latin1")).get("client_id", [""])[0] if query else ""
    # A name, which keeps no secret; to draw one that does takes longer.
    return given if commands.is_client_id(given) else f"client-{random.getrandbits(64):016x}"
