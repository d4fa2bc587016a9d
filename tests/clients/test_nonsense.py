"""What the Python client makes of what no server should say.

The page's tests tell the TypeScript one such things.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from lokifi_prices import PriceStream, State
from websockets.asyncio.server import ServerConnection, serve

WELCOME: dict[str, Any] = {
    "type": "welcome",
    "client_id": "x",
    "message": "",
    "protocol": 1,
    "epoch": "e",
    "seq": 1,
    "update_interval": 1,
    "heartbeat_s": 15,
    "dead_after_s": 45,
    "limits": {},
}
UPDATE: dict[str, Any] = {
    "type": "price_update",
    "epoch": "e",
    "seq": 2,
    "prev_seq": 1,
    "timestamp": "2026-11-23T12:00:30.021Z",
    "count": 1,
}
NONSENSE: list[Any] = [
    *(None, [], 7, {"type": "unheard_of"}, {"type": []}, {"type": "subscribed"}),
    {**UPDATE, "data": None},
    {**UPDATE, "seq": "2", "data": {"BTC": {"symbol": "BTC", "price": 5.0}}},
    *({**UPDATE, "data": {"BTC": {"symbol": "BTC", "price": p}}} for p in ("7", 0, -1, None, True)),
    {**UPDATE, "data": {"BTC": {"symbol": "ETH", "price": 5.0}, "ETH": 7}},
]


@pytest.mark.asyncio
async def test_what_is_no_price_is_told_to_nobody_and_ends_nothing() -> None:
    asked: list[dict[str, Any]] = []

    async def talk(connection: ServerConnection) -> None:
        await connection.send(json.dumps(WELCOME))
        asked.append(json.loads(await connection.recv()))
        accepted = {"symbols": ["BTC"], "rejected": {}, "resolved": {}, "id": asked[0]["id"]}
        await connection.send(json.dumps({"type": "subscribed", **accepted}))
        await connection.send("no JSON")
        await connection.send(b"\xff")
        for message in NONSENSE:
            await connection.send(json.dumps(message))
        price = {"symbol": "BTC", "ref": "coingecko:bitcoin", "price": 5.0, "stale": False}
        await connection.send(json.dumps({**UPDATE, "data": {"BTC": price}}))
        await connection.wait_closed()

    async with serve(talk, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with PriceStream(f"ws://127.0.0.1:{port}") as stream:
            async with asyncio.timeout(20):
                first = await anext(aiter(stream.subscribe("BTC")))
            assert first.tick["price"] == 5.0
            assert stream.state is State.ACTIVE

    assert [message["symbols"] for message in asked] == [["BTC"]]
