"""Django as an ASGI application that answers a request in one go, in one thread.

Django's own ASGI handler makes a thread for each request and goes to and fro between
it and the event loop: for signals, for every middleware that is not async at heart, for
the view, for closing. Nothing here is async at heart; so the middlewares are chained
as under WSGI, and a request crosses over once (decisions/0008).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import IO, Any

import django
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.http import FileResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Requests below /api that are worked on at once; each may wait for a source for some seconds.
API_THREADS = 256
# Those for pages and the admin, which wait for nobody long. Whether this process answers has
# a thread of its own: whoever asks is to be told so however much is asked of the others.
_PAGE_THREADS = 32
_LIVE_THREADS = 1


class OneThread(ASGIHandler):
    """HTTP by Django, each request whole in a thread of a pool."""

    def __init__(self, api_threads: int = API_THREADS) -> None:
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        self._api = ThreadPoolExecutor(api_threads, thread_name_prefix="api")
        self._pages = ThreadPoolExecutor(_PAGE_THREADS, thread_name_prefix="pages")
        self._live = ThreadPoolExecutor(_LIVE_THREADS, thread_name_prefix="live")

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"Django answers HTTP, not {scope['type']}.")
        await self.handle(scope, receive, send)

    async def handle(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; who hangs up meanwhile is not waited for, but the work is done."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        pool = self._pool(scope)
        with body:
            response = await _in_thread(pool, partial(self._answer, scope, body, pool))
            try:
                await self.send_response(response, send)
            finally:
                if response.streaming:
                    await _in_thread(pool, response.close)

    def _pool(self, scope: Mapping[str, Any]) -> Executor:
        """Return the threads for a request: what waits below /api takes none from the rest."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.startswith("/api/"):
            return self._api
        return self._live if path == "/livez" else self._pages

    def _answer(
        self, scope: Mapping[str, Any], body: IO[bytes], pool: Executor
    ) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        response: HttpResponseBase | None = refusal
        if request is not None:
            response = self.get_response(request)
        assert response is not None  # noqa: S101 - there is one or the other
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if not isinstance(response, StreamingHttpResponse):
            # In the thread whose database connection it closes.
            response.close()
        elif not response.is_async:
            response.streaming_content = _read(pool, iter(response))
        return response


def _in_thread(pool: Executor, call: Callable[[], Any]) -> asyncio.Future[Any]:
    # In a context of its own: nothing of one request is left for the next.
    run = copy_context().run
    return asyncio.get_running_loop().run_in_executor(pool, run, call)


async def _read(pool: Executor, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (part := await _in_thread(pool, lambda: next(parts, None))) is not None:
        yield part


def application() -> OneThread:
    """Set Django up and return it."""
    django.setup(set_prefix=False)
    return OneThread()
