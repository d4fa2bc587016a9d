"""Those who wait in front of the application, and what is dropped while it is being asked."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from tests.lokifi.origin import PUBLIC, Origin, ask, front, read_after

pytestmark = pytest.mark.asyncio


async def test_a_thousand_first_requests_enter_the_application_once() -> None:
    origin = Origin(gate=asyncio.Event())
    app = front(origin)
    asking = [asyncio.create_task(ask(app)) for _ in range(1000)]
    await asyncio.sleep(0)
    assert origin.gate
    origin.gate.set()
    answers = await asyncio.gather(*asking)

    assert origin.count == 1
    assert {answer.body for answer in answers} == {origin.body}


def only_path(scope: Any) -> Any:
    """What is asked, where no parameter makes another question."""
    return scope["path"]


async def test_parameters_that_mean_nothing_make_no_further_request() -> None:
    headers = {"Cache-Control": PUBLIC, "Content-Type": "application/json"}
    origin = Origin(gate=asyncio.Event(), headers=headers)
    app = front(origin, question=only_path)
    asking = [asyncio.create_task(ask(app, f"/api/x?junk={n}")) for n in range(300)]
    asking += [asyncio.create_task(ask(app, "/api/x", accept="application/json"))]
    other = asyncio.create_task(ask(app, "/api/y?junk=1"))
    await asyncio.sleep(0)
    assert origin.gate
    origin.gate.set()
    answers = await asyncio.gather(*asking, other)

    assert origin.count == 2
    assert {answer.body for answer in answers} == {origin.body}


async def test_who_waits_by_other_parameters_is_still_given_what_it_would_be_alone() -> None:
    class Mirror(Origin):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            origin = dict(scope["headers"]).get(b"origin", b"none")
            self.asked.append(scope)
            headers = {"Cache-Control": PUBLIC, "Vary": "Origin"}
            await Origin(headers=headers, body=origin, gate=self.gate)(scope, receive, send)

    mirror = Mirror(gate=asyncio.Event())
    app = front(mirror, question=only_path)
    names = [f"https://{n % 3}.example" for n in range(30)]
    asking = [
        asyncio.create_task(ask(app, f"/api/x?junk={n}", origin=name))
        for n, name in enumerate(names)
    ]
    await asyncio.sleep(0)
    assert mirror.gate
    mirror.gate.set()
    answers = await asyncio.gather(*asking)

    assert [answer.body.decode() for answer in answers] == names
    assert mirror.count < 30


class Refusing(Origin):
    """Refuses who takes no JSON, as for one alone."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if dict(scope["headers"]).get(b"accept") == b"text/xml":
            await Origin(status=406, headers={"Cache-Control": "no-store"})(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


@pytest.mark.parametrize("odd", [{}, {"cache_control": "no-cache"}], ids=str)
async def test_what_is_refused_to_one_keeps_no_others_from_waiting_together(
    odd: dict[str, str],
) -> None:
    headers = {"Cache-Control": PUBLIC, "Surrogate-Key": "a", "Content-Type": "application/json"}
    origin = Refusing(headers=headers)
    app = front(origin)
    await ask(app)
    assert (await ask(app, accept="text/xml", **odd)).status == 406
    app.purge(["a"])
    origin.gate = asyncio.Event()
    asking = [asyncio.create_task(ask(app)) for _ in range(100)]
    refused = await ask(app, accept="text/xml", **odd)
    origin.gate.set()
    await asyncio.gather(*asking)

    assert refused.status == 406
    assert origin.count == 2


async def test_those_who_wait_for_what_is_public_but_has_no_life_share_it() -> None:
    stale = {"Cache-Control": "public, max-age=0", "X-Cache": "STALE"}
    origin = Origin(gate=asyncio.Event(), headers=stale)
    app = front(origin)
    asking = [asyncio.create_task(ask(app)) for _ in range(50)]
    await asyncio.sleep(0)
    assert origin.gate
    origin.gate.set()
    answers = await asyncio.gather(*asking)

    assert origin.count == 1
    assert {answer.headers["x-cache"] for answer in answers} == {"STALE"}
    assert len(app.shelf) == 0


async def test_nobody_is_given_an_answer_that_was_for_another_alone() -> None:
    origin = Origin(gate=asyncio.Event(), headers={"Cache-Control": "no-store"})
    app = front(origin)
    asking = [asyncio.create_task(ask(app)) for _ in range(50)]
    await asyncio.sleep(0)
    assert origin.gate
    origin.gate.set()
    await asyncio.gather(*asking)

    assert origin.count == 50


async def test_after_an_answer_for_one_alone_the_others_share_the_next() -> None:
    class TwoFaced(Origin):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            is_first = not self.asked
            self.body = b"first" if is_first else b"kept"
            self.headers = {"Cache-Control": PUBLIC}
            if is_first:
                self.headers["Surrogate-Control"] = "no-store"
            await super().__call__(scope, receive, send)

    origin = TwoFaced(gate=asyncio.Event())
    app = front(origin)
    asking = [asyncio.create_task(ask(app)) for _ in range(50)]
    await asyncio.sleep(0)
    assert origin.gate
    origin.gate.set()
    answers = await asyncio.gather(*asking)

    assert origin.count == 2
    assert sorted({answer.body for answer in answers}) == [b"first", b"kept"]
    assert [answer.body for answer in answers].count(b"first") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": PUBLIC, "Surrogate-Control": "no-store"},
        {"Cache-Control": PUBLIC},
        {"Cache-Control": "no-store"},
    ],
    ids=str,
)
async def test_who_waited_is_not_held_up_by_a_reader_that_takes_nothing(
    headers: dict[str, str],
) -> None:
    """Whatever the first answer was: for one alone, of a type that the other does not take."""
    gate = asyncio.Event()
    origin = Origin(gate=gate, headers=headers | {"Content-Type": "application/json"})
    app = front(origin)
    reads = asyncio.Event()
    first = asyncio.create_task(ask(read_after(reads, app)))
    await asyncio.sleep(0)
    others = [asyncio.create_task(ask(app, accept=t)) for t in ("text/csv", "*/*")]
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*others)
    assert not first.done()
    reads.set()

    assert {answer.body for answer in [*answers, await first]} == {origin.body}


async def test_a_stream_that_goes_on_for_long_keeps_nobody_waiting(
    later: Callable[[float], None],
) -> None:
    origin = Origin(headers={"Cache-Control": "no-cache"}, is_announced=False, parts=3, body=b"abc")
    app = front(origin)
    reads = asyncio.Event()
    first = asyncio.create_task(ask(read_after(reads, app)))
    await asyncio.sleep(0)
    later(3)
    second = await ask(app)
    assert not first.done()
    reads.set()

    assert second.body == (await first).body == b"abc"


async def test_those_of_many_origins_do_not_wait_for_each_other() -> None:
    gate = asyncio.Event()
    origin = Origin(gate=gate, headers={"Cache-Control": PUBLIC, "Vary": "Origin"})
    app = front(origin)
    asking = [asyncio.create_task(ask(app, origin=f"https://{n}.example")) for n in range(20)]
    await asyncio.sleep(0)
    origin.gate = asyncio.Event()
    gate.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert origin.count == 20
    origin.gate.set()
    await asyncio.gather(*asking)

    assert len(app.shelf) == 20


async def test_an_answer_that_varies_takes_the_place_of_one_that_did_not() -> None:
    origin = Origin()
    app = front(origin)
    await ask(app)
    origin.headers = {"Cache-Control": PUBLIC, "Vary": "Origin"}
    await ask(app, cache_control="no-cache", origin="https://a.example")
    await ask(app, origin="https://b.example")
    assert origin.count == 3
    origin.headers = {"Cache-Control": PUBLIC}
    await ask(app, cache_control="no-cache")
    assert origin.count == 4
    await ask(app, origin="https://c.example")

    assert origin.count == 4


async def test_a_client_that_leaves_does_not_take_the_answer_from_the_others() -> None:
    origin = Origin(gate=asyncio.Event())
    app = front(origin)
    first = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    second = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    assert origin.gate
    origin.gate.set()

    assert (await second).body == origin.body
    assert (await ask(app)).headers["x-cache"] == "HIT"


async def test_a_purge_drops_what_bears_the_tag_and_nothing_else() -> None:
    origin = Origin(headers={"Cache-Control": PUBLIC, "Surrogate-Key": "a b"})
    other = Origin(headers={"Cache-Control": PUBLIC, "Surrogate-Key": "c"})

    async def both(scope: Any, receive: Any, send: Any) -> None:
        await (origin if scope["path"] == "/api/x" else other)(scope, receive, send)

    app = front(both)
    await ask(app)
    await ask(app, "/api/y")
    app.purge(["b", "unheard"])
    answer = await ask(app)
    await ask(app, "/api/y")

    assert (origin.count, other.count) == (2, 1)
    assert "surrogate-key" not in answer.headers


async def test_what_was_being_fetched_at_a_purge_is_not_kept_nor_given_to_those_after() -> None:
    origin = Origin(
        headers={"Cache-Control": PUBLIC, "Surrogate-Key": "a"}, gate=asyncio.Event(), body=b"old"
    )
    app = front(origin)
    before = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    app.purge(["a"])
    assert origin.gate
    first_gate, origin.gate, origin.body = origin.gate, None, b"new"
    after = await ask(app)
    first_gate.set()

    assert (await before).body == b"old"
    assert after.body == b"new"
    assert (await ask(app)).body == b"new"


async def test_a_second_purge_reaches_what_is_still_being_fetched() -> None:
    origin = Origin(
        headers={"Cache-Control": PUBLIC, "Surrogate-Key": "b"}, gate=asyncio.Event(), body=b"old"
    )
    app = front(origin)
    before = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    app.purge(["a"])
    app.purge(["b"])
    assert origin.gate
    origin.gate.set()
    await before
    origin.body = b"new"

    assert (await ask(app)).body == b"new"


async def test_all_is_dropped_at_once_and_what_is_being_fetched_too() -> None:
    origin = Origin(body=b"old")
    app = front(origin)
    await ask(app)
    origin.gate = asyncio.Event()
    coming = asyncio.create_task(ask(app, "/api/y"))
    await asyncio.sleep(0)
    app.clear()
    origin.gate.set()
    await coming
    origin.body = b"new"

    assert [(await ask(app, path)).body for path in ("/api/x", "/api/y")] == [b"new"] * 2
    assert app.shelf.bytes > 0


async def test_who_comes_after_a_newer_version_is_not_given_what_was_asked_for_before() -> None:
    version = 1
    old = asyncio.Event()

    async def versioned(scope: Any, receive: Any, send: Any) -> None:
        key = f"price:BTC={version}"
        await Origin(
            headers={"Cache-Control": PUBLIC, "Surrogate-Key": key},
            body=key.encode(),
            gate=old if version == 1 else None,
        )(scope, receive, send)

    app = front(versioned)
    first = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    version = 2
    await ask(app, "/api/y", method="POST")
    second = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    old.set()

    assert (await first).body == b"price:BTC=1"
    assert (await second).body == b"price:BTC=2"


async def test_nothing_of_huge_addresses_is_held() -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        kept = scope["path"].endswith("kept")
        origin = Origin(headers={"Cache-Control": PUBLIC if kept else "no-store"})
        await origin(scope, receive, send)

    app = front(answer)
    tracemalloc.start()
    try:
        for n in range(100):
            await ask(app, f"/api/{n}?{'q' * 100_000}")
            await ask(app, f"/api/{n}/{'q' * 100_000}/kept")
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(app.shelf) == 0
    assert held_bytes < 2_000_000


async def test_nobody_is_given_an_older_version_after_a_newer_one() -> None:
    """Whether the newer one came by another address, or by a method that nobody keeps."""
    version = {"/api/x": 1, "/api/y": 1}
    asked: list[str] = []

    async def versioned(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        key = f"price:BTC={version[scope['path']]}"
        origin = Origin(headers={"Cache-Control": PUBLIC, "Surrogate-Key": key})
        await origin(scope, receive, send)

    app = front(versioned)
    await ask(app)
    version["/api/y"] = 2
    await ask(app, "/api/y")
    version["/api/x"] = 2
    await ask(app)
    await ask(app)
    assert asked == ["/api/x", "/api/y", "/api/x"]
    version["/api/y"] = 3
    posted = await ask(app, "/api/y", method="POST")
    await ask(app)
    assert asked[3:] == ["/api/y", "/api/x"]
    assert "surrogate-key" not in posted.headers
    assert len(app.shelf) == 0  # /api/x still says 2, and 3 was seen
