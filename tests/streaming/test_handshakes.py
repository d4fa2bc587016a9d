"""The short way to a WebSocket answers as uvicorn's own, and leaves what is odd to it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from streaming.frames import framed
from streaming.lines import line_of
from streaming.upgrade import Greeted, Http, key_of
from streaming.uvicorn import Protocol
from tests.streaming.handshakes import KEY, OURS, PLAIN, UVICORNS, Serving, frame, request
from tests.streaming.sockets import until

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_line_for_each_connection")]

GOOD = [
    request("/", "Sec-WebSocket-Protocol: lokifi.prices.v1"),
    request("/chosen", "Sec-WebSocket-Protocol: other , lokifi.prices.v1"),
    request(),
    request("/some%20where?client_id=me&x=%2F", "X-Some: one", "X-Other: other"),
    request(Connection="keep-alive, upgrade", Upgrade="WebSocket"),
    request(Connection="keep-alive, Upgrade, x"),
    request("/", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
    request("/", "Origin: https://here", "Cookie: a=b"),
    request("/", *(f"X-{number}: 1" for number in range(100))),
    request("/", f"X-Long: {'x' * 5000}"),
    request("/" + "x" * 5000),
]
# Which a connection of uvicorn's own does not answer at all.
LARGE = [
    request("/", *(f"X-{number}: 1" for number in range(300))),
    request("/", f"Cookie: {'x' * 9000}"),
]
LEFT_TO_UVICORN = [
    request("/", "Origin: https://here "),
    request("/", "Cookie:\ta=b\t"),
    request(Host="here \t"),
    request(Connection="Upgrade, bad token"),
    request(Connection="Upgrade, @"),
    request(Connection="Upgrade,"),
    request("/", "Sec-WebSocket-Protocol: a b"),
    request("/", "Sec-WebSocket-Protocol:"),
    request("/", "Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
    request("/", "X-Some: one", "X-Some: other"),
    request("/", f"Sec-WebSocket-Key: {KEY}"),
    request("/", "Origin: https://here", "Origin: https://there"),
    request("/", "Content-Length: 0"),
    request(method="POST"),
    request(Sec_WebSocket_Key=None),
    request(Sec_WebSocket_Key="short"),
    request(Sec_WebSocket_Key=KEY[:-1]),
    request(Sec_WebSocket_Key="MDEyMzQ1Njc4OWFiY2RlZg==MDEy"),
    request(Sec_WebSocket_Version="8"),
    request(Sec_WebSocket_Version=None),
    request(Connection="Upgrade;x"),
]


@pytest.mark.parametrize("asked", [*GOOD, *LEFT_TO_UVICORN, request("/refused")])
async def test_a_handshake_is_answered_as_by_uvicorn_itself(asked: bytes) -> None:
    ours = Serving(OURS)
    uvicorns = Serving(UVICORNS)

    answer = await ours.answer(asked)

    assert _undated(answer) == _undated(await uvicorns.answer(asked))
    assert _told(ours.scopes) == _told(uvicorns.scopes)


@pytest.mark.parametrize("early", [b"", frame(0x89, b"hi"), b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_handshake_behind_requests_is_answered_behind_their_answers(
    any_loop: Any, early: bytes
) -> None:
    async def serving_both(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/b":
            writers[0].write(early)  # which has to be dropped: the handshake waits
            await asyncio.sleep(0.1)
        await receive()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            line_of(send, lambda: None, lambda _: None).write(framed("welcome"))
            await receive()
            return
        await asyncio.sleep(0.05)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async def work() -> bytes:
        serving = Serving(OURS)
        serving.config.loaded_app = serving_both
        async with serving.port() as port, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            asked = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in ("/a", "/b")]
            writer.write(b"".join([*asked, request()]))
            answer = await reader.readuntil(framed("welcome"))
            writer.write(frame(0x88, (1000).to_bytes(2)))
            rest = await reader.read()
            writer.close()
            return answer + rest

    writers: list[asyncio.StreamWriter] = []
    answer = await any_loop(work())

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"101"]
    assert answer.endswith(framed("welcome") + b"\x88\x02\x03\xe8")
    assert answer.index(b"/a") < answer.index(b"/b")


async def test_a_client_of_an_application_that_fails_at_once_is_answered_all_the_same() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise RuntimeError("a fault of ours")

    for ways in (OURS, UVICORNS):
        serving = Serving(ways)
        with pytest.MonkeyPatch.context() as monkey:
            monkey.setattr(serving.config, "loaded_app", failing)
            assert (await serving.answer(request())).startswith(b"HTTP/1.1 101 ")


def _undated(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"Date:")]


def _told(scopes: list[Any]) -> list[Any]:
    return [
        {**scope, "client": scope["client"][0], "server": scope["server"][0]} for scope in scopes
    ]


@pytest.mark.parametrize(
    "asked",
    [
        request("/" + "x" * 9000),
        request("/", f"Cookie: {'x' * 9000}", "Accept: a", "Accept: b"),
        request("/", "Content-Length: 5"),
        request("/", "Transfer-Encoding: chunked"),
    ],
)
async def test_a_handshake_that_cannot_be_read_is_refused_and_ends_no_stop_in_a_trace(
    asked: bytes,
) -> None:
    serving = Serving(OURS)
    async with serving.port() as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(asked)
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body) in head
    assert serving.scopes == []
    await until(lambda: not serving.state.connections)


@pytest.mark.parametrize("asked", [*GOOD, *LARGE])
async def test_a_handshake_as_most_send_it_takes_the_short_way(
    asked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer: list[bytes] = []
    base = Protocol.__mro__[1]
    monkeypatch.setattr(base, "data_received", lambda _self, data: longer.append(data))

    answer = await Serving(OURS).answer(asked)

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert not longer


async def test_with_deflate_or_a_log_line_for_each_connection_uvicorns_way_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_is_greeted(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Greeted, "__init__", none_is_greeted)
    deflate = "Sec-WebSocket-Extensions: permessage-deflate"

    deflated = await Serving(OURS, deflates=True).answer(request("/", deflate))
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)
    logged = await Serving(OURS).answer(request())

    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate" in deflated
    assert logged.startswith(b"HTTP/1.1 101 ")


async def test_who_is_gone_before_the_answer_ends_the_application() -> None:
    serving = Serving(OURS)
    async with serving.port() as port, asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request())
        writer.transport.abort()
        await until(lambda: bool(serving.protocols) and not serving.protocols[0].tasks)

    assert serving.protocols[0].disconnected


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"upgrade", b"websocket")],
        [(name.lower().encode(), b"\xff") for name in PLAIN],
        [(name.lower().encode(), b"") for name in PLAIN],
    ],
)
async def test_what_is_no_handshake_has_no_key(headers: list[tuple[bytes, bytes]]) -> None:
    assert key_of(headers) is None


async def test_what_uvicorn_gives_a_connection_ours_has_too() -> None:
    config = Config(Serving(OURS).application, log_config=None, **OURS)
    config.load()
    state = ServerState()
    theirs = WebSocketsSansIOProtocol(config, state, {})

    ours = Greeted(Http(config, state, {}), {"scheme": "ws"}, KEY)

    told = {name: value for name, value in vars(theirs).items() if name not in {"conn", "scheme"}}
    made = {"queue", "writable", "handshake_initiated"}
    missing = object()
    differing = [n for n, value in told.items() if getattr(ours, n, missing) != value]
    assert set(differing) == made | {"frames"}
    assert ours.writable.is_set()
    assert ours.conn is ours.conn
    assert ours.frames == []
