"""One connection: how it begins, what it is told, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from pytest_django import Settings

from streaming.consumers import PriceConsumer
from streaming.hub import Hub
from tests.streaming.sockets import (
    client,
    knowing,
    publish,
    resolve,
    until,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hub")]


async def test_welcome_says_what_a_client_needs() -> None:
    async with client(query="?client_id=dashboard-1") as socket:
        welcome = socket.welcome

        assert welcome == {
            "type": "welcome",
            "client_id": "dashboard-1",
            "message": welcome["message"],
            "protocol": 1,
            "epoch": welcome["epoch"],
            "seq": 0,
            "update_interval": 30,
            "heartbeat_s": 15,
            "dead_after_s": 45,
            "limits": {
                "max_message_bytes": 16384,
                "max_symbols": 500,
                "max_messages": 20,
                "message_window_s": 10,
                "message_burst": 100,
                "max_mistakes": 50,
                "mistakes_window_s": 60,
                "max_age_s": 86400,
            },
        }
        place = await publish(BTC=1.0)
        assert welcome["epoch"] == place.epoch, "the epoch is there before the first tick"


@pytest.mark.parametrize("query", ["", "?client_id=", "?client_id=two%20words", "?other=1"])
async def test_a_client_id_of_another_form_is_replaced(query: str) -> None:
    async with client(query=query) as one, client(query=query) as two:
        assert one.welcome["client_id"].startswith("client-")
        assert one.welcome["client_id"] != two.welcome["client_id"]


async def test_two_connections_may_bear_the_same_client_id() -> None:
    async with client(query="?client_id=me") as one, client(query="?client_id=me") as two:
        await one.subscribe("BTC")
        await two.ask("unsubscribe", "BTC")

        assert (await one.ask("get_subscriptions"))["symbols"] == ["BTC"]


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        (["lokifi.prices.v1"], "lokifi.prices.v1"),
        (["other", "lokifi.prices.v1"], "lokifi.prices.v1"),
        (["other"], None),
    ],
)
async def test_the_subprotocol_is_ours_where_it_is_offered(
    offered: list[str] | None, chosen: str | None
) -> None:
    async with client(subprotocols=offered) as socket:
        assert socket.subprotocol == chosen


async def test_a_ping_is_answered_with_the_time_and_its_id() -> None:
    async with client() as socket:
        pong = await socket.ask("ping", id=12)

        assert pong == {"type": "pong", "id": 12, "timestamp": pong["timestamp"]}
        assert pong["timestamp"].endswith("Z")
        assert len(pong["timestamp"]) == len("2026-11-23T12:00:00.000Z")


async def test_a_full_server_says_so_and_closes(settings: Settings, hub: Hub) -> None:
    settings.WS_MAX_CONNECTIONS = 1
    async with client():
        late = WebsocketCommunicator(PriceConsumer.as_asgi(lookup=knowing()), "/api/ws/prices")
        accepted, _ = await late.connect()

        assert accepted
        assert (await late.receive_json_from())["code"] == "full"
        assert (await late.receive_output())["code"] == 1013
        await late.disconnect()
        assert hub.count == 1


async def test_one_address_may_not_take_more_than_its_part(
    settings: Settings, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WS_MAX_CONNECTIONS_PER_ADDRESS = 2
    async with client(address="192.0.2.1") as first:
        async with client(address="192.0.2.1"):
            for _ in range(2):
                late = WebsocketCommunicator(PriceConsumer.as_asgi(), "/api/ws/prices")
                late.scope["client"] = ("192.0.2.1", 50_000)
                accepted, _ = await late.connect()

                assert accepted
                error = await late.receive_json_from()
                assert (error["type"], error["code"]) == ("error", "limit")
                assert "WS_MAX_CONNECTIONS_PER_ADDRESS" in error["error"]
                assert (await late.receive_output())["code"] == 1013
                await late.disconnect()
            async with client(address="192.0.2.2"), client(), client(), client():
                assert hub.count == 6, "others are let in, and whoever has no address"
        await until(lambda: hub.count == 1)
        async with client(address="192.0.2.1") as again:
            assert (await again.ask("ping"))["type"] == "pong"
        assert (await first.ask("ping"))["type"] == "pong"

    assert caplog.text.count("WS_MAX_CONNECTIONS_PER_ADDRESS") == 1


async def test_behind_a_listed_proxy_each_client_counts_for_itself(
    settings: Settings, hub: Hub
) -> None:
    settings.WS_MAX_CONNECTIONS_PER_ADDRESS = 1
    settings.TRUSTED_PROXIES = ["192.0.2.1"]

    async def code(peer: str, forwarded: str) -> str:
        headers = [(b"x-forwarded-for", forwarded.encode())]
        socket = WebsocketCommunicator(
            PriceConsumer.as_asgi(lookup=knowing()), "/api/ws/prices", headers=headers
        )
        socket.scope["client"] = (peer, 50_000)
        await socket.connect(timeout=5)
        sockets.append(socket)
        message = await socket.receive_json_from(timeout=5)
        return str(message.get("code", message["type"]))

    sockets: list[WebsocketCommunicator] = []
    seen = [
        await code("192.0.2.1", "198.51.100.1"),
        await code("192.0.2.1", "198.51.100.2"),
        await code("192.0.2.1", "203.0.113.5, 198.51.100.2"),
        await code("192.0.2.9", "198.51.100.3"),
        await code("192.0.2.9", "198.51.100.4"),
        await code("192.0.2.1", "2001:db8::1"),
        await code("192.0.2.1", "2001:db8::2"),
    ]
    for socket in sockets:
        await socket.disconnect()

    assert seen == ["welcome", "welcome", "limit", "welcome", "limit", "welcome", "limit"]


async def test_a_connection_that_is_too_old_is_closed(settings: Settings) -> None:
    settings.WS_MAX_AGE_S = 0
    async with client() as socket:
        assert await socket.closed() == 4440


async def test_who_leaves_is_forgotten(hub: Hub) -> None:
    async with client() as socket:
        await socket.subscribe("BTC")
        assert hub.count == 1

    await until(lambda: hub.count == 0)


async def test_who_is_cut_off_in_the_middle_is_forgotten_too(hub: Hub) -> None:
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})

    async def send(message: dict[str, Any]) -> None:
        return

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    consumer: Any = PriceConsumer(knowing())
    serving = asyncio.create_task(consumer(scope, inbox.get, send))
    await until(lambda: hub.count == 1)

    serving.cancel()

    await until(lambda: hub.count == 0)


async def test_one_dead_socket_delays_no_other(hub: Hub) -> None:
    stuck, broken = asyncio.Event(), asyncio.Event()

    async def hang(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            stuck.set()
            await asyncio.Event().wait()

    async def fail(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            broken.set()
            raise ConnectionResetError

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    inboxes: list[asyncio.Queue[dict[str, Any]]] = [asyncio.Queue(), asyncio.Queue()]
    dead = []
    for inbox, send in zip(inboxes, (hang, fail), strict=True):
        inbox.put_nowait({"type": "websocket.connect"})
        consumer: Any = PriceConsumer(knowing())
        dead.append(asyncio.create_task(consumer(scope, inbox.get, send)))
    await asyncio.gather(stuck.wait(), broken.wait())
    await until(lambda: hub.count == 1)  # the one whose send fails is out already

    async with client(knowing(cached=["BTC"])) as socket:
        await socket.subscribe("BTC")
        for price in range(1, 6):
            await publish(BTC=float(price))
            update = await socket.receive()
            assert (update["seq"], update["data"]["BTC"]["price"]) == (price, price)

    for task in dead:
        task.cancel()
    await asyncio.gather(*dead, return_exceptions=True)


async def test_requests_of_one_client_are_answered_in_order() -> None:
    async with client(knowing(resolution=resolve)) as socket:
        await socket.send(action="subscribe", symbols=["BTC"], id=1)
        await socket.send(action="ping", id=2)
        await socket.send(action="unsubscribe", symbols=["BTC"], id=3)
        await socket.send(action="get_subscriptions", id=4)

        got = [await socket.receive() for _ in range(5)]

        assert [m.get("id") for m in got] == [1, None, 2, 3, 4]
        assert got[-1]["symbols"] == []
