"""T11: clients that vanish in the middle of things."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

from bench import wire
from tests.chaos.clients import PATH, until
from tests.chaos.figures import Figure, at_most, exactly
from tests.chaos.scenario import SEED, Size, scenario
from tests.chaos.stage import Stage, seen
from tests.product import Web

_FDS_TO_SPARE = 3
_AT_ONCE = 50
_SUBSCRIBE = b'{"action":"subscribe","symbols":["BTC"]}'


def _cut(web: Web, chance: random.Random) -> None:
    """Open a connection and end it by a reset, in one of the places where that hurts."""
    request = wire.handshake("127.0.0.1", web.port, PATH)
    where = chance.choice(["in the handshake", "after it", "in a frame", "in the close", "at once"])
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.settimeout(20)
        one.connect(("127.0.0.1", web.port))
        if where == "at once":
            return
        if where == "in the handshake":
            one.sendall(request[: chance.randrange(1, len(request) - 1)])
            return
        one.sendall(request)
        if where == "after it":
            return
        one.recv(4096)
        data = wire.frame(_SUBSCRIBE)
        if where == "in a frame":
            one.sendall(data[: chance.randrange(1, len(data))])
            return
        one.sendall(data + wire.frame(b"\x03\xe8", wire.CLOSE)[: chance.randrange(1, 8)])


@scenario(
    "T11",
    "Connections are reset in the handshake, in a frame, in the close",
    sizes={
        "short": {"sockets": 60},
        "default": {"sockets": 2000},
        "full": {"sockets": 2000},
    },
)
async def cut(stage: Stage, size: Size) -> list[Figure]:
    chance = random.Random(SEED)
    # A first round, for what a server opens once and keeps.
    await _round(stage, 20, chance)
    await until(lambda: not any(seen(web).sockets for web in stage.webs), within_s=20)
    await asyncio.sleep(0.5)
    before = [seen(web) for web in stage.webs]
    await _round(stage, size.sockets, chance)
    await until(lambda: _is_as(stage, [one.fds for one in before]), within_s=15)
    after = [seen(web) for web in stage.webs]
    return [
        exactly("subscribers left 15 s later", sum(one.sockets for one in after), 0),
        at_most(
            "file descriptors more than before",
            max(now.fds - then.fds for now, then in zip(after, before, strict=True)),
            _FDS_TO_SPARE,
        ),
        at_most(
            "tasks more than before",
            max(now.tasks - then.tasks for now, then in zip(after, before, strict=True)),
            _FDS_TO_SPARE,
        ),
        exactly("stack traces of servers", stage.traces(), 0),
    ]


async def _round(stage: Stage, count: int, chance: random.Random) -> None:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> None:
        async with turns:
            with contextlib.suppress(OSError):
                await stage.aside(_cut, stage.webs[number % len(stage.webs)], chance)

    await asyncio.gather(*(one(number) for number in range(count)))


def _is_as(stage: Stage, fds: list[int]) -> bool:
    sights = [seen(web) for web in stage.webs]
    return all(
        not one.sockets and one.fds <= then + _FDS_TO_SPARE
        for one, then in zip(sights, fds, strict=True)
    )
