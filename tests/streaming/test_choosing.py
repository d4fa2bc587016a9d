"""What a connection chose holds until it chooses otherwise, and costs those nothing who do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from streaming.hub import Hub
from tests.streaming.sockets import Client, client, knowing, publish, until, wire

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hub")]

NONE = {"fields": None, "min_change_percent": None, "max_rate": None, "mode": "full"}


async def choose(
    socket: Client, *symbols: str, **chosen: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the answer and the snapshot that follows it."""
    return await socket.ask("subscribe", *symbols, **chosen), await socket.receive()


async def test_a_choice_is_echoed_and_holds_for_the_connection() -> None:
    async with client(knowing(cached=["BTC", "ETH"])) as socket:
        first, snapshot = await choose(socket, "BTC", fields=["price", "stale"])
        second, _ = await choose(socket, "ETH", min_change_percent=0)
        await publish(BTC=1.0, ETH=2.0)
        update = await socket.receive()

    assert {name: first[name] for name in NONE} == NONE | {"fields": ["price", "stale"]}
    assert {name: second[name] for name in NONE} == NONE | {
        "fields": ["price", "stale"],
        "min_change_percent": 0,
    }
    assert snapshot["data"] == {"BTC": {"symbol": "BTC", "price": 100.0, "stale": False}}
    assert update["data"] == {
        "BTC": {"symbol": "BTC", "price": 1.0, "stale": False},
        "ETH": {"symbol": "ETH", "price": 2.0, "stale": False},
    }


async def test_a_choice_that_is_taken_back_leaves_the_plain_contract() -> None:
    async with client(knowing(cached=["BTC"])) as socket, client(knowing()) as plain:
        await choose(socket, "BTC", fields=["price"], max_rate=60, mode="delta")
        back, _ = await choose(socket, "BTC", **dict.fromkeys(NONE))
        again, snapshot = await choose(socket, "BTC")
        await plain.subscribe("BTC")
        await publish(BTC=1.0)

        assert {name: back[name] for name in NONE} == NONE
        assert "fields" not in again
        assert snapshot["data"] == {"BTC": wire("BTC", 100.0)}
        assert await socket.socket.receive_from() == await plain.socket.receive_from()


async def test_those_who_choose_nothing_get_the_same_text_whatever_others_choose() -> None:
    async with client() as one, client() as two, client() as chooser:
        for socket in (one, two):
            await socket.subscribe("BTC")
        await choose(chooser, "BTC", mode="delta")

        await publish(BTC=1.0)

        first, second = [await each.socket.receive_from() for each in (one, two)]
        assert first == second == await chooser.socket.receive_from()
        assert json.loads(first)["data"] == {"BTC": wire("BTC", 1.0)}


async def test_a_delta_says_what_changed_and_beats_where_nothing_did() -> None:
    async with client(knowing(cached=["BTC", "ETH"])) as socket:
        await choose(socket, "BTC", "ETH", mode="delta")
        got = []
        for btc in (100.0, 5.0, 5.0):
            await publish(BTC=btc, ETH=100.0)
            got.append(await socket.receive())

    assert [m["type"] for m in got] == ["heartbeat", "price_update", "heartbeat"]
    assert got[1]["data"] == {"BTC": wire("BTC", 5.0)}
    assert [(m["seq"], m["prev_seq"]) for m in got] == [(1, 0), (2, 1), (3, 2)]


async def test_a_small_change_waits_for_a_larger_one() -> None:
    async with client(knowing(cached=["BTC"])) as socket:
        await choose(socket, "BTC", min_change_percent=10)
        got = []
        for price in (105.0, 109.0, 111.0):
            await publish(BTC=price)
            got.append(await socket.receive())

    assert [m["type"] for m in got] == ["heartbeat", "heartbeat", "price_update"]
    assert got[2]["data"]["BTC"]["price"] == 111.0


async def test_a_rate_folds_ticks_together_and_signs_of_life_repeat_the_one_told() -> None:
    async with client() as socket:
        await choose(socket, "BTC", max_rate=90)
        got = []
        for price in range(1, 7):
            await publish(BTC=float(price))
            got.append(await socket.receive())

    assert [(m["type"], m["seq"], m["prev_seq"], m.get("merged")) for m in got] == [
        ("heartbeat", 0, 0, None),
        ("heartbeat", 0, 0, None),
        ("price_update", 3, 0, 3),
        ("heartbeat", 3, 3, None),
        ("heartbeat", 3, 3, None),
        ("price_update", 6, 3, 3),
    ]
    assert got[5]["data"] == {"BTC": wire("BTC", 6.0)}


async def test_a_new_epoch_is_told_as_it_was_chosen(hub: Hub, redis_client: Redis) -> None:
    async with client() as socket:
        await choose(socket, "BTC", fields=["price"], max_rate=3600, mode="delta")
        before = await publish(BTC=1.0)
        await until(lambda: hub.place == before)
        redis_client.flushall()
        await publish(BTC=2.0, known=before)

        got = [await socket.receive()]
        while got[-1]["type"] != "price_update":
            got.append(await socket.receive())

    assert got[-2]["code"] == "epoch_changed"
    assert (got[-1]["snapshot"], got[-1]["data"]) == (
        True,
        {"BTC": {"symbol": "BTC", "price": 2.0}},
    )


async def test_a_replay_is_cut_to_the_chosen_fields_and_leaves_nothing_out(hub: Hub) -> None:
    for price in (1.0, 1.0, 1.0):
        place = await publish(BTC=price)
    await until(lambda: hub.place == place)
    async with client() as socket:
        answer = await socket.ask(
            "subscribe", "BTC", since=1, epoch=place.epoch, fields=["price"], mode="delta"
        )
        replayed = [await socket.receive() for _ in range(2)]
        await publish(BTC=1.0)
        live = await socket.receive()
        await publish(BTC=1.0)
        beat = await socket.receive()

    assert (answer["recovered"], answer["mode"]) == (True, "delta")
    assert [m["data"] for m in replayed] == [{"BTC": {"symbol": "BTC", "price": 1.0}}] * 2
    assert live["data"] == {"BTC": {"symbol": "BTC", "price": 1.0}}, "anew after a replay"
    assert beat["type"] == "heartbeat"


async def test_a_wrong_choice_changes_nothing() -> None:
    async with client(knowing(cached=["BTC"])) as socket:
        await choose(socket, "BTC", fields=["price"])
        error = await socket.ask("subscribe", "ETH", fields=["prise"], mode="delta", id=9)
        again, _ = await choose(socket, "BTC")

    assert (error["code"], error["id"]) == ("invalid_choice", 9)
    assert (again["fields"], again["mode"], again["count"]) == (["price"], "full", 1)
