from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pytest_django import Settings

from streaming import event_lines
from streaming.consumers import PriceConsumer
from streaming.feed import Feed, Share, Traffic
from streaming.forms import Form
from streaming.frames import framed
from streaming.hub import Hub
from streaming.plain import PlainLine
from streaming.protocol import Close, Pong, Unsubscribed
from streaming.ticks import Place
from tests.streaming.sockets import Inbox, following, inbox, knowing, publish, until

EPOCH = "e1"


def tick(seq: int, rest: str = '"count":0}') -> Share:
    return Share("price_update", Place(EPOCH, seq), rest)


def fed(most_bytes: int = 2**20) -> tuple[Feed, Inbox, Traffic]:
    line, traffic = Inbox(), Traffic(most_bytes)
    return Feed(Place(EPOCH, 0), line, traffic), line, traffic


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_says_how_long_it_is(size: int, head: bytes) -> None:
    assert framed("x" * size) == head + b"x" * size


def test_a_frames_length_is_that_of_its_bytes() -> None:
    assert framed("é" * 100) == b"\x81\x7e\x00\xc8" + "é".encode() * 100


@pytest.mark.parametrize("form", [framed, Form(), event_lines._EVENTS, event_lines._CHUNKS])
@pytest.mark.parametrize(
    "members",
    [
        [b'"A":1'],
        [b'"A":1', b'"B":2'],
        [b'"A":1', '"\u00c9":2'.encode(), b'"C":3'],
        [b'"X":"' + size * b"x" + b'"' for size in (5, 40_000, 40_000)],
    ],
)
def test_members_are_written_as_the_text_is_that_they_make(
    form: Form, members: list[bytes]
) -> None:
    start = b'{"type":"price_update","data":{'
    before = list(members)

    assert form.members(start, members) == form((start + b",".join(members) + b"}}").decode())
    assert form.members(start, tuple(members)) == form.members(start, members)
    assert members == before


def test_what_waited_for_who_is_gone_counts_as_dropped_once() -> None:
    feed, _, traffic = fed()
    feed.put(Unsubscribed(symbols=[], count=0))
    feed.put_tick(tick(1))

    feed.abandon()
    feed.abandon()

    assert traffic.dropped == 2


def test_what_can_leave_at_once_does_not_wait() -> None:
    feed, line, traffic = fed()
    line.is_free = True

    feed.put(Pong(timestamp="now"))

    assert len(feed) == 0
    assert (traffic.frames, traffic.late) == (1, set())


def test_frames_that_belong_together_leave_as_one_where_the_line_takes_bytes() -> None:
    written: list[bytes] = []
    line = Inbox()
    line.joins, line.form = True, framed
    line.write = written.append  # type: ignore[assignment, method-assign]
    line.is_free = True
    feed = Feed(Place(EPOCH, 0), line, traffic := Traffic(2**20))
    pong = Pong(timestamp="now")

    feed.put(pong, tick(1))
    line.is_free = False
    feed.put(pong, tick(2))

    assert written == [framed(pong.text) + framed(tick(1).text(0))]
    assert (traffic.frames, traffic.bytes) == (2, len(written[0]))
    assert (feed.told.seq, len(feed)) == (1, 2), "what cannot leave waits as ever"


def test_the_newest_tick_takes_the_place_of_one_that_waits_and_answers_keep_theirs() -> None:
    feed, line, traffic = fed()
    answer = Unsubscribed(symbols=[], count=0)
    for seq in (1, 2):
        feed.put_tick(tick(seq))
    feed.put(answer)
    feed.put_tick(tick(3))

    assert len(feed) == 2
    assert traffic.conflated == 2
    assert asyncio.run(line.next()) == answer.text
    last = asyncio.run(line.next())
    assert isinstance(last, str)
    assert (json.loads(last)["seq"], json.loads(last)["prev_seq"]) == (3, 0)
    assert traffic.late == set()


def test_a_sign_of_life_that_waits_is_no_tick_that_was_skipped() -> None:
    feed, line, traffic = fed()
    feed.put_tick(tick(1))
    asyncio.run(line.next())
    feed.put_heartbeat(Share("heartbeat", Place(EPOCH, 1), '"timestamp":""}'))
    feed.put_tick(tick(2))
    assert traffic.conflated == 0

    feed.put_tick(tick(3))
    assert traffic.conflated == 1


def test_a_tick_that_was_told_already_is_dropped() -> None:
    feed, line, traffic = fed()
    line.is_free = True
    feed.put_tick(tick(2))
    line.is_free = True

    feed.put_tick(tick(2))
    feed.put_tick(tick(1))

    assert traffic.frames == 1


def test_more_than_may_wait_ends_with_4409() -> None:
    feed, line, traffic = fed(most_bytes=10_000)
    for number in range(200):
        feed.put(Unsubscribed(symbols=["BTC"] * 10, count=number))

    assert line.was_cut is Close.NOT_READING
    assert feed.is_ended
    assert (traffic.slow, traffic.closes[4409], traffic.late) == (1, 1, set())
    assert len(feed) == 0, "nothing is kept for it any more"


@pytest.mark.asyncio
async def test_room_is_there_again_when_the_subscriber_has_read_or_is_gone() -> None:
    feed, line, _ = fed()
    for number in range(20):
        feed.put(Unsubscribed(symbols=[], count=number))
    waiting = asyncio.create_task(feed.room())
    for _ in range(11):
        await line.next()
    await asyncio.sleep(0)
    assert not waiting.done()
    await line.next()
    async with asyncio.timeout(5):
        await waiting

    for number in range(20):
        feed.put(Unsubscribed(symbols=[], count=number))
    waiting = asyncio.create_task(feed.room())
    await asyncio.sleep(0)
    feed.abandon()
    async with asyncio.timeout(5):
        await waiting


@pytest.mark.asyncio
async def test_who_takes_nothing_for_too_long_is_cut_off_and_forgotten(
    settings: Settings, hub: Hub
) -> None:
    settings.WS_SLOW_AFTER_S = 1
    deaf, good = await following(hub, "BTC"), await following(hub, "BTC")
    inbox(good).is_free = True
    await publish(BTC=1.0)

    await until(lambda: inbox(deaf).was_cut)
    assert inbox(deaf).was_cut is Close.NOT_READING
    assert hub.figures()["slow"] == hub.figures()["closed_4409"] == 1
    assert not good.is_ended
    assert deaf not in hub._registry.feeds


@pytest.mark.asyncio
async def test_under_a_server_whose_send_hangs_the_application_ends(
    settings: Settings, hub: Hub
) -> None:
    settings.WS_SLOW_AFTER_S = 1
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] != "websocket.accept":
            await asyncio.Event().wait()

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    consumer: Any = PriceConsumer(knowing())
    serving = asyncio.create_task(consumer(scope, inbox.get, send))
    await until(lambda: hub.count == 1)
    await hub.stop()  # something must wait before anyone is late

    async with asyncio.timeout(20):
        await serving

    assert sent == ["websocket.accept", "websocket.send", "websocket.close"]
    assert hub.count == 0
    assert hub.figures()["closed_4409"] == 1


@pytest.mark.asyncio
async def test_a_plain_line_keeps_no_task_while_it_has_nothing_to_send() -> None:
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["text"])

    line = PlainLine(send, lambda: None)
    feed = Feed(Place(EPOCH, 0), line, Traffic(2**20))
    for number in range(3):
        feed.put(Unsubscribed(symbols=[], count=number))
    await until(lambda: line._task is None)

    assert [json.loads(text)["count"] for text in sent] == [0, 1, 2]
    assert (line.is_free, len(feed)) == (True, 0)


@pytest.mark.asyncio
async def test_who_changes_while_a_tick_is_handed_out_has_it_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.registry._SLICE_S", 0.0)
    feeds = [await following(hub, "BTC", f"S{number}") for number in range(40)]
    for feed in feeds:
        inbox(feed).is_free = True

    async def move() -> None:
        """Change sets all the time: to those whose turn was and to those whose turn comes."""
        for number in range(400):
            hub.follow(feeds[number * 7 % 40], ["SOL", f"T{number % 5}"])
            hub.unfollow(feeds[number * 11 % 40], ["SOL", f"T{number % 5}"])
            await asyncio.sleep(0)

    moving = asyncio.create_task(move())
    place = await publish(BTC=1.0, SOL=2.0)
    await until(lambda: hub.place == place)
    await moving
    await until(lambda: hub._registry._tell is None)

    for feed in feeds:
        text = await inbox(feed).next()
        assert isinstance(text, str)
        message = json.loads(text)
        assert (message["seq"], message["prev_seq"]) == (1, 0)
        assert message["data"]["BTC"]["price"] == 1.0
        assert inbox(feed)._got.empty()
        assert len(feed) == 0
