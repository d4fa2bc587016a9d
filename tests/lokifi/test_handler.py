"""How a request passes through Django: whole, in one thread, whatever server is in front."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from django.core import signals
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from lokifi.handler import OneThread

pytestmark = [pytest.mark.asyncio, pytest.mark.urls(__name__)]

_left: ContextVar[str] = ContextVar("_left", default="nothing")
_both_are_here = threading.Barrier(2)
_may_go = threading.Event()


def where(request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


def leave(request: HttpRequest) -> HttpResponse:
    before = _left.get()
    _left.set("something")
    return HttpResponse(before)


def meet(request: HttpRequest) -> HttpResponse:
    _both_are_here.wait(timeout=10)
    return HttpResponse("both")


def wait(request: HttpRequest) -> HttpResponse:
    _may_go.wait(timeout=10)
    return HttpResponse("went")


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


async def native(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse("async")


urlpatterns = [
    *(path(view.__name__, view) for view in (where, leave, meet, echo, broken, native)),
    path("api/wait", wait),
    path("admin/wait", wait),
    path("livez", where),
]


@pytest.fixture(scope="module")
def app() -> OneThread:
    return OneThread()


async def ask(app: OneThread, target: str, body: bytes = b"") -> tuple[int, bytes]:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST" if body else "GET",
        "path": target,
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-length", b"%d" % len(body))],
    }
    heard = await told(
        app,
        scope,
        {"type": "http.request", "body": body[:3], "more_body": True},
        {"type": "http.request", "body": body[3:]},
    )
    return heard[0]["status"], b"".join(part.get("body", b"") for part in heard[1:])


async def told(app: OneThread, scope: dict[str, Any], *said: dict[str, Any]) -> list[Any]:
    """Return what the application sends to a client that says these messages."""
    left, heard = iter(said), []

    async def receive() -> dict[str, Any]:
        return next(left)

    async def send(message: Any) -> None:
        heard.append(message)

    await asyncio.wait_for(app(scope, receive, send), 20)
    return heard


@pytest.fixture
def seen() -> Iterator[list[str]]:
    """Which signals were sent, and in which thread."""
    seen: list[str] = []

    def started(**_: Any) -> None:
        seen.append(f"started {threading.current_thread().name}")

    def finished(**_: Any) -> None:
        seen.append(f"finished {threading.current_thread().name}")

    signals.request_started.connect(started)
    signals.request_finished.connect(finished)
    yield seen
    signals.request_started.disconnect(started)
    signals.request_finished.disconnect(finished)


async def test_a_request_begins_is_answered_and_ends_in_one_thread(
    app: OneThread, seen: list[str]
) -> None:
    status, thread = await ask(app, "/where")

    assert status == 200
    assert seen == [f"started {thread.decode()}", f"finished {thread.decode()}"]


async def test_what_a_request_leaves_behind_is_not_there_for_the_next(app: OneThread) -> None:
    assert [await ask(app, "/leave") for _ in range(3)] == [(200, b"nothing")] * 3


async def test_requests_are_worked_on_at_once(app: OneThread) -> None:
    both = await asyncio.gather(ask(app, "/meet"), ask(app, "/meet"))

    assert list(both) == [(200, b"both")] * 2


async def test_what_waits_below_api_leaves_threads_for_the_rest() -> None:
    app = OneThread(api_threads=2)
    waiting = [asyncio.create_task(ask(app, "/api/wait")) for _ in range(3)]
    waiting += [asyncio.create_task(ask(app, "/admin/wait"))]
    await asyncio.sleep(0)
    answers = [await ask(app, target) for target in ("/livez", "/where", "/livez")]
    assert not any(task.done() for task in waiting)
    _may_go.set()

    assert [status for status, _ in answers] == [200, 200, 200]
    assert await asyncio.gather(*waiting) == [(200, b"went")] * 4


async def test_whether_it_answers_is_told_however_many_pages_wait() -> None:
    _may_go.clear()
    app = OneThread()
    waiting = [asyncio.create_task(ask(app, "/admin/wait")) for _ in range(40)]
    await asyncio.sleep(0)
    status, thread = await ask(app, "/livez")
    _may_go.set()

    assert (status, thread) == (200, b"live_0")
    assert await asyncio.gather(*waiting) == [(200, b"went")] * 40


async def test_a_body_that_comes_in_parts_is_whole(app: OneThread) -> None:
    with override_settings(MIDDLEWARE=[]):
        assert await ask(OneThread(), "/echo", b"several parts") == (200, b"several parts")


async def test_a_view_that_breaks_is_answered_and_the_next_request_too(app: OneThread) -> None:
    assert (await ask(app, "/broken"))[0] == 500
    assert (await ask(app, "/where"))[0] == 200


async def test_an_async_view_is_answered_too(app: OneThread) -> None:
    assert await ask(app, "/native") == (200, b"async")


async def test_a_file_is_sent_whole(app: OneThread) -> None:
    status, body = await ask(app, "/static/admin/css/base.css")

    assert status == 200
    assert body.rstrip().endswith(b"}")


async def test_who_hangs_up_before_the_body_is_there_is_not_answered(app: OneThread) -> None:
    scope = {"type": "http", "method": "POST", "path": "/echo", "query_string": b"", "headers": []}

    assert await told(app, scope, {"type": "http.disconnect"}) == []
