"""Telling everyone something that is no tick: in turns, and whatever one of them does."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from pytest_django import Settings

from streaming import registry, stopping
from streaming.consumers import PriceConsumer
from streaming.feed import Feed, Share
from streaming.hub import Hub
from streaming.protocol import Close, Frame, Notice, NoticeFrame, due, stamp
from streaming.ticks import Place
from tests.streaming.sockets import Inbox, following, inbox, knowing, publish, until

pytestmark = pytest.mark.asyncio

SIGNAL = signal.SIGUSR2
NOTICE = NoticeFrame(code=Notice.PUBLISHER_SILENT, message="Nothing comes.")


class Free(Inbox):
    """A line that is always free, and tells in which turn of the loop it was written to."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.is_free = True
        self.written: list[tuple[int, str]] = []
        self._turns = turns

    def write(self, made: str) -> None:
        self.written.append((self._turns.count, made))

    def end(self, code: Close) -> None:
        self.is_free = False


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


@contextmanager
def signals() -> Iterator[list[int]]:
    """The signals that a server's own handler got."""
    got: list[int] = []
    before = signal.getsignal(SIGNAL)
    try:
        yield got
    finally:
        signal.signal(SIGNAL, before)


def handler(who: Any, got: list[int]) -> stopping._Handler:
    return stopping._Handler(who, lambda number, _: got.append(number))


def broken(feed: Feed) -> Feed:
    """Have a subscriber whose line fails at all that is sent."""

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    line: Any = inbox(feed)
    line.is_free, line.write, line.end, line.cut = True, fail, fail, fail
    return feed


async def test_one_that_cannot_be_told_keeps_neither_the_others_nor_the_server_from_stopping(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    broken(await following(hub, "BTC"))
    other = await following(hub, "BTC")
    with signals() as got:
        handler(hub, got)(SIGNAL, None)
        said = [await inbox(other).next(), await inbox(other).next()]
        await until(lambda: got)

    assert json.loads(str(said[0]))["code"] == "stopping"
    assert said[1] is Close.RESTARTING
    assert "a subscriber could not be told something, and is closed" in caplog.text


async def test_a_server_that_cannot_say_goodbye_stops_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing:
        is_failed = has_said_goodbye = False

        async def stop(self) -> None:
            raise RuntimeError("a fault of ours")

    with signals() as got:
        handler(Failing(), got)(SIGNAL, None)
        await until(lambda: got)

    assert "not everyone could be told that this server stops" in caplog.text


async def test_one_that_cannot_be_cut_off_does_not_end_the_sweep(
    hub: Hub, settings: Settings
) -> None:
    settings.WS_SLOW_AFTER_S = 0
    first = broken(await following(hub, "BTC"))
    inbox(first).is_free = False
    second = await following(hub, "BTC")
    await publish(BTC=1.0)

    await until(lambda: inbox(second).was_cut)
    third = await following(hub, "BTC")
    await publish(BTC=2.0)
    await until(lambda: inbox(third).was_cut)

    assert hub.count == 0
    assert hub.figures()["closed_4409"] == 3


async def test_ticks_heartbeats_notices_and_the_goodbye_leave_the_loop_its_turns(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()
    # Each look at the clock takes a 250th of a slice, and there is one for each who is told.
    passing = registry._SLICE_S / 249.5
    monkeypatch.setattr(registry, "perf_counter", lambda: next(calls) * passing)
    turns = Turns()
    lines = [Free(turns) for _ in range(1000)]
    for line in lines:
        hub.join(line)
    told: list[set[int]] = []
    tick = registry.Tick(Place("e", 1), stamp(), {})
    beat = Share("heartbeat", tick.place, due(stamp(), stamp()))
    everyone = hub._registry
    for telling in (
        everyone.tell(tick, beat, 1),
        hub._give_signs_of_life(0.0),
        everyone.notify(NOTICE),
        hub.stop(),
    ):
        await telling
        told.append({line.written.pop()[0] for line in lines})
    turns.stop()

    assert [len(one) for one in told] == [4, 4, 4, 4], "250 of 1,000 in a turn"
    assert not any(line.written for line in lines), "and each is told once"


async def test_a_notice_is_made_once_for_all(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Frame] = []

    def text(self: Frame) -> str:
        encoded.append(self)
        return "{}"

    monkeypatch.setattr(Frame, "text", property(text))
    feeds = [await following(hub) for _ in range(5)]
    await hub._registry.notify(NOTICE)

    assert [await inbox(feed).next() for feed in feeds] == ["{}"] * 5
    assert encoded == [NOTICE]


@pytest.mark.parametrize(
    ("is_failed", "code", "least", "most"),
    [(False, 1012, 500, 5000), (True, 1001, 30_000, 60_000)],
    ids=["restarts", "failed"],
)
async def test_who_comes_while_the_server_stops_is_told_when_to_come_back(
    hub: Hub, is_failed: bool, code: int, least: int, most: int
) -> None:
    hub.is_failed = is_failed
    await hub.stop()
    application = PriceConsumer.as_asgi(lookup=knowing())
    socket = WebsocketCommunicator(application, "/api/ws/prices")
    assert (await socket.connect(timeout=5))[0]
    notice = await socket.receive_json_from(timeout=5)
    closed = await socket.receive_output(timeout=5)

    assert (notice["type"], notice["code"]) == ("notice", "stopping")
    assert least <= notice["retry_after_ms"] <= most
    assert (closed["type"], closed["code"]) == ("websocket.close", code)


@pytest.mark.parametrize(("count", "most"), [(0, 5000), (2000, 5000), (10_000, 25_000)])
async def test_the_more_have_to_leave_the_longer_they_take_to_come_back(
    count: int, most: int
) -> None:
    waits = [stopping.goodbye(count, is_failed=False).retry_after_ms for _ in range(2000)]
    times = sorted(wait for wait in waits if isinstance(wait, int))

    assert len(times) == 2000
    assert 500 <= times[0] < times[-1] <= most
    assert times[-1] > 0.9 * most
