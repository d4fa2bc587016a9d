"""What a source promises, and the HTTP manners all of them share."""

from __future__ import annotations

import functools
import os
import ssl
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any, ClassVar, NoReturn, Protocol
from urllib.parse import quote, urlencode

import httpx
import msgspec

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
)
from prices.providers import deadline
from prices.types import (
    Candle,
    Candles,
    Capability,
    Coin,
    Instrument,
    Listing,
    Points,
    Quote,
    Resolution,
    Trend,
    Window,
)

BODY_LIMIT = 5 * 2**20
CATALOGUE_LIMIT = 32 * 2**20
CALL_LIMIT_S = 12.0
CATALOGUE_LIMIT_S = 30.0  # megabytes, and loaded by a task that nobody waits for

RETRY_AFTER_FLOOR_S = 60.0  # where a 429 names no time
RETRY_AFTER_CEILING_S = 3600.0

# The CDN in front of CoinGecko turns away clients that do not say who they are.
USER_AGENT = "lokifi-prices/1.0"
TIMEOUT = httpx.Timeout(connect=3.0, read=8.0, write=5.0, pool=5.0)
_EXTENSIONS = {"timeout": TIMEOUT.as_dict()}
_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    # Unpacked by ourselves, since one small chunk may hold gigabytes.
    "Accept-Encoding": "gzip",
}
LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30.0)

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@functools.cache
def _trusted(*, by_environment: bool) -> ssl.SSLContext:
    """Return whom to trust under TLS, read once for all sources: it takes 40 ms each time."""
    return httpx.create_ssl_context(trust_env=by_environment)


class Gate(Protocol):
    """Who is asked before a call goes out, and told how it went."""

    def admit(self) -> None:
        """Raise UpstreamRateLimitedError where the call must not be made now."""

    def report(self, status: int | None, *, retry_after_s: float | None, seconds: float) -> None:
        """Note a call's outcome. `status` is None where no whole answer came."""


class OpenGate:
    """Lets every call pass."""

    def admit(self) -> None:
        pass

    def report(self, status: int | None, *, retry_after_s: float | None, seconds: float) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was read whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Quotes:
    """What a source said of many assets at once, by `ref`.

    found    quotes
    failed   why a quote could not be had, where other quotes of the batch could

    An asset in neither is one that the source has no price for.
    """

    found: dict[str, Quote]
    failed: dict[str, PricesError]


class HttpProvider:
    """A source that speaks JSON over HTTP.

    Subclasses give the key's headers, the meaning of a refusal and the parsing
    of what they say in `offers`. No method raises anything but PricesError, and
    no message holds a key or a URL.
    """

    name: ClassVar[str]
    offers: ClassVar[frozenset[Capability]]
    # How it is named to people, with a link; `must_be_named` where its terms ask for
    # that, None where they were not read; `terms` is where it is written, `use` what else
    # is known of what its data may be used for, and how surely.
    attribution: ClassVar[str] = ""
    link: ClassVar[str] = ""
    must_be_named: ClassVar[bool | None] = None
    terms: ClassVar[str | None] = None
    use: ClassVar[str | None] = None
    has_points: ClassVar[bool] = True
    """Whether it has points of its own; else `points` makes them of its bars."""
    began: ClassVar[datetime] = datetime.fromtimestamp(0, UTC)
    """When the oldest series that it has begin."""
    has_assets_whole: ClassVar[bool] = True
    """Whether a series that begins later begins with the asset itself."""
    quiet_s: ClassVar[float | None] = None
    """How long a 429 that names no time counts, where its limit is by the second."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str = "",
        plan: str = "",
        gate: Gate | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.plan = plan
        self._api_key = api_key
        self._gate: Gate = gate or OpenGate()
        self._transport = transport
        self._lock = Lock()
        self._client: httpx.Client | None = None
        self._client_pid = 0

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return current quotes; raises only where none could be had because a call failed."""
        self._not_offered(Capability.QUOTES)

    def history(self, instrument: Instrument, window: Window, step_s: int) -> Points:
        """Return prices over the window, about `step_s` (300, 3600 or 86,400) apart."""
        self._not_offered(Capability.HISTORY)

    def points(self, bars: Candles, window: Window, resolution: Resolution) -> Points:
        """Return the points that bars of a width make, where it has none of its own."""
        self._not_offered(Capability.HISTORY)

    def earliest(self, resolution: Resolution) -> datetime:
        """Return the moment before which it can have no bars of a width."""
        return self.began

    def resolutions(self, window: Window) -> list[Resolution]:
        """Return the widths of bars that can be had exactly over the window, finest first."""
        return []

    def candles(
        self,
        instrument: Instrument,
        window: Window,
        resolution: Resolution,
        *,
        known: Sequence[Candle] = (),
        now: datetime | None = None,
    ) -> Candles:
        """Return every bar that shares time with the window, the first one whole.

        `known` are closed bars of that width from earlier answers, one run of them,
        so that only what is missing is asked. Raises ResolutionUnavailableError for a width that is
        not among `resolutions`.
        """
        self._not_offered(Capability.CANDLES)

    def top(self, limit: int) -> list[Coin]:
        """Return the largest coins by market capitalisation, largest first."""
        self._not_offered(Capability.COINS)

    def coins(self, ids: Collection[str]) -> list[Coin]:
        """Return coins with their market data by the source's ids; unknown ones are left out."""
        self._not_offered(Capability.COINS)

    def trends(self, ids: Collection[str]) -> dict[str, Trend]:
        """Return how coins have moved, by the source's ids; unknown ones are left out."""
        self._not_offered(Capability.COINS)

    def listings(self) -> list[Listing]:
        """Return the source's whole catalogue."""
        self._not_offered(Capability.LISTINGS)

    def lookup(self, asked: str) -> list[Listing]:
        """Return what the source finds for a ticker or a name, best first."""
        self._not_offered(Capability.LOOKUP)

    def search(self, words: str) -> list[Listing]:
        """Return what the source's own search finds, best first."""
        self._not_offered(Capability.SEARCH)

    def _not_offered(self, capability: Capability) -> NoReturn:
        raise PlanRestrictedError(
            self.name, f"it gives no {capability}", allowed_by="another source"
        )

    def auth_headers(self) -> dict[str, str]:
        """Return the headers that carry the key: never a query parameter, URLs get logged."""
        return {}

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        """Return what a 400, 401, 403 or 404 means by its body; None for the plain meaning."""
        return None

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def get_json(
        self,
        path: str,
        params: Mapping[str, str | int],
        *,
        max_bytes: int = BODY_LIMIT,
        within_s: float = CALL_LIMIT_S,
    ) -> Any:
        """GET `path` below the base URL and return the decoded body.

        Raises PricesError, and nothing else, on any failure.
        """
        return self.decoded(path, self.answered(path, params, max_bytes, within_s))

    def answered(
        self,
        path: str,
        params: Mapping[str, str | int],
        max_bytes: int = BODY_LIMIT,
        within_s: float = CALL_LIMIT_S,
    ) -> Reply:
        """GET `path` below the base URL, in what is left of the question's time.

        For who needs more of an answer than its body. Raises PricesError, and nothing else.
        """
        if not deadline.left_s():
            raise UpstreamTimeoutError(self.name, "its answers take too long together")
        with self.admitted() as call:
            within_s = min(within_s, deadline.left_s())
            reply = call.reply = self.ask(
                self.base_url + path, params, self.auth_headers(), max_bytes, within_s
            )
        return reply

    @contextmanager
    def admitted(self) -> Iterator[_Call]:
        """Ask the gate, and report to it whatever the block's call came to."""
        self._gate.admit()
        call = _Call()
        began = time.monotonic()
        try:
            yield call
        finally:
            reply = call.reply
            self._gate.report(
                reply.status if reply else None,
                retry_after_s=(_retry_after_s(reply) or self.quiet_s) if reply else None,
                seconds=time.monotonic() - began,
            )

    def ask(
        self,
        url: str,
        params: Mapping[str, str | int],
        headers: Mapping[str, str],
        max_bytes: int,
        within_s: float,
    ) -> Reply:
        """Return the answer, whatever its status; redirects are not followed."""
        try:
            with (
                deadline.within(within_s),
                closing(self._open().send(_request(url, params, headers), stream=True)) as response,
            ):
                return Reply(
                    status=response.status_code,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    body=self._read(response, max_bytes),
                )
        except httpx.TimeoutException as exc:
            raise UpstreamTimeoutError(self.name, "no answer in time") from exc
        except (httpx.DecodingError, zlib.error) as exc:
            raise UpstreamMalformedError(self.name, "the answer cannot be unpacked") from exc
        except (httpx.HTTPError, httpx.StreamError) as exc:
            raise UpstreamError(self.name, f"no connection ({type(exc).__name__})") from exc
        except (httpx.InvalidURL, ValueError, OSError) as exc:
            # A key or an address that no request can be made of: nothing was sent.
            raise UpstreamError(self.name, f"cannot be asked ({type(exc).__name__})") from None

    def decoded(self, path: str, reply: Reply) -> Any:
        """Return the body of a 200 as plain data; raise what any other answer means."""
        if reply.status != 200:
            raise self._failure(path, reply)
        try:
            return msgspec.json.decode(reply.body)
        except (msgspec.DecodeError, ValueError, RecursionError) as exc:
            raise UpstreamMalformedError(self.name, f"{path} did not send JSON") from exc

    @contextmanager
    def parsing(self, path: str) -> Iterator[None]:
        """Turn the slips of reading a foreign payload into UpstreamMalformedError."""
        try:
            yield
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as exc:
            raise UpstreamMalformedError(
                self.name, f"{path} has changed shape ({type(exc).__name__})"
            ) from exc

    def _open(self) -> httpx.Client:
        # Built on first use, and again after a fork: a pool of connections
        # shared by two processes mixes up their answers.
        with self._lock:
            if self._client is None or self._client_pid != os.getpid():
                # The sandbox is on loopback, where a proxy has no business.
                by_environment = httpx.URL(self.base_url).host not in _LOOPBACK
                client = _Client(
                    limits=LIMITS,
                    follow_redirects=False,
                    trust_env=by_environment,
                    verify=_trusted(by_environment=by_environment),
                    transport=self._transport,
                )
                self._client = deadline.enforced(client)
                self._client_pid = os.getpid()
            return self._client

    def _read(self, response: httpx.Response, max_bytes: int) -> bytes:
        unpack = _unpacker(response.headers.get("content-encoding", ""))
        body = bytearray()
        assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101 - for the type
        for chunk in response.stream:
            body += unpack.decompress(chunk, max_bytes + 1 - len(body)) if unpack else chunk
            if len(body) > max_bytes:
                raise UpstreamMalformedError(self.name, f"the answer exceeds {max_bytes} bytes")
            deadline.check()
        if unpack and not unpack.eof:
            raise httpx.DecodingError("packed body ends early")
        return bytes(body)

    def _failure(self, path: str, reply: Reply) -> PricesError:
        status = reply.status
        wait_s = _retry_after_s(reply)
        if status == 429:
            return UpstreamRateLimitedError(
                self.name,
                "its rate limit is reached",
                retry_after_s=wait_s or self.quiet_s or RETRY_AFTER_FLOOR_S,
            )
        if status in (400, 401, 403, 404):
            return self.refusal(path, status, reply.body) or self._plain_refusal(path, status)
        if status in (408, 504):
            return UpstreamTimeoutError(self.name, f"{path} answered HTTP {status}")
        if 200 <= status < 400:
            return UpstreamMalformedError(self.name, f"{path} answered HTTP {status}")
        return UpstreamError(
            self.name, f"{path} answered HTTP {status}", retry_after_s=wait_s or 10
        )

    def _plain_refusal(self, path: str, status: int) -> PricesError:
        if status == 404:
            return UpstreamNotFoundError(self.name, f"{path} is not known there")
        if status == 400:
            return UpstreamError(self.name, f"{path} answered HTTP 400")
        return UpstreamRefusedError(self.name, f"{path} was refused with HTTP {status}")


class _NoCookies(httpx.Cookies):
    """None: no source needs any, and looking for them is work for each answer."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Take none."""


class _Client(httpx.Client):
    """A client that remembers nothing of a source but its connections."""

    _none = _NoCookies()

    @property  # type: ignore[misc]  # nobody sets them
    def cookies(self) -> httpx.Cookies:
        return self._none


def _request(
    url: str, params: Mapping[str, str | int], headers: Mapping[str, str]
) -> httpx.Request:
    """Return a request as it is sent.

    A client takes three times as long, to merge its defaults and an address with parameters.
    """
    if params:
        url += f"?{urlencode(params, quote_via=quote)}"
    return httpx.Request("GET", url, headers={**_HEADERS, **headers}, extensions=_EXTENSIONS)


class _Call:
    """One admitted call and what came back, if anything did."""

    reply: Reply | None = None


def _unpacker(encoding: str) -> zlib._Decompress | None:
    """Return what unpacks a body of that encoding, piece by piece; None for a plain one."""
    if encoding.strip().lower() in ("", "identity"):
        return None
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise httpx.DecodingError(f"encoding {encoding[:20]!r} was not asked for")
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


def _retry_after_s(reply: Reply) -> float | None:
    """Return how long the source asks to be left alone; None where it does not say."""
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        wait_s = float(value[:9])
    else:
        try:
            wait_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(wait_s, 1.0), RETRY_AFTER_CEILING_S)
