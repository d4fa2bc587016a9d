"""The short way to a WebSocket answers as uvicorn's own, and leaves what is odd to it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from typing import Any, cast

import pytest
import pytest_asyncio
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from streaming.frames import framed
from streaming.lines import line_of
from streaming.protocol import Close
from streaming.upgrade import Greeted, Http, Inbox, key_of, whole_text
from streaming.uvicorn import Protocol, UvicornLine
from tests.streaming.sockets import until

pytestmark = pytest.mark.asyncio

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
PLAIN = {
    "Host": "here",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
OURS: dict[str, Any] = {"http": "streaming.upgrade:Http", "ws": "streaming.uvicorn:Protocol"}
UVICORNS: dict[str, Any] = {"http": "httptools", "ws": "websockets-sansio"}
TOLD_APART = ("type", "path", "raw_path", "query_string", "headers", "subprotocols", "scheme")


def request(target: str = "/", *more: str, method: str = "GET", **changed: str | None) -> bytes:
    """Return a handshake as plain as most, but for what is changed, left out (None) or added."""
    fields = PLAIN | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, *more, "", ""]).encode("latin-1")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log no line for each connection, as the product's own command has it."""
    logger = logging.getLogger("uvicorn.error")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)


class Serving:
    """A uvicorn of ours or its own, and the scopes that its application was called with."""

    def __init__(self, ways: dict[str, Any], *, deflates: bool = False) -> None:
        self.scopes: list[Any] = []
        self.protocols: list[Any] = []
        how: dict[str, Any] = {"interface": "asgi3", "proxy_headers": False, "log_config": None}
        config = Config(self.application, ws_per_message_deflate=deflates, **how, **ways)
        config.load()
        self.config = config
        state = self.state = ServerState()
        state.default_headers = [(b"date", b"today")]
        protocol_class: Any = config.http_protocol_class
        self.make = lambda: protocol_class(config=config, server_state=state, app_state={})

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.protocols.append(send.__self__)
        await receive()
        if scope["path"] == "/refused":
            await send({"type": "websocket.close"})
            return
        chosen = "lokifi.prices.v1" if scope["path"] == "/chosen" else None
        said = [(b"x-said", b"by us")]
        await send({"type": "websocket.accept", "headers": said, "subprotocol": chosen})
        line = line_of(send, lambda: None, lambda _: None) if scope["path"] == "/line" else None
        assert line is None or isinstance(line, UvicornLine)
        while (message := await receive())["type"] == "websocket.receive":
            text = message["text"] + "!"
            if line is None:
                await send({"type": "websocket.send", "text": text})
            else:
                line.write(line.form(text))

    @asynccontextmanager
    async def port(self, ssl: SSLContext | None = None) -> AsyncIterator[int]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self.make, "127.0.0.1", 0, ssl=ssl)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def answer(self, asked: bytes) -> bytes:
        """Return what is answered before the connection is closed by us."""
        async with self.port() as port, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(asked)
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return answer


@pytest_asyncio.fixture(params=["asyncio", "uvloop"])
async def any_loop(request: pytest.FixtureRequest) -> Any:
    """Return how to run something: on the loop of tests, or on another."""
    if request.param == "asyncio":
        return lambda work: work
    return lambda work: asyncio.to_thread(uvloop.run, work)


def text_frame(text: str) -> bytes:
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode()


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


class Noting:
    """A transport that notes what is written to it."""

    def __init__(self, transport: Any, written: list[bytes]) -> None:
        self._transport, self._written = transport, written

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.mark.parametrize("kind", ["frame", "close", "nothing"])
async def test_the_first_frame_comes_in_one_packet_with_the_handshakes_answer(
    kind: str, any_loop: Any
) -> None:
    async def greeting(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        line = line_of(send, lambda: None, lambda _: None)
        if kind == "frame":
            line.write(line.form("first"))
            line.write(line.form("second"))
        elif kind == "close":
            line.end(Close.RESTARTING)
        await receive()

    async def work() -> list[bytes]:
        with pytest.MonkeyPatch.context() as monkey:
            monkey.setattr(Greeted, "run_asgi", lambda p: greeting(p.scope, p.receive, p.send))
            monkey.setattr(Greeted, "start", noted)
            async with Serving(OURS).port() as port, asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request())
                answer = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.1)
                rest = bytes(reader._buffer)  # type: ignore[attr-defined]
                writer.close()
                return [answer, rest]

    written: list[bytes] = []
    whole = Greeted.start

    def noted(protocol: Greeted) -> None:
        protocol.transport = cast("Any", Noting(protocol.transport, written))
        whole(protocol)

    answer, rest = await any_loop(work())

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert (
        rest
        == {
            "frame": framed("first") + framed("second"),
            "close": bytes([0x88, 2, *Close.RESTARTING.to_bytes(2)]),
            "nothing": b"",
        }[kind]
    )
    assert written[0] == (answer + framed("first") if kind == "frame" else answer)
    assert b"".join(written) == answer + rest


@pytest.mark.parametrize("kind", ["ping", "close"])
@pytest.mark.parametrize("has_line", [True, False])
async def test_whatever_comes_before_the_answer_is_written_is_answered_behind_it(
    kind: str, has_line: bool, any_loop: Any
) -> None:
    said = frame(0x89, b"hi") if kind == "ping" else frame(0x88, (1000).to_bytes(2))

    async def work() -> bytes:
        async def early(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            client.send(said)
            await send({"type": "websocket.accept"})
            if has_line:
                line_of(send, lambda: None, lambda _: None)
            await receive()

        with pytest.MonkeyPatch.context() as monkey:
            monkey.setattr(Greeted, "run_asgi", lambda p: early(p.scope, p.receive, p.send))
            async with Serving(OURS).port() as port, asyncio.timeout(10):
                client = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
                with client:
                    client.send(request())
                    await asyncio.sleep(0.2)
                    return await asyncio.to_thread(client.recv, 4096)

    head, answer = (await any_loop(work())).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert answer == (b"\x8a\x02hi" if kind == "ping" else b"\x88\x02\x03\xe8")


async def test_a_handshake_behind_requests_is_answered_behind_their_answers(any_loop: Any) -> None:
    async def serving_both(scope: Any, receive: Any, send: Any) -> None:
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
            asked = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in ("/a", "/b")]
            writer.write(b"".join([*asked, request()]))
            answer = await reader.readuntil(framed("welcome"))
            writer.write(frame(0x88, (1000).to_bytes(2)))
            rest = await reader.read()
            writer.close()
            return answer + rest

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


@pytest.mark.parametrize("path", ["/", "/line"])
async def test_what_comes_before_the_handshake_is_answered_is_heard_after_it(
    any_loop: Any, path: str
) -> None:
    async def talk() -> bytes:
        serving = Serving(OURS)
        async with serving.port() as port, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            slow = serving.application

            async def late(scope: Any, receive: Any, send: Any) -> None:
                writer.write(text_frame("early"))
                await asyncio.sleep(0.1)
                writer.write(text_frame("late"))
                await slow(scope, receive, send)

            monkey = pytest.MonkeyPatch()
            monkey.setattr(Greeted, "run_asgi", lambda p: late(p.scope, p.receive, p.send))
            writer.write(request(path))
            answer = await reader.readuntil(b"\r\n\r\n")
            answer += await reader.readexactly(len(framed("early!") + framed("late!")))
            monkey.undo()
            writer.close()
            return answer

    answer = await any_loop(talk())

    assert answer.endswith(framed("early!") + framed("late!"))


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


async def test_an_application_receives_what_comes_in_its_order_and_may_be_cancelled() -> None:
    inbox = Inbox()
    early = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    early.cancel()
    assert isinstance((await asyncio.gather(early, return_exceptions=True))[0], BaseException)
    taking = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    for number in range(3):
        inbox.put_nowait(number)
    assert (await taking, await inbox.get(), inbox.qsize(), inbox.empty()) == (0, 1, 1, False)
    assert (await inbox.get(), inbox.empty()) == (2, True)


def frame(first: int, payload: bytes, mask: bytes = bytes(4)) -> bytes:
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    size = len(payload)
    head = [first, 0x80 | size] if size < 126 else [first, 0x80 | 126, *size.to_bytes(2)]
    return bytes(head) + mask + masked


@pytest.mark.parametrize("path", ["/", "/line"])
async def test_messages_are_heard_whatever_comes_between_them(any_loop: Any, path: str) -> None:
    texts = ["whole", "x" * 126, "in parts", "behind a ping", "two in one", "read", "late"]
    pieces = [
        frame(0x81, b"whole", b"mask"),
        frame(0x81, b"x" * 126, b"mask"),
        frame(0x01, b"in "),
        frame(0x80, b"parts", b"mask"),
        frame(0x89, b"ping"),
        frame(0x81, b"behind a ping"),
        frame(0x81, b"two in one") + frame(0x81, b"read"),
        frame(0x81, b"late")[:3],
        frame(0x81, b"late")[3:],
    ]
    answers = [framed(f"{text}!") for text in texts]
    answers.insert(3, b"\x8a\x04ping")

    async def talk() -> bytes:
        async with Serving(OURS).port() as port, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(path))
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.01)
            answer = await reader.readexactly(len(b"".join(answers)))
            writer.close()
            return answer

    assert await any_loop(talk()) == b"".join(answers)


async def test_a_client_that_sends_whole_messages_alone_needs_nothing_of_websockets() -> None:
    serving = Serving(OURS)
    async with serving.port() as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/line"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text_frame("one"))
        await reader.readexactly(len(framed("one!")))
        before = set(vars(serving.protocols[0]))
        writer.write(frame(0x88, (1000).to_bytes(2)))
        closed = await reader.read()
        writer.close()

    assert not before & {"_conn", "_writable", "frames", "scope"}
    assert closed.endswith(b"\x88\x02\x03\xe8")


@pytest.mark.parametrize(
    "part",
    [
        *(frame(0x81, b"whole")[:size] for size in range(11)),
        frame(0x81, b"whole") + b"x",
        frame(0x01, b"not all"),
        frame(0x82, b"bytes"),
        frame(0x89, b"ping"),
        frame(0xC1, b"deflated"),
        frame(0x81, b"\xff"),
        b"\x81\x05whole",
        b"\x81\xff" + (5).to_bytes(8) + bytes(4) + b"whole",
    ],
)
async def test_what_is_no_whole_text_is_left_to_websockets(part: bytes) -> None:
    assert whole_text(part) is None


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[SSLContext, SSLContext]:
    """Return what a server and its client need for TLS."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("here")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "here.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain)
        + made.public_bytes(Encoding.PEM)
    )
    server, client = SSLContext(PROTOCOL_TLS_SERVER), create_default_context(cafile=str(file))
    server.load_cert_chain(file)
    return server, client


async def test_a_line_over_tls_is_free_again_whenever_its_client_reads(
    any_loop: Any, certified: tuple[SSLContext, SSLContext]
) -> None:
    ticks = [str(number) * 3000 for number in range(10)]

    async def talk() -> bytes:
        serving = Serving(OURS)
        async with serving.port(certified[0]) as port, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=certified[1], server_hostname="here"
            )
            writer.write(request("/line"))
            await reader.readuntil(b"\r\n\r\n")
            line = serving.protocols[0].line
            read = b""
            for tick in ticks:
                await until(lambda: line.is_free)
                line.write(line.form(tick))
                read += await reader.readexactly(len(framed(tick)))
            writer.close()
            return read

    assert await any_loop(talk()) == b"".join(map(framed, ticks))
