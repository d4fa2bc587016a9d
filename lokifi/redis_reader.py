"""Reads Redis for one event loop: whoever asks meanwhile is asked for together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from prices import redis_clients
from prices.redis_clients import RedisAwayError

# So many questions go into one command at most; the rest goes into the next.
_TOGETHER = 64

Values = list[bytes | None]


class RedisReader:
    """One MGET for all questions that come while another is under way.

    A question more costs Redis and us some microseconds then, and no round trip. So one
    connection is enough, used without the pool, which costs as much as all else.
    """

    def __init__(self) -> None:
        self._connection: Any = redis_clients.async_client().connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Sequence[str], asyncio.Future[Values]]] = []
        self._work: asyncio.Task[None] | None = None

    async def read(self, names: Sequence[str]) -> Values:
        """Return what lies under names. Raises RedisAwayError."""
        found: asyncio.Future[Values] = self._loop.create_future()
        self._waiting.append((names, found))
        if self._work is None:
            self._work = self._loop.create_task(self._answer())
        return await found

    async def _answer(self) -> None:
        try:
            while self._waiting:
                these, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
                await self._ask(these)
        finally:
            self._work = None
            # A surprise ends this; who was not asked for yet did nothing to deserve it.
            if self._waiting:
                self._work = self._loop.create_task(self._answer())

    async def _ask(self, these: Sequence[tuple[Sequence[str], asyncio.Future[Values]]]) -> None:
        # What several ask for is asked for once.
        names = list(dict.fromkeys(name for wanted, _ in these for name in wanted))
        by_name: dict[str, Any] | None = None
        try:
            values = await redis_clients.ask_async(lambda: self._mget(names))
            by_name = dict(zip(names, values, strict=True))
        except RedisAwayError:
            return
        finally:
            # Whatever happened, nobody is left waiting.
            for wanted, found in these:
                if found.done():
                    continue
                if by_name is None:
                    found.set_exception(RedisAwayError())
                else:
                    found.set_result([by_name[name] for name in wanted])

    async def _mget(self, names: Sequence[str]) -> Values:
        try:
            return await self._mget_once(names)
        except RedisConnectionError:
            # It died with a restarted server perhaps; one that hangs is not asked twice.
            await self._connection.disconnect()
            return await self._mget_once(names)

    async def _mget_once(self, names: Sequence[str]) -> Values:
        # Whatever goes wrong between the two, redis-py closes it: no reply is taken for another.
        await self._connection.send_packed_command(self._connection.pack_command("MGET", *names))
        values: Values = await self._connection.read_response()
        return values
