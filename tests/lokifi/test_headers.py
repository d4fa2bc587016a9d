"""Headers of no reasonable length: refused in front of everything, or left to the application."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lokifi.frontcache import rules
from lokifi.headers import MAX_BYTES, BoundedHeaders
from tests.lokifi.origin import PUBLIC, Origin, ask, front

pytestmark = pytest.mark.asyncio

NAMES = ["accept", "accept_encoding", "cache_control", "if_none_match", "x_junk"]


@pytest.mark.parametrize("name", NAMES)
async def test_more_headers_than_anyone_needs_are_refused_before_they_are_read(name: str) -> None:
    origin = Origin()
    app = BoundedHeaders(front(origin))
    long = {name: "a/b;q=0.5," * (MAX_BYTES // 10)}
    answer = await ask(app, **long)
    problem = json.loads(answer.body)

    assert origin.count == 0
    assert (answer.status, problem["code"]) == (431, "headers_too_large")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["x-request-id"] == problem["request_id"]
    assert (await ask(app, method="HEAD", **long)).body == b""
    assert (await ask(app, "/api/udf/symbols", **long)).body.startswith(b'{"s":"error"')


async def test_many_empty_lines_are_a_lot_too() -> None:
    app = BoundedHeaders(Origin())
    assert (await ask(app, a=[""] * 6000)).status == 200
    assert (await ask(app, a=[""] * 7000)).status == 431


async def test_a_websocket_with_too_many_headers_is_closed_before_it_is_open() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"cookie", b"x" * MAX_BYTES)]
    await BoundedHeaders(Origin())({"type": "websocket", "headers": headers}, None, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("name", ["accept", "cache_control"])
async def test_what_is_too_long_to_be_read_here_is_for_the_application(name: str) -> None:
    origin = Origin(headers={"Cache-Control": PUBLIC, "Content-Type": "application/json"})
    app = front(origin)
    await ask(app)
    await ask(app, **{name: "a/b;q=0.5," * 150 + "*/*"})

    assert origin.count == 2
    assert (await ask(app)).headers["x-cache"] == "HIT"


async def test_what_is_too_long_to_be_read_here_gets_the_plain_answer_whole() -> None:
    headers = {"Cache-Control": PUBLIC, "Content-Type": "application/json", "ETag": '"one"'}
    origin = Origin(headers=headers, body=b"1" * 5000)
    app = front(origin)
    await ask(app)
    many = ", ".join(f'"{number}"' for number in range(400)) + ', "one"'
    for long in ({"if_none_match": many}, {"accept_encoding": "br, " * 400 + "gzip"}):
        answer = await ask(app, **long)
        assert (answer.status, answer.body) == (200, origin.body)


async def test_lines_of_one_name_are_joined_in_their_order() -> None:
    lines = [(b"accept", b"a"), (b"host", b"x"), (b"accept", b"b"), (b"accept", b"")]
    assert rules.fields_of(lines) == {b"accept": b"a, b, ", b"host": b"x"}
