from __future__ import annotations

import json

import pytest
from redis import Redis

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


def test_an_epoch_outlives_a_publisher_that_starts_anew() -> None:
    before = publish()

    assert publish(known=UNKNOWN) == Place(before.epoch, 2)


def test_a_tick_is_claimed_once() -> None:
    client = redis_clients.client()

    claims = [ticks.claim(client, 3600) for _ in range(5)]

    assert claims == [True, False, False, False, False]


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
