from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
import pytest_asyncio
from channels.testing import WebsocketCommunicator
from pytest_django import Settings

from prices.services.symbols import Resolution
from streaming import demand
from streaming.consumers import PriceConsumer
from streaming.hub import Hub
from tests.streaming.sockets import (
    client,
    knowing,
    meaning,
    publish,
    resolve,
    running_hub,
    until,
    wire,
)

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(autouse=True)
async def hub() -> AsyncIterator[Hub]:
    async with running_hub() as running:
        yield running


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


async def test_a_first_subscriber_sees_a_price_at_once_not_after_an_interval() -> None:
    async with client(knowing(cached=["BTC"])) as socket:
        subscribed, snapshot = await socket.subscribe("BTC", "ETH")

        assert subscribed == {
            "type": "subscribed",
            "symbols": ["BTC", "ETH"],
            "count": 2,
            "rejected": {},
            "pending": [],
            "resolved": {},
        }
        assert snapshot == {
            "type": "price_update",
            "epoch": socket.welcome["epoch"],
            "seq": 0,
            "prev_seq": 0,
            "snapshot": True,
            "timestamp": snapshot["timestamp"],
            "count": 2,
            "data": {"BTC": wire("BTC", 100.0), "ETH": wire("ETH", 200.0)},
        }


async def test_the_tick_that_was_published_last_answers_without_asking_anyone(hub: Hub) -> None:
    place = await publish(BTC=7.0)
    await until(lambda: hub.place == place)

    def nobody(wanted: Collection[str]) -> Collection[str]:
        raise AssertionError(wanted)

    async with client(knowing(fetched=nobody)) as socket:
        _, snapshot = await socket.subscribe("BTC")

        assert snapshot["data"] == {"BTC": wire("BTC", 7.0)}
        assert (socket.welcome["seq"], snapshot["seq"], snapshot["prev_seq"]) == (1, 1, 1)


async def test_symbols_are_rejected_by_name_and_the_rest_is_followed() -> None:
    async with client() as socket:
        subscribed, snapshot = await socket.subscribe("btc", "NOPE", "B T C", "crypto:btc")

        assert subscribed["symbols"] == ["BTC"]
        assert subscribed["count"] == 1
        assert subscribed["rejected"] == {"NOPE": "unknown_symbol", "B T C": "invalid_symbol"}
        assert subscribed["resolved"] == {"crypto:btc": "BTC"}
        assert list(snapshot["data"]) == ["BTC"]


async def test_an_unknown_symbol_is_rejected_by_name_when_subscribing() -> None:
    async with client() as socket:
        subscribed, snapshot = await socket.subscribe("NOPE")

        assert subscribed["rejected"] == {"NOPE": "unknown_symbol"}
        assert (subscribed["symbols"], subscribed["count"]) == ([], 0)
        assert (snapshot["snapshot"], snapshot["data"]) == (True, {})


async def test_a_second_request_is_answered_for_its_own_symbols() -> None:
    async with client() as socket:
        await socket.subscribe("BTC")
        subscribed, snapshot = await socket.subscribe("ETH", "BTC")

        assert (subscribed["symbols"], subscribed["count"]) == (["ETH", "BTC"], 2)
        assert list(snapshot["data"]) == ["ETH", "BTC"]


async def test_one_symbol_more_than_the_limit_is_rejected(settings: Settings) -> None:
    settings.WS_MAX_SYMBOLS = 2
    async with client() as socket:
        subscribed, _ = await socket.subscribe("BTC", "NOPE", "ETH", "SOL", "crypto:BTC")

        assert subscribed["symbols"] == ["BTC", "ETH"]
        assert subscribed["rejected"] == {"NOPE": "unknown_symbol", "SOL": "limit"}
        await socket.ask("unsubscribe", "ETH")
        assert (await socket.subscribe("SOL"))[0]["symbols"] == ["SOL"]


async def test_a_price_that_takes_too_long_is_pending_and_comes_with_a_tick() -> None:
    release = threading.Event()

    def slow(wanted: Collection[str]) -> Collection[str]:
        release.wait(10)
        return wanted

    async with client(knowing(cached=["BTC"], fetched=slow)) as socket:
        subscribed, snapshot = await socket.subscribe("BTC", "ETH")

        assert subscribed["symbols"] == ["BTC", "ETH"]
        assert subscribed["pending"] == ["ETH"]
        assert list(snapshot["data"]) == ["BTC"]
        release.set()
        assert "ETH" in demand.wanted()
        await publish(BTC=1.0, ETH=2.0)
        assert list((await socket.receive())["data"]) == ["BTC", "ETH"]


async def test_a_tick_in_the_middle_of_a_request_comes_after_its_answer_and_is_not_outdone(
    hub: Hub,
) -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(wanted: Collection[str]) -> Collection[str]:
        asked.set()
        release.wait(10)
        return wanted

    async with client(knowing(fetched=slow, price=1.0)) as socket:
        await socket.send(action="subscribe", symbols=["ETH"])
        await until(asked.is_set)
        await until(lambda: "ETH" in demand.wanted())
        place = await publish(ETH=2.0)
        await until(lambda: hub.place == place)
        release.set()

        beat = await socket.receive()
        subscribed, snapshot = await socket.receive(), await socket.receive()
        await publish(ETH=3.0)
        update = await socket.receive()

    assert (beat["type"], beat["seq"]) == ("heartbeat", 1), "nothing was followed yet"
    assert (subscribed["type"], subscribed["pending"]) == ("subscribed", [])
    assert (snapshot["snapshot"], snapshot["seq"]) == (True, 1)
    assert snapshot["data"] == {"ETH": wire("ETH", 2.0)}, "the tick is the newer"
    assert (update["seq"], update["data"]["ETH"]["price"]) == (2, 3.0)


async def test_what_is_followed_already_goes_on_during_a_request(hub: Hub) -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(wanted: Collection[str]) -> Collection[str]:
        asked.set()
        release.wait(10)
        return wanted

    async with client(knowing(cached=["BTC"], fetched=slow)) as socket:
        await socket.subscribe("BTC")
        await socket.send(action="subscribe", symbols=["ETH"], id=2)
        await until(asked.is_set)
        await publish(BTC=5.0)

        assert (await socket.receive())["data"] == {"BTC": wire("BTC", 5.0)}
        release.set()
        assert (await socket.receive())["id"] == 2


async def test_what_a_symbol_meant_before_is_not_told_to_who_subscribes_after(hub: Hub) -> None:
    place = await publish(BTC=7.0)
    await until(lambda: hub.place == place)

    def pinned(asked: Collection[str]) -> Resolution:
        return meaning(asked, {}, {"BTC": "coingecko:batcat"})

    async with client(knowing(cached=["BTC"], resolution=pinned)) as socket:
        subscribed, snapshot = await socket.subscribe("BTC")

        assert (subscribed["symbols"], subscribed["pending"]) == (["BTC"], ["BTC"])
        assert snapshot["data"] == {}


async def test_a_source_that_fails_leaves_the_symbol_pending() -> None:
    def fail(wanted: Collection[str]) -> Collection[str]:
        raise OSError("no source")

    async with client(knowing(fetched=fail)) as socket:
        subscribed, snapshot = await socket.subscribe("ETH")

        assert (subscribed["symbols"], subscribed["pending"]) == (["ETH"], ["ETH"])
        assert snapshot["data"] == {}


async def test_with_the_catalogue_out_of_reach_nothing_is_called_unknown() -> None:
    def fail(asked: Collection[str]) -> Resolution:
        raise OSError("no database")

    async with client(knowing(resolution=fail)) as socket:
        subscribed, _ = await socket.subscribe("BTC")

        assert subscribed["rejected"] == {"BTC": "upstream_unavailable"}
        assert subscribed["retry_after_ms"] > 0
        assert subscribed["symbols"] == subscribed["pending"] == []


@pytest.mark.parametrize("code", ["upstream_unavailable", "upstream_rate_limited"])
async def test_what_no_catalogue_could_tell_may_be_asked_again(code: str) -> None:
    def unread(asked: Collection[str]) -> Resolution:
        result = resolve([name for name in asked if name != "TSLA"])
        result.rejected["TSLA"] = code
        return result

    async with client(knowing(resolution=unread)) as socket:
        subscribed, snapshot = await socket.subscribe("BTC", "TSLA", "NOPE")

        assert subscribed["symbols"] == ["BTC"]
        assert subscribed["rejected"] == {"TSLA": "upstream_unavailable", "NOPE": "unknown_symbol"}
        assert subscribed["retry_after_ms"] > 0
        assert list(snapshot["data"]) == ["BTC"]


async def test_what_needs_a_setting_of_the_server_is_refused_for_good() -> None:
    def without_key(asked: Collection[str]) -> Resolution:
        return Resolution(rejected=dict.fromkeys(asked, "provider_not_configured"))

    async with client(knowing(resolution=without_key)) as socket:
        subscribed, _ = await socket.subscribe("AAPL")

        assert subscribed["rejected"] == {"AAPL": "provider_not_configured"}
        assert "retry_after_ms" not in subscribed


async def test_a_name_that_means_another_asset_now_is_unsubscribed_by_the_old_name_too() -> None:
    names: dict[str, str] = {}
    lookup = knowing(resolution=lambda asked: meaning(asked, names, {}))
    async with client(lookup) as socket:
        await socket.subscribe("stock:STX", "coingecko:STX", "BTC", "ETH")
        names |= {"stock:STX": "STX", "stock:stx": "STX", "crypto:ETH": "ETH"}

        one = await socket.ask("unsubscribe", "stock:stx", "crypto:ETH")
        await socket.subscribe("stock:STX")
        two = await socket.ask("unsubscribe", "stock:STX")

        assert (one["symbols"], one["count"]) == (["stock:STX", "ETH"], 2)
        assert (two["symbols"], two["count"]) == (["STX"], 2)
        left = await socket.ask("get_subscriptions")
        assert left["symbols"] == ["BTC", "coingecko:STX"]


async def test_what_is_followed_can_be_left_while_the_catalogue_is_out_of_reach() -> None:
    is_away = False

    def fail(asked: Collection[str]) -> Resolution:
        if is_away:
            raise OSError("no database")
        return resolve(asked)

    async with client(knowing(resolution=fail)) as socket:
        await socket.subscribe("BTC", "stock:STX")
        is_away = True

        answer = await socket.ask("unsubscribe", "btc", "stock:stx", "ETH")

        assert (answer["symbols"], answer["count"]) == (["BTC", "stock:STX"], 0)


async def test_unsubscribing_once_is_enough() -> None:
    async with client() as socket:
        await socket.subscribe("BTC", "ETH", "AAPL")
        await socket.subscribe("BTC")

        answer = await socket.ask("unsubscribe", "btc", "crypto:ETH", "NOPE", id="bye")

        assert answer == {
            "type": "unsubscribed",
            "id": "bye",
            "symbols": ["BTC", "ETH"],
            "count": 1,
        }
        await publish(BTC=1.0, AAPL=2.0)
        assert list((await socket.receive())["data"]) == ["AAPL"]


async def test_subscriptions_are_sorted() -> None:
    async with client() as socket:
        await socket.subscribe("ETH", "BTC", "stock:STX")

        assert await socket.ask("get_subscriptions", id=0) == {
            "type": "subscriptions",
            "id": 0,
            "symbols": ["BTC", "ETH", "stock:STX"],
            "count": 3,
        }


async def test_a_ping_is_answered_with_the_time_and_its_id() -> None:
    async with client() as socket:
        pong = await socket.ask("ping", id=12)

        assert pong == {"type": "pong", "id": 12, "timestamp": pong["timestamp"]}
        assert pong["timestamp"].endswith("Z")
        assert len(pong["timestamp"]) == len("2026-11-23T12:00:00.000Z")


async def test_a_mistake_is_answered_and_the_connection_stays_open() -> None:
    async with client() as socket:
        await socket.socket.send_to(text_data="{")
        assert (await socket.receive())["code"] == "invalid_json"
        await socket.socket.send_to(bytes_data=b"\x00")
        assert (await socket.receive())["code"] == "not_text"
        assert (await socket.ask("buy", id=3))["id"] == 3

        assert (await socket.ask("ping"))["type"] == "pong"


async def test_a_message_over_the_limit_is_answered_and_ends_the_connection() -> None:
    async with client() as socket:
        await socket.socket.send_to(text_data="x" * 16385)

        assert (await socket.receive())["code"] == "too_large"
        assert await socket.closed() == 1009


async def test_too_many_messages_are_refused_and_then_end_the_connection(
    settings: Settings,
) -> None:
    settings.WS_MESSAGE_BURST = 2
    settings.WS_MAX_MESSAGES = 1
    async with client() as socket:
        for _ in range(6):
            await socket.send(action="ping")

        got = [await socket.receive() for _ in range(5)]
        assert [m.get("code", m["type"]) for m in got] == ["pong", "pong"] + ["rate_limited"] * 3
        assert 0 < got[2]["retry_after_ms"] <= 10_001
        assert await socket.closed() == 4429


async def test_too_many_mistakes_end_the_connection(settings: Settings) -> None:
    settings.WS_MAX_MISTAKES = 2
    async with client() as socket:
        for _ in range(3):
            await socket.socket.send_to(text_data="{")

        got = [(await socket.receive())["code"] for _ in range(4)]
        assert got == ["invalid_json"] * 3 + ["too_many_mistakes"]
        assert await socket.closed() == 4429


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
