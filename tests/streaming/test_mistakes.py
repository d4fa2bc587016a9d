"""What a client does wrong is told; too much of it ends the connection."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from pytest_django import Settings

from prices.services.symbols import Resolution
from streaming.limits import Manners
from streaming.lookup import Lookup, Names
from tests.streaming.sockets import client, knowing, resolve

ACTIONS = ["subscribe", "unsubscribe", "subscribe"]

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hub")]


async def test_a_mistake_is_answered_and_the_connection_stays_open() -> None:
    async with client() as socket:
        await socket.socket.send_to(text_data="{")
        assert (await socket.receive())["code"] == "invalid_json"
        await socket.socket.send_to(bytes_data=b"\x00")
        assert (await socket.receive())["code"] == "not_text"
        assert (await socket.ask("buy", id=3))["id"] == 3

        assert (await socket.ask("ping"))["type"] == "pong"


async def test_a_message_over_the_limit_is_answered_and_ends_the_connection() -> None:
    async with client() as socket:
        await socket.socket.send_to(text_data="x" * 16385)

        assert (await socket.receive())["code"] == "too_large"
        assert await socket.closed() == 1009


async def test_too_many_messages_are_refused_and_then_end_the_connection(
    settings: Settings,
) -> None:
    settings.WS_MESSAGE_BURST = 2
    settings.WS_MAX_MESSAGES = 1
    async with client() as socket:
        for _ in range(6):
            await socket.send(action="ping")

        got = [await socket.receive() for _ in range(5)]
        assert [m.get("code", m["type"]) for m in got] == ["pong", "pong"] + ["rate_limited"] * 3
        assert 0 < got[2]["retry_after_ms"] <= 10_001
        assert await socket.closed() == 4429


async def test_a_message_that_was_not_heeded_is_known_by_its_id(settings: Settings) -> None:
    settings.WS_MESSAGE_BURST = settings.WS_MAX_MESSAGES = 1
    async with client() as socket:
        await socket.ask("ping")
        for text in ('{"action":"ping","id":"a7"}', '{"id":{},"action":1}', '{"id":7,'):
            await socket.socket.send_to(text_data=text)

        got = [await socket.receive() for _ in range(3)]

    assert [m["code"] for m in got] == ["rate_limited"] * 3
    assert [m.get("id") for m in got] == ["a7", None, None]


async def test_a_flood_of_made_up_names_is_refused_and_then_ends_the_connection(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WS_MAX_SYMBOLS = 10
    monkeypatch.setattr("streaming.lookup._names", Names(resolve))
    async with client(Lookup(), address="198.51.100.7") as socket:
        for number in range(4):
            names = [f"NONE{number}X{n}" for n in range(50)]
            assert (await socket.subscribe(*names))[0]["rejected"][names[0]] == "unknown_symbol"
        unheard = [f"OTHER{n}" for n in range(50)]
        refused = [await socket.ask(action, *unheard, id=9) for action in ACTIONS]
        code = await socket.closed()

    assert [(m["code"], m["id"]) for m in refused] == [("rate_limited", 9)] * 3
    assert code == 4429


async def test_too_many_mistakes_end_the_connection(settings: Settings) -> None:
    settings.WS_MAX_MISTAKES = 2
    async with client() as socket:
        for _ in range(3):
            await socket.socket.send_to(text_data="{")

        got = [(await socket.receive())["code"] for _ in range(4)]
        assert got == ["invalid_json"] * 3 + ["too_many_mistakes"]
        assert await socket.closed() == 4429


async def test_taking_up_symbols_over_and_over_is_refused_before_any_source_is_asked(
    settings: Settings,
) -> None:
    settings.WS_MAX_SYMBOLS = 2
    asked: list[str] = []

    def counted(wanted: Collection[str]) -> Collection[str]:
        asked.extend(wanted)
        return wanted

    async with client(knowing(fetched=counted)) as socket:
        got = []
        for _ in range(2):
            got.append((await socket.subscribe("BTC", "ETH"))[0]["type"])
            await socket.ask("unsubscribe", "BTC", "ETH")
        refused = [await socket.ask("subscribe", "SOL", "AAPL", id=n) for n in range(3)]
        code = await socket.closed()

    assert got == ["subscribed", "subscribed"]
    assert [(m["code"], m["id"]) for m in refused] == [("rate_limited", n) for n in range(3)]
    assert refused[0]["retry_after_ms"] > 50_000
    assert code == 4429
    assert asked == ["BTC", "ETH"] * 2


async def test_thousands_of_names_in_a_message_are_not_all_looked_up(settings: Settings) -> None:
    settings.WS_MAX_MESSAGE_BYTES = 1024 * 1024
    looked_up: list[str] = []

    def counted(names: Collection[str]) -> Resolution:
        looked_up.extend(names)
        return resolve(names)

    async with client(knowing(resolution=counted)) as socket:
        subscribed, _ = await socket.subscribe(*(f"NONE{n}" for n in range(10_000)))

    assert len(looked_up) == 1000
    assert subscribed["symbols"] == []
    assert subscribed["rejected"]["NONE0"] == "unknown_symbol"
    assert subscribed["rejected"]["NONE9999"] == "limit"


async def test_our_own_fault_is_told_as_such_and_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Lookup):
        async def resolution(
            self, names: Collection[str], until: float, who: Manners | None = None
        ) -> Resolution | None:
            raise RuntimeError("a fault of ours")

    async with client(Broken()) as socket:
        error = await socket.ask("subscribe", "BTC", id=1)
        code = await socket.closed()

    assert (error["type"], error["code"], code) == ("error", "internal_error", 1011)
    assert "a fault of ours" in caplog.text
