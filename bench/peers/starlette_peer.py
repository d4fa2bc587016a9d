"""Starlette over redis.asyncio: the bytes that the product put into Redis, sent as they are.

COPY_S seconds of a copy in the process, 0 for none. Run by uvicorn.
"""

from __future__ import annotations

import json
import os
import time

import redis.asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ROOT = "/api/v1/prices"
COPY_S = float(os.environ["COPY_S"])
store = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], max_connections=200)
copies: dict[str, tuple[float, bytes]] = {}


async def held(key: str) -> Response:
    copy = copies.get(key)
    if copy is not None and copy[0] > time.monotonic():
        return Response(copy[1], media_type="application/json")
    body = await store.get(key)
    if not isinstance(body, bytes):
        return Response(status_code=404)
    if COPY_S:
        copies[key] = (time.monotonic() + COPY_S, body)
    return Response(body, media_type="application/json")


async def quote(request: Request) -> Response:
    return await held(f"price:{request.path_params['symbol'].upper()}")


async def history(request: Request) -> Response:
    period = request.query_params.get("period", "1m")
    return await held(f"history:{request.path_params['symbol'].upper()}:{period}")


async def candles(request: Request) -> Response:
    period = request.query_params.get("period", "1m")
    return await held(f"ohlcv:{request.path_params['symbol'].upper()}:{period}")


async def top(request: Request) -> Response:
    return await held(f"bench:top:{int(request.query_params.get('limit', 100))}")


async def batch(request: Request) -> Response:
    symbols = [symbol.upper() for symbol in json.loads(await request.body())["symbols"]]
    bodies = await store.mget([f"price:{symbol}" for symbol in symbols])
    quotes = zip(symbols, bodies, strict=True)
    found = [(symbol.encode(), body) for symbol, body in quotes if isinstance(body, bytes)]
    rows = b",".join(b'"%b":%b' % pair for pair in found)
    return Response(b'{"success":true,"data":{' + rows + b"}}", media_type="application/json")


app = Starlette(
    routes=[
        Route(f"{ROOT}/crypto/top", top),
        Route(f"{ROOT}/batch", batch, methods=["POST"]),
        Route(ROOT + "/{symbol}/history", history),
        Route(ROOT + "/{symbol}/ohlcv", candles),
        Route(ROOT + "/{symbol}", quote),
    ]
)
