"""What follows a handshake that took the short way: its answer's packet, messages, TLS."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from streaming.feed import Feed, Share, Traffic
from streaming.frames import framed
from streaming.lines import line_of
from streaming.protocol import Close
from streaming.ticks import Place
from streaming.upgrade import Greeted, Inbox, whole_text
from tests.streaming.handshakes import OURS, UVICORNS, Serving, frame, request, text_frame
from tests.streaming.sockets import until

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_line_for_each_connection")]


class Noting:
    """A transport that notes what is written to it."""

    def __init__(self, transport: Any, written: list[bytes]) -> None:
        self._transport, self._written = transport, written

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.mark.parametrize("kind", ["frame", "close", "shutdown", "nothing"])
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
        elif kind == "shutdown":
            send.__self__.shutdown()
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
    restarting = bytes([0x88, 2, *Close.RESTARTING.to_bytes(2)])
    frames = {"frame": framed("first") + framed("second"), "nothing": b""}
    assert rest == frames.get(kind, restarting)
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


@pytest.mark.parametrize("ways", [OURS, UVICORNS], ids=["ours", "uvicorns"])
async def test_who_left_an_answer_unread_before_it_became_a_websocket_is_a_slow_reader(
    ways: dict[str, Any], any_loop: Any
) -> None:
    ticks = [Share("price_update", Place("e", seq), f'"seq":{seq}}}') for seq in range(1, 4)]

    async def work() -> tuple[bool, int, bytes]:
        answered, accepted = asyncio.Event(), asyncio.Event()
        traffic, feeds = Traffic(2**20), list[Feed]()

        async def serving_both(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if scope["type"] == "http":
                headers = [(b"content-length", b"8000000")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": bytes(8_000_000)})
                answered.set()
                return
            await send({"type": "websocket.accept"})
            line = line_of(send, lambda: None, lambda _: None)
            feeds.append(Feed(Place("e", 0), line, traffic))
            accepted.set()
            await receive()

        serving = Serving(ways)
        serving.config.loaded_app = serving_both
        async with serving.port() as port, asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await answered.wait()
            writer.write(request())
            await accepted.wait()
            for tick in ticks:
                feeds[0].put_tick(tick)
            found = feeds[0] in traffic.late, len(feeds[0])
            rest = b""
            while not rest.endswith(framed(ticks[-1].text(0))):
                rest = rest[-1000:] + await reader.read(65536)
            writer.close()
            return *found, rest

    is_late, waiting, rest = await any_loop(work())

    assert (is_late, waiting) == (True, 1)
    assert rest.partition(b"\r\n\r\n")[2] == framed(ticks[-1].text(0))


@pytest.mark.parametrize("who", ["the client", "we"])
@pytest.mark.parametrize("ways", [OURS, UVICORNS | {"ws": OURS["ws"]}], ids=["ours", "uvicorns"])
async def test_a_close_to_who_does_not_read_does_not_keep_a_server_from_its_stop(
    ways: dict[str, Any], who: str, any_loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.uvicorn._CLOSE_WITHIN_S", 60.0)

    async def work() -> bytes:
        asked, closing = asyncio.Event(), asyncio.Event()

        async def serving_both(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if scope["type"] == "http":
                asked.set()
                await closing.wait()
                headers = [(b"content-length", b"2")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": b"ok"})
                return
            await send({"type": "websocket.accept"})
            line = line_of(send, lambda: None, lambda _: None)
            line.write(bytes(8_000_000))
            if who == "we":
                line.end(Close.TOO_LARGE)
            await receive()
            closing.set()

        serving = Serving(ways)
        serving.config.loaded_app = serving_both
        async with serving.port() as port, asyncio.timeout(20):
            deaf = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            deaf[1].write(request())
            await deaf[0].readuntil(b"\r\n\r\n")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asked.wait()
            if who == "the client":
                deaf[1].write(frame(0x88, (1000).to_bytes(2)))
            await closing.wait()
            for connection in [*serving.state.connections]:  # as uvicorn does when it stops
                connection.shutdown()
            answer = await reader.read()
            await until(lambda: not serving.state.connections)
            for one in (deaf[1], writer):
                one.transport.abort()
            return answer

    assert (await any_loop(work())).endswith(b"\r\n\r\nok")


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
