"""What clients/behaviours.json lists, shown by the Python client; the twin of behaviours.mjs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from lokifi_prices import (
    PriceClient,
    PriceError,
    PriceStream,
    State,
    StreamClosedError,
    Subscription,
    Update,
)

from tests.clients.runs import Results

WITHIN_S = 60.0
Behaviour = Callable[[], Coroutine[Any, Any, None]]


async def behaviours(url: str, restarted: Callable[[], Awaitable[None]]) -> Results:
    async with PriceClient(url) as client:
        shown = _Shown(client, restarted)
        return {name: await _outcome(shown.of[name]) for name in shown.of}


async def _outcome(behaviour: Behaviour) -> str:
    try:
        await behaviour()
    except Exception as exc:  # noqa: BLE001 (a test tells of it)
        return repr(exc)
    return "ok"


class _Shown:
    def __init__(self, client: PriceClient, restarted: Callable[[], Awaitable[None]]) -> None:
        self.client = client
        self.restarted = restarted
        self.stream: PriceStream = client.stream()
        self.states = [self.stream.state]
        self.updates: list[dict[str, Any]] = []
        self.rejected: dict[str, str] = {}
        self.seen: list[Update] = []
        self.stream.on("state", self.states.append)
        self.stream.on("update", self.updates.append)
        self.stream.on("rejected", self.rejected.update)
        self.of: dict[str, Behaviour] = {
            "rest": self.rest,
            "errors": self.errors,
            "states": self.passed,
            "ticks": self.ticks,
            "names": self.names,
            "latecomer": self.latecomer,
            "counting": self.counting,
            "restart": self.restart,
            "closing": self.closing,
        }
        self.mine = self.stream.subscribe("BTC", "eth")
        self.readers = [asyncio.create_task(read(self.mine, self.seen))]

    def read(self, *symbols: str) -> tuple[Subscription, list[Update]]:
        """Subscribe, and have what comes collected."""
        user, got = self.stream.subscribe(*symbols), list[Update]()
        self.readers.append(asyncio.create_task(read(user, got)))
        return user, got

    @property
    def live(self) -> list[dict[str, Any]]:
        return [u for u in self.updates if "snapshot" not in u and "replay" not in u]

    async def rest(self) -> None:
        client = self.client
        quote = await client.quote("btc")
        assert (quote["symbol"], quote["ref"]) == ("BTC", "coingecko:bitcoin")
        assert quote["price"] > 0
        batch = await client.quotes(["BTC", "ETH", "NOPE", *(f"NOPE{n}" for n in range(120))])
        assert list(batch["data"]) == ["BTC", "ETH"]
        assert batch["failed"]["NOPE"] == "unknown_symbol"
        assert len(batch["failed"]) == 121
        assert len((await client.history("BTC", "1w"))["data"]) == 168
        assert (await client.candles("ETH", "1w", "60"))["resolution"] == "60"
        assert (await client.price_at("AAPL", "2026-11-20"))["symbol"] == "AAPL"
        assert len((await client.top(5))["cryptos"]) == 5
        coins = (await client.search_coins("doge"))["results"]
        assert "dogecoin" in [coin["id"] for coin in coins]
        listed = (await client.search("apple", 5, "stock"))["results"]
        assert "stock:AAPL" in [one["ref"] for one in listed]
        assert (await client.mapping())["mapping"]["BTC"] == "bitcoin"

    async def errors(self) -> None:
        unknown = await failure(self.client.quote("NOPE"))
        assert (unknown.code, unknown.status) == ("unknown_symbol", 404)
        assert unknown.problem
        assert unknown.problem["status"] == 404
        refused = await failure(self.client.get("/prices/BTC/history", period="1q"))
        assert refused.problem
        assert (refused.code, refused.problem["errors"][0]["field"]) == (
            "invalid_parameter",
            "period",
        )
        async with PriceClient("http://127.0.0.1:9") as nowhere:
            away = await failure(nowhere.quote("BTC"))
        assert (away.code, away.status, away.problem) == ("unreachable", 0, None)

    async def passed(self) -> None:
        stream = self.stream
        assert stream.is_stale
        stream.open()
        await until(lambda: not stream.is_stale)
        assert self.states == [State.CREATED, State.CONNECTED, State.SUBSCRIBING, State.ACTIVE]
        assert stream.state is self.states[-1]
        assert stream.interval_s == 1

    async def ticks(self) -> None:
        await until(lambda: len(self.live) >= 3)
        assert self.updates[0]["snapshot"]
        assert_consecutive(self.live)
        await until(lambda: len([one for one in self.seen if one.tick["symbol"] == "BTC"]) >= 4)
        known = self.stream.quote("eth")
        assert known
        assert not known["stale"]

    async def names(self) -> None:
        assert {one.tick["symbol"] for one in self.seen} == {"BTC", "ETH"}
        odd, others = self.read("crypto:sol", "NOPE")
        await until(lambda: "NOPE" in self.rejected and others)
        assert self.rejected["NOPE"] == "unknown_symbol"
        assert others[0].tick["symbol"] == "SOL"
        odd.close()

    async def latecomer(self) -> None:
        before = len(self.updates)
        with self.stream.subscribe("ETH") as late:
            first = await anext(aiter(late))
        assert (first.tick["symbol"], first.is_snapshot) == ("ETH", True)
        assert len(self.updates) == before

    async def counting(self) -> None:
        (first, one), (second, two) = self.read("DOGE"), self.read("doge")
        await until(lambda: one and two)
        first.close()
        first.close()
        of_first, of_second = len(one), len(two)
        await until(lambda: len(two) >= of_second + 2)
        assert len(one) == of_first
        second.close()
        await until(lambda: all("DOGE" not in update["data"] for update in self.live[-2:]))
        await until(lambda: all("ETH" in update["data"] for update in self.live[-2:]))

    async def restart(self) -> None:
        before = len(self.states)
        await self.restarted()
        assert State.DISCONNECTED in self.states[before:]
        came = len(self.live)
        stream = self.stream
        await until(lambda: stream.state is State.ACTIVE and len(self.live) >= came + 2)
        assert self.states[before] is State.DISCONNECTED
        assert not stream.is_stale
        ticks = [update for update in self.updates if "snapshot" not in update]
        assert any("replay" in update for update in ticks)
        assert_consecutive(ticks)
        assert sorted(self.updates[-1]["data"]) == ["BTC", "ETH"]

    async def closing(self) -> None:
        stream = self.stream
        self.mine.close()
        again = stream.subscribe("BTC")
        await stream.close()
        stream.hurry()
        stream.open()
        before = len(self.updates)
        await asyncio.sleep(2.5)
        assert (stream.state, stream.is_closed, stream.is_stale) == (State.DISCONNECTED, True, True)
        assert len(self.updates) == before
        again.close()
        try:
            stream.subscribe("BTC")
        except StreamClosedError:
            pass
        else:
            raise AssertionError("it was opened again")
        # Whoever reads comes to an end.
        await asyncio.wait_for(asyncio.gather(*self.readers), 5)


async def read(user: Subscription, got: list[Update]) -> None:
    async for update in user:
        got.append(update)


async def failure(call: Awaitable[Any]) -> PriceError:
    try:
        await call
    except PriceError as exc:
        return exc
    raise AssertionError("it succeeded")


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 (what holds is not ours to signal)
            await asyncio.sleep(0.02)


def assert_consecutive(updates: list[dict[str, Any]]) -> None:
    seqs = [update["seq"] for update in updates]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
