"""The first price of what is subscribed: at once, in order, or later and said so."""

from __future__ import annotations

import threading
from collections.abc import Collection

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from prices import redis_clients
from prices.redis_clients import RedisAwayError
from streaming import demand
from streaming.hub import Hub
from tests.streaming.sockets import client, knowing, publish, until, wire

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hub")]


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


async def test_a_source_that_fails_leaves_the_symbol_pending() -> None:
    def fail(wanted: Collection[str]) -> Collection[str]:
        raise OSError("no source")

    async with client(knowing(fetched=fail)) as socket:
        subscribed, snapshot = await socket.subscribe("ETH")

        assert (subscribed["symbols"], subscribed["pending"]) == (["ETH"], ["ETH"])
        assert snapshot["data"] == {}


async def test_copies_are_told_as_stale_while_redis_cannot_be_asked() -> None:
    def lost(client: Redis) -> None:
        raise RedisConnectionError

    def is_back() -> bool:
        try:
            return bool(redis_clients.ask(lambda client: client.ping()))
        except RedisAwayError:
            return False

    with pytest.raises(RedisAwayError):
        redis_clients.ask(lost)
    async with client(knowing(cached=["BTC"])) as socket:
        _, during = await socket.subscribe("BTC")
        await until(is_back)
        _, after = await socket.subscribe("BTC")

    assert during["data"] == {"BTC": wire("BTC", stale=True)}
    assert after["data"] == {"BTC": wire("BTC")}
