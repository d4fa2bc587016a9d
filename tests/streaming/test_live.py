"""The stream as clients meet it: real servers, a real worker and beat, a real market."""

from __future__ import annotations

import asyncio
import json
import math
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.processes import until
from tests.product import Product, Web
from tests.streaming.described import faults
from tests.streaming.reading import stream

pytestmark = [pytest.mark.asyncio, pytest.mark.xdist_group("live-stream")]

MARKETS = "/coingecko/api/v3/coins/markets"


class Installation:
    """One product with a daphne and a uvicorn on one Redis, and everything else twice."""

    def __init__(self, folder: Path) -> None:
        self.product = Product(folder, PUBLISH_INTERVAL_S="1", TRACKED_SYMBOLS="SOL")
        self.webs = {name: self.product.web(name) for name in ("daphne", "uvicorn")}
        for _ in range(2):
            self.product.worker()
            self.product.beat()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    running = Installation(tmp_path_factory.mktemp("live"))
    with running.product:
        yield running


@pytest.fixture(params=["daphne", "uvicorn"])
def web(request: pytest.FixtureRequest, installation: Installation) -> Web:
    return installation.webs[request.param]


class Client:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def ask(self, action: str, **more: Any) -> dict[str, Any]:
        """Send a request and return its answer; ticks in between are skipped."""
        await self.send(action=action, id="asked", **more)
        while (message := await self.receive()).get("id") != "asked":
            pass
        return message

    async def tick(self) -> dict[str, Any]:
        """Return the next live price_update."""
        while (message := await self.receive())["type"] != "price_update" or "snapshot" in message:
            pass
        return message

    async def code(self) -> int | None:
        """Return the code the server closes with."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


@asynccontextmanager
async def client(web: Web, **options: Any) -> AsyncIterator[Client]:
    """A connected client that has read its welcome."""
    async with connect(web.socket_url, **options) as connection:
        connected = Client(connection)
        assert (await connected.receive())["type"] == "welcome"
        yield connected


async def test_a_client_gets_its_snapshot_and_then_every_tick(web: Web) -> None:
    async with client(web) as one:
        subscribed = await one.ask("subscribe", symbols=["BTC", "eth", "AAPL", "NOPE"])
        snapshot = await one.receive()
        ticks = [await one.tick() for _ in range(3)]

    assert subscribed["symbols"] == ["BTC", "ETH", "AAPL"]
    assert subscribed["rejected"] == {"NOPE": "unknown_symbol"}
    assert subscribed["pending"] == []
    assert snapshot["snapshot"] is True
    assert list(snapshot["data"]) == ["BTC", "ETH", "AAPL"]
    first = ticks[0]["seq"]
    assert [t["seq"] for t in ticks] == [first, first + 1, first + 2]
    assert [t["prev_seq"] for t in ticks] == [first - 1, first, first + 1]
    assert {t["epoch"] for t in ticks} == {snapshot["epoch"]}
    for message in (snapshot, *ticks):
        assert message["count"] == 3
        for quote in message["data"].values():
            assert (quote["source"], quote["stale"]) == ("sandbox", False)
            assert quote["price"] > 0


async def test_what_a_server_sends_is_as_the_asyncapi_document_says(web: Web) -> None:
    asked: list[Any] = [
        {"action": "subscribe", "symbols": ["BTC", "stock:stx", "AAPL", "NOPE", "B$C"], "id": "a"},
        {"action": "subscribe", "symbols": ["ETH"], "since": 1, "epoch": "gone", "id": 2.5},
        {"action": "get_subscriptions", "id": 3},
        {"action": "ping"},
        {"action": "unsubscribe", "symbols": ["BTC"], "id": 4},
        {"action": "subscribe", "symbols": ["SOL"], "fields": ["price"], "max_rate": 1, "id": 5},
        *({"action": "none"}, [], {"action": "subscribe"}, {"action": "ping", "id": [1]}),
        {"action": "subscribe", "symbols": [], "since": -1},
        {"action": "subscribe", "symbols": [], "mode": "odd"},
    ]
    got: list[dict[str, Any]] = []
    async with connect(web.socket_url) as connection:
        one = Client(connection)
        await connection.send(b"binary")
        await connection.send("no JSON")
        for message in asked:
            await connection.send(json.dumps(message))
        while sum(m["type"] == "price_update" and "snapshot" not in m for m in got) < 3:
            got.append(await one.receive())
        last = got[-1]
        again = {"symbols": ["SOL"], "since": last["seq"] - 2, "epoch": last["epoch"]}
        await one.send(action="subscribe", **again)
        while not any("replay" in m for m in got):
            got.append(await one.receive())
        await one.send(action="unsubscribe", symbols=["ETH", "SOL", "AAPL", "stock:STX"])
        while got[-1]["type"] != "heartbeat":
            got.append(await one.receive())

    assert [fault for message in got for fault in faults(message["type"], message)] == []
    kinds = {message["type"] for message in got}
    assert kinds == {
        *("welcome", "subscribed", "unsubscribed", "subscriptions", "pong"),
        *("price_update", "heartbeat", "error"),
    }
    assert {message["code"] for message in got if message["type"] == "error"} == {
        *("not_text", "invalid_json", "invalid_message", "unknown_action"),
        *("invalid_symbols", "invalid_id", "invalid_since", "invalid_choice"),
    }


async def test_two_server_processes_tell_the_same_ticks(installation: Installation) -> None:
    daphne, uvicorn = installation.webs.values()
    async with client(daphne) as one, client(uvicorn) as two:
        for each in (one, two):
            await each.ask("subscribe", symbols=["BTC", "ETH"])
        seen = await asyncio.gather(*(_by_seq(each, 5) for each in (one, two)))

    both = seen[0].keys() & seen[1].keys()
    assert len(both) >= 3
    for seq in both:
        assert seen[0][seq] == seen[1][seq]


async def _by_seq(each: Client, ticks: int) -> dict[int, Any]:
    messages = [await each.tick() for _ in range(ticks)]
    return {m["seq"]: (m["epoch"], m["timestamp"], m["data"]) for m in messages}


async def test_ticks_do_not_multiply_with_server_processes_and_the_union_is_fetched_once(
    installation: Installation,
) -> None:
    daphne, uvicorn = installation.webs.values()
    async with client(daphne) as one, client(uvicorn) as two:
        await one.ask("subscribe", symbols=["BTC", "ETH"])
        await two.ask("subscribe", symbols=["ETH", "DOGE"])
        await two.tick()
        before = installation.product.sandbox.count(MARKETS)
        first = (await two.tick())["seq"]
        for _ in range(5):
            last = (await two.tick())["seq"]
        calls = installation.product.sandbox.count(MARKETS) - before

    ticks = last - first + 1
    assert ticks == 6
    # Fewer where a call took longer than a tick, as on a busy machine.
    assert ticks // 2 <= calls <= ticks + 1, "one call a tick, whoever follows what where"


async def test_two_beats_and_two_workers_publish_each_tick_once(installation: Installation) -> None:
    with Redis.from_url(installation.product.redis.url, decode_responses=True) as redis:
        listener = redis.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("lokifi:price_updates")
        ticks: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while len(ticks) < 6:
                message = await asyncio.to_thread(listener.get_message, timeout=1)
                if message:
                    ticks.append(json.loads(message["data"]))
        listener.close()

    seqs = [tick["seq"] for tick in ticks]
    assert seqs == list(range(seqs[0], seqs[0] + 6))
    seconds = [math.floor(_time(tick) + 0.1) for tick in ticks]
    assert len(set(seconds)) == 6, "one in each interval"
    assert all(tick["type"] == "price_update" and "SOL" in tick["data"] for tick in ticks)


def _time(tick: dict[str, Any]) -> float:
    return datetime.fromisoformat(tick["timestamp"]).timestamp()


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://127.0.0.1:{port}", True),
        ("http://localhost:{port}", False),
        ("http://127.0.0.1:1", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
async def test_a_page_of_another_origin_is_refused_with_403(
    web: Web, origin: str | None, allowed: bool
) -> None:
    given: Any = origin and origin.format(port=web.port)
    if allowed:
        async with client(web, origin=given):
            return

    with pytest.raises(InvalidStatus) as caught:
        async with client(web, origin=given):
            pass

    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_in_development_a_page_from_another_port_of_localhost_may_connect(
    installation: Installation, server: str
) -> None:
    web = await asyncio.to_thread(installation.product.web, server, DEBUG="1")
    for origin in ("http://localhost:3000", "http://127.0.0.1:5173"):
        async with client(web, origin=origin) as page:
            assert (await page.ask("ping"))["type"] == "pong"
    web.process.stop()


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_an_address_may_have_so_many_connections_and_no_more(
    installation: Installation, server: str
) -> None:
    most = {"WS_MAX_CONNECTIONS_PER_ADDRESS": "1"}
    web = await asyncio.to_thread(installation.product.web, server, **most)
    async with client(web) as one:
        async with connect(web.socket_url) as connection:
            second = Client(connection)
            assert (await second.receive())["code"] == "limit"
            assert await second.code() == 1013
        assert (await one.ask("ping"))["type"] == "pong"
    web.process.stop()


async def test_another_path_is_refused(web: Web) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(web.socket_url + "/other"):
            pass

    assert caught.value.response.status_code == 403


async def test_the_subprotocol_is_chosen_where_it_is_offered(web: Web) -> None:
    async with client(web, subprotocols=["lokifi.prices.v1"]) as new:
        assert new.connection.subprotocol == "lokifi.prices.v1"
    async with client(web) as plain:
        assert plain.connection.subprotocol is None


async def test_mistakes_are_answered_and_a_huge_message_ends_the_connection(web: Web) -> None:
    async with client(web) as wrong:
        codes = []
        for said in (b"\x00\x01", "{", "x" * 16_385):
            await wrong.connection.send(said)
            while (message := await wrong.receive())["type"] != "error":
                pass  # a sign of life
            codes.append(message["code"])
        assert codes == ["not_text", "invalid_json", "too_large"]
        assert await wrong.code() == 1009


async def test_a_flood_ends_with_4429_and_harms_nobody(web: Web) -> None:
    async with client(web) as good, client(web) as flood:
        await good.ask("subscribe", symbols=["BTC"])
        for _ in range(200):
            await flood.send(action="ping")

        assert await flood.code() == 4429
        assert (await good.tick())["data"].keys() == {"BTC"}


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_a_server_that_stops_says_when_to_come_back(
    installation: Installation, server: str
) -> None:
    web = await asyncio.to_thread(installation.product.web, server)
    async with client(web) as one, client(web) as two:
        web.process.send(signal.SIGTERM)

        for each in (one, two):
            while (message := await each.receive())["type"] != "notice":
                pass
            assert message["code"] == "stopping"
            assert 500 <= message["retry_after_ms"] <= 5000
            assert await each.code() == 1012
    assert await asyncio.to_thread(web.process.wait) in {0, -signal.SIGTERM}


async def test_redis_may_go_and_come_back_under_open_sockets(
    installation: Installation,
) -> None:
    from lokifi.embedded import EmbeddedServer

    product, webs = installation.product, list(installation.webs.values())
    async with (
        client(webs[0]) as one,
        client(webs[1]) as two,
        stream(webs[0], "BTC") as three,
        stream(webs[1], "BTC") as four,
    ):
        for each in (one, two):
            await each.ask("subscribe", symbols=["BTC"])
            await each.tick()
        for reader in (three, four):
            await reader.message()

        product.redis.kill()
        killed_at = datetime.now(UTC).replace(microsecond=0)
        # A server knows that its last tick is old only when the next one is overdue.
        await asyncio.sleep(2.5)
        for web in webs:
            async with stream(web, "BTC") as latecomer:
                quote = (await latecomer.message()).data["data"]["BTC"]
                # What was held is stale; what was fetched for the latecomer is not.
                held_at = datetime.fromisoformat(quote["last_updated"])
                assert quote["stale"] or held_at >= killed_at
            async with client(web) as late:
                answer = await late.ask("subscribe", symbols=["BTC"])
                assert answer["symbols"] == ["BTC"]
                assert (await late.receive())["data"].keys() == {"BTC"}
        for each in (one, two):
            while (message := await each.receive()).get("code") != "publisher_silent":
                assert message["type"] in {"price_update", "heartbeat"}

        port = product.redis.port
        product.redis = EmbeddedServer(product.folder / "redis-again", port)
        for each in (one, two):
            while (message := await each.receive()).get("code") != "epoch_changed":
                pass
            assert (await each.receive())["data"].keys() == {"BTC"}
            assert (await each.tick())["data"].keys() == {"BTC"}
        for reader in (three, four):
            while (await reader.message("notice")).data["code"] != "epoch_changed":
                pass
            assert (await reader.message()).data["snapshot"] is True
            assert (await reader.message()).data["data"].keys() == {"BTC"}
    until(lambda: "Redis is back" in product.logs, "the word of Redis's return")
    for web in webs:
        assert web.process.said.count("Redis is away (") <= 2
        assert "Traceback" not in web.process.said, web.process.said
