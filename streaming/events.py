"""Ticks as server-sent events: GET /api/v1/prices/stream.

An ASGI application in front of all else that HTTP is: a stream has no place in a
cache, and holds no thread. What surrounds the stream (CORS, the request's id, which
hosts are served, how an error looks) is Django's: it is asked for the head of the
answer, by PriceStreamView, and where that is an error the stream never begins.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import markcoroutinefunction

from prices.errors import ClientLimitError, PricesError, UpstreamError
from prices.services import symbols
from streaming.event_lines import line_of
from streaming.feed import Feed
from streaming.hub import Hub, hub
from streaming.limits import Manners, log_once
from streaming.lookup import Lookup
from streaming.protocol import Action, Close, Code, Command, ProtocolError, Since, error_frame
from streaming.requests import Requests
from streaming.ticks import UNKNOWN

logger = logging.getLogger(__name__)

PATH = "/api/v1/prices/stream"
# What keeps a stream from beginning, for PriceStreamView; None where nothing does.
TROUBLE = "lokifi.stream.trouble"
# An EventSource waits so long before it comes back, each its own time: after a server
# died, not all of them at once.
_RETRY_MS = (1000, 5000)
_COME_BACK_S = 30
# Longer than a socket waits, which may ask again: an EventSource is over after an error.
_NAMES_WITHIN_S = 5.0
_MAX_LIST = 500 * 121
_ID = re.compile(r"([A-Za-z0-9_\-]{1,64}):([0-9]{1,15})")

App = Callable[[Any, Any, Any], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Any], Awaitable[None]]


class EventStreams:
    """Streams where a stream is asked for; everything else goes on to `other`.

    `preparing` is Django: it is asked for the head of each stream.
    """

    def __init__(self, other: App, *, preparing: App, lookup: Lookup | None = None) -> None:
        self._other = other
        self._preparing = preparing
        self._lookup = lookup or Lookup()

    @markcoroutinefunction
    def __call__(self, scope: Any, receive: Receive, send: Send) -> Awaitable[None]:
        # Not a coroutine of its own: nearly all requests are others'.
        method = scope["method"] if scope["type"] == "http" and route_of(scope) == PATH else ""
        if method == "GET":
            return _EventStream(self._preparing, self._lookup)(scope, receive, send)
        if method == "HEAD":
            return self._preparing({**scope, TROUBLE: None}, receive, send)
        return self._other(scope, receive, send)


class _EventStream:
    """One client's stream."""

    def __init__(self, preparing: App, lookup: Lookup) -> None:
        self._preparing = preparing
        self._lookup = lookup
        self._hub: Hub = hub()
        self._feed: Feed | None = None
        self._address: str | None = None
        self._task: asyncio.Task[Any] | None = None  # this application's own
        self._is_over = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self._task = asyncio.current_task()
        try:
            await self._hub.ready()
            asked = asked_for(scope)
            head = await self._head(scope, await self._trouble(scope, asked), send)
            if head is None:
                return
            await send(head)
            await self._begin(send, asked, last_event_id(scope))
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not self._is_over:
                raise
        finally:
            self._go()

    # --- Before the stream -----------------------------------------------------------------

    async def _trouble(self, scope: Any, asked: tuple[str, ...]) -> PricesError | None:
        """Return what keeps this stream from beginning, as far as its query is right."""
        if self._hub.is_stopping:
            return ClientLimitError("This server stops; connect again.", retry_after_s=1)
        if self._hub.count >= self._hub.rules.max_connections:
            return _full("WS_MAX_CONNECTIONS", "This server is full")
        if not self._is_let_in(scope):
            return _full("WS_MAX_CONNECTIONS_PER_ADDRESS", "Your address has many connections")
        shared = self._hub.addresses.of(self._address)
        self._manners = Manners(self._hub.rules.allowance, monotonic(), shared)
        if not 1 <= len(asked) <= self._hub.rules.allowance.symbols:
            return None  # The view refuses it.
        until = monotonic() + _NAMES_WITHIN_S
        try:
            found = await self._lookup.resolution(asked, until, self._manners)
        except ProtocolError as exc:
            log_once("WS_MAX_SYMBOLS")
            return ClientLimitError(str(exc), retry_after_s=_whole_s(exc.retry_after_ms))
        if found is None:
            return UpstreamError("catalogue", "it could not be read just now", retry_after_s=5)
        if found.found:
            return None
        name, code = next(iter(found.rejected.items()))
        return symbols.rejection(name, code)

    def _is_let_in(self, scope: Any) -> bool:
        rules = self._hub.rules
        address = rules.address_of(scope)
        if address is None:
            return True
        if not self._hub.addresses.let_in(address, rules.max_of_address):
            return False
        self._address = address
        return True

    async def _head(self, scope: Any, trouble: PricesError | None, send: Send) -> Any:
        """Return how the answer starts; None where it was an error, which is sent then."""
        head: dict[str, Any] = {}

        async def pass_on(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                head.update(message)
            if head["status"] != 200:
                await send(message)

        await self._preparing({**scope, TROUBLE: trouble}, _no_body(), pass_on)
        if head["status"] != 200:
            return None
        kept = [(name, value) for name, value in head["headers"] if name.lower() not in _NOT_OURS]
        if scope.get("http_version", "").startswith("1"):
            kept.append((b"connection", b"close"))
        return {**head, "headers": kept}

    # --- The stream -------------------------------------------------------------------------

    async def _begin(self, send: Send, asked: tuple[str, ...], since: Since | None) -> None:
        retry = f"retry: {random.randint(*_RETRY_MS)}\n\n"  # noqa: S311 (spreads load)
        await send({"type": "http.response.body", "body": retry.encode(), "more_body": True})
        here = self._hub
        self._feed = feed = here.join(line_of(send, self._end))
        # A tick that comes before the answer is not about these symbols.
        feed.hold(feed.told)
        requests = Requests(self._lookup, feed, here, self._manners)
        try:
            await requests.obey(Command(Action.SUBSCRIBE, asked, since=since))
        except ProtocolError as exc:
            self._fail(feed, exc)
        except Exception:
            logger.exception("a stream could not begin")
            self._fail(feed, ProtocolError(Code.INTERNAL_ERROR, "Our fault; connect again."))
        feed.put(*here.notices())
        if feed.told.epoch == here.place.epoch:
            # The answer holds what is known as of the newest tick: the next follows on it.
            feed.told = here.place
        feed.release()
        if here.is_stopping:
            here.dismiss(feed)

    def _fail(self, feed: Feed, exc: ProtocolError) -> None:
        feed.put(error_frame(exc))
        feed.end(Close.INTERNAL_ERROR)
        self._hub.leave(feed)

    def _end(self) -> None:
        """End the application: nothing goes through to this client any more."""
        self._go()
        if self._task is not None and not self._is_over:
            self._is_over = True
            self._task.cancel()

    def _go(self) -> None:
        if self._feed is not None:
            self._feed.count_left(_NO_STATUS)
            self._hub.leave(self._feed)
            self._feed.abandon()
        if self._address is not None:
            self._hub.addresses.let_go(self._address)
            self._address = None


# Of an answer that is whole.
_NOT_OURS = {b"content-length", b"etag", b"connection"}
_NO_STATUS = 1005


def asked_for(scope: Any) -> tuple[str, ...]:
    """Return the symbols in a query, each once."""
    listed = ",".join(_query(scope).get("symbols", ()))
    if len(listed) > _MAX_LIST:
        return ()
    return tuple(dict.fromkeys(part.strip() for part in listed.split(",") if part.strip()))


def last_event_id(scope: Any) -> Since | None:
    """Return the place that a client had, by its header or its query.

    An id that we did not give is of no epoch: then nothing can be resumed.
    """
    headers = [value for name, value in scope["headers"] if name.lower() == b"last-event-id"]
    told = [value.decode("latin-1") for value in headers]
    told += _query(scope).get("last_event_id", ())
    given = next((text.strip() for text in told if text.strip()), None)
    if given is None:
        return None
    found = _ID.fullmatch(given)
    if found is None or found.group(1) == UNKNOWN.epoch:
        return Since(None, 0)
    return Since(found.group(1), int(found.group(2)))


def _query(scope: Any) -> dict[str, list[str]]:
    try:
        return parse_qs(scope.get("query_string", b"").decode("latin-1"))
    except ValueError:
        return {}  # More parameters than anyone needs; the view says what is missing.


def route_of(scope: Any) -> str:
    """Return the path that is routed by: what stands behind the root path, if any."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _no_body() -> Receive:
    told = False

    async def receive() -> dict[str, Any]:
        nonlocal told
        if told:
            await asyncio.Event().wait()  # Who goes away is noticed by the stream.
        told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


def _whole_s(ms: int | None) -> int:
    return 1 + (ms or 0) // 1000


def _full(setting: str, why: str) -> ClientLimitError:
    log_once(setting)
    return ClientLimitError(f"{why} ({setting}); come back later.", retry_after_s=_COME_BACK_S)
