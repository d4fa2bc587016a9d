"""The second way out where what Redis holds changes, or what Redis says is not what was thought."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from redis import Redis

from lokifi import front as ways
from lokifi.frontcache import FrontCache
from lokifi.known import Found, Heads, Known, Part, _note_read
from lokifi.redis_reader import RedisReader
from prices import cache, questions
from prices.local_copies import LocalCopies
from prices.redis_clients import RedisAwayError
from prices.sidecar import Sidecar
from streaming import hub
from tests.lokifi.origin import Origin, ask

QUOTE = "/api/v1/prices/BTC"
JSON_TYPE = (b"content-type", b"application/json")


class Store:
    """What Redis would say, and when: what a read finds is what was there as it began."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.version = 1
        self.reads = 0

    async def read(self, _question: object) -> Found:
        version = self.version
        self.reads += 1
        await self.gate.wait()
        body = b'{"version":%d}' % version
        return Found(body, f"tag-{version}", 60.0, {"price:BTC": version})


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> FrontCache:
    """The ways out as the product puts them together, without a hub of their own."""
    monkeypatch.setattr(hub, "on_tick", [])
    monkeypatch.setattr(hub, "hub", lambda: None)
    monkeypatch.setattr(ways.Names, "watch", lambda _: None)
    return ways.in_front_of(Origin(), refusing=Origin())


@pytest.fixture
def store(front: FrontCache, monkeypatch: pytest.MonkeyPatch) -> Store:
    known, store = front._app, Store()
    assert isinstance(known, Known)
    question = questions.of_request(QUOTE, b"")
    assert question is not None
    known._heads._learn((question.name, b"testserver", "http", ""), {}, [JSON_TYPE])
    monkeypatch.setattr(known, "_read", store.read)
    return store


def tick(_: FrontCache) -> None:
    for told in hub.on_tick:
        told(["BTC"])


async def turns() -> None:
    """Let all that can go on without the gate go on."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("change", [tick, FrontCache.clear], ids=["tick", "names"])
async def test_who_asks_after_a_change_is_not_given_what_was_being_read_before_it(
    front: FrontCache, store: Store, change: Callable[[FrontCache], None]
) -> None:
    before = asyncio.create_task(ask(front, QUOTE))
    await turns()
    assert store.reads == 1
    store.version = 2
    change(front)
    after = asyncio.create_task(ask(front, QUOTE))
    await turns()
    store.gate.set()

    assert (await before).body == b'{"version":1}'
    assert (await after).body == b'{"version":2}'
    assert (await ask(front, QUOTE)).body == b'{"version":2}'


@pytest.mark.asyncio
async def test_after_a_change_too_what_many_ask_for_at_once_is_read_once(
    front: FrontCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, gates = front._app, list[asyncio.Event]()
    assert isinstance(known, Known)
    question = questions.of_request(QUOTE, b"")
    assert question is not None

    async def read(_: object) -> None:
        gates.append(asyncio.Event())
        await gates[-1].wait()

    monkeypatch.setattr(known, "_read", read)
    asking = [asyncio.create_task(known._find(question))]
    await turns()
    known.forget_running()
    asking += [asyncio.create_task(known._find(question)) for _ in range(10)]
    await turns()
    # The end of the one that was forgotten does not part those who ask for the other.
    gates[0].set()
    await turns()
    asking += [asyncio.create_task(known._find(question)) for _ in range(10)]
    await turns()
    assert len(gates) == 2
    gates[1].set()
    await asyncio.gather(*asking)
    await turns()

    assert not known._running


@pytest.mark.asyncio
async def test_a_surprise_while_reading_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, asked = RedisReader(), list[list[str]]()

    async def odd(names: list[str]) -> list[bytes]:
        asked.append(names)
        if len(asked) == 1:
            raise RuntimeError("not of Redis")
        return [b"found" for _ in names]

    told = list[str]()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(str(context.get("exception")))
    )
    monkeypatch.setattr(reader, "_mget", odd)
    reading = [asyncio.create_task(reader.read([f"k{number}"])) for number in range(70)]
    found = await asyncio.wait_for(asyncio.gather(*reading, return_exceptions=True), 10)
    await asyncio.sleep(0)

    assert all(isinstance(one, RedisAwayError) for one in found[:64])
    assert found[64:] == [[b"found"]] * 6
    assert told == ["not of Redis"]


@pytest.mark.asyncio
async def test_a_connection_of_the_reader_that_died_is_made_anew_without_a_word(
    redis_client: Redis,
) -> None:
    reader = RedisReader()
    redis_client.set("k", "held")
    assert await reader.read(["k", "nothing"]) == [b"held", None]

    redis_client.client_kill_filter(_type="normal", skipme=True)

    assert await asyncio.gather(*(reader.read([name]) for name in ("k", "nothing", "k"))) == [
        [b"held"],
        [None],
        [b"held"],
    ]
    await reader._connection.disconnect()


@pytest.fixture
def small_room(monkeypatch: pytest.MonkeyPatch) -> LocalCopies:
    """Room for ten bodies of a hundred bytes, in place of this process's own copies."""
    room = LocalCopies(max_bytes=1000)
    monkeypatch.setattr(cache, "_local", room)
    return room


def test_what_is_read_again_and_again_outlives_what_was_read_once(small_room: LocalCopies) -> None:
    cache.note_read("hot", b"x" * 100, 60)
    for number in range(50):
        cache.note_read(f"cold:{number}", b"x" * 100, 60)
        assert cache.note_use(["hot"]) == set()

    assert small_room.get("hot") is not None
    assert cache.note_use(["hot", "cold:0", "cold:49"]) == {"cold:0"}


def test_what_is_read_past_django_is_kept_here_again_once_it_was_pushed_out(
    small_room: LocalCopies,
) -> None:
    body, now = b'{"price":1}', datetime.now(UTC)
    beside = Sidecar("tag", now.timestamp() + 60, len(body), 0, "ref", "source", None, now, 1)
    part = Part("BTC", "price:BTC", body, beside, 60.0)
    for _ in range(2):
        _note_read([part])
        kept = small_room.get("price:BTC")
        assert kept is not None
        assert kept.body == body
        small_room.clear()


def test_what_a_client_makes_up_of_its_headers_is_not_held_by_the_heads_of_answers() -> None:
    heads, place = Heads(), ("quote", b"host", "http", "")
    vary = (b"vary", b"Origin")
    tracemalloc.start()
    for number in range(300):
        origin = b"https://%d.example" % number + b"x" * 100_000
        allowed = (b"access-control-allow-origin", origin)
        heads._learn(place, {b"origin": origin}, [JSON_TYPE, vary, allowed])
        heads._learn(("quote", origin, "http", ""), {}, [JSON_TYPE])
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert held < 2**20
    assert not heads._heads


def test_a_thousand_hosts_and_origins_of_honest_length_take_little() -> None:
    heads = Heads()
    tracemalloc.start()
    for number in range(1000):
        name = b"%d." % number + b"x" * 240
        place, fields = ("quote", name, "http", ""), {b"origin": name}
        heads._learn(place, fields, [JSON_TYPE, (b"vary", b"Origin"), (b"x-own", name)])
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert held < 2 * 2**20
    assert heads.get(place, fields) is not None
