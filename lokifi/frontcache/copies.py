"""One answer as it is kept: its bytes in each encoding, and the headers that go with them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Collection, Hashable, Mapping
from functools import lru_cache
from http import HTTPStatus

from lokifi.frontcache import wire
from lokifi.frontcache.rules import Fields, Header, Life, fields_of, takes_gzip

# What says something of one transfer, or to us alone; the rest is the answer's.
_OF_THE_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te"),
        *(b"trailer", b"transfer-encoding", b"upgrade", b"age", b"x-cache", b"content-length"),
        *(b"surrogate-control", b"surrogate-key"),
    }
)
# A 304 repeats what a cache may need of the headers, and describes no body.
_OF_THE_BODY = frozenset({b"content-type", b"content-length", b"content-encoding"})
# Below this a body fits a packet or two as it is.
_WORTH_GZIP = 1000
_GZIP_LEVEL = 6
_COMPRESSIBLE = (
    *(b"text/", b"application/json", b"application/problem+json"),
    *(b"application/vnd.oai", b"application/x-ndjson"),
)
# Beside bodies and headers: the objects that hold them, measured and rounded up.
_OVERHEAD = 2048

# Most headers are the same in every answer; they are held once.
_same = lru_cache(maxsize=512)(lambda pair: pair)


def _shared(pair: Header) -> Header:
    return _same(pair) if len(pair[0]) + len(pair[1]) <= 256 else pair


class Head:
    """Headers that many answers bear alike, looked through once for all of them."""

    __slots__ = ("both", "lines_of_both", "media_type", "plain", "plain_lines", "size", "vary")

    def __init__(self, headers: Collection[Header]) -> None:
        fields = fields_of(headers)
        self.media_type = _media_type(fields)
        self.vary = _vary(fields)
        self.plain = [*map(_shared, headers)]
        self.plain_lines = wire.lines(self.plain)
        # With what is said of an answer that has several encodings.
        self.both = _with_vary(self.plain)
        self.lines_of_both = wire.lines(self.both)
        self.size = sum(len(n) + len(v) for n, v in self.both)


class Form:
    """An answer in one encoding."""

    __slots__ = ("_unchanged", "body", "etag", "head", "lines")

    def __init__(self, head: list[Header], lines: bytes, etag: bytes, body: bytes) -> None:
        self.head = head
        self.lines = lines
        self.etag = etag
        self.body = body
        self._unchanged: tuple[list[Header], bytes] | None = None

    @classmethod
    def of(cls, headers: Collection[Header], body: bytes) -> Form:
        etag = next((value for name, value in headers if name == b"etag"), b"")
        head = [*map(_shared, headers), (b"content-length", b"%d" % len(body))]
        return cls(head, wire.lines(head), etag, body)

    @property
    def unchanged(self) -> tuple[list[Header], bytes]:
        """The headers of a 304, and the same as they are sent."""
        if self._unchanged is None:
            head = [pair for pair in self.head if pair[0] not in _OF_THE_BODY]
            self._unchanged = head, wire.lines(head)
        return self._unchanged

    @property
    def size(self) -> int:
        # The lines of a 304 are there or may be.
        return len(self.body) + 2 * len(self.etag) + 2 * len(self.lines)


class Copy:
    """An answer with its life. `own` are headers that belong to its first request alone."""

    __slots__ = (
        *("status", "plain", "gzipped", "own", "kept_at", "fresh_until", "stale_until", "age_s"),
        *("life_s", "vary", "tags", "kind", "weight", "media_type", "may_gzip", "uses", "size"),
        *("key", "zipping"),
    )

    def __init__(
        self,
        status: int,
        headers: Collection[Header],
        fields: Fields,
        body: bytes,
        own: Collection[bytes],
        life: Life,
        now: float,
    ) -> None:
        self.status = status
        self.own = [(n, v) for n, v in headers if n in own]
        given = [(n, v) for n, v in headers if n not in _OF_THE_HOP and n not in own]
        self.media_type = _media_type(fields)
        self.may_gzip = _may_gzip(status, fields, len(body))
        self.vary = _vary(fields)
        if self.may_gzip:
            given = _with_vary(given)
        age = fields.get(b"age", b"")
        self.age_s = int(age) if age.isdigit() else 0
        self._be(Form.of(given, body), life, now, tags_of(fields.get(b"surrogate-key", b"")))
        self.size = (
            _OVERHEAD
            + self.plain.size
            + sum(2 * len(tag) + 200 for tag in self.tags)
            + sum(len(n) + len(v) for n, v in given)
        )

    @classmethod
    def of_head(
        cls,
        head: Head,
        more: list[Header],
        body: bytes,
        life: Life,
        tags: Mapping[str, int],
        now: float,
    ) -> Copy:
        """Return a 200 of a known head; `more` are its own headers, the first its ETag."""
        copy = cls.__new__(cls)
        copy.status = 200
        copy.own = []
        copy.media_type = head.media_type
        copy.may_gzip = _is_worth_gzip(head.media_type, len(body))
        copy.vary = head.vary
        copy.age_s = 0
        shared, lines = (
            (head.both, head.lines_of_both) if copy.may_gzip else (head.plain, head.plain_lines)
        )
        ends = [*more, (b"content-length", b"%d" % len(body))]
        form = Form([*shared, *ends], lines and lines + wire.joined(ends), more[0][1], body)
        copy._be(form, life, now, tags)
        words = sum(2 * len(tag) + 200 for tag in tags)
        copy.size = _OVERHEAD + form.size + words + head.size
        return copy

    def _be(self, plain: Form, life: Life, now: float, tags: Mapping[str, int]) -> None:
        self.plain = plain
        self.gzipped: Form | None = None
        # Where it lies, once it is kept; and the making of its gzip form, while that goes on.
        self.key: tuple[Hashable, ...] = ()
        self.zipping: asyncio.Future[bytes] | None = None
        self.kept_at = now
        self.life_s = life.fresh_s
        self.fresh_until = now + life.fresh_s
        self.stale_until = self.fresh_until + life.stale_s
        self.tags = tags
        kinds = [tag.partition(":")[0] for tag in tags] or [""]
        # What an answer is, its first tag says; a batch is as many answers as it has tags.
        self.kind = kinds[0]
        self.weight = kinds.count(self.kind)
        self.uses = 0

    def wants_gzip(self, accept_encoding: bytes | None) -> bool:
        """Return whether a client is to have the gzip form."""
        return accept_encoding is not None and self.may_gzip and takes_gzip(accept_encoding)

    def zipped(self, body: bytes) -> Form:
        """Return the gzip form of compressed bytes; the plain one where they are no fewer."""
        plain = self.plain
        if len(body) >= len(plain.body):
            self.may_gzip = False
            return plain
        headers = [(n, v) for n, v in plain.head if n not in {b"etag", b"content-length"}]
        if plain.etag:
            headers.append((b"etag", _tag_of_gzip(plain.etag)))
        self.gzipped = Form.of([*headers, (b"content-encoding", b"gzip")], body)
        self.size += self.gzipped.size
        return self.gzipped

    def age(self, now: float) -> int:
        return int(now - self.kept_at) + self.age_s


def compressed(body: bytes) -> bytes:
    """Return a body as gzip, without a time in it: the same body gives the same bytes."""
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)


def varied(fields: Fields, vary: Collection[bytes]) -> tuple[bytes | None, ...]:
    """Return what a request has of the headers that an answer varies by."""
    return tuple(fields.get(name) for name in vary)


def _media_type(fields: Fields) -> bytes:
    return fields.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _may_gzip(status: int, fields: Fields, length: int) -> bool:
    return (
        status == HTTPStatus.OK
        and _is_worth_gzip(_media_type(fields), length)
        and b"content-encoding" not in fields
        and b"no-transform" not in fields.get(b"cache-control", b"")
    )


def _is_worth_gzip(media_type: bytes, length: int) -> bool:
    return length >= _WORTH_GZIP and media_type.startswith(_COMPRESSIBLE)


def _tag_of_gzip(etag: bytes) -> bytes:
    # A weak tag holds for every encoding; a strong one for one alone.
    return etag if etag.startswith(b"W/") else etag[:-1] + b'-gzip"'


def without_gzip(if_none_match: bytes) -> bytes:
    """Return tags as the application knows them: those of the plain form."""
    return if_none_match.replace(b'-gzip"', b'"')


def with_encodings(status: int, headers: list[Header]) -> list[Header]:
    """Return headers of an answer that is sent plain as a copy of it would bear them."""
    fields = fields_of(headers)
    length = fields.get(b"content-length", b"")
    may_gzip = length.isdigit() and _may_gzip(status, fields, int(length))
    return _with_vary(headers) if may_gzip else headers


def _vary(fields: Fields) -> tuple[bytes, ...]:
    """Return what the application's answer varies by. Encodings are ours: it is asked for none."""
    listed = {name.strip().lower() for name in fields.get(b"vary", b"").split(b",")}
    return tuple(sorted(listed - {b"", b"accept-encoding"}))


def _with_vary(headers: list[Header]) -> list[Header]:
    """Return headers that say of an answer that it has several encodings."""
    listed = [value for name, value in headers if name == b"vary"]
    if any(b"accept-encoding" in value.lower() for value in listed):
        return headers
    rest = [(n, v) for n, v in headers if n != b"vary"]
    return [*rest, (b"vary", b", ".join([*listed, b"Accept-Encoding"]))]


def tags_of(surrogate_key: bytes) -> Mapping[str, int]:
    """Return tags with their versions: `price:BTC=1732406400 history:BTC:1w`."""
    return _known_tags(surrogate_key) if len(surrogate_key) <= 4096 else _tags(surrogate_key)


def _tags(surrogate_key: bytes) -> Mapping[str, int]:
    tags = {}
    for word in surrogate_key.decode("latin-1").split():
        tag, _, version = word.partition("=")
        tags[tag] = int(version) if version.isdecimal() else 0
    return tags


_known_tags = lru_cache(maxsize=128)(_tags)
