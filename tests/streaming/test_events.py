"""Server-sent events as clients meet them: real servers, a real worker and beat, a real market."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from lokifi import parts
from lokifi.embedded import free_port
from streaming import demand
from streaming.event_lines import UvicornEvents
from tests.processes import responds, until
from tests.product import Product, Web
from tests.streaming.reading import PATH, stream

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timeout(180),  # five processes are started first
    pytest.mark.xdist_group("events"),
]


def plain_uvicorn(host: str, port: int) -> list[str]:
    return [*parts.uvicorn(host, port)[:-1], "tests.streaming.hidden:application"]


SERVERS = {"daphne": parts.daphne, "uvicorn": parts.uvicorn, "plain send": plain_uvicorn}


class Installation:
    def __init__(self, folder: Path) -> None:
        self.product = Product(folder, PUBLISH_INTERVAL_S="1", WS_SLOW_AFTER_S="2")
        self.webs = {name: self.web(name) for name in ("daphne", "uvicorn")}
        self.product.worker()
        self.product.beat()

    def web(self, server: str, **settings: str) -> Web:
        port = free_port()
        url = f"http://127.0.0.1:{port}/livez"
        process = self.product.start("web", SERVERS[server]("127.0.0.1", port), **settings)
        until(lambda: responds(url), "the web server", told=lambda: process.said)
        return Web(process, port)

    def figures(self, web: Web) -> dict[str, int]:
        """Return what one server process counts, as it last said."""
        with Redis.from_url(self.product.redis.url) as redis:
            for name, figures in demand.figures(redis).items():
                if name.split(":")[-2] == str(web.process.pid):
                    return figures
        return {}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    running = Installation(tmp_path_factory.mktemp("events"))
    with running.product:
        yield running


@pytest.fixture(params=["daphne", "uvicorn"])
def web(request: pytest.FixtureRequest, installation: Installation) -> Web:
    return installation.webs[request.param]


@dataclass
class Narrow:
    """A server that lets in two connections, by which of its settings."""

    web: Web
    setting: str


@pytest.fixture(
    scope="module",
    params=[
        ("daphne", "WS_MAX_CONNECTIONS_PER_ADDRESS"),
        ("uvicorn", "WS_MAX_CONNECTIONS"),
        ("plain send", "WS_MAX_CONNECTIONS"),
    ],
    ids=lambda param: param[0],
)
def narrow(request: pytest.FixtureRequest, installation: Installation) -> Narrow:
    server, setting = request.param
    return Narrow(installation.web(server, **{setting: "2"}), setting)


async def refused(web: Web, query: str, **headers: str) -> tuple[httpx.Headers, dict[str, Any]]:
    async with httpx.AsyncClient(timeout=30) as client:
        response = await client.get(f"{web.url}{PATH}{query}", headers=headers)
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    return response.headers, problem


async def test_a_stream_begins_with_what_is_known_and_goes_on_with_every_tick(web: Web) -> None:
    async with stream(web, "BTC, eth,NOPE,AAPL") as one:
        assert 1000 <= int((await one.event()).retry) <= 5000
        subscribed = (await one.event()).data
        snapshot = await one.event()
        ticks = [await one.message() for _ in range(3)]

    assert one.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert one.headers["Cache-Control"] == "no-store, no-transform"
    assert one.headers["Access-Control-Allow-Origin"] == "*"
    assert one.headers["X-Request-ID"]
    assert "Content-Length" not in one.headers
    assert (subscribed["type"], subscribed["symbols"]) == ("subscribed", ["BTC", "ETH", "AAPL"])
    assert subscribed["rejected"] == {"NOPE": "unknown_symbol"}
    assert snapshot.data["snapshot"] is True
    assert snapshot.data["data"].keys() == {"BTC", "ETH", "AAPL"}
    first = ticks[0].seq
    assert [tick.seq for tick in ticks] == [first, first + 1, first + 2]
    assert ticks[0].data["prev_seq"] == snapshot.data["seq"]
    for tick in ticks:
        assert tick.id == f"{tick.data['epoch']}:{tick.data['seq']}"
        assert tick.data["prev_seq"] == tick.seq - 1
        assert tick.data["data"].keys() == {"BTC", "ETH", "AAPL"}


async def test_who_comes_back_gets_what_it_missed_each_tick_once_and_from_any_process(
    installation: Installation, web: Web
) -> None:
    async with stream(web, "BTC") as one:
        last = await one.message()
    async with stream(installation.webs["uvicorn"], "BTC") as other:
        while (await other.message()).seq < last.seq + 3:
            pass

    async with stream(web, "BTC", last.id) as again:
        subscribed = (await again.message("subscribed")).data
        events = [await again.message() for _ in range(5)]
    async with stream(web, "BTC", last_event_id=last.id) as by_query:
        assert (await by_query.message("subscribed")).data["recovered"] is True

    assert subscribed["recovered"] is True
    assert [event.seq for event in events] == [last.seq + n for n in range(1, 6)]
    assert [event.data.get("replay", False) for event in events][:3] == [True] * 3
    assert "replay" not in events[-1].data


@pytest.mark.parametrize("last", ["never:5", "of another form", "x" * 200])
async def test_an_id_that_is_not_known_begins_with_a_snapshot(
    installation: Installation, last: str
) -> None:
    async with stream(installation.webs["uvicorn"], "BTC", last) as one:
        assert (await one.message("subscribed")).data["recovered"] is False
        assert (await one.message()).data["snapshot"] is True


async def test_a_ticker_of_the_past_is_refused_with_who_bears_it_now(web: Web) -> None:
    said = (await refused(web, "?symbols=FB"))[1]

    rest = (await asyncio.to_thread(web.get, "/api/v1/prices/FB")).json()
    for name in ("status", "code", "detail", "successor", "last_day"):
        assert said[name] == rest[name]
    assert said["successor"]["symbol"] == "META"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid_parameter"),
        ("?symbols=,", 400, "invalid_parameter"),
        (f"?symbols={','.join(f'A{n}' for n in range(501))}", 400, "invalid_parameter"),
        ("?symbols=B$C", 400, "invalid_symbol"),
        ("?symbols=NOPE,NOPE2", 404, "unknown_symbol"),
    ],
)
async def test_a_request_that_cannot_be_met_is_a_problem_before_the_stream(
    web: Web, query: str, status: int, code: str
) -> None:
    headers, problem = await refused(web, query, **{"X-Request-ID": "mine"})

    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == headers["X-Request-ID"] == "mine"
    assert headers["Access-Control-Allow-Origin"] == "*"


async def test_other_methods_and_hosts_are_answered_as_everywhere_below_api(web: Web) -> None:
    async with httpx.AsyncClient(base_url=web.url) as client:
        head = await client.head(PATH, params={"symbols": "BTC"})
        post = await client.post(PATH, params={"symbols": "BTC"})
        asked = await client.options(
            PATH,
            headers={
                "Origin": "https://board.example",
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "Last-Event-ID",
            },
        )
        picky = await client.get(f"{PATH}?symbols=BTC", headers={"Accept": "text/html"})
        foreign = await client.get(f"{PATH}?symbols=BTC", headers={"Host": "evil.example"})

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"].startswith("text/event-stream")
    assert (post.status_code, post.json()["code"]) == (405, "method_not_allowed")
    assert "last-event-id" in asked.headers["Access-Control-Allow-Headers"].lower()
    assert (picky.status_code, picky.json()["code"]) == (406, "not_acceptable")
    assert foreign.status_code == 400


async def test_streams_hold_no_thread(web: Web) -> None:
    def threads() -> int:
        return len(list(Path(f"/proc/{web.process.pid}/task").iterdir()))

    async def kept(is_there: asyncio.Event, until_then: asyncio.Event) -> None:
        async with stream(web, "BTC") as one:
            await one.message()
            is_there.set()
            await until_then.wait()

    before = threads()
    over = asyncio.Event()
    there = [asyncio.Event() for _ in range(40)]
    tasks = [asyncio.create_task(kept(event, over)) for event in there]
    async with asyncio.timeout(30):
        await asyncio.gather(*(event.wait() for event in there))
    # What was needed to begin them is gone or kept for the next; it is not one each.
    grown = threads() - before
    over.set()
    await asyncio.gather(*tasks)

    assert grown < 20


class Deaf:
    """A client that asks for a stream and then never reads."""

    def __init__(self, web: Web, symbols: list[str]) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", web.port))
        target = f"{PATH}?symbols={','.join(symbols)}"
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def close(self) -> None:
        self._socket.close()


async def test_who_never_reads_is_cut_off_and_nobody_else_notices(
    installation: Installation, web: Web
) -> None:
    rows = (await asyncio.to_thread(web.get, "/api/v1/prices/crypto/top?limit=100")).json()
    symbols = list(dict.fromkeys(row["symbol"] for row in rows["cryptos"]))
    before = installation.figures(web).get("closed_4409", 0)
    deaf = [Deaf(web, symbols) for _ in range(2)]
    seqs: list[int] = []
    try:
        async with stream(web, ",".join(symbols[:10])) as good:
            assert (await good.message()).data["snapshot"]
            async with asyncio.timeout(90):
                while installation.figures(web).get("closed_4409", 0) < before + 2:
                    seqs.append((await good.message()).seq)
    finally:
        for one in deaf:
            one.close()

    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert installation.figures(web)["conflated"] > 0
    assert "Traceback" not in web.process.said


async def test_a_slow_reader_gets_whole_events(web: Web) -> None:
    rows = (await asyncio.to_thread(web.get, "/api/v1/prices/crypto/top?limit=100")).json()
    symbols = dict.fromkeys(row["symbol"] for row in rows["cryptos"])
    async with stream(web, ",".join(symbols)) as slow:
        assert (await slow.message()).data["snapshot"]
        for _ in range(3):
            tick = (await slow.message()).data
            assert tick["count"] == len(tick["data"]) > 90
            await asyncio.sleep(0.3)


async def test_who_has_as_many_connections_as_are_allowed_is_told_to_come_later(
    narrow: Narrow,
) -> None:
    web = narrow.web
    async with stream(web, "BTC") as one, stream(web, "BTC") as two:
        for each in (one, two):
            await each.message()
        headers, problem = await refused(web, "?symbols=BTC")
        assert (problem["status"], problem["code"]) == (429, "rate_limited")
        assert narrow.setting in problem["detail"]
        assert int(headers["Retry-After"]) > 0

    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        # That both are gone, the server learns a moment later.
        while (await _status(client, web)) != 200:
            pass
    # A refusal is no connection: it takes no room.
    for _ in range(3):
        assert (await refused(web, "?symbols=NOPE"))[1]["code"] == "unknown_symbol"


async def _status(client: httpx.AsyncClient, web: Web) -> int:
    async with client.stream("GET", f"{web.url}{PATH}?symbols=BTC") as response:
        return response.status_code


async def test_a_server_that_stops_says_when_to_come_back_and_ends_the_stream(
    narrow: Narrow,
) -> None:
    web = narrow.web
    async with stream(web, "BTC") as one, stream(web, "BTC") as two:
        for each in (one, two):
            await each.message()
        web.process.send(signal.SIGTERM)
        for each in (one, two):
            notice = await each.message("notice")
            assert notice.data["code"] == "stopping"
            assert notice.retry == str(notice.data["retry_after_ms"])
            # The end of the response, not a broken connection.
            await each.end()
    assert await asyncio.to_thread(web.process.wait) in {0, -signal.SIGTERM}
    assert "Traceback" not in web.process.said


class Closed:
    """What uvicorn has of a response whose client is gone, by uvloop's transport."""

    def __init__(self) -> None:
        self.transport = self

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str) -> None: ...

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        raise RuntimeError("the handler is closed")


async def test_what_is_written_to_who_is_gone_already_is_dropped() -> None:
    line = UvicornEvents(Closed())

    line.write(b"an event")

    assert not line.is_free
