"""What a client does wrong is told; too much of it ends the connection."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests.streaming.sockets import (
    client,
)

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


async def test_too_many_mistakes_end_the_connection(settings: Settings) -> None:
    settings.WS_MAX_MISTAKES = 2
    async with client() as socket:
        for _ in range(3):
            await socket.socket.send_to(text_data="{")

        got = [(await socket.receive())["code"] for _ in range(4)]
        assert got == ["invalid_json"] * 3 + ["too_many_mistakes"]
        assert await socket.closed() == 4429
