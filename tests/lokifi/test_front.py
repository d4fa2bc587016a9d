"""What the front cache does where symbols come to mean others."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from lokifi.front import Names
from prices.services import holdings
from tests.lokifi.origin import Origin, ask, front
from tests.processes import until

pytestmark = pytest.mark.asyncio


async def test_all_copies_go_soon_after_symbols_came_to_mean_others() -> None:
    app = front(Origin())
    Names(app, each_s=0.01).watch()
    for _ in range(2):
        await asyncio.sleep(0.2)
        await ask(app)
        assert len(app.shelf) == 1
        await asyncio.to_thread(holdings.forget, ["BTC"])
        await asyncio.to_thread(until, lambda: not app.shelf, "the copies to go")


async def test_copies_of_before_the_first_look_go_with_it() -> None:
    app = front(Origin())
    # Kept, and then symbols came to mean others before anybody looked.
    await ask(app)
    assert len(app.shelf) == 1
    await asyncio.to_thread(holdings.note_names)
    Names(app, each_s=60).watch()
    await asyncio.to_thread(until, lambda: not app.shelf, "the copies to go")


async def test_copies_stay_where_redis_has_lost_all_it_held(redis_client: Redis) -> None:
    await asyncio.to_thread(holdings.note_names)
    app = front(Origin())
    names = Names(app, each_s=0.01)
    names.watch()
    await asyncio.sleep(0.2)
    await ask(app)
    redis_client.flushall()
    await asyncio.sleep(0.2)

    assert len(app.shelf) == 1


async def test_all_copies_go_soon_after_something_was_dropped_that_was_held(
    redis_client: Redis,
) -> None:
    redis_client.set("ohlcv:BTC:1d", b"{}", ex=60)
    redis_client.set("sent:ohlcv:BTC:1d", b"{}", ex=60)
    app = front(Origin())
    Names(app, each_s=0.01).watch()
    await asyncio.sleep(0.2)
    await ask(app)
    assert not await asyncio.to_thread(holdings.drop, ["ohlcv:BTC:1w"])
    await asyncio.sleep(0.2)
    assert len(app.shelf) == 1

    assert await asyncio.to_thread(holdings.drop, ["ohlcv:BTC:1d"])

    await asyncio.to_thread(until, lambda: not app.shelf, "the copies to go")
    assert redis_client.exists("ohlcv:BTC:1d", "sent:ohlcv:BTC:1d") == 0
