"""What names mean is asked for together and remembered, within bounds, and a flood stops nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Iterator
from time import monotonic

import pytest

from prices.services.symbols import Resolution
from streaming import lookup
from streaming.limits import Allowance, Manners, Shared
from streaming.lookup import Names
from streaming.protocol import Code, ProtocolError
from streaming.waiting import Waiting
from tests.streaming.sockets import meaning, until

pytestmark = pytest.mark.asyncio

ALLOWANCE = Allowance(messages=20, burst=100, mistakes=50, symbols=500)


class Catalogue:
    """Knows what does not begin with Z. While it is `held`, it answers nothing."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.goes = threading.Event()
        self.goes.set()
        self.is_away = False

    def resolve(self, names: Collection[str]) -> Resolution:
        self.asked.append(list(names))
        assert self.goes.wait(30)
        if self.is_away:
            raise OSError("no database")
        result = meaning([name for name in names if not name.startswith("Z")], {}, {})
        result.rejected.update((name, "unknown_symbol") for name in names if name[0] == "Z")
        return result


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    made = Catalogue()
    yield made
    made.goes.set()  # for the threads


async def learn(names: Names, wanted: Collection[str], who: Manners | None = None) -> Resolution:
    found = await names.resolution(wanted, now() + 30, who)
    assert found is not None
    return found


def now() -> float:
    return monotonic()


def manners(shared: Shared | None = None) -> Manners:
    return Manners(ALLOWANCE, now(), shared)


def made_up(count: int, of: str = "") -> list[str]:
    return [f"Z{of}X{number}" for number in range(count)]


async def test_a_name_longer_than_any_symbol_is_refused_unasked_and_not_kept(
    catalogue: Catalogue,
) -> None:
    names = Names(catalogue.resolve)

    found = await learn(names, ["x" * 5000, "BTC"])

    assert found.rejected == {"x" * 5000: "invalid_symbol"}
    assert list(found.found) == ["BTC"]
    assert catalogue.asked == [["BTC"]]
    assert list(names._known) == ["BTC"]


async def test_a_flood_of_names_is_asked_for_in_parts_and_leaves_the_newest(
    monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue
) -> None:
    monkeypatch.setattr(lookup, "_MOST_NAMES", 10)
    monkeypatch.setattr(lookup, "_ASKED_AT_ONCE", 4)
    names = Names(catalogue.resolve)
    many = [f"N{number}" for number in range(9)]

    assert list((await learn(names, many)).found) == many
    assert [len(part) for part in catalogue.asked] == [4, 4, 1]
    await learn(names, ["A", "B", "C"])

    assert list(names._known) == [*many[2:], "A", "B", "C"]


async def test_made_up_names_push_no_other_out_of_memory(
    monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue
) -> None:
    monkeypatch.setattr(lookup, "_MOST_NAMES", 10)
    monkeypatch.setattr(lookup, "_MOST_REJECTED", 10)
    names = Names(catalogue.resolve)
    await learn(names, ["BTC"])

    found = await learn(names, [*made_up(50), "BTC"])

    assert (len(found.rejected), list(found.found)) == (50, ["BTC"])
    assert (list(names._known), len(names._rejected)) == (["BTC"], 10)
    assert [name for part in catalogue.asked for name in part].count("BTC") == 1


async def test_what_is_remembered_is_told_at_once_while_names_are_looked_up(
    catalogue: Catalogue,
) -> None:
    names = Names(catalogue.resolve)
    await learn(names, ["BTC", "ZNO"])
    catalogue.goes.clear()
    flood = asyncio.create_task(learn(names, made_up(9000)))
    await until(lambda: len(catalogue.asked) == 2)

    found = await names.resolution(["BTC", "ZNO"], now())  # no time at all is left to it

    assert found is not None
    assert (list(found.found), found.rejected) == (["BTC"], {"ZNO": "unknown_symbol"})
    catalogue.goes.set()
    assert len((await flood).rejected) == 9000


async def test_what_cannot_be_learnt_in_time_does_not_keep_back_what_is_known(
    catalogue: Catalogue,
) -> None:
    names = Names(catalogue.resolve)
    await learn(names, ["BTC"])
    catalogue.goes.clear()

    found = await names.resolution(["BTC", "ETH"], now() + 0.01)

    assert found is not None
    assert (list(found.found), found.rejected) == (["BTC"], {"ETH": "upstream_unavailable"})
    assert await names.resolution(["SOL"], now() + 0.01) is None


async def test_who_comes_with_a_few_names_is_in_the_next_question_behind_a_flood(
    monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue
) -> None:
    monkeypatch.setattr(lookup, "_ASKED_AT_ONCE", 100)
    names = Names(catalogue.resolve)
    catalogue.goes.clear()
    first = asyncio.create_task(learn(names, ["A"], manners()))
    await until(lambda: catalogue.asked == [["A"]])
    floods = [
        asyncio.create_task(learn(names, made_up(900, str(n)), manners(Shared()))) for n in range(5)
    ]
    await asyncio.sleep(0)
    newcomer = asyncio.create_task(learn(names, ["SOL", "AAPL"], manners(Shared())))
    await asyncio.sleep(0)

    catalogue.goes.set()

    assert list((await newcomer).found) == ["SOL", "AAPL"]
    assert {"SOL", "AAPL"} <= set(catalogue.asked[1])
    for one in [first, *floods]:
        await one


async def test_connections_of_one_address_have_one_turn(catalogue: Catalogue) -> None:
    address, other = Shared(), Shared()
    waiting = Waiting(100)
    for number in range(3):
        asker = manners(address).asker
        assert [waiting.put(asker, f"Z{number}X{n}") for n in range(3)] == [True] * 3
    assert waiting.put(manners(other).asker, "SOL")

    assert waiting.take(4) == ["Z0X0", "SOL", "Z0X1", "Z0X2"]


async def test_names_for_which_nobody_waits_any_more_are_not_asked_for(
    catalogue: Catalogue,
) -> None:
    names = Names(catalogue.resolve)
    catalogue.goes.clear()
    first = asyncio.create_task(learn(names, ["A"]))
    await until(lambda: catalogue.asked == [["A"]])
    both = manners(Shared())
    stays = asyncio.create_task(learn(names, ["B"], both))

    assert await names.resolution([*made_up(900), "B"], now() + 0.01, both) is None

    assert len(names._waiting) == 1
    catalogue.goes.set()
    await first
    assert list((await stays).found) == ["B"]
    assert catalogue.asked == [["A"], ["B"]]


async def test_the_queue_of_names_is_bounded_and_leaves_room_for_who_has_few(
    monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue
) -> None:
    monkeypatch.setattr(lookup, "_MOST_WAITING", 100)
    names = Names(catalogue.resolve)
    catalogue.goes.clear()
    first = asyncio.create_task(learn(names, ["A"]))
    await until(lambda: catalogue.asked == [["A"]])
    floods = [
        asyncio.create_task(learn(names, made_up(900, str(n)), manners(Shared()))) for n in range(4)
    ]
    await asyncio.sleep(0)

    newcomer = asyncio.create_task(learn(names, ["SOL"], manners(Shared())))
    await asyncio.sleep(0)

    assert len(names._waiting) <= 100
    catalogue.goes.set()
    assert list((await newcomer).found) == ["SOL"]
    for one in floods:
        codes = list((await one).rejected.values())
        assert 0 < codes.count("unknown_symbol") <= 50
        assert set(codes) == {"unknown_symbol", "upstream_unavailable"}
    await first


async def test_who_has_had_too_many_names_looked_up_is_refused_but_for_what_is_remembered(
    catalogue: Catalogue,
) -> None:
    names, greedy = Names(catalogue.resolve), manners()
    await learn(names, ["BTC"])
    for number in range(2):
        await learn(names, made_up(1000, str(number)), greedy)

    with pytest.raises(ProtocolError) as caught:
        await learn(names, made_up(1000, "2"), greedy)

    assert caught.value.code is Code.RATE_LIMITED
    assert list((await learn(names, ["BTC"], greedy)).found) == ["BTC"]
    assert len((await learn(names, made_up(1000, "2"), manners())).rejected) == 1000


async def test_an_address_that_connects_again_and_again_has_no_more_names_looked_up(
    catalogue: Catalogue,
) -> None:
    names, address = Names(catalogue.resolve), Shared()
    for number in range(10):
        await learn(names, made_up(1000, str(number)), manners(address))

    with pytest.raises(ProtocolError):
        await learn(names, made_up(1000, "10"), manners(address))

    await learn(names, made_up(1000, "10"), manners(Shared()))


async def test_names_that_could_not_be_looked_up_do_not_count(
    catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    names, patient = Names(catalogue.resolve), manners(Shared())
    catalogue.is_away = True
    for _ in range(20):
        assert await names.resolution(made_up(1000), now() + 30, patient) is None
    assert caplog.text.count("asking failed") == 1
    catalogue.is_away = False

    assert len((await learn(names, made_up(1000), patient)).rejected) == 1000


async def test_that_too_many_calls_wait_is_said_once_an_outage(
    catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    threads = lookup.Threads("few-for-a-test", 1, waiting=1)
    for _ in range(2):
        catalogue.goes.clear()
        calls = [threads.run(lambda: catalogue.resolve(["A"]), now() + 0.01) for _ in range(9)]
        assert await asyncio.gather(*calls) == [None] * 9
        catalogue.goes.set()
        await until(lambda: threads._room == 2)

    assert caplog.text.count("too many calls wait") == 2
