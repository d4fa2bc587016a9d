"""A peer in Python: picows (WebSocket in Cython) on uvloop, one process.

REDIS_URL=redis://127.0.0.1:6379 python picows_peer.py PORT
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import msgspec
import redis.asyncio
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

CHANNEL = "lokifi:price_updates"


class _Tick(msgspec.Struct):
    epoch: str
    seq: int
    prev_seq: int
    timestamp: str
    data: dict[str, msgspec.Raw]


class Market:
    """The last tick, as bytes by symbol, and who follows what."""

    def __init__(self) -> None:
        self.followers: dict[WSTransport, list[str]] = {}
        self._head = b'"timestamp":"1970-01-01T00:00:00.000Z"'
        self._texts: dict[str, bytes] = {}

    def update(self, symbols: list[str], mark: bytes = b"") -> bytes:
        texts = [self._texts[s] for s in symbols if s in self._texts]
        begin = b'{"type":"price_update",%s%s,"count":%d,' % (mark, self._head, len(texts))
        return begin + b'"data":{' + b",".join(texts) + b"}}"

    def take(self, body: bytes) -> None:
        tick = msgspec.json.decode(body, type=_Tick)
        self._head = (
            f'"epoch":"{tick.epoch}","seq":{tick.seq},"prev_seq":{tick.prev_seq},'
            f'"timestamp":"{tick.timestamp}"'
        ).encode()
        self._texts = {s: b'"%s":%s' % (s.encode(), bytes(q)) for s, q in tick.data.items()}
        for transport, symbols in list(self.followers.items()):
            transport.send(WSMsgType.TEXT, self.update(symbols))


class Listener(WSListener):  # type: ignore[misc]  # untyped
    def __init__(self, market: Market) -> None:
        self._market = market

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._market.followers.pop(transport, None)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            symbols = sorted(json.loads(frame.get_payload_as_bytes())["symbols"])
            self._market.followers[transport] = symbols
            answer = json.dumps({"type": "subscribed", "symbols": symbols})
            transport.send(WSMsgType.TEXT, answer.encode())
            transport.send(WSMsgType.TEXT, self._market.update(symbols, b'"snapshot":true,'))


async def main(port: int) -> None:
    market = Market()
    listener: Any = lambda _request: Listener(market)  # noqa: E731
    await ws_create_server(listener, "127.0.0.1", port, backlog=4096)
    pubsub = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]).pubsub()
    await pubsub.subscribe(CHANNEL)
    async for message in pubsub.listen():
        if message["type"] == "message":
            market.take(message["data"])


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
