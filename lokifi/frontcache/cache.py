"""The cache itself, as an ASGI application around another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, MutableMapping
from http import HTTPStatus
from time import monotonic
from typing import Any

from lokifi.frontcache import wire
from lokifi.frontcache.capture import Capture, lowered, without_internals
from lokifi.frontcache.copies import Copy, Form, compressed, with_encodings, without_gzip
from lokifi.frontcache.errors import Errors
from lokifi.frontcache.flights import Flight, Flights
from lokifi.frontcache.rules import (
    Fields,
    Header,
    Life,
    Wish,
    are_readable,
    fields_of,
    is_known,
    names,
    ordered,
    wish,
)
from lokifi.frontcache.shelf import Key, Shelf, placed

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Every library has its own types for the three.
App = Callable[[Any, Any, Any], Awaitable[None]]
# What is known of a plain GET without the application, and for how long; or None.
Beside = Callable[[Scope, Fields], Awaitable[tuple[Copy, Life] | None]]
# A body with what it says of its request's own headers, from those of one to another's.
Readdressed = Callable[[bytes, list[Header], list[Header]], bytes]

# Requests with one of these ask for more than the answer itself.
_UNUSUAL = frozenset(
    {
        *(b"cache-control", b"pragma", b"authorization", b"range", b"if-range", b"if-match"),
        *(b"if-modified-since", b"if-unmodified-since"),
    }
)
# A part is nobody's due: whoever asks for one may be given the whole.
_OF_PARTS = {b"range", b"if-range"}
# Where there is a tag, times count for nothing (RFC 9110, 13.1.3).
_NOT_OURS = _UNUSUAL - _OF_PARTS - {b"cache-control", b"pragma", b"if-modified-since"}
# What we answer for ourselves, and what only we may say to the application.
_KEPT_FROM_APP = _OF_PARTS | {
    *(b"if-none-match", b"if-modified-since", b"accept-encoding", b"surrogate-capability"),
}
_CAPABILITY = (b"surrogate-capability", b'front="Surrogate/1.0"')
_HIT = (b"x-cache", b"HIT")
_STALE = (b"x-cache", b"STALE")
# Where the application says nothing of it, the first of those that are hits from then on.
_MISS = (b"x-cache", b"MISS")
# A longer body is compressed beside the event loop.
_ZIP_ASIDE = 64 * 1024
_REPORT_EVERY_S = 5.0
# Longer addresses are nobody's but their maker's, and nothing of them is held.
_LONGEST_KEY = 8192
# Path, query, Host, scheme and root path; behind them is what an answer varies by.
_KEY_PARTS = 5


class FrontCache:
    """Answers GET and HEAD below `prefix` from copies, by RFC 9111, and asks `app` for the rest.

    `prefix` begins behind the root path that a server was given.

    It keeps what says `Cache-Control: public, max-age=…`, for so long, within
    `max_bytes`; with 0 it keeps nothing. The application is told of the cache by
    `Surrogate-Capability` and may answer with `Surrogate-Control` (see rules.life) and
    with `Surrogate-Key`, the tags that `purge` knows. Neither leaves the house.

    `own` names headers that belong to one request; `per_request` makes them for an
    answer that the application is not asked for. `count` is given hits by kind (a
    tag up to its colon) every few seconds, in a thread. `on_first_copy` is called
    once. `refuse` answers `only-if-cached` where there is no copy. `beside` is asked before
    the application is: a store that several processes share. `question` tells what is asked
    where other queries ask the same, else None: who asks the same waits for one answer, and so
    do all who take `usual_type`. An error that holds for all is given to each `readdressed`.
    `on_drop` is called by whatever drops copies: what is being read beside is then for nobody
    who comes later.
    """

    def __init__(
        self,
        app: App,
        *,
        max_bytes: int,
        prefix: str = "/",
        own: Collection[bytes] = (),
        per_request: Callable[[Fields], list[Header]] = lambda fields: [],
        count: Callable[[Mapping[str, int]], None] | None = None,
        on_first_copy: Callable[[], None] = lambda: None,
        refuse: App | None = None,
        beside: Beside | None = None,
        readdressed: Readdressed = lambda body, before, now: body,
        question: Callable[[Scope], Hashable] = lambda scope: None,
        usual_type: bytes = b"application/json",
        on_drop: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self._prefix = prefix
        self._own = frozenset({b"x-cache", *own})
        self._per_request = per_request
        self._count = count
        self._on_first_copy: Callable[[], None] | None = on_first_copy
        self._refuse = refuse or _bare_refusal
        self._beside = beside
        self._readdressed = readdressed
        self._question = question
        self._usual_type = usual_type
        self._on_drop = on_drop
        self.shelf = Shelf(max_bytes)
        self._copies = self.shelf.copies
        self._flights = Flights()
        self._errors = Errors()
        self._hits: dict[str, int] = {}
        self._is_reporting = False
        self._renewals: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once where nothing has to be thought about; else think."""
        if scope["type"] != "http" or not below_root(scope).startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method != "GET" and method != "HEAD":
            await self._pass(scope, receive, send)
            return
        headers = scope["headers"]
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = fields_of(headers)
        key = (
            scope["path"],
            scope["query_string"],
            fields.get(b"host"),
            scope.get("scheme"),
            scope.get("root_path"),
        )
        copy = self._copies.get(key)
        now = monotonic()
        if copy is None or now >= copy.fresh_until or not _UNUSUAL.isdisjoint(fields):
            await self._think(scope, receive, send, fields, key)
            return
        accept = fields.get(b"accept")
        if accept and accept != b"*/*" and not names(accept, copy.media_type):
            await self._pass(scope, receive, send)
            return
        form = copy.plain
        if copy.wants_gzip(fields.get(b"accept-encoding")):
            form = copy.gzipped or await self._zip(copy)
        copy.uses += 1
        hits = self._hits
        hits[copy.kind] = hits.get(copy.kind, 0) + copy.weight
        if not self._is_reporting:
            self._report_later()
        extra = self._per_request(fields)
        extra.append((b"age", b"%d" % copy.age(now)))
        extra.append(_HIT)
        await _send(send, copy.status, form, extra, method, fields.get(b"if-none-match"))

    def purge(self, tags: Collection[str]) -> None:
        """Drop what bears one of these tags; what is being fetched now is not kept under it."""
        self.shelf.purge(tags)
        self._flights.purge(tags)
        self._errors.clear()
        self._on_drop()

    def clear(self) -> None:
        """Drop everything; what is being fetched now is not kept."""
        self.shelf.clear()
        self._flights.clear()
        self._errors.clear()
        self._on_drop()

    # --- Requests that need thought --------------------------------------------------------

    async def _think(
        self, scope: Scope, receive: Receive, send: Send, fields: Fields, key: Key
    ) -> None:
        if not are_readable(fields):
            await self._pass(scope, receive, send)
            return
        asked = wish(fields)
        is_long = sum(len(part) for part in key if isinstance(part, str | bytes)) > _LONGEST_KEY
        if asked.no_store or is_long or not _NOT_OURS.isdisjoint(fields) or _has_body(fields):
            await self._pass(scope, receive, send)
            return
        if asked.no_transform:
            fields = {name: value for name, value in fields.items() if name != b"accept-encoding"}
        key = (key[0], ordered(scope["query_string"]), *key[2:])
        while True:
            copy = self._copies.get(self.shelf.place(key, fields))
            if copy is not None and await self._serve(copy, scope, send, fields, asked, key):
                return
            if asked.only_if_cached:
                await self._refuse(scope, receive, send)
                return
            place = self._waiting_place(scope, key, fields)
            error = None if asked.max_age_s == 0 else self._errors.get(place)
            if error is not None and _suits(error, fields):
                await self._repeat(error, scope, send, fields)
                return
            flight = self._flights.get(place)
            if flight is None or not self.shelf.max_bytes or self._flights.is_alone(place):
                begun = self._flights.begin(place)
                await self._lead(scope, receive, send, fields, key, begun)
                return
            landed = await self._flights.wait_for(flight)
            if landed is not None and _suits(landed, fields):
                await self._give(landed, scope, send, fields, _mark(landed))
                return

    def _waiting_place(self, scope: Scope, key: Key, fields: Fields) -> Key:
        """Return where those wait who are likely to be given one answer.

        Who takes what is usually sent waits with all others; whoever does not may be
        refused, and then alone.
        """
        if not self.shelf.max_bytes:
            return key  # Nobody waits.
        accept = fields.get(b"accept")
        odd = None if not accept or names(accept, self._usual_type) else accept
        question = self._question(scope)
        path, query, *rest = self.shelf.place(key, fields)
        return (path, query if question is None else question, odd, *rest)

    async def _serve(
        self, copy: Copy, scope: Scope, send: Send, fields: Fields, asked: Wish, key: Key
    ) -> bool:
        """Answer by a copy; return False where it is not what was asked for."""
        now = monotonic()
        accept = fields.get(b"accept")
        if accept and not names(accept, copy.media_type):
            return False
        if asked.max_age_s is not None and (not asked.max_age_s or copy.age(now) > asked.max_age_s):
            return False
        if now + asked.min_fresh_s < copy.fresh_until:
            await self._give(copy, scope, send, fields, _HIT)
            return True
        if now >= copy.stale_until or asked.max_age_s is not None or asked.min_fresh_s:
            return False
        place = self._waiting_place(scope, key, fields)
        if self._flights.get(place) is None:
            self._renew(scope, fields, key, place)
        await self._give(copy, scope, send, fields, _STALE)
        return True

    async def _give(
        self, copy: Copy, scope: Scope, send: Send, fields: Fields, mark: Header
    ) -> None:
        if copy.status >= 400 and not copy.life_s:
            await self._repeat(copy, scope, send, fields)
            return
        form = await self._form(copy, fields)
        copy.uses += 1
        self._hits[copy.kind] = self._hits.get(copy.kind, 0) + copy.weight
        if not self._is_reporting:
            self._report_later()
        age = (b"age", b"%d" % copy.age(monotonic()))
        extra = [*self._per_request(fields), age, mark]
        await _send(send, copy.status, form, extra, scope["method"], fields.get(b"if-none-match"))

    async def _repeat(self, error: Copy, scope: Scope, send: Send, fields: Fields) -> None:
        """Give an error that another request was given, as this one's own."""
        own = self._per_request(fields)
        body = self._readdressed(error.plain.body, error.own, own)
        form = Form.of([pair for pair in error.plain.head if pair[0] != b"content-length"], body)
        await _send(send, error.status, form, own, scope["method"], None)

    # --- What the application is asked for ---------------------------------------------------

    async def _lead(
        self, scope: Scope, receive: Receive, send: Send, fields: Fields, key: Key, flight: Flight
    ) -> None:
        """Ask the application, for everybody who comes meanwhile."""
        try:
            await self._fetch(scope, receive, send, fields, key, flight)
        except Exception as exc:
            self._flights.land(flight, exc)
            raise
        finally:
            self._flights.land(flight, None)

    async def _fetch(
        self, scope: Scope, receive: Receive, send: Send, fields: Fields, key: Key, flight: Flight
    ) -> None:
        """Ask the application and answer one client; let `flight` have what is for all."""
        if self._beside is not None and await self._take(scope, send, fields, key, flight):
            return

        def goes_through(tags: Mapping[str, int]) -> None:
            self.shelf.note(tags)
            self._flights.note_alone(flight.place)
            self._flights.land(flight, None)

        capture = Capture(receive, send, self._own, scope["method"] == "HEAD", goes_through)
        inner = _for_app(scope, {**scope, "method": "GET"})
        await self._app(inner, capture.receive, capture.send)
        copy = capture.copy
        if copy is None:
            return  # It was sent as it came, or the client left before there was anything.
        # Before anything is waited for: who comes while this is sent asks or finds for himself.
        kept = self._keep(copy, capture.life, fields, key, flight)
        if kept is None and capture.life.error_s:
            kept = copy
            if self.shelf.max_bytes and flight.is_undisturbed:
                self._errors.put(flight.place, copy, capture.life.error_s)
        elif kept is None and not capture.is_passing:
            self._flights.note_alone(flight.place)
        self._flights.land(flight, kept)
        is_kept = self._copies.get(copy.key) is copy
        own = [*copy.own, _MISS] if is_kept and not _is_marked(copy) else copy.own
        form = await self._form(copy, fields)
        await _send(send, copy.status, form, own, scope["method"], fields.get(b"if-none-match"))

    async def _take(
        self, scope: Scope, send: Send, fields: Fields, key: Key, flight: Flight
    ) -> bool:
        """Answer by what lies beside the application; return False where nothing does."""
        assert self._beside is not None  # noqa: S101 - nobody asks otherwise
        found = await self._beside(scope, fields)
        if found is None:
            return False
        copy, life = found
        self._flights.land(flight, self._keep(copy, life, fields, key, flight))
        form = await self._form(copy, fields)
        self._hits[copy.kind] = self._hits.get(copy.kind, 0) + copy.weight
        if not self._is_reporting:
            self._report_later()
        extra = [*self._per_request(fields), _HIT]
        await _send(send, copy.status, form, extra, scope["method"], fields.get(b"if-none-match"))
        return True

    def _keep(
        self, copy: Copy, life: Life, fields: Fields, key: Key, flight: Flight
    ) -> Copy | None:
        """Keep an answer where that is allowed; return it where it is for all who wait for it."""
        is_newest = self.shelf.note(copy.tags)
        copy.key = place = placed(key, copy.vary, fields)
        may_be_kept = life.may_be_kept and is_newest and flight.may_be_kept(copy)
        is_kept = may_be_kept and self.shelf.put(place, copy, key)
        if is_kept and self._on_first_copy is not None:
            first, self._on_first_copy = self._on_first_copy, None
            first()
        return copy if is_newest and life.is_public else None

    def _renew(self, scope: Scope, fields: Fields, key: Key, place: Key) -> None:
        """Ask the application for a newer answer, with nobody waiting for it."""

        async def nobody(message: Message) -> None:
            return

        async def forever() -> Message:
            await asyncio.Future[None]()
            raise AssertionError

        leading = self._lead(
            *({**scope, "method": "GET"}, forever, nobody, fields, key),
            self._flights.begin(place),
        )
        task = asyncio.get_running_loop().create_task(leading)
        self._renewals.add(task)
        task.add_done_callback(self._end_renewal)

    def _end_renewal(self, task: asyncio.Task[None]) -> None:
        self._renewals.discard(task)
        if not task.cancelled() and (exc := task.exception()):
            logger.error("renewing a copy failed", exc_info=exc)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through as it is; what its answer holds is taken notice of.

        Tags of the gzip form mean the plain one, and the answer says of itself that it has both.
        """
        is_for_caches = scope["method"] in {"GET", "HEAD"}

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers, tags = without_internals(lowered(message["headers"]))
                self.shelf.note(tags)
                if is_for_caches:
                    headers = with_encodings(message["status"], headers)
                message = {**message, "headers": headers}
            await send(message)

        kept = [
            (n, without_gzip(v) if n == b"if-none-match" else v)
            for n, v in scope["headers"]
            if n != b"surrogate-capability"
        ]
        await self._app({**scope, "headers": [*kept, _CAPABILITY]}, receive, sent)

    # --- Encodings and counts ---------------------------------------------------------------------

    async def _form(self, copy: Copy, fields: Fields) -> Form:
        if not copy.wants_gzip(fields.get(b"accept-encoding")):
            return copy.plain
        return copy.gzipped or await self._zip(copy)

    async def _zip(self, copy: Copy) -> Form:
        """Return the gzip form, made once for all who ask."""
        if len(copy.plain.body) <= _ZIP_ASIDE:
            form = copy.zipped(compressed(copy.plain.body))
            self.shelf.grew(copy)
            return form
        if copy.zipping is None:
            loop = asyncio.get_running_loop()
            copy.zipping = loop.run_in_executor(None, compressed, copy.plain.body)
        body = await asyncio.shield(copy.zipping)
        if copy.gzipped is None and copy.may_gzip:
            copy.zipped(body)
            self.shelf.grew(copy)
        return copy.gzipped or copy.plain

    def _report_later(self) -> None:
        self._is_reporting = True
        asyncio.get_running_loop().call_later(_REPORT_EVERY_S, self._report)

    def _report(self) -> None:
        counts, self._hits, self._is_reporting = self._hits, {}, False
        if self._count is not None:
            asyncio.get_running_loop().run_in_executor(None, self._count, counts)


def below_root(scope: Scope) -> str:
    """Return the path that the application routes by: what stands behind the root path, if any."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root else path


async def _send(
    send: Send,
    status: int,
    form: Form,
    extra: list[Header],
    method: str,
    if_none_match: bytes | None,
) -> None:
    head, body, lines = form.head, form.body, form.lines
    if if_none_match is not None and status == 200 and is_known(if_none_match, form.etag):
        status, body = 304, b""
        head, lines = form.unchanged
    if method == "HEAD":
        body = b""
    if lines and (status == 200 or status == 304):
        connection = wire.connection_of(send)
        if connection is not None:
            wire.answer(connection, status, lines, extra, body)
            return
    await send({"type": "http.response.start", "status": status, "headers": head + extra})
    await send({"type": "http.response.body", "body": body})


def _suits(copy: Copy, fields: Fields) -> bool:
    """Return whether what another request for the same was answered answers this one too."""
    accept = fields.get(b"accept")
    is_same = copy.key == placed(copy.key[:_KEY_PARTS], copy.vary, fields)
    # Who can read our answers can read our errors, whatever type these have.
    return is_same and (not accept or copy.status >= 400 or names(accept, copy.media_type))


def _is_marked(copy: Copy) -> bool:
    return any(name == b"x-cache" for name, _ in copy.own)


def _mark(copy: Copy) -> Header:
    """Return what an answer is marked by that others waited for; without a life, by its own."""
    own = [pair for pair in copy.own if pair[0] == b"x-cache"]
    return own[0] if own and not copy.life_s else _HIT


def _for_app(scope: Scope, inner: Scope) -> Scope:
    kept = [(n, v) for n, v in scope["headers"] if n not in _KEPT_FROM_APP]
    inner["headers"] = [*kept, _CAPABILITY]
    return inner


def _has_body(fields: Fields) -> bool:
    return b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0"


async def _bare_refusal(scope: Scope, receive: Receive, send: Send) -> None:
    status = HTTPStatus.GATEWAY_TIMEOUT
    headers = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
