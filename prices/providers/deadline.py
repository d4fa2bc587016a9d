"""One time limit for a whole call, from the connection to the last byte, and one for a question.

httpx limits each step by itself, so a server that sends a byte every few
seconds, of the headers even, could hold a thread for hours. Here every wait on
the socket ends with the call's deadline at the latest. A question that takes many
calls, each of them within its time, ends with a deadline of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_question: ContextVar[float] = ContextVar("question", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let every wait of this thread's block end after `seconds` in all."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def question(seconds: float) -> Iterator[None]:
    """Let all calls of this thread's block together take `seconds` at most."""
    token = _question.set(min(_question.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _question.reset(token)


def left_s() -> float:
    """Return how long the calls of a question may still take; infinity outside of one."""
    return max(0.0, _question.get() - time.monotonic())


def check() -> None:
    """Raise httpx.ReadTimeout where the time is up."""
    deadline = _deadline.get()
    if deadline is not None and time.monotonic() > deadline:
        raise httpx.ReadTimeout("the call took too long")


def enforced(client: httpx.Client) -> httpx.Client:
    """Return the client with its sockets under the deadline.

    httpx has no public way to its network backend but a transport of one's
    own, which would lose the proxies of the environment. These names are
    those of httpx 0.28 and httpcore 1; a test sends headers drop by drop.
    """
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            pool = transport._pool
            pool._network_backend = _Backend(pool._network_backend)
    return client


def _left(timeout: float | None) -> float | None:
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the call took too long")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(
            self._backend.connect_tcp(host, port, _left(timeout), local_address, socket_options)
        )
