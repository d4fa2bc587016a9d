"""What Redis knows leaves without Django: the second way out, between the front cache and Django.

A quote, a history, candles or a batch, asked for in a plain way, by symbols whose meaning
this process knows: the body under the contract's key goes out as it is. The key comes
from where the view has it (prices/questions.py), the tag and all else that is said of
the body from its sidecar, and the headers that all answers bear from an answer that
Django gave to the same host. Whatever is odd, missing or doubtful is Django's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from time import monotonic, time
from typing import Any, NamedTuple

import msgspec

from lokifi.frontcache.capture import lowered
from lokifi.frontcache.copies import Copy, Head, varied
from lokifi.frontcache.rules import Fields, Header, Life, fields_of
from lokifi.redis_reader import RedisReader
from prices import cache, questions, sidecar
from prices.answers import BatchAnswer
from prices.errors import InvalidSymbolError
from prices.questions import Question
from prices.redis_clients import RedisAwayError
from prices.rest import MAX_BODY_BYTES, QUOTE_AGE_S, SERIES_AGE_S
from prices.services import symbols
from prices.sidecar import Sidecar
from prices.surrogates import tag

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

# Requests with one of these ask for more than the answer itself.
_UNUSUAL = frozenset(
    {
        *(b"authorization", b"range", b"if-match"),
        *(b"if-range", b"if-modified-since", b"if-unmodified-since", b"transfer-encoding"),
        *(b"content-encoding", b"expect", b"x-http-method-override"),
    }
)
# Headers that are one answer's own.
_OWN = frozenset(
    {
        *(b"age", b"cache-control", b"content-length", b"date", b"etag", b"x-cache"),
        *(b"x-request-id", b"surrogate-key", b"surrogate-control"),
    }
)
_JSON = b"application/json"
_JSON_OR_ANYTHING = frozenset(
    {None, b"", b"*/*", _JSON, b"application/json, */*", b"application/json, text/plain, */*"}
)
_UTF_8 = frozenset({b"", b"charset=utf-8"})
# Where a scope says under which keys there was nothing; see Absent.
ABSENT = "lokifi.absent"
_MOST_HEADS = 256
# What a client may make up of a place: no longer than an honest host or origin.
_LONGEST_WORD = 256
_MOST_NOTED = 4096
_REPORT_EVERY_S = 5.0


class Known:
    """Answers from Redis what can be answered so; `app` answers the rest.

    `find` is what the front cache asks before it asks the application. As an ASGI
    application this stands before `app`, looks on at what that answers, and answers
    batches by POST. `per_request` makes the headers that belong to one request. `count` is
    given hits by kind of key every few seconds, in a thread. `on_first` is called once.
    `is_newest` says of what a body holds whether nobody was given newer.
    """

    def __init__(
        self,
        app: App,
        *,
        per_request: Callable[[Fields], list[Header]],
        count: Callable[[Mapping[str, int]], None],
        on_first: Callable[[], None],
        is_newest: Callable[[Mapping[str, int]], bool],
    ) -> None:
        self._app = app
        self._is_newest = is_newest
        self._per_request = per_request
        self._count = count
        self._on_first = on_first
        self._reader: RedisReader | None = None
        self._heads = Heads()
        self._hits = 0
        self._running: dict[Question, asyncio.Task[Found | Absent | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["type"] == "http" else None
        if method == "GET":
            fields = fields_of(scope["headers"])
            question = _asked(scope, fields)
        elif method == "POST":
            fields = fields_of(scope["headers"])
            receive, question = await _posted(scope, fields, receive)
        else:
            question = None
        if question is None:
            await self._app(scope, receive, send)
        elif not question.is_posted or not await self._post(scope, send, fields, question):
            place = _place(scope, fields, question)
            # Told to what runs on behalf of this request, in a thread too.
            token = cache.absent.set(scope.get(ABSENT, frozenset()))
            try:
                await self._app(scope, receive, self._heads.learning(place, fields, send))
            finally:
                cache.absent.reset(token)

    async def find(self, scope: Scope, fields: Fields) -> tuple[Copy, Life] | None:
        """Return what Redis holds for a GET, where all of it is there and beyond doubt."""
        question = _asked(scope, fields)
        if question is None:
            return None
        head = self._heads.get(_place(scope, fields, question), fields)
        asked_at = monotonic()
        found = await self._find(question) if head is not None else None
        if isinstance(found, Absent):
            scope[ABSENT] = found.keys
            return None
        if head is None or found is None or not self._is_newest(found.tags):
            return None
        most_s = QUOTE_AGE_S if question.period is None else SERIES_AGE_S
        life_s = int(min(found.life_s, most_s))
        more = [
            (b"etag", b'"%b"' % found.etag.encode()),
            (b"cache-control", b"public, max-age=%d" % life_s),
        ]
        life = _lives(life_s)
        return Copy.of_head(head, more, found.body, life, found.tags, asked_at), life

    async def _post(self, scope: Scope, send: Send, fields: Fields, question: Question) -> bool:
        """Answer a batch; return False where that is for the view to do."""
        head = self._heads.get(_place(scope, fields, question), fields)
        found = await self._find(question) if head is not None else None
        if head is None or not isinstance(found, Found) or not self._is_newest(found.tags):
            return False
        self._hits += len(found.tags)
        headers = [
            *head.plain,
            (b"etag", b'"%b"' % found.etag.encode()),
            (b"cache-control", b"no-store"),
            (b"x-cache", b"HIT"),
            (b"content-length", b"%d" % len(found.body)),
            *self._per_request(fields),
        ]
        if b"surrogate-capability" in fields:
            words = [f"{name}={version}" for name, version in found.tags.items()]
            headers.append((b"surrogate-key", " ".join(words).encode("latin-1")))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": found.body})
        return True

    async def _find(self, question: Question) -> Found | Absent | None:
        """Return what is held; who asks the same meanwhile is given the same."""
        running = self._running.get(question)
        if running is None:
            running = asyncio.get_running_loop().create_task(self._read(question))
            self._running[question] = running
            running.add_done_callback(partial(self._end, question))
        return await asyncio.shield(running)

    def forget_running(self) -> None:
        """Let nobody who asks from now on be given what is being read already.

        For when what Redis holds, or what symbols mean, has just changed.
        """
        self._running.clear()

    def _end(self, question: Question, read: asyncio.Task[Found | Absent | None]) -> None:
        # Another read of the same may have begun since this one was forgotten.
        if self._running.get(question) is read:
            del self._running[question]

    async def _read(self, question: Question) -> Found | Absent | None:
        named = _named(question.symbols)
        if named is None:
            return None
        keys = [question.key(symbol) for symbol in named.refs]
        if self._reader is None:
            self._reader = RedisReader()
            self._on_first()
            self._report_later()
        try:
            values = await self._reader.read([*keys, *map(sidecar.name, keys)])
        except RedisAwayError:
            return None
        if not any(values[: len(keys)]):
            return Absent(frozenset(keys))
        parts = _parts(named, keys, values)
        if parts is None:
            return None
        return _joined(parts, named) if question.is_batch else _alone(parts[0])

    def _report_later(self) -> None:
        asyncio.get_running_loop().call_later(_REPORT_EVERY_S, self._report)

    def _report(self) -> None:
        self._report_later()
        if self._hits:
            counts, self._hits = {cache.QUOTE.kind: self._hits}, 0
            asyncio.get_running_loop().run_in_executor(None, self._count, counts)


class Part(NamedTuple):
    """What lies under one key, with its sidecar."""

    symbol: str
    key: str
    body: bytes
    beside: Sidecar
    life_s: float


@dataclass(frozen=True, slots=True)
class Found:
    """A body to be sent, with what is said of it; `tags` as surrogates.py has them."""

    body: bytes
    etag: str
    life_s: float
    tags: dict[str, int]


@dataclass(frozen=True, slots=True)
class Absent:
    """The keys of an answer, under which nothing is."""

    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Named:
    """What symbols mean: refs by symbol, in the order they were asked for; see BatchAnswer."""

    refs: dict[str, str]
    resolved: dict[str, str]


def _asked(scope: Scope, fields: Fields) -> Question | None:
    if not _UNUSUAL.isdisjoint(fields) or fields.get(b"content-length", b"0") != b"0":
        return None
    if not _takes_json(fields):
        return None
    return questions.of_request(_path(scope), scope["query_string"])


async def _posted(
    scope: Scope, fields: Fields, receive: Receive
) -> tuple[Receive, Question | None]:
    """Return what a POST asks for, and how the application may receive its body once more."""
    length = fields.get(b"content-length", b"")
    if (
        not _path(scope).endswith("/prices/batch")
        or scope["query_string"]
        or not length.isdigit()
        or int(length) > MAX_BODY_BYTES
        or not _is_json(fields.get(b"content-type", b""))
        or not _UNUSUAL.isdisjoint(fields)
        or not _takes_json(fields)
    ):
        return receive, None
    first = await receive()
    if first["type"] == "http.request" and not first.get("more_body", False):
        question = questions.of_post(_path(scope), first.get("body", b""))
    else:
        question = None  # In parts: the application puts them together.
    return _again(first, receive), question


def _again(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def once_more() -> Message:
        return waiting.pop() if waiting else await receive()

    return once_more


def _is_json(content_type: bytes) -> bool:
    kind, _, more = content_type.lower().partition(b";")
    return kind == _JSON and more.strip() in _UTF_8


def _takes_json(fields: Fields) -> bool:
    # What may be anything, or JSON above all. Finer words are weighed by Django.
    return fields.get(b"accept") in _JSON_OR_ANYTHING


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _named(asked: Collection[str]) -> _Named | None:
    """Return what symbols mean, as `symbols.resolve_many` does; None where one is not known."""
    named = _Named({}, {})
    for text in dict.fromkeys(asked):
        try:
            one = symbols.known(text)
        except InvalidSymbolError:
            return None
        if one is None or one.asset.is_gone:
            return None
        named.refs[one.symbol] = one.asset.ref
        if one.symbol.upper() != text.strip().upper():
            named.resolved[text] = one.symbol
    return named


def _parts(named: _Named, keys: Sequence[str], values: Sequence[bytes | None]) -> list[Part] | None:
    """Return what lies under keys; None where it is not whole, or not what was asked for."""
    parts = []
    now = time()
    for (symbol, ref), key, body, text in zip(
        named.refs.items(), keys, values, values[len(keys) :], strict=False
    ):
        beside = sidecar.read(text)
        if body is None or beside is None or beside.ref != ref or not beside.is_of(body):
            return None
        life_s = beside.until - now
        if life_s <= 0:
            return None
        parts.append(Part(symbol, key, body, beside, life_s))
    _note_read(parts)
    return parts


def _note_read(parts: Sequence[Part]) -> None:
    """Keep here what was read, for when Redis is away; once, but it counts as used each time."""
    gone = cache.note_use([part.key for part in parts])
    for part in parts:
        if part.key in gone or _noted.get(part.key) is not part.beside:
            cache.note_read(part.key, part.body, part.life_s)
            _noted[part.key] = part.beside
    if len(_noted) > _MOST_NOTED:
        _noted.clear()


# By key, what lay beside the body that was kept here last.
_noted: dict[str, Sidecar] = {}


def _joined(parts: Sequence[Part], named: _Named) -> Found:
    """Return a batch of bodies, each as it lies there."""
    asides = [part.beside for part in parts]
    oldest = min(asides, key=lambda one: one.version)
    rows: dict[str, Any] = {part.symbol: msgspec.Raw(part.body) for part in parts}
    body = cache.encode(
        BatchAnswer(
            success=True,
            count=len(parts),
            data=rows,
            failed={},
            resolved=named.resolved,
            cache_hits=len(parts),
            api_calls=0,
            source="+".join(sorted({one.source for one in asides})),
            as_of=min((one.as_of for one in asides if one.as_of), default=None),
            fetched_at=oldest.fetched_at,
            # Stored bodies say so.
            cached=True,
            stale=False,
        )
    )
    tags = {tag(part.key): part.beside.version for part in parts}
    return Found(body, sidecar.etag_of(body), min(part.life_s for part in parts), tags)


def _alone(part: Part) -> Found:
    return Found(part.body, part.beside.etag, part.life_s, {tag(part.key): part.beside.version})


@lru_cache(maxsize=4096)
def _lives(life_s: int) -> Life:
    """Return a life as the front cache reads it from `public, max-age=N`."""
    return Life(is_public=True, may_be_kept=life_s > 0, fresh_s=life_s)


Place = tuple[object, ...]


def _place(scope: Scope, fields: Fields, question: Question) -> Place:
    """Return whose headers fit a request: those of the same host, scheme and address."""
    host = fields.get(b"host")
    return question.name, host, scope.get("scheme"), scope.get("root_path")


class Heads:
    """The headers that all answers of a kind bear, as Django gave them, by place."""

    def __init__(self) -> None:
        self._vary: OrderedDict[Place, tuple[bytes, ...]] = OrderedDict()
        self._heads: OrderedDict[Place, Head] = OrderedDict()

    def get(self, place: Place, fields: Fields) -> Head | None:
        vary = self._vary.get(place)
        return None if vary is None else self._heads.get((*place, *varied(fields, vary)))

    def learning(self, place: Place, fields: Fields, send: Send) -> Send:
        """Return `send` with an eye on what is sent."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self._learn(place, fields, lowered(message["headers"]))
            await send(message)

        return sent

    def _learn(self, place: Place, fields: Fields, headers: Sequence[Header]) -> None:
        shared = [pair for pair in headers if pair[0] not in _OWN]
        head = self.get(place, fields)
        if head is None or head.plain != shared:
            named = fields_of(headers)
            head = Head(shared)
            is_plain = b"set-cookie" not in named and b"*" not in head.vary
            if not is_plain or named.get(b"content-type") != _JSON:
                return
        varied_place = (*place, *varied(fields, head.vary))
        if any(len(w) > _LONGEST_WORD for w in varied_place if isinstance(w, str | bytes)):
            return
        _put(self._vary, place, head.vary)
        _put(self._heads, varied_place, head)


def _put(kept: OrderedDict[Place, Any], place: Place, value: object) -> None:
    kept[place] = value
    kept.move_to_end(place)
    if len(kept) > _MOST_HEADS:
        kept.popitem(last=False)
