"""A Python stream that cannot connect: it ends with a reason, or it tries again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from lokifi_prices import PriceStream, State, StreamClosedError, StreamFailedError
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidProxy
from websockets.http11 import Request, Response

from tests.clients.test_nonsense import WELCOME

pytestmark = pytest.mark.asyncio


async def test_a_stream_that_can_never_connect_ends_its_users_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ws_proxy", "ftp://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    told: list[Any] = []
    stream = PriceStream("ws://prices.invalid")
    stream.on("error", told.append)
    with pytest.raises(StreamFailedError) as failure:
        async with stream, asyncio.timeout(20):
            await anext(aiter(stream.subscribe("BTC")))
    assert isinstance(failure.value.__cause__, InvalidProxy)
    assert [error["code"] for error in told] == ["failed"]
    assert (stream.state, stream.is_closed) == (State.DISCONNECTED, True)
    with pytest.raises(StreamClosedError):
        stream.subscribe("BTC")


async def test_a_redirect_to_a_log_in_is_an_outage_like_any_other() -> None:
    asked: list[str] = []

    def redirect(connection: ServerConnection, request: Request) -> Response | None:
        asked.append(request.path)
        if len(asked) > 1:
            return None
        answer = connection.respond(302, "")
        answer.headers["Location"] = "https://127.0.0.1/login"
        return answer

    async def talk(connection: ServerConnection) -> None:
        notice = {"type": "notice", "code": "here", "message": ""}
        for message in (WELCOME, notice):
            await connection.send(json.dumps(message))
        await connection.wait_closed()

    async with serve(talk, "127.0.0.1", 0, process_request=redirect) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        states: list[State] = []
        live = asyncio.Event()
        stream = PriceStream(f"ws://127.0.0.1:{port}")
        stream.on("state", states.append)
        stream.on("notice", lambda _: live.set())
        async with stream, asyncio.timeout(20):
            await live.wait()
    assert states[:2] == [State.DISCONNECTED, State.CONNECTED]


async def test_choices_that_no_message_can_hold_are_refused_at_once() -> None:
    choices: Any = {"fields": {"price"}}
    with pytest.raises(TypeError):
        PriceStream("ws://127.0.0.1:9", choices=choices)
