"""Coming back: what was missed is sent again, whole and once, or said to be lost."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from pytest_django import Settings
from redis import Redis

from streaming import requests, ticks
from streaming.hub import Hub
from streaming.limits import Allowance, Manners
from streaming.lookup import Lookup
from streaming.protocol import Action, Command, Since
from streaming.requests import Requests
from streaming.ticks import Place
from tests.streaming.sockets import (
    AT,
    client,
    following,
    inbox,
    knowing,
    nobody,
    publish,
    published,
    quote,
    resolve,
    resume,
    until,
    wire,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hub")]


async def test_what_was_missed_is_sent_again_in_order_and_then_live_ticks(hub: Hub) -> None:
    place = await published(hub, 1.0, 2.0, 3.0, 4.0)
    async with client(knowing(fetched=nobody)) as socket:
        subscribed = await resume(socket, 1, place.epoch, "BTC", "ETH")
        replayed = [await socket.receive() for _ in range(3)]
        await published(hub, 5.0)
        live = await socket.receive()

    assert subscribed == {
        "type": "subscribed",
        "symbols": ["BTC", "ETH"],
        "count": 2,
        "rejected": {},
        "pending": [],
        "resolved": {},
        "recovered": True,
    }
    assert replayed[0] == {
        "type": "price_update",
        "epoch": place.epoch,
        "seq": 2,
        "prev_seq": 1,
        "replay": True,
        "timestamp": replayed[0]["timestamp"],
        "count": 2,
        "data": {"BTC": wire("BTC", 2.0), "ETH": wire("ETH", 1.0)},
    }
    assert [(m["seq"], m["prev_seq"], m["replay"]) for m in replayed] == [
        (2, 1, True),
        (3, 2, True),
        (4, 3, True),
    ]
    assert ("replay" in live, live["seq"], live["prev_seq"]) == (False, 5, 4)


async def test_who_missed_nothing_gets_nothing_again(hub: Hub) -> None:
    place = await published(hub, 1.0, 2.0)
    async with client(knowing(fetched=nobody)) as socket:
        subscribed = await resume(socket, 2, place.epoch)
        await published(hub, 3.0)
        live = await socket.receive()

    assert (subscribed["recovered"], subscribed["pending"]) == (True, [])
    assert (live["seq"], live["prev_seq"], live["data"]) == (3, 2, {"BTC": wire("BTC", 3.0)})


async def test_a_replay_holds_the_symbols_that_are_named_and_a_tick_without_them_is_empty(
    hub: Hub,
) -> None:
    place = await published(hub, 1.0, 2.0)
    async with client() as socket:
        await socket.subscribe("ETH")
        await resume(socket, 0, place.epoch, "BTC", "SOL")
        replayed = [await socket.receive() for _ in range(2)]

    assert [list(m["data"]) for m in replayed] == [["BTC"], ["BTC"]]


async def test_what_ticks_do_not_hold_comes_behind_the_replay(hub: Hub) -> None:
    place = await published(hub, 1.0, 2.0)
    async with client(knowing(cached=["SOL"])) as socket:
        subscribed = await resume(socket, 1, place.epoch, "BTC", "SOL")
        replayed, snapshot = await socket.receive(), await socket.receive()

    assert (subscribed["recovered"], subscribed["pending"]) == (True, [])
    assert (replayed["replay"], list(replayed["data"])) == (True, ["BTC"])
    assert (snapshot["snapshot"], snapshot["data"]) == (True, {"SOL": wire("SOL", 100.0)})


def ticking(monkeypatch: pytest.MonkeyPatch, hub: Hub, *ticks: dict[str, float]) -> None:
    """Have ticks come as soon as a replay begins."""
    replay = Requests._replay

    async def while_ticks_come(self: Requests, *arguments: Any) -> Any:
        for tick in ticks:
            place = await publish(**tick)
            await until(lambda place=place: hub.place == place)  # type: ignore[misc]
        return await replay(self, *arguments)

    monkeypatch.setattr(Requests, "_replay", while_ticks_come)


@pytest.mark.parametrize("choice", [{}, {"mode": "delta"}], ids=["plain", "delta"])
@pytest.mark.parametrize(
    "ticks_",
    [
        pytest.param([{"BTC": 3.0, "SOL": 777.0}], id="in the newest tick"),
        pytest.param([{"BTC": 3.0, "SOL": 777.0}, {"BTC": 3.5}], id="in one before it"),
    ],
)
async def test_no_price_goes_back_behind_a_replay(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    ticks_: list[dict[str, float]],
    choice: dict[str, Any],
) -> None:
    place = await published(hub, 1.0, 2.0)
    ticking(monkeypatch, hub, *ticks_)
    async with client(knowing(cached=["SOL"])) as socket:
        got = [await resume(socket, 1, place.epoch, "BTC", "SOL", **choice)]
        newest = place.seq + len(ticks_)
        while (got[-1]["type"], got[-1].get("seq")) != ("heartbeat", newest):
            got.append(await socket.receive())
        await publish(BTC=4.0, SOL=777.0)
        got.append(await socket.receive())

    assert [m["data"]["SOL"]["price"] for m in got if "SOL" in m.get("data", {})] == [777.0, 777.0]
    assert not any("snapshot" in m for m in got)


async def test_behind_a_replay_comes_what_is_newer_than_what_it_told(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await published(hub, 1.0)
    await publish(BTC=2.0, SOL=50.0)
    await published(hub, 3.0)
    later = msgspec.structs.replace(quote("SOL", 60.0), last_updated=AT + timedelta(seconds=5))
    lookup = Lookup(resolve=resolve, cached=lambda _: {"SOL": later}, fetch=lambda _: {})
    async with client(lookup) as socket:
        await resume(socket, 1, place.epoch, "BTC", "SOL")
        got = [await socket.receive() for _ in range(3)]

    assert [m["data"]["SOL"]["price"] for m in got if "SOL" in m.get("data", {})] == [50.0, 60.0]
    assert got[-1]["snapshot"] is True


async def test_a_tick_that_waits_for_its_reader_comes_by_the_replay_and_once(hub: Hub) -> None:
    await published(hub, 1.0)
    feed = await following(hub, "BTC")
    place = await published(hub, 2.0)
    assert (len(feed), feed.told.seq) == (1, 1), "the line is busy"
    manners = Manners(Allowance(20, 100, 50), 0.0)
    command = Command(Action.SUBSCRIBE, ("ETH",), since=Since(place.epoch, 1))
    await Requests(knowing(), feed, hub, manners).obey(command)
    got = [json.loads(str(await inbox(feed).next())) for _ in range(3)]
    await published(hub, 3.0)
    got.append(json.loads(str(await inbox(feed).next())))

    assert [(m["type"], m.get("seq"), m.get("prev_seq"), list(m.get("data", ()))) for m in got] == [
        ("subscribed", None, None, []),
        ("price_update", 2, 1, ["BTC", "ETH"]),
        ("heartbeat", 2, 1, []),
        ("price_update", 3, 2, ["BTC", "ETH"]),
    ]
    assert got[1]["replay"] is True


async def test_a_tick_that_waits_for_its_reader_and_is_not_asked_for_again_is_not_lost(
    hub: Hub,
) -> None:
    await published(hub, 1.0)
    feed = await following(hub, "BTC")
    place = await published(hub, 2.0)
    manners = Manners(Allowance(20, 100, 50), 0.0)
    command = Command(Action.SUBSCRIBE, ("ETH",), since=Since(place.epoch, 2))
    await Requests(knowing(), feed, hub, manners).obey(command)
    got = [json.loads(str(await inbox(feed).next())) for _ in range(2)]

    assert (got[0]["seq"], list(got[0]["data"])) == (2, ["BTC"])
    assert (got[1]["type"], got[1]["recovered"]) == ("subscribed", True)


@pytest.mark.parametrize(
    ("since", "epoch"),
    [
        pytest.param(1, "another", id="another epoch"),
        pytest.param(1, None, id="no epoch"),
        pytest.param(9, "this", id="the future"),
        pytest.param(2**53, "this", id="the far future"),
    ],
)
async def test_what_cannot_be_had_is_said_and_a_snapshot_follows(
    hub: Hub, since: int, epoch: str | None
) -> None:
    place = await published(hub, 1.0, 2.0)
    async with client() as socket:
        subscribed = await resume(socket, since, place.epoch if epoch == "this" else epoch)
        snapshot = await socket.receive()
        await published(hub, 3.0)
        live = await socket.receive()

    assert subscribed["recovered"] is False
    assert (snapshot["snapshot"], snapshot["data"]) == (True, {"BTC": wire("BTC", 2.0)})
    assert (live["seq"], live["prev_seq"]) == (3, 2)


async def test_what_is_older_than_ten_minutes_is_lost(hub: Hub) -> None:
    place = await published(hub, *range(1, 24))
    async with client() as one, client() as two:
        lost = await resume(one, 2, place.epoch)
        kept = await resume(two, 3, place.epoch)

    assert (lost["recovered"], kept["recovered"]) == (False, True)


async def test_a_plain_subscribe_says_nothing_of_recovery(hub: Hub) -> None:
    async with client() as socket:
        subscribed, _ = await socket.subscribe("BTC")

    assert "recovered" not in subscribed


async def test_after_a_new_epoch_nothing_of_the_old_one_comes_back(
    hub: Hub, redis_client: Redis
) -> None:
    before = await published(hub, 1.0, 2.0)
    redis_client.flushall()
    await published(hub, 3.0, known=before)
    async with client() as socket:
        subscribed = await resume(socket, 1, before.epoch)
        snapshot = await socket.receive()

    assert subscribed["recovered"] is False
    assert snapshot["data"] == {"BTC": wire("BTC", 3.0)}


async def test_a_client_that_is_ahead_of_this_process_gets_no_tick_twice(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await published(hub, 1.0)
    look, may_look = ticks.look, asyncio.Event()

    async def late(*arguments: Any) -> Any:
        await may_look.wait()
        return await look(*arguments)

    monkeypatch.setattr(ticks, "look", late)
    await publish(BTC=2.0)
    async with client() as socket:
        subscribed = await resume(socket, 2, place.epoch)
        beat = await socket.receive()
        may_look.set()
        await until(lambda: hub.place.seq == 2)
        await publish(BTC=3.0)
        live = await socket.receive()

    assert subscribed["recovered"] is True
    assert (beat["type"], beat["seq"], beat["prev_seq"]) == ("heartbeat", 2, 1)
    assert (live["seq"], live["prev_seq"]) == (3, 2)


async def test_ticks_that_come_during_a_replay_come_once_and_behind_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await published(hub, *range(1, 6))
    between = hub.past.between

    async def while_more_come(after: Place, newest: Place) -> Any:
        if hub.place.seq < 9:
            await published(hub, float(hub.place.seq + 1))
        return await between(after, newest)

    monkeypatch.setattr(hub.past, "between", while_more_come)
    async with client(knowing(fetched=nobody)) as socket:
        got = [await resume(socket, 2, place.epoch)]
        while (got[-1]["type"], got[-1].get("seq")) != ("heartbeat", 9):
            got.append(await socket.receive())
        await published(hub, 10.0)
        live = await socket.receive()

    updates = [m for m in got if m["type"] == "price_update"]
    beats = [m for m in got if m["type"] == "heartbeat"]
    assert [m["seq"] for m in updates] == list(range(3, 10))
    assert all(m["replay"] for m in updates)
    assert (live["seq"], live["prev_seq"], live["data"]["BTC"]["price"]) == (10, 9, 10.0)
    assert [m["prev_seq"] for m in beats[1:]] == [m["seq"] for m in beats[:-1]]


async def test_what_is_followed_already_misses_nothing_while_a_replay_is_sent(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await published(hub, 1.0, 2.0, 3.0)
    async with client(knowing(fetched=nobody)) as socket:
        await socket.subscribe("ETH")
        between, is_new = hub.past.between, [4.0, 5.0]

        async def while_more_come(after: Place, newest: Place) -> Any:
            found = await between(after, newest)
            if is_new:
                await published(hub, is_new.pop(0))
            return found

        monkeypatch.setattr(hub.past, "between", while_more_come)
        got = [await resume(socket, 2, place.epoch, "BTC")]
        while got[-1].get("seq") != 5:
            got.append(await socket.receive())

    updates = [m for m in got if m["type"] == "price_update"]
    assert [m["data"]["ETH"]["price"] for m in updates if "ETH" in m["data"]] == [2.0, 2.5]
    assert [m["seq"] for m in updates if "BTC" in m["data"]] == [3, 4, 5]


async def test_with_redis_away_a_client_is_told_that_nothing_was_recovered(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = await published(hub, 1.0, 2.0)

    async def away(*arguments: Any) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(ticks, "kept", away)
    async with client() as one, client() as two:
        for socket in (one, two):
            subscribed = await resume(socket, 1, place.epoch)
            snapshot = await socket.receive()
            assert (subscribed["recovered"], snapshot["snapshot"]) == (False, True)
            assert snapshot["data"] == {"BTC": wire("BTC", 2.0)}

    assert caplog.text.count("old ticks cannot be read") == 1


async def test_a_tick_that_cannot_be_read_ends_the_replay_and_a_snapshot_follows(
    hub: Hub, redis_client: Redis
) -> None:
    place = await published(hub, 1.0, 2.0)
    redis_client.xadd(ticks.STREAM, {place.epoch: "no tick"}, id="3-0")
    redis_client.hset(ticks.COUNT, "seq", "3")
    await published(hub, 4.0, known=place)
    async with client(knowing(fetched=nobody)) as socket:
        assert (await resume(socket, 1, place.epoch))["recovered"] is True
        got = [await socket.receive() for _ in range(2)]

    assert [m["seq"] for m in got] == [2, 4]
    assert got[1]["snapshot"] is True
    assert got[1]["data"] == {"BTC": wire("BTC", 4.0)}


async def test_redis_that_hangs_lets_nobody_wait_who_comes_back(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await published(hub, 1.0, 2.0)

    async def hanging(*arguments: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(ticks, "kept", hanging)
    monkeypatch.setattr(requests, "_MISSED_WITHIN_S", 0.1)
    async with client() as one, client() as two:
        got = await asyncio.gather(*(resume(socket, 1, place.epoch) for socket in (one, two)))

    assert [m["recovered"] for m in got] == [False, False]


async def test_a_reader_of_large_ticks_is_not_taken_for_one_that_does_not_read(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WS_MAX_BUFFERED_BYTES = 4000
    monkeypatch.setattr(hub.traffic, "most_bytes", 4000)
    place = await published(hub, *range(1, 41))
    feed = await following(hub)
    manners = Manners(Allowance(20, 100, 50), 0.0)
    command = Command(Action.SUBSCRIBE, ("BTC", "ETH"), since=Since(place.epoch, 25))
    obeying = asyncio.create_task(Requests(knowing(), feed, hub, manners).obey(command))
    got: list[dict[str, Any]] = []
    while len(got) < 16 and inbox(feed).was_cut is None:
        await asyncio.sleep(0.01)
        got.append(json.loads(str(await inbox(feed).next())))
    await obeying

    assert inbox(feed).was_cut is None
    assert [m["seq"] for m in got[1:]] == list(range(26, 41))


async def test_a_wrong_since_is_a_mistake_and_follows_nothing(hub: Hub) -> None:
    async with client() as socket:
        error = await resume(socket, -1, "a", id=4)
        held = await socket.ask("get_subscriptions")

    assert (error["type"], error["code"], error["id"]) == ("error", "invalid_since", 4)
    assert held["symbols"] == []


async def test_ten_minutes_of_one_second_ticks_come_back_whole(
    settings: Settings, hub: Hub
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    for price in range(1, 600):
        await publish(BTC=float(price), interval_s=1, tell=False)
    place = await published(hub, 600.0, interval_s=1)
    async with client(knowing(fetched=nobody)) as socket:
        await resume(socket, 0, place.epoch)
        seqs = [(await socket.receive())["seq"] for _ in range(600)]

    assert seqs == list(range(1, 601))
