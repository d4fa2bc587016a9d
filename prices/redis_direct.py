"""redis-py's client with the shortest way to the server for commands and plain pipelines.

redis-py takes a connection from a pool under a lock, looks twice whether something
came on it unasked, and times and counts each command for whoever measures. That is
more than half of what a question costs us, and a miss asks four. Here a free
connection is taken from the top of a stack and its reply read; time-outs, parsing and
what a command answers are redis-py's. Transactions, `WATCH` and subscriptions go
redis-py's own way.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.client import Pipeline
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

T = TypeVar("T")

# What redis-py notes of a command and does not use where it keeps no copies itself.
_PLAIN = frozenset({"keys"})

_Connection = Any  # of the class that the pool makes: TCP, TLS or a Unix socket


class _Connections:
    """The free connections of one client, the last used first; as many as were used at once."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._pid = os.getpid()
        self._free: deque[_Connection] = deque()  # whose ends threads may use without a lock

    def use(self, question: Callable[[_Connection], T]) -> T:
        """Return what `question` finds out on a connection.

        One that died while it lay here, with a restarted server perhaps, is made anew and
        asked once more; a server that hangs is not asked twice. Raises redis-py's errors.
        """
        if self._pid != os.getpid():
            # A child of a fork, whose parent goes on with those.
            self._free, self._pid = deque(), os.getpid()
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            try:
                return question(connection)
            except RedisConnectionError:
                connection.disconnect()
                return question(connection)
        except ResponseError:
            raise
        except BaseException:
            connection.disconnect()  # Something may be unread on it.
            raise
        finally:
            self._free.append(connection)

    def close(self) -> None:
        """End those that are free; whoever asks again makes one anew."""
        while self._free:
            self._free.pop().disconnect()


class DirectRedis(redis.Redis):
    """As `redis.Redis`, safe for threads too, in less than half the time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = _Connections(self.connection_pool)

    def close(self) -> None:
        super().close()
        self._connections.close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.connection:  # a client of one connection, made by `client()`
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

        def question(connection: _Connection) -> Any:
            connection.send_packed_command(connection.pack_command(*args))
            return self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]

        return self._connections.use(question)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return _DirectPipeline(
            self._connections, self.connection_pool, self.response_callbacks, False, shard_hint
        )


class _DirectPipeline(Pipeline):
    """Commands sent together that are not a transaction."""

    def __init__(self, connections: _Connections, *args: Any) -> None:
        super().__init__(*args)
        self._connections = connections

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        if self.watching or self.explicit_transaction or self.scripts:
            return super().execute(raise_on_error)
        commands = self.command_stack
        if not commands:
            return []

        def question(connection: _Connection) -> list[Any]:
            connection.send_packed_command(connection.pack_commands([args for args, _ in commands]))
            return [self._one(connection, args[0], options) for args, options in commands]

        try:
            replies = self._connections.use(question)
        finally:
            self.reset()
        if raise_on_error:
            self.raise_first_error(commands, replies)  # type: ignore[no-untyped-call]
        return replies

    def _one(self, connection: _Connection, command: str, options: dict[str, Any]) -> Any:
        """Return a reply, or the server's refusal as an error that others' replies follow."""
        try:
            if not _PLAIN.issuperset(options):
                return self.parse_response(connection, command, **options)  # type: ignore[no-untyped-call]
            reply = connection.read_response()
        except ResponseError as exc:
            return exc
        read = self.response_callbacks.get(command)  # type: ignore[no-untyped-call]
        return reply if read is None else read(reply)
