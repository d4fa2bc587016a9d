from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

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
from prices.providers.base import TIMEOUT, USER_AGENT, HttpProvider
from prices.types import Capability
from tests.prices.loopback import Talk, raw_server, reset

Answer = Callable[[httpx.Request], httpx.Response]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Example(HttpProvider):
    """The manners alone, with a key in a header."""

    name = "example"
    offers = frozenset({Capability.QUOTES})

    def auth_headers(self) -> dict[str, str]:
        return {"X-Key": self._api_key} if self._api_key else {}


class Ledger:
    """A gate that writes down what it is told, and may refuse."""

    def __init__(self, refusal: PricesError | None = None) -> None:
        self.refusal = refusal
        self.admitted = 0
        self.reports: list[tuple[int | None, float | None]] = []

    def admit(self) -> None:
        if self.refusal:
            raise self.refusal
        self.admitted += 1

    def report(self, status: int | None, *, retry_after_s: float | None, seconds: float) -> None:
        assert seconds >= 0
        self.reports.append((status, retry_after_s))


def example(answer: Answer | httpx.Response | Exception, **options: Any) -> Example:
    """A provider whose far end gives one answer."""

    def handler(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    return Example(
        base_url="https://api.example/v1", transport=httpx.MockTransport(handler), **options
    )


def ask(provider: HttpProvider, **options: Any) -> Any:
    return provider.get_json("/things", {"q": "s3cret-query"}, **options)


def test_an_answer_is_plain_data() -> None:
    assert ask(example(httpx.Response(200, json={"a": [1, 2.5, None]}))) == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(httpx.ReadTimeout("slow"), UpstreamTimeoutError, id="read timeout"),
        pytest.param(httpx.ConnectTimeout("slow"), UpstreamTimeoutError, id="connect timeout"),
        pytest.param(httpx.PoolTimeout("full"), UpstreamTimeoutError, id="pool timeout"),
        pytest.param(httpx.ConnectError("down"), UpstreamError, id="connection refused"),
        pytest.param(httpx.RemoteProtocolError("odd"), UpstreamError, id="broken protocol"),
        pytest.param(httpx.Response(500), UpstreamError, id="500"),
        pytest.param(httpx.Response(503, text="<html>"), UpstreamError, id="503 page"),
        pytest.param(httpx.Response(408), UpstreamTimeoutError, id="408"),
        pytest.param(httpx.Response(504), UpstreamTimeoutError, id="504"),
        pytest.param(httpx.Response(400), UpstreamError, id="400"),
        pytest.param(httpx.Response(422, json={}), UpstreamError, id="422"),
        pytest.param(httpx.Response(401), UpstreamRefusedError, id="401"),
        pytest.param(httpx.Response(403), UpstreamRefusedError, id="403"),
        pytest.param(httpx.Response(404), UpstreamNotFoundError, id="404"),
        pytest.param(httpx.Response(429), UpstreamRateLimitedError, id="429"),
        pytest.param(
            httpx.Response(302, headers={"location": "/v1/things"}),
            UpstreamMalformedError,
            id="redirect",
        ),
        pytest.param(httpx.Response(204), UpstreamMalformedError, id="204"),
        pytest.param(httpx.Response(200, text="<html>"), UpstreamMalformedError, id="page"),
        pytest.param(httpx.Response(200), UpstreamMalformedError, id="nothing"),
        pytest.param(httpx.Response(200, text='{"a": NaN}'), UpstreamMalformedError, id="NaN"),
        pytest.param(httpx.Response(200, content=b'"\xff"'), UpstreamMalformedError, id="bytes"),
        pytest.param(
            httpx.Response(200, text="[" * 100_000), UpstreamMalformedError, id="deep nesting"
        ),
    ],
)
def test_every_failure_is_one_of_ours_and_keeps_its_secrets(
    answer: httpx.Response | Exception, error: type[PricesError]
) -> None:
    with pytest.raises(PricesError) as caught:
        ask(example(answer, api_key="s3cret-key"))

    assert type(caught.value) is error
    assert "s3cret" not in str(caught.value)


def test_the_key_travels_in_a_header_and_the_client_says_who_it_is() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    ask(example(answer, api_key="s3cret-key"))

    assert seen[0].headers["x-key"] == "s3cret-key"
    assert "s3cret-key" not in str(seen[0].url)
    assert seen[0].headers["user-agent"].startswith("lokifi-prices/")


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "\x00"], ids=["umlaut", "newline", "nul"])
def test_a_key_no_header_can_carry_is_an_error_of_ours(key: str) -> None:
    with raw_server(lambda connection: None) as url:
        provider = Example(base_url=url, api_key=key)

        with pytest.raises(UpstreamError) as caught:
            ask(provider)
        provider.close()

    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        pytest.param(None, 60, id="none"),
        pytest.param("119", 119, id="seconds"),
        pytest.param("0", 1, id="zero"),
        pytest.param("999999999999", 3600, id="absurd"),
        pytest.param("soon", 60, id="no time at all"),
        pytest.param("-5", 60, id="below zero"),
        pytest.param("Mon, 01 Jan 2001 00:00:00 GMT", 1, id="a date gone by"),
    ],
)
def test_a_429_says_how_long_to_wait(header: str | None, wait_s: float) -> None:
    headers = {"Retry-After": header} if header is not None else {}

    with pytest.raises(UpstreamRateLimitedError) as caught:
        ask(example(httpx.Response(429, headers=headers)))

    assert caught.value.retry_after_s == wait_s


def test_a_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)

    with pytest.raises(UpstreamRateLimitedError) as caught:
        ask(example(httpx.Response(429, headers={"Retry-After": date})))

    assert 60 < caught.value.retry_after_s <= 90


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        pytest.param(httpx.Response(200, json=1), (200, None), id="answer"),
        pytest.param(httpx.Response(200, text="<html>"), (200, None), id="page"),
        pytest.param(
            httpx.Response(429, headers={"Retry-After": "7"}), (429, 7.0), id="rate limit"
        ),
        pytest.param(httpx.Response(500), (500, None), id="error"),
        pytest.param(httpx.ConnectError("down"), (None, None), id="no answer"),
    ],
)
def test_the_gate_hears_of_every_call(
    answer: httpx.Response | Exception, report: tuple[int | None, float | None]
) -> None:
    gate = Ledger()

    with suppress(PricesError):
        ask(example(answer, gate=gate))

    assert (gate.admitted, gate.reports) == (1, [report])


def test_a_call_the_gate_does_not_admit_is_not_made() -> None:
    gate = Ledger(UpstreamRateLimitedError("example", "no calls left", retry_after_s=9))
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    with pytest.raises(UpstreamRateLimitedError):
        ask(example(answer, gate=gate))

    assert (seen, gate.reports) == ([], [])


def test_what_a_source_does_not_offer_is_named_as_such() -> None:
    with pytest.raises(PlanRestrictedError):
        example(httpx.Response(200)).listings()


# Over real sockets


@pytest.fixture
def server() -> Iterator[Callable[[Talk], Example]]:
    """Builds a provider whose far end says just these bytes."""
    stack: list[Any] = []
    providers: list[Example] = []

    def build(talk: Talk) -> Example:
        context = raw_server(talk)
        providers.append(Example(base_url=context.__enter__()))
        stack.append(context)
        return providers[-1]

    yield build
    for provider in providers:
        provider.close()
    for context in stack:
        context.__exit__(None, None, None)


def says(*pieces: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return talk


def drips(head: bytes, drop: bytes) -> Talk:
    """Send a piece at once and then drop after drop, for as long as anyone listens."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            threading.Event().wait(0.05)

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(drips(OK + b"Content-Length: 1000000\r\n\r\n[", b"1,"), id="body"),
        pytest.param(drips(OK, b"X-More: 1\r\n"), id="headers"),
        pytest.param(drips(b"", b"\r\n"), id="blank lines"),
    ],
)
def test_a_slow_drip_ends_with_the_time_of_the_call(
    server: Callable[[Talk], Example], talk: Talk
) -> None:
    with pytest.raises(UpstreamError):
        ask(server(talk), within_s=0.5)


def test_a_server_that_says_nothing_is_a_timeout(server: Callable[[Talk], Example]) -> None:
    with pytest.raises(UpstreamTimeoutError):
        ask(server(drips(b"", b"")), within_s=0.3)


@pytest.mark.parametrize(
    ("talk", "error"),
    [
        pytest.param(reset, UpstreamError, id="reset"),
        pytest.param(says(), UpstreamError, id="hung up"),
        pytest.param(says(b"HELLO\r\n\r\n"), UpstreamError, id="not HTTP"),
        pytest.param(
            says(OK + b"Content-Length: 100\r\n\r\n[1, 2"), UpstreamError, id="truncated body"
        ),
        pytest.param(
            says(OK + b"Content-Length: 5\r\n\r\n[1, 2"), UpstreamMalformedError, id="half JSON"
        ),
        pytest.param(
            says(OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
            UpstreamMalformedError,
            id="not packed",
        ),
        pytest.param(
            says(OK + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd"),
            UpstreamMalformedError,
            id="packed as never asked",
        ),
    ],
)
def test_what_breaks_on_the_way_is_an_error_of_ours(
    server: Callable[[Talk], Example], talk: Talk, error: type[PricesError]
) -> None:
    with pytest.raises(error):
        ask(server(talk))


def packed(body: bytes, *, cut: int = 0) -> bytes:
    data = gzip.compress(body)
    data = data[: len(data) - cut]
    return OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(data) + data


def test_a_packed_answer_is_unpacked(server: Callable[[Talk], Example]) -> None:
    assert ask(server(says(packed(json.dumps({"a": 1}).encode())))) == {"a": 1}


def test_a_packed_answer_that_ends_early_is_malformed(server: Callable[[Talk], Example]) -> None:
    with pytest.raises(UpstreamMalformedError):
        ask(server(says(packed(b'{"a": 1}', cut=9))))


def test_a_body_over_the_limit_is_not_read_to_its_end(server: Callable[[Talk], Example]) -> None:
    endless = drips(OK + b"Content-Length: 99999999999\r\n\r\n", b"1" * 65536)

    with pytest.raises(UpstreamMalformedError, match="exceeds"):
        ask(server(endless), max_bytes=100_000)


def test_a_small_packed_body_that_unpacks_to_gigabytes_is_refused(
    server: Callable[[Talk], Example],
) -> None:
    with pytest.raises(UpstreamMalformedError, match="exceeds"):
        ask(server(says(packed(b" " * 50_000_000))), max_bytes=100_000)


def test_a_broken_call_leaves_the_connection_pool_whole(
    server: Callable[[Talk], Example],
) -> None:
    turns = iter([reset, says(OK + b"Content-Length: 9\r\n\r\n[1"), says(OK + b"\r\n[1]")])
    provider = server(lambda connection: next(turns)(connection))

    for _ in range(2):
        with pytest.raises(UpstreamError):
            ask(provider)

    assert ask(provider) == [1]


def test_a_request_says_who_we_are_and_repeats_no_cookie() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={}, headers={"Set-Cookie": "id=1; Path=/"})

    provider = example(answer, api_key="secret")
    for _ in range(2):
        provider.get_json("/a path", {"ids": "bitcoin,a b/c&d=\u00e9", "days": 7})

    for request in asked:
        assert request.url.path == "/v1/a path"
        assert dict(request.url.params) == {"ids": "bitcoin,a b/c&d=\u00e9", "days": "7"}
        assert "cookie" not in request.headers
        assert request.headers["X-Key"] == "secret"
        assert request.headers["User-Agent"] == USER_AGENT
        assert request.headers["Accept-Encoding"] == "gzip"
        assert request.extensions["timeout"] == TIMEOUT.as_dict()
