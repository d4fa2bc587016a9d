"""What both streams make of a server that says things in an order that is seldom seen."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lokifi_prices import PriceStream, State
from websockets.asyncio.server import ServerConnection, serve

from tests.clients.test_nonsense import UPDATE, WELCOME

NODE = shutil.which("node")
PROBE = str(Path(__file__).with_name("probe.mjs"))
BEAT = {"type": "heartbeat", "epoch": "e", "prev_seq": 1, "timestamp": UPDATE["timestamp"]}

Seen = dict[str, Any]


class FarEnd:
    """The server's side of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self._connection.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(await self._connection.recv())
        return heard

    async def accept(self, **more: Any) -> dict[str, Any]:
        """Take what is asked for next."""
        asked = await self.hear()
        accepted = {"symbols": asked["symbols"], "rejected": {}, "resolved": {}, **more}
        await self.say({"type": "subscribed", "id": asked["id"], **accepted})
        return asked

    async def refuse(self, code: str, **more: Any) -> dict[str, Any]:
        asked = await self.hear()
        rejected = {"symbols": [], "rejected": {"BTC": code}, "resolved": {}}
        await self.say({"type": "subscribed", "id": asked["id"], **rejected, **more})
        return asked


def notice(code: str, **more: Any) -> dict[str, Any]:
    return {"type": "notice", "code": code, "message": "", **more}


def priced(price: float, **more: Any) -> dict[str, Any]:
    tick = {"symbol": "BTC", "ref": "coingecko:bitcoin", "price": price, "stale": False}
    return {**UPDATE, "data": {"BTC": tick}, **more}


Talk = Callable[[FarEnd], Awaitable[None]]


async def probed(client: str, *talks: Talk) -> Seen:
    """Return what a client knew at each notice; each connection has its talk."""
    waiting = iter(talks)

    async def talk(connection: ServerConnection) -> None:
        await next(waiting)(FarEnd(connection))
        await connection.close()

    async with serve(talk, "127.0.0.1", 0) as server, asyncio.timeout(30):
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        return await CLIENTS[client](url)


async def probe(url: str) -> Seen:
    """Ask the Python client; the twin of probe.mjs."""
    seen: Seen = {}
    ended = asyncio.Event()
    stream = PriceStream(url)
    subscription = stream.subscribe("BTC")

    def look(told: dict[str, str]) -> None:
        quote = stream.quote("BTC")
        known = quote and [quote["price"], quote["stale"]]
        seen[told["code"]] = {"quote": known, "isSilent": stream.is_silent}
        if told["code"] == "leave later":
            leaving.append(True)
        if told["code"] == "leave":
            subscription.close()
        if told["code"] == "end":
            ended.set()

    def leave(state: State) -> None:
        if state is State.DISCONNECTED and leaving:
            leaving.clear()
            subscription.close()
            stream.subscribe("BTC")
            seen["away"] = {"quote": stream.quote("BTC")}

    leaving: list[bool] = []
    stream.on("state", leave)
    stream.on("notice", look)
    async with stream:
        await ended.wait()
    return seen


async def in_node(url: str) -> Seen:
    if NODE is None:
        pytest.skip("no node here")
    done = await asyncio.create_subprocess_exec(
        NODE, "--experimental-websocket", PROBE, url, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await done.communicate()
    seen: Seen = json.loads(printed)
    return seen


CLIENTS: dict[str, Callable[[str], Awaitable[Seen]]] = {"python": probe, "node": in_node}
pytestmark = pytest.mark.asyncio
each = pytest.mark.parametrize("client", CLIENTS)


@each
async def test_a_tick_that_crosses_with_leaving_is_not_kept_as_a_price(client: str) -> None:
    async def talk(server: FarEnd) -> None:
        await server.say(WELCOME)
        await server.accept()
        await server.say(priced(5, snapshot=True), notice("leave"))
        assert (await server.hear())["action"] == "unsubscribe"
        await server.say(priced(6), notice("end"))

    seen = await probed(client, talk)
    assert seen["leave"]["quote"] == [5, False]
    assert seen["end"]["quote"] is None


@each
async def test_what_is_refused_after_an_outage_is_stale_and_begins_with_a_snapshot(
    client: str,
) -> None:
    asked = []

    async def before(server: FarEnd) -> None:
        await server.say(WELCOME)
        asked.append(await server.accept())
        await server.say(priced(5), notice("stopping", retry_after_ms=10))

    async def after(server: FarEnd) -> None:
        await server.say(WELCOME)
        asked.append(await server.refuse("upstream_unavailable", retry_after_ms=10))
        await server.say({**BEAT, "seq": 9}, notice("refused"))
        asked.append(await server.accept())
        await server.say(notice("accepted"), priced(6, seq=9, snapshot=True), notice("end"))

    seen = await probed(client, before, after)
    assert [one.get("since") for one in asked] == [None, 2, None]
    assert seen["refused"]["quote"] in ([5, True], None)  # None once it is asked for again
    assert [seen[code]["quote"] for code in ("accepted", "end")] == [None, [6, False]]


@each
async def test_a_price_of_before_an_outage_ends_where_the_server_has_none_any_more(
    client: str,
) -> None:
    async def before(server: FarEnd) -> None:
        await server.say(WELCOME)
        await server.accept()
        await server.say(priced(5), notice("stopping", retry_after_ms=10))

    async def after(server: FarEnd) -> None:
        await server.say(WELCOME)
        await server.accept(recovered=False, pending=["BTC"])
        await server.say(notice("end"))

    seen = await probed(client, before, after)
    assert [one["quote"] for one in seen.values()] == [[5, False], None]


@each
async def test_a_silence_ends_with_the_next_tick_also_where_it_holds_nothing_for_the_client(
    client: str,
) -> None:
    async def talk(server: FarEnd) -> None:
        await server.say(WELCOME, notice("publisher_silent"))
        await server.say({**BEAT, "seq": WELCOME["seq"]}, notice("same"))
        await server.say({**BEAT, "seq": WELCOME["seq"] + 1}, notice("next"))
        await server.say(notice("publisher_silent"), {**BEAT, "epoch": "f", "seq": 1})
        await server.say(notice("epoch"), notice("end"))

    seen = await probed(client, talk)
    told = ["publisher_silent", "same", "next", "epoch"]
    assert [seen[code]["isSilent"] for code in told] == [True, True, False, False]


async def test_ticks_that_are_told_again_say_nothing_of_the_servers_clock() -> None:
    async def talk(server: FarEnd) -> None:
        await server.say(WELCOME)
        await server.accept()
        await server.say({**BEAT, "seq": 1, "timestamp": "2040-01-01T00:00:00Z"}, notice("live"))
        again = {"replay": True, "timestamp": "2039-12-31T23:55:00Z"}
        await server.say(priced(5, **again), notice("replay"), notice("end"))

    seen = await probed("node", talk)
    assert seen["live"]["skewMs"] > 0
    assert seen["replay"]["skewMs"] == seen["live"]["skewMs"]


@each
async def test_what_is_left_while_the_server_is_away_is_forgotten(client: str) -> None:
    asked = []

    async def before(server: FarEnd) -> None:
        await server.say(WELCOME)
        asked.append(await server.accept())
        await server.say(priced(5), notice("leave later"), notice("stopping", retry_after_ms=10))

    async def after(server: FarEnd) -> None:
        await server.say(WELCOME)
        asked.append(await server.accept())
        await server.say(notice("accepted"), priced(6, seq=9, snapshot=True), notice("end"))

    seen = await probed(client, before, after)
    assert [one.get("since") for one in asked] == [None, None]
    assert seen["stopping"]["quote"] == [5, False]
    known = [seen[code]["quote"] for code in ("away", "accepted", "end")]
    assert known == [None, None, [6, False]]


async def test_a_listener_that_throws_takes_nothing_from_others_nor_from_the_stream() -> None:
    async def talk(server: FarEnd) -> None:
        await server.say(WELCOME)
        await server.accept()
        await server.say(priced(5), notice("end"))

    end = (await probed("node", talk))["end"]
    assert end["prices"] == [5]
    assert end["reported"] >= 2
