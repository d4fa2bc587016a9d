"""Errors in front of the application: shared while they are news, each under an id of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from lokifi.frontcache import FrontCache
from lokifi.frontcache.flights import LeaderFailedError
from tests.lokifi.origin import Answer, Origin, ask, front

pytestmark = pytest.mark.asyncio

SHARED = {
    "Cache-Control": "no-store",
    "Content-Type": "application/problem+json",
    "Retry-After": "5",
    "Surrogate-Control": "max-age=1",
    "X-Request-ID": "of-the-first",
}
BODY = b'{"status":503,"request_id":"of-the-first"}'


def failing(**more: Any) -> Origin:
    return Origin(status=503, headers=SHARED, body=BODY, **more)


def in_front_of(app: Any, **more: Any) -> FrontCache:
    return front(
        app,
        own={b"x-request-id"},
        per_request=lambda fields: [(b"x-request-id", b"%032x" % random.getrandbits(128))],
        readdressed=lambda body, before, now: body.replace(before[0][1], now[0][1]),
        **more,
    )


def check(answer: Answer) -> str:
    """Check that an error is whole and its own; return its id."""
    own = answer.headers["x-request-id"]
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.body == BODY.replace(b"of-the-first", own.encode())
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["cache-control"] == "no-store"
    assert not {"age", "x-cache", "surrogate-control"} & answer.headers.keys()
    return own


async def test_while_a_source_fails_the_application_is_entered_once_a_second(
    later: Callable[[float], None],
) -> None:
    origin = failing(gate=asyncio.Event())
    app = in_front_of(origin)
    asking = [asyncio.create_task(ask(app)) for _ in range(200)]
    await asyncio.sleep(0)
    assert origin.gate
    origin.gate.set()
    together = await asyncio.gather(*asking)
    after = [await ask(app, accept="application/json") for _ in range(50)]
    assert origin.count == 1
    assert len({check(answer) for answer in [*together, *after]}) == 250
    assert len(app.shelf) == 0
    later(1.1)
    check(await ask(app))

    assert origin.count == 2


async def test_head_is_told_of_an_error_without_its_body() -> None:
    app = in_front_of(failing())
    error, head = await ask(app), await ask(app, method="HEAD")
    assert (head.status, head.body) == (503, b"")
    assert int(head.headers["content-length"]) == len(error.body) + 32 - len("of-the-first")


@pytest.mark.parametrize(
    "headers", [{"cache_control": "no-cache"}, {"accept": "text/csv"}, {"host": "other"}], ids=str
)
async def test_who_wants_it_new_or_another_thing_is_not_given_the_error(
    headers: dict[str, str],
) -> None:
    origin = failing()
    app = in_front_of(origin)
    await ask(app)
    await ask(app, **headers)
    assert origin.count == 2


@pytest.mark.parametrize("drop", ["purge", "clear"])
@pytest.mark.parametrize("is_in_air", [True, False], ids=["under way", "held"])
async def test_a_tick_or_other_names_end_an_error(drop: str, is_in_air: bool) -> None:
    origin = failing(gate=asyncio.Event())
    app = in_front_of(origin)
    first = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    assert origin.gate
    if not is_in_air:
        origin.gate.set()
        await first
    if drop == "purge":
        app.purge(["price:BTC"])
    else:
        app.clear()
    origin.gate.set()
    await first
    origin.status = 200

    assert (await ask(app)).status == 200


async def test_errors_of_made_up_addresses_are_not_held_without_bound() -> None:
    app = in_front_of(failing())
    for number in range(300):
        await ask(app, f"/api/{number}")
    assert len(app._errors) == 128


@pytest.mark.parametrize(
    "headers",
    [
        {"Surrogate-Control": "no-store"},
        {"Surrogate-Control": "max-age=0"},
        {"Set-Cookie": "who=you"},
        {"Vary": "*"},
    ],
    ids=str,
)
async def test_an_error_of_one_request_alone_is_nobody_elses(headers: dict[str, str]) -> None:
    origin = Origin(status=503, headers=SHARED | headers, gate=asyncio.Event())
    app = in_front_of(origin)
    asking = [asyncio.create_task(ask(app)) for _ in range(20)]
    await asyncio.sleep(0)
    assert origin.gate
    origin.gate.set()
    await asyncio.gather(*asking)

    assert origin.count == 20


async def test_an_error_that_varies_is_for_those_alike() -> None:
    origin = Origin(status=503, headers=SHARED | {"Vary": "Origin"}, body=BODY)
    app = in_front_of(origin)
    for _ in range(2):
        await ask(app, origin="https://a.example")
    assert origin.count == 1
    await ask(app, origin="https://b.example")
    assert origin.count == 2


async def test_where_the_application_breaks_all_who_wait_know_it_at_once() -> None:
    gate, entered = asyncio.Event(), 0

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        nonlocal entered
        entered += 1
        await gate.wait()
        raise RuntimeError("on purpose")

    app = front(broken)
    asking = [asyncio.create_task(ask(app)) for _ in range(40)]
    await asyncio.sleep(0)
    gate.set()
    first, *others = await asyncio.gather(*asking, return_exceptions=True)

    assert entered == 1
    assert isinstance(first, RuntimeError)
    assert all(isinstance(one, LeaderFailedError) for one in others)
    with pytest.raises(RuntimeError):
        await ask(app)
