from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from channels.testing import ApplicationCommunicator
from pytest_django import Settings
from redis import Redis

from lokifi.embedded import EmbeddedServer
from streaming import events, ticks
from streaming.hub import Hub
from streaming.protocol import WireQuote, entry, share, stamp
from streaming.publisher import announce
from streaming.ticks import UNKNOWN, Place
from tests.streaming.sockets import Client, client, knowing, quote, running_hub, until, wire

pytestmark = pytest.mark.asyncio


class Server:
    """A Redis that a test can take away and give back, empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._running = EmbeddedServer(folder / "0")
        self.url = self._running.url
        self.hang, self.wake = self._running.pause, self._running.resume

    def kill(self) -> None:
        self._running.kill()

    def start(self) -> None:
        self._number += 1
        self._running = EmbeddedServer(self._folder / str(self._number), self._running.port)

    async def publish(self, known: Place = UNKNOWN, **prices: float) -> Place:
        entries = [entry(s, WireQuote.of(quote(s, price))) for s, price in prices.items()]
        with Redis.from_url(self.url, socket_timeout=5) as redis:
            place = ticks.publish(redis, known, 1, share(stamp(), entries))
        await asyncio.to_thread(announce, place)
        return place


@pytest.fixture
def server(tmp_path: Path, settings: Settings) -> Iterator[Server]:
    running = Server(tmp_path)
    settings.REDIS_URL = running.url
    layer = settings.CHANNEL_LAYERS["default"]
    hosts = [{**layer["CONFIG"]["hosts"][0], "address": running.url}]
    settings.CHANNEL_LAYERS = {"default": {**layer, "CONFIG": {**layer["CONFIG"], "hosts": hosts}}}
    settings.PUBLISH_INTERVAL_S = 1
    settings.WS_HEARTBEAT_S = 1
    yield running
    running.kill()


@pytest_asyncio.fixture
async def hub(server: Server) -> AsyncIterator[Hub]:
    async with running_hub() as running:
        yield running


async def head(scope: Any, receive: Any, send: Any) -> None:
    """Say what Django says of a stream that may begin."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


@asynccontextmanager
async def following(*symbols: str) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Yield what waits for a stream's next event that holds these words."""
    application = events.EventStreams(head, preparing=head, lookup=knowing(("BTC", "ETH")))
    query = f"symbols={','.join(symbols)}".encode()
    scope = {"type": "http", "method": "GET", "path": events.PATH, "query_string": query}
    make: Any = ApplicationCommunicator  # it bears no types
    stream = make(application, {**scope, "headers": []})
    assert (await stream.receive_output(5))["status"] == 200

    async def until_said(words: str) -> str:
        event = ""
        while words not in event:
            event = (await stream.receive_output(10))["body"].decode()
        return event

    try:
        yield until_said
    finally:
        await stream.send_input({"type": "http.disconnect"})
        await stream.wait(5)


async def next_update(socket: Client) -> dict[str, Any]:
    while (message := await socket.receive())["type"] != "price_update":
        pass
    return message


async def test_sockets_stay_and_new_ones_come_in_while_redis_is_away(
    server: Server, hub: Hub
) -> None:
    lookup = knowing(fetched=lambda wanted: [])
    async with client(lookup) as old:
        await old.subscribe("BTC")
        before = await server.publish(BTC=1.0)
        assert (await next_update(old))["data"] == {"BTC": wire("BTC", 1.0)}

        server.kill()
        await until(lambda: not hub.is_current)
        async with client(lookup) as new:
            subscribed, snapshot = await new.subscribe("BTC", "ETH")
            assert subscribed["pending"] == ["ETH"]
            assert snapshot["data"] == {"BTC": wire("BTC", 1.0, stale=True)}
            assert (await old.ask("ping", id=1))["type"] in {"pong", "heartbeat", "notice"}

            server.start()
            after = await server.publish(before, BTC=2.0)

            for socket in (old, new):
                update = await next_update(socket)
                assert (update["epoch"], update["seq"]) == (after.epoch, 1)
                assert update["data"] == {"BTC": wire("BTC", 2.0)}


async def test_ticks_are_heard_again_after_redis_came_back(server: Server, hub: Hub) -> None:
    async with client() as socket:
        await socket.subscribe("BTC")
        server.kill()
        await until(lambda: hub._is_away)
        server.start()
        known = await server.publish(BTC=1.0)
        await next_update(socket)

        for price in (2.0, 3.0, 4.0):
            known = await server.publish(known, BTC=price)
            update = await next_update(socket)
            assert (update["seq"], update["data"]["BTC"]["price"]) == (known.seq, price)


async def test_each_outage_is_told_in_the_log_once(
    server: Server, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "streaming.hub")
    monkeypatch.setattr("streaming.hub._RETRY_S", 0.05)
    tries = 0
    receive = hub._receive

    async def counted() -> None:
        nonlocal tries
        tries += 1
        await receive()

    monkeypatch.setattr(hub, "_receive", counted)
    for outages in (1, 2):
        await until(lambda: hub.is_listening)
        server.kill()
        before = tries
        await until(lambda before=before: tries > before + 3)  # type: ignore[misc]
        assert caplog.text.count("listening for ticks failed") == outages
        server.start()


async def test_a_redis_that_hangs_stops_no_answer(server: Server, hub: Hub) -> None:
    async with client() as socket:
        await socket.subscribe("BTC")
        server.hang()
        try:
            await until(lambda: hub._is_away)
            async with client() as late:
                assert (await late.subscribe("BTC"))[1]["data"] == {"BTC": wire("BTC", 200.0)}
        finally:
            server.wake()
        await server.publish(BTC=2.0)

        assert (await next_update(socket))["data"]["BTC"]["price"] == 2.0


async def test_a_process_that_starts_without_redis_lets_clients_in(
    server: Server, settings: Settings
) -> None:
    server.kill()
    from streaming.hub import hub as start

    running = start()
    try:
        async with client() as socket:
            assert (socket.welcome["epoch"], socket.welcome["seq"]) == ("unknown", 0)
            assert (await socket.subscribe("BTC"))[1]["data"] == {"BTC": wire("BTC", 200.0)}

            server.start()
            place = await server.publish(BTC=2.0)

            update = await next_update(socket)
            assert (update["snapshot"], update["epoch"]) == (True, place.epoch)
    finally:
        await running.close()


async def test_a_lost_pubsub_connection_costs_at_most_a_moment(server: Server, hub: Hub) -> None:
    async with client() as socket:
        await socket.subscribe("BTC")
        known = UNKNOWN
        with Redis.from_url(server.url) as redis:
            for price in (1.0, 2.0, 3.0):
                redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                known = await server.publish(known, BTC=price)

                assert (await next_update(socket))["data"]["BTC"]["price"] == price


async def test_signs_of_life_come_while_redis_hangs(server: Server, hub: Hub) -> None:
    server.hang()
    try:
        await until(lambda: hub._is_away)
        beats = 0
        async with client() as socket, asyncio.timeout(10):
            while beats < 2:
                beats += (await socket.receive())["type"] == "heartbeat"
    finally:
        server.wake()


# redis-py leaves a connection that broke while it was made to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*StreamWriter:pytest.PytestUnraisableExceptionWarning")
async def test_streams_of_events_stay_and_begin_while_redis_is_away_and_are_told(
    server: Server, hub: Hub
) -> None:
    async with following("BTC") as said:
        await said('"snapshot":true')
        before = await server.publish(BTC=1.0)
        assert f"id: {before.epoch}:1" in await said('"price":1.0')

        server.kill()
        assert "event: notice" in await said("publisher_silent")
        assert f"id: {before.epoch}:1" in await said(": heartbeat")
        async with following("BTC", "ETH") as said_to_another:
            assert '"BTC","ETH"' in await said_to_another("event: subscribed")
            assert '"ETH"' in await said_to_another('"snapshot":true')
            await said_to_another("publisher_silent")

            server.start()
            after = await server.publish(before, BTC=2.0, ETH=3.0)

            for one in (said, said_to_another):
                await one("epoch_changed")
                assert f"id: {after.epoch}:1" in await one('"price":2.0')
