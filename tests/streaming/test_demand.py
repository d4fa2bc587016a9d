from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis import Redis

from prices import redis_clients
from streaming import demand
from streaming.demand import LeaseKeeper, Leases
from tests.streaming.sockets import until

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def test_what_any_process_follows_is_wanted_once() -> None:
    async with redis_clients.async_client() as client:
        await Leases(client, 60).renew({"BTC": 2, "ETH": 1})
        await Leases(client, 60).renew({"BTC": 1, "stock:STX": 1})

    assert demand.wanted() == ["BTC", "ETH", "stock:STX"]


async def test_what_nobody_renews_lapses(redis_client: Redis) -> None:
    async with redis_clients.async_client() as client:
        await Leases(client, 60).renew({"BTC": 1})
        await Leases(client, 0).renew({"ETH": 1})

    assert demand.wanted() == ["BTC"]
    assert redis_client.zrange(demand.WANTED, 0, -1) == ["BTC"], "and is forgotten"


async def test_a_short_lease_never_shortens_another_processs_longer_one() -> None:
    async with redis_clients.async_client() as client:
        await Leases(client, 60).renew({"BTC": 1})
        await Leases(client, 0).renew({"BTC": 1})

    assert demand.wanted() == ["BTC"]


async def test_followers_are_those_of_all_living_processes() -> None:
    async with redis_clients.async_client() as client:
        await Leases(client, 60).renew({"BTC": 2, "ETH": 1})
        await Leases(client, 60).renew({"BTC": 3})
        await Leases(client, 0).renew({"BTC": 100})

    assert demand.followers(["BTC", "ETH", "DOGE"]) == {"BTC": 5, "ETH": 1, "DOGE": 0}
    assert demand.followers([]) == {}


async def test_the_first_follower_is_added_and_a_renewal_replaces_all() -> None:
    async with redis_clients.async_client() as client:
        leases = Leases(client, 60)
        await leases.renew({"BTC": 2})
        await leases.add({"ETH": 1})
        assert demand.followers(["BTC", "ETH"]) == {"BTC": 2, "ETH": 1}

        await leases.renew({"ETH": 4})

    assert demand.followers(["BTC", "ETH"]) == {"BTC": 0, "ETH": 4}
    assert demand.wanted() == ["BTC", "ETH"], "a lease lapses; nobody takes it back"


async def test_every_key_of_demand_has_an_end(redis_client: Redis) -> None:
    async with redis_clients.async_client() as client:
        leases = Leases(client, 60)
        await leases.renew({"BTC": 1})

    counts = f"lokifi:demand:counts:{leases.process}"
    assert 0 < int(str(redis_client.pttl(counts))) <= 60_000


async def test_ten_thousand_symbols_are_written_at_once() -> None:
    many = {f"S{number}": 1 for number in range(10_000)}
    async with redis_clients.async_client() as client:
        await Leases(client, 60).renew(many)

    assert len(demand.wanted()) == 10_000


class OddRedis:
    """A client whose first call fails in a way that no one foresaw."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.has_failed = False

    def register_script(self, text: str) -> Any:
        script = self._client.register_script(text)

        async def call(**arguments: Any) -> Any:
            if not self.has_failed:
                self.has_failed = True
                raise ValueError("not an answer")
            return await script(**arguments)

        return call


async def test_leases_are_kept_whatever_writing_them_ran_into(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with redis_clients.async_client() as client:
        odd: Any = OddRedis(client)
        keeper = asyncio.create_task(LeaseKeeper(odd, {"BTC": 1}, 1).keep())
        try:
            await until(lambda: demand.wanted() == ["BTC"])
        finally:
            keeper.cancel()

    assert "not an answer" in caplog.text


async def test_what_is_expected_is_wanted_before_anyone_follows_it() -> None:
    async with redis_clients.async_client() as client:
        keeper = LeaseKeeper(client, {"BTC": 1}, 60)
        keeper.add(["ETH"])
        keeping = asyncio.create_task(keeper.keep())
        try:
            await until(lambda: "BTC" in demand.wanted())
            assert demand.wanted() == ["BTC", "ETH"], "with what is followed"
            keeper.add(["SOL"])
            await until(lambda: "SOL" in demand.wanted())
        finally:
            keeping.cancel()

    assert demand.followers(["BTC", "ETH", "SOL"]) == {"BTC": 1, "ETH": 0, "SOL": 0}


async def test_what_was_counted_is_told_also_when_everyone_has_left() -> None:
    counts, figures = {"BTC": 1}, {"sockets": 1, "bytes": 5}
    async with redis_clients.async_client() as client:
        keeper = LeaseKeeper(client, counts, 1, lambda: figures)
        keeping = asyncio.create_task(keeper.keep())
        try:
            await until(lambda: "BTC" in demand.wanted())
            counts.clear()
            figures["sockets"] = 0
            await until(lambda: demand.wanted() == [])
            figures["bytes"] = 6
            await until(lambda: figures in demand.figures(redis_clients.client()).values())
        finally:
            keeping.cancel()
