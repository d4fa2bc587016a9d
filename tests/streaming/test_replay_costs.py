"""What coming back costs others: reads of Redis, room, turns of the loop; and who may have it."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from streaming import limits, past, ticks
from streaming.hub import Hub
from streaming.limits import Allowance, Manners, Shared
from streaming.protocol import Since, entry_of
from streaming.requests import Requests
from streaming.ticks import Place
from streaming.turns import Turns
from tests.streaming.sockets import client, following, knowing, nobody, published, resume

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hub")]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What old ticks are read for from now on: the arguments of each read."""
    found, kept = [], ticks.kept

    async def counted(*arguments: Any) -> Any:
        found.append(arguments)
        return await kept(*arguments)

    monkeypatch.setattr(ticks, "kept", counted)
    return found


@pytest.mark.parametrize("turn_s", [0.0, 1.0], ids=["one tick a turn", "all in one turn"])
async def test_many_who_come_back_at_once_cost_one_read(
    hub: Hub, reads: list[Any], turn_s: float
) -> None:
    hub.past.turns = Turns(asyncio.get_running_loop(), turn_s)
    place = await published(hub, *range(1, 6))

    async def come_back(number: int) -> list[int]:
        async with client(knowing(fetched=nobody)) as socket:
            await resume(socket, 2, place.epoch)
            return [(await socket.receive())["seq"] for _ in range(3)]

    got = await asyncio.gather(*(come_back(number) for number in range(20)))

    assert got == [[3, 4, 5]] * 20
    assert len(reads) == 1


async def test_who_comes_back_holds_few_ticks_however_many_were_missed(hub: Hub) -> None:
    place = await published(hub, *range(1, 61))
    found = await hub.past.between(Place(place.epoch, 41), hub.place)

    assert found is not None
    assert [one.place.seq for one in found] == [*range(42, 42 + past.AT_ONCE)]


async def test_what_is_kept_for_those_who_come_back_is_bounded(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "_TEXT_CHARS", 1000)
    monkeypatch.setattr(past, "_CACHED_BYTES", 1000)
    place = await published(hub, *range(1, 21))
    async with client(knowing(fetched=nobody)) as socket:
        for symbols in (["BTC"], ["ETH"], ["BTC", "ETH"]):
            await resume(socket, 0, place.epoch, *symbols)
            seqs = [(await socket.receive())["seq"] for _ in range(20)]
            assert seqs == list(range(1, 21))

    assert sum(len(one.packed) for one in hub.past._cached.values()) <= 1000
    assert len(hub.past._opened) <= 8
    assert all(sum(map(len, one._texts.values())) <= 1000 for one in hub.past._opened.values())


async def test_fields_that_many_chose_are_cut_out_of_an_old_tick_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, cuts = entry_of, []

    def counted(symbol: str, *arguments: Any) -> str:
        cuts.append(symbol)
        return cut(symbol, *arguments)

    monkeypatch.setattr(past, "entry_of", counted)
    place = await published(hub, 1.0, 2.0)
    got = []
    for symbols in (["BTC"], ["ETH"], ["BTC", "ETH"]):
        async with client(knowing(fetched=nobody)) as socket:
            await resume(socket, 1, place.epoch, *symbols, fields=["price"])
            got.append((await socket.receive())["data"])

    btc, eth = {"symbol": "BTC", "price": 2.0}, {"symbol": "ETH", "price": 1.0}
    assert got == [{"BTC": btc}, {"ETH": eth}, {"BTC": btc, "ETH": eth}]
    assert cuts == ["BTC", "ETH"]


async def test_who_may_have_no_more_old_ticks_has_none_read_and_what_is_not_there_costs_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, reads: list[Any]
) -> None:
    monkeypatch.setattr(limits, "REPLAYED_BURST", 5)
    monkeypatch.setattr(limits, "REPLAYED_PER_S", 0.001)
    place = await published(hub, 1.0, 2.0, 3.0)
    async with client(knowing(fetched=nobody)) as socket:
        recovered = []
        for since, epoch in [*[(0, "another")] * 3, (0, place.epoch), (0, place.epoch)]:
            hub.past._cached.clear()
            recovered.append((await resume(socket, since, epoch))["recovered"])
            for _ in range(3 if recovered[-1] else 1):
                await socket.receive()

    assert recovered == [False, False, False, True, False]
    assert len(reads) == 1


async def test_who_asks_for_the_same_ticks_again_and_again_gets_a_snapshot(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPLAYED_BURST", 5)
    monkeypatch.setattr(limits, "REPLAYED_PER_S", 0.001)
    place = await published(hub, 1.0, 2.0, 3.0)
    async with client(knowing(fetched=nobody)) as socket:
        first = await resume(socket, 1, place.epoch)
        got = [await socket.receive() for _ in range(2)]
        second = await resume(socket, 0, place.epoch)
        got += [await socket.receive() for _ in range(3)]
        third = await resume(socket, 1, place.epoch)
        got.append(await socket.receive())

    assert [m["recovered"] for m in (first, second, third)] == [True, True, False]
    assert [m["seq"] for m in got] == [2, 3, 1, 2, 3, 3]
    assert got[-1]["snapshot"] is True


async def test_who_leaves_before_its_old_ticks_were_read_takes_none_from_its_address(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await published(hub, 1.0, 2.0, 3.0)
    asked = asyncio.Event()

    async def hanging(*_: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ticks, "kept", hanging)
    shared = Shared()
    manners = Manners(Allowance(20, 100, 50, 500), monotonic(), shared)
    feed = await following(hub)
    coming = Requests(knowing(), feed, hub, manners)
    back = asyncio.create_task(coming._missed(Since(place.epoch, 0), ["BTC"]))
    await asked.wait()
    back.cancel()
    await asyncio.wait({back})

    most = limits.REPLAYED_BURST * limits.REPLAYED_OF_ADDRESS
    assert all(
        Manners(Allowance(20, 100, 50, 500), monotonic(), shared).may_replay(
            limits.REPLAYED_BURST, monotonic()
        )
        for _ in range(most // limits.REPLAYED_BURST)
    )


async def test_who_may_have_no_more_old_ticks_is_not_asked_for_where_it_is_ahead_either(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, reads: list[Any]
) -> None:
    monkeypatch.setattr(limits, "REPLAYED_BURST", 3)
    monkeypatch.setattr(limits, "REPLAYED_PER_S", 0.001)
    place = await published(hub, 1.0)
    async with client(knowing(fetched=nobody)) as socket:
        for _ in range(5):
            assert (await resume(socket, 9, place.epoch))["recovered"] is False
            await socket.receive()

    assert len(reads) == 3
