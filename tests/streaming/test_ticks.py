from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

import pytest
from redis import Redis

from lokifi.embedded import EmbeddedServer
from prices import redis_clients
from streaming import ticks
from streaming.protocol import share
from streaming.ticks import UNKNOWN, Place

REST = share("2026-11-23T12:00:00.000Z", ['"BTC":{"price":1.5}'])


def publish(known: Place = UNKNOWN, interval_s: int = 30) -> Place:
    return ticks.publish(redis_clients.client(), known, interval_s, REST)


def test_ticks_are_counted_from_one_within_an_epoch() -> None:
    first, second = publish(), publish()

    assert (first.seq, second.seq) == (1, 2)
    assert first.epoch == second.epoch


def test_the_snapshot_holds_what_the_channel_carried(redis_client: Redis) -> None:
    listener = redis_client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis-py
    listener.subscribe("lokifi:price_updates")
    listener.get_message(timeout=2)

    place = publish()

    message = listener.get_message(timeout=2)
    listener.close()
    assert message is not None
    assert json.loads(message["data"]) == {
        "type": "price_update",
        "epoch": place.epoch,
        "seq": 1,
        "prev_seq": 0,
        "timestamp": "2026-11-23T12:00:00.000Z",
        "count": 1,
        "data": {"BTC": {"price": 1.5}},
    }
    assert json.loads(str(redis_client.get("lokifi:snapshot"))) == {
        "update_interval": 30,
        "tick": json.loads(message["data"]),
    }


def test_an_epoch_ends_when_redis_loses_the_count(redis_client: Redis) -> None:
    before = publish()
    redis_client.flushall()

    after = publish(known=before)

    assert after.seq == 1
    assert after.epoch != before.epoch


def test_an_epoch_ends_when_the_interval_changes() -> None:
    before = publish(interval_s=30)

    after = publish(known=before, interval_s=10)

    assert after.seq == 1
    assert after.epoch != before.epoch
    assert publish(known=after, interval_s=10) == Place(after.epoch, 2)


def test_an_epoch_ends_when_redis_comes_back_with_an_older_count(redis_client: Redis) -> None:
    for _ in range(3):
        newest = publish()
    redis_client.hset(ticks.COUNT, "seq", "1")

    after = publish(known=newest)

    assert after.seq == 1
    assert after.epoch != newest.epoch


@pytest.mark.parametrize(
    ("interval_s", "goes_on"), [(1, False), (3600, True)], ids=["ticks were lost", "none can be"]
)
def test_a_count_out_of_a_dump_goes_on_only_where_no_tick_can_have_been_lost(
    tmp_path: Path, interval_s: int, goes_on: bool
) -> None:
    server = EmbeddedServer(tmp_path)
    with Redis.from_url(server.url) as client:
        before = ticks.publish(client, UNKNOWN, interval_s, REST)
        client.save()
    server.kill()
    time.sleep(1.1)  # The clock of ticks has whole seconds.
    again = EmbeddedServer(tmp_path)
    try:
        with Redis.from_url(again.url) as client:
            after = ticks.publish(client, UNKNOWN, interval_s, REST)
            assert ticks.publish(client, UNKNOWN, interval_s, REST).epoch == after.epoch
    finally:
        again.kill()

    assert (after.epoch == before.epoch) is goes_on
    assert after.seq == (2 if goes_on else 1)


def test_an_epoch_outlives_a_publisher_that_starts_anew() -> None:
    before = publish()

    assert publish(known=UNKNOWN) == Place(before.epoch, 2)


def test_a_tick_is_claimed_once() -> None:
    pipe = redis_clients.client().pipeline(transaction=False)

    for _ in range(5):
        ticks.ask_claim(pipe, 3600)

    assert pipe.execute() == [1, 0, 0, 0, 0]


@pytest.mark.asyncio
async def test_looking_gives_the_snapshot_only_where_it_is_news() -> None:
    async with redis_clients.async_client() as client:
        begun, nothing = await ticks.look(client, UNKNOWN)
        assert (begun.seq, nothing) == (0, None)
        place = publish()
        assert place == Place(begun.epoch, 1), "the epoch that the first look began"

        found, body = await ticks.look(client, begun)
        again, unchanged = await ticks.look(client, place)

    assert found == again == place
    assert body is not None
    assert unchanged is None


@pytest.mark.asyncio
async def test_a_look_that_finds_the_count_gone_backwards_begins_an_epoch(
    redis_client: Redis,
) -> None:
    publish()
    place = publish()
    redis_client.hset(ticks.COUNT, "seq", "1")

    async with redis_clients.async_client() as client:
        found, body = await ticks.look(client, place)

    assert found.epoch != place.epoch
    assert (found.seq, body) == (0, None)


async def kept(after: Place, until_seq: int = 10_000) -> tuple[Place, list[ticks.Kept]]:
    async with redis_clients.async_client() as client:
        return await ticks.kept(client, after, until_seq, 10_000)


@pytest.mark.asyncio
async def test_the_ticks_of_this_epoch_can_be_read_again_by_anyone() -> None:
    epoch = publish().epoch
    for _ in range(3):
        publish()

    place, found = await kept(Place(epoch, 1), until_seq=3)

    assert place == Place(epoch, 4)
    assert [one.place for one in found] == [Place(epoch, 2), Place(epoch, 3)]
    assert {one.rest().decode() for one in found} == {REST}


@pytest.mark.asyncio
@pytest.mark.parametrize(("interval_s", "most"), [(30, 20), (60, 10), (3600, 1)])
async def test_ten_minutes_of_ticks_are_kept_and_no_more(interval_s: int, most: int) -> None:
    for _ in range(most + 3):
        place = publish(interval_s=interval_s)

    _, found = await kept(Place(place.epoch, 0))

    assert [one.place.seq for one in found] == list(range(4, most + 4))


@pytest.mark.asyncio
async def test_fewer_ticks_are_kept_where_they_are_large(
    monkeypatch: pytest.MonkeyPatch, redis_client: Redis
) -> None:
    monkeypatch.setattr(ticks, "KEPT_BYTES", 1000)
    large = share("2026-11-23T12:00:00.000Z", [f'"{secrets.token_hex(300)}":1'])
    for _ in range(5):
        place = ticks.publish(redis_clients.client(), UNKNOWN, 1, large)

    _, found = await kept(Place(place.epoch, 0))

    assert 1 <= len(found) <= 3
    assert sum(len(one.packed) for one in found) <= 1000


@pytest.mark.asyncio
async def test_old_ticks_go_with_their_epoch_and_lapse_with_the_publisher(
    redis_client: Redis,
) -> None:
    before = publish(interval_s=30)
    publish(interval_s=30)
    after = publish(interval_s=10)

    _, found = await kept(Place(before.epoch, 0))

    assert found == []
    assert [one.place for one in (await kept(Place(after.epoch, 0)))[1]] == [after]
    assert 0 < int(str(redis_client.ttl(ticks.STREAM))) <= 600


@pytest.mark.asyncio
async def test_whatever_stands_in_the_streams_place_stops_no_tick(redis_client: Redis) -> None:
    first = publish()
    redis_client.set(ticks.STREAM, "a text")
    second = publish()
    redis_client.delete(ticks.STREAM)
    redis_client.xadd(ticks.STREAM, {"x": "y"}, id="900000-0")
    third = publish()

    _, found = await kept(Place(first.epoch, 0))

    assert (first.seq, second.seq, third.seq) == (1, 2, 3)
    assert [one.place for one in found] == [third]


def test_bytes_that_are_no_tick_are_told_from_one() -> None:
    with pytest.raises(ValueError, match="tick 7 cannot be read"):
        ticks.Kept(Place("a", 7), b"\x80\x04pickle").rest()
