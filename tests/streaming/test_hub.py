from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pytest_django import Settings
from redis import Redis

from streaming import demand, ticks
from streaming.choices import View
from streaming.feed import Feed, Share
from streaming.protocol import Choices, Close, stamp
from streaming.registry import Tick, _Group
from tests.streaming.sockets import following, inbox, publish, running_hub, until, wire

pytestmark = pytest.mark.asyncio


async def received(feed: Feed) -> dict[str, Any]:
    async with asyncio.timeout(10):
        item = await inbox(feed).next()
    assert isinstance(item, str)
    message: dict[str, Any] = json.loads(item)
    return message


async def test_each_subscriber_gets_its_share_in_one_message() -> None:
    async with running_hub() as hub:
        one, two = await following(hub, "BTC", "ETH"), await following(hub, "ETH", "SOL")

        place = await publish(BTC=1.0, ETH=2.0)

        first, second = await received(one), await received(two)
        assert first == {
            "type": "price_update",
            "epoch": place.epoch,
            "seq": 1,
            "prev_seq": 0,
            "timestamp": first["timestamp"],
            "count": 2,
            "data": {"BTC": wire("BTC", 1.0), "ETH": wire("ETH", 2.0)},
        }
        assert second["data"] == {"ETH": wire("ETH", 2.0)}
        assert second["timestamp"] == first["timestamp"]


async def test_subscribers_with_equal_sets_get_the_very_same_text() -> None:
    async with running_hub() as hub:
        one, two = await following(hub, "ETH", "BTC"), await following(hub, "BTC", "ETH")

        await publish(BTC=1.0, ETH=2.0)

        assert await inbox(one).next() is await inbox(two).next()


async def test_a_tick_that_holds_nothing_for_a_subscriber_is_a_heartbeat() -> None:
    async with running_hub() as hub:
        feed = await following(hub, "SOL")

        place = await publish(BTC=1.0)

        beat = await received(feed)
        assert beat == {
            "type": "heartbeat",
            "epoch": place.epoch,
            "seq": 1,
            "prev_seq": 0,
            "timestamp": beat["timestamp"],
            "next_update_at": beat["next_update_at"],
        }
        assert beat["timestamp"] < beat["next_update_at"]


async def test_between_ticks_a_heartbeat_repeats_the_seq(settings: Settings) -> None:
    settings.WS_HEARTBEAT_S = 1
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        await publish(BTC=1.0)
        await received(feed)

        beats = [await received(feed), await received(feed)]

        assert [(b["type"], b["seq"], b["prev_seq"]) for b in beats] == [("heartbeat", 1, 1)] * 2


async def test_every_tick_arrives_and_seq_rises_by_one() -> None:
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        got = []
        for price in range(1, 11):
            await publish(BTC=float(price))
            got.append(await received(feed))

        assert [m["seq"] for m in got] == list(range(1, 11))
        assert [m["prev_seq"] for m in got] == list(range(10))
        assert [m["data"]["BTC"]["price"] for m in got] == list(range(1, 11))


async def test_a_subscriber_that_does_not_read_is_left_with_the_newest_tick() -> None:
    async with running_hub() as hub:
        asleep, awake = await following(hub, "BTC"), await following(hub, "BTC")

        for price in range(1, 6):
            await publish(BTC=float(price))
            await received(awake)

        late = await received(asleep)
        assert (late["seq"], late["prev_seq"], late["data"]["BTC"]["price"]) == (5, 0, 5.0)
        assert len(asleep) == 0


async def test_an_announcement_that_got_lost_costs_no_tick(settings: Settings) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    async with running_hub() as hub:
        feed = await following(hub, "BTC")

        await publish(BTC=1.0, interval_s=1, tell=False)

        assert (await received(feed))["data"]["BTC"]["price"] == 1.0


async def test_a_tick_that_is_announced_twice_is_told_once() -> None:
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        place = await publish(BTC=1.0)
        await received(feed)

        await asyncio.to_thread(_announce, place)
        await publish(BTC=2.0)

        assert (await received(feed))["seq"] == 2


def _announce(place: ticks.Place) -> None:
    from streaming import publisher

    publisher.announce(place)


async def test_the_first_snapshot_of_an_epoch_holds_what_its_publisher_has_not_heard_of(
    redis_client: Redis,
) -> None:
    async with running_hub() as hub:
        feed = await following(hub, "BTC", "ETH")
        await publish(BTC=1.0, ETH=2.0)
        await received(feed)
        redis_client.flushall()

        await publish(BTC=3.0)

        assert (await received(feed))["code"] == "epoch_changed"
        snapshot = await received(feed)
        assert snapshot["data"]["BTC"]["price"] == 3.0
        assert snapshot["data"]["ETH"]["price"] == 2.0


async def test_a_new_epoch_is_noticed_and_a_snapshot_follows(redis_client: Redis) -> None:
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        before = await publish(BTC=1.0)
        await received(feed)
        redis_client.flushall()

        after = await publish(BTC=2.0, known=before)

        notice, snapshot = await received(feed), await received(feed)
        assert (notice["type"], notice["code"]) == ("notice", "epoch_changed")
        assert (snapshot["snapshot"], snapshot["epoch"], snapshot["seq"]) == (True, after.epoch, 1)
        assert snapshot["data"] == {"BTC": wire("BTC", 2.0)}
        await publish(BTC=3.0, known=after)
        update = await received(feed)
        assert ("snapshot" in update, update["seq"], update["prev_seq"]) == (False, 2, 1)


async def test_a_changed_cadence_is_noticed() -> None:
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        await publish(BTC=1.0)
        await received(feed)

        await publish(BTC=2.0, interval_s=10)

        codes = [(await received(feed)) for _ in range(3)]
        assert [m.get("code", m["type"]) for m in codes] == [
            "cadence_changed",
            "epoch_changed",
            "price_update",
        ]
        assert codes[0]["update_interval"] == hub.interval_s == 10


async def test_a_silent_publisher_is_noticed_once_and_listened_for_anew(
    settings: Settings,
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    settings.WS_HEARTBEAT_S = 30
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        await publish(BTC=1.0, interval_s=1)
        await received(feed)
        first_ear = hub._listening

        notice = await received(feed)
        await until(lambda: hub._listening is not first_ear and hub.is_listening)
        second_ear = hub._listening
        await until(lambda: hub._listening is not second_ear and hub.is_listening)

        assert (notice["type"], notice["code"]) == ("notice", "publisher_silent")
        assert [frame.code for frame in hub.notices()] == ["publisher_silent"]
        assert len(feed) == 0, "said once"
        await publish(BTC=2.0, interval_s=1)
        assert (await received(feed))["data"]["BTC"]["price"] == 2.0
        assert hub.notices() == []


async def test_a_clock_that_is_ahead_of_the_publishers_makes_no_tick_old(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    late = partial(stamp, datetime.now(UTC) - timedelta(seconds=10))
    monkeypatch.setattr("tests.streaming.sockets.stamp", late)
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        inbox(feed).is_free = True
        for seq in (1, 2):
            place = await publish(BTC=float(seq), interval_s=1)
            await until(lambda place=place: hub.place == place)  # type: ignore[misc]
            assert hub.is_current
            assert not hub.known(["BTC"])["BTC"].stale
        await until(lambda: hub.notices())
        await publish(BTC=3.0, interval_s=1)
        await until(lambda: not hub.notices())

    assert "the publisher is back" in caplog.text


async def test_a_tick_that_was_there_before_a_server_began_is_as_old_as_it_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    late = partial(stamp, datetime.now(UTC) - timedelta(seconds=10))
    monkeypatch.setattr("tests.streaming.sockets.stamp", late)
    place = await publish(BTC=1.0, interval_s=1)
    async with running_hub() as hub:
        assert hub.place == place
        assert not hub.is_current
        assert hub.known(["BTC"])["BTC"].stale


async def test_the_first_follower_of_a_symbol_is_written_at_once() -> None:
    async with running_hub() as hub:
        await following(hub, "BTC", "ETH")
        await until(lambda: demand.wanted() == ["BTC", "ETH"])

        await following(hub, "BTC", "SOL")
        await until(lambda: demand.wanted() == ["BTC", "ETH", "SOL"])


async def test_new_symbols_all_the_time_do_not_put_off_the_renewal_of_old_ones(
    settings: Settings,
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    async with running_hub() as hub:
        await following(hub, "BTC")
        await until(lambda: demand.wanted() == ["BTC"])

        for number in range(20):  # for longer than a lease lasts, more than one each interval
            await following(hub, f"NEW{number}")
            await asyncio.sleep(0.2)

        assert "BTC" in demand.wanted()


async def test_listening_begins_anew_whatever_ended_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_hub() as hub:
        first = hub._listening
        heard = hub._layer.receive

        async def broken(channel: str) -> Any:
            await heard(channel)
            monkeypatch.setattr(hub._layer, "receive", heard)
            raise ValueError("a message of another shape")

        monkeypatch.setattr(hub._layer, "receive", broken)
        await publish(BTC=1.0)
        await publish(BTC=2.0)

        await until(lambda: "a message of another shape" in caplog.text)
        await until(lambda: hub.is_listening)
        assert hub._listening is first, "nobody else had to notice"
        assert "Traceback" in caplog.text


async def test_counts_follow_the_subscribers(settings: Settings) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    async with running_hub() as hub:
        one, two = await following(hub, "BTC", "ETH"), await following(hub, "BTC")
        await until(lambda: demand.followers(["BTC", "ETH"]) == {"BTC": 2, "ETH": 1})

        hub.unfollow(one, ["ETH"])
        hub.leave(two)
        hub.leave(two)

        await until(lambda: demand.followers(["BTC", "ETH"]) == {"BTC": 1, "ETH": 0})
        assert hub.count == 1


async def test_what_everyone_has_left_lapses(settings: Settings) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        await until(lambda: demand.wanted() == ["BTC"])

        hub.leave(feed)

        await until(lambda: demand.wanted() == [])


async def test_leases_come_back_after_redis_lost_everything(
    settings: Settings, redis_client: Redis
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    async with running_hub() as hub:
        await following(hub, "BTC")
        await until(lambda: demand.wanted() == ["BTC"])

        redis_client.flushall()

        await until(lambda: demand.wanted() == ["BTC"])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b'{"update_interval": 1, "tick": {}}', b"\x80\x04pickle", b"[" * 5000],
    ids=["empty", "half", "null", "other shape", "pickle", "deep"],
)
async def test_a_snapshot_that_cannot_be_read_is_skipped(
    settings: Settings, redis_client: Redis, body: bytes
) -> None:
    settings.PUBLISH_INTERVAL_S = 1
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        await publish(BTC=1.0, interval_s=1, tell=False)
        redis_client.set(ticks.SNAPSHOT, body)
        await asyncio.to_thread(_announce, ticks.UNKNOWN)

        await publish(BTC=2.0, interval_s=1)

        prices: list[float] = []
        async with asyncio.timeout(10):
            while 2.0 not in prices:
                message = await received(feed)
                if message["type"] == "price_update":
                    prices.append(message["data"]["BTC"]["price"])
        # The first may have been seen by the hub's own look, before it was spoilt.
        assert prices in ([2.0], [1.0, 2.0])


async def test_what_is_ended_takes_nothing_more_and_sends_what_it_has() -> None:
    async with running_hub() as hub:
        feed = await following(hub, "BTC")
        feed.put(hub.snapshot({}))
        feed.end(Close.TOO_OLD)
        feed.put(hub.snapshot({}))

        assert (await received(feed))["type"] == "price_update"
        assert await inbox(feed).next() is Close.TOO_OLD
        assert len(feed) == 0


async def test_a_listener_that_stumbles_over_a_tick_costs_no_subscriber_anything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[list[str]] = []

    def stumbling(_: object) -> None:
        raise RuntimeError("a fault of ours")

    listeners = [stumbling, lambda symbols: heard.append(list(symbols))]
    monkeypatch.setattr("streaming.hub.on_tick", listeners)
    async with running_hub() as hub:
        feed = await following(hub, "BTC")

        await publish(BTC=1.0)

        assert (await received(feed))["seq"] == 1
    assert heard == [["BTC"]], "nor the listener behind it"
    assert [r.message for r in caplog.records if r.name == "streaming.hub"] == [
        "a listener stumbled over a tick; subscribers are told of it"
    ]


@pytest.mark.parametrize("chose", [False, True], ids=["of what all get", "by what it chose"])
async def test_a_subscriber_that_cannot_be_told_of_a_tick_is_the_only_one_closed(
    chose: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_hub() as hub:
        feeds = [await following(hub, "BTC") for _ in range(3)]
        broken = feeds[1]
        if chose:
            hub.choose(broken, View(Choices(min_change_percent=1), hub.place, 15))

        def take_tick(feed: Feed, share: Share) -> Any:
            if feed is broken:
                raise RuntimeError("a fault of ours")
            return whole(feed, share)

        whole = Feed.take_tick
        monkeypatch.setattr(Feed, "take_tick", take_tick)
        await publish(BTC=1.0)

        assert [(await received(feed))["seq"] for feed in (feeds[0], feeds[2])] == [1, 1]
        assert await inbox(broken).next() is Close.INTERNAL_ERROR


async def test_a_line_that_fails_among_hundreds_is_the_only_one_that_is_not_told() -> None:
    async with running_hub() as hub:
        feeds = [await following(hub, *names) for names in (["BTC"], ["BTC", "ETH"]) * 200]
        told: dict[int, list[str]] = {number: [] for number in range(400)}
        for number, feed in enumerate(feeds):
            line: Any = inbox(feed)
            line.is_free, line.write = True, told[number].append

        def fail(_: object) -> None:
            raise RuntimeError("a fault of ours")

        line = inbox(feeds[100])
        line.write = fail
        await publish(BTC=1.0, ETH=2.0)
        await until(lambda: told[399])
        assert await inbox(feeds[100]).next() is Close.INTERNAL_ERROR

        assert told.pop(100) == []
        assert {len(texts) for texts in told.values()} == {1}
        assert len({text for (text,) in told.values()}) == 2


async def test_a_part_that_cannot_be_made_closes_those_it_was_for_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of(tick: Tick, group: _Group) -> Share | None:
        if "ETH" in group.names:
            raise RuntimeError("a fault of ours")
        return whole(tick, group)

    whole = Tick.of
    monkeypatch.setattr(Tick, "of", of)
    async with running_hub() as hub:
        feeds = [await following(hub, name) for name in ("BTC", "ETH", "SOL")]
        await publish(BTC=1.0, ETH=2.0, SOL=3.0)

        assert [(await received(feed))["seq"] for feed in (feeds[0], feeds[2])] == [1, 1]
        assert await inbox(feeds[1]).next() is Close.INTERNAL_ERROR
        await publish(BTC=1.0)
        assert (await received(feeds[0]))["prev_seq"] == 1
