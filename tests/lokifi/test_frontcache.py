"""The cache in front by the rules of HTTP, before an application that is not ours."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import pytest

from lokifi.frontcache import cache
from tests.lokifi.origin import PUBLIC, Origin, ask, front

pytestmark = pytest.mark.asyncio

LONG = b'{"prices":[' + b"12345," * 500 + b"1]}"


async def test_what_may_be_kept_is_asked_for_once_and_marked_as_a_hit() -> None:
    origin = Origin()
    app = front(origin)
    first, second = await ask(app), await ask(app)

    assert origin.count == 1
    assert first.body == second.body == origin.body
    assert "age" not in first.headers
    assert first.headers["x-cache"] == "MISS"
    assert (second.headers["age"], second.headers["x-cache"]) == ("0", "HIT")


async def test_a_copy_tells_its_age_and_leaves_when_its_life_is_over(
    later: Callable[[float], None],
) -> None:
    origin = Origin()
    app = front(origin)
    await ask(app)
    later(59.5)
    old = await ask(app)
    later(60.5)
    new = await ask(app)

    assert (old.headers["age"], old.headers["cache-control"]) == ("59", PUBLIC)
    assert "age" not in new.headers
    assert origin.count == 2


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cache-Control": "max-age=60"},
        {"Cache-Control": "public"},
        {"Cache-Control": "public, max-age=0"},
        {"Cache-Control": "public, max-age=-5"},
        {"Cache-Control": "public, max-age=many"},
        {"Cache-Control": "public, max-age=60, no-store"},
        {"Cache-Control": "public, max-age=60, no-cache"},
        {"Cache-Control": "private, max-age=60"},
        {"Cache-Control": PUBLIC, "Set-Cookie": "who=you"},
        {"Cache-Control": PUBLIC, "Vary": "*"},
        {"Cache-Control": PUBLIC, "Vary": "Accept, *"},
        {"Cache-Control": PUBLIC, "Age": "60"},
        {"Cache-Control": PUBLIC, "Surrogate-Control": "no-store"},
    ],
    ids=str,
)
async def test_what_does_not_say_that_it_may_be_kept_is_not(headers: dict[str, str]) -> None:
    origin = Origin(headers=headers)
    app = front(origin)
    await ask(app)
    await ask(app)

    assert origin.count == 2


@pytest.mark.parametrize("status", [206, 304])
async def test_a_part_of_an_answer_is_not_kept(status: int) -> None:
    origin = Origin(status=status)
    app = front(origin)
    await ask(app)
    await ask(app)

    assert origin.count == 2


async def test_an_error_is_kept_for_seconds_whatever_it_claims(
    later: Callable[[float], None],
) -> None:
    origin = Origin(status=404, headers={"Cache-Control": "public, max-age=3600"})
    app = front(origin)
    await ask(app)
    assert (await ask(app)).status == 404
    later(5.1)
    await ask(app)

    assert origin.count == 2


async def test_the_life_for_us_alone_comes_before_that_for_all(
    later: Callable[[float], None],
) -> None:
    headers = {"Cache-Control": "public, max-age=1, s-maxage=30", "Surrogate-Control": "max-age=50"}
    origin = Origin(headers=headers)
    app = front(origin)
    answer = await ask(app)
    later(49)
    await ask(app)

    assert origin.count == 1
    assert "surrogate-control" not in answer.headers


async def test_parameters_in_another_order_are_the_same_question() -> None:
    origin = Origin()
    app = front(origin)
    await ask(app, "/api/x?b=2&a=1")
    await ask(app, "/api/x?a=1&b=2")

    assert origin.count == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/api/x?a=1&a=2", "/api/x?a=2&a=1"),
        ("/api/x?a=1&%61=2", "/api/x?%61=2&a=1"),
        ("/api/x", "/api/X"),
        ("/api/x?a=1", "/api/x?a=2"),
        ("/api/x", "/api/x/"),
    ],
)
async def test_what_may_mean_something_else_is_another_question(one: str, other: str) -> None:
    origin = Origin()
    app = front(origin)
    await ask(app, one)
    await ask(app, other)

    assert origin.count == 2


async def test_what_the_answer_varies_by_is_part_of_the_question() -> None:
    origin = Origin(headers={"Cache-Control": PUBLIC, "Vary": "Origin, Accept-Encoding"})
    app = front(origin)
    for _ in range(2):
        await ask(app, origin="https://a.example")
        await ask(app, origin="https://b.example")
        await ask(app)

    assert origin.count == 3


async def test_another_host_and_another_scheme_are_other_questions() -> None:
    origin = Origin()
    app = front(origin)
    await ask(app)
    await ask(app, host="evil.example")
    await ask(app, host=["testserver", "evil.example"])

    assert origin.count == 3


async def test_what_a_client_holds_already_is_not_sent_again() -> None:
    origin = Origin(headers={"Cache-Control": PUBLIC, "ETag": '"one"'})
    app = front(origin)
    first = await ask(app, if_none_match='"one"')
    assert origin.header(b"if-none-match") is None
    known = [
        await ask(app, if_none_match=tag)
        for tag in ('"one"', 'W/"one"', "*", '"two", "one"', '"two"')
    ]

    assert origin.count == 1
    assert first.status == 304
    assert [answer.status for answer in known] == [304, 304, 304, 304, 200]
    assert known[0].body == b""
    assert "content-length" not in known[0].headers
    assert known[0].headers["etag"] == '"one"'


async def test_head_gets_the_headers_of_get_from_the_same_copy() -> None:
    origin = Origin()
    app = front(origin)
    head, got = await ask(app, method="HEAD"), await ask(app)

    assert origin.count == 1
    assert head.body == b""
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(
    "headers",
    [{"cache_control": "no-cache"}, {"cache_control": "max-age=0"}, {"pragma": "no-cache"}],
    ids=str,
)
async def test_a_client_that_wants_it_new_gets_it_new_and_so_do_those_after(
    headers: dict[str, str],
) -> None:
    origin = Origin()
    app = front(origin)
    await ask(app)
    origin.body = b'{"price":2}'

    assert (await ask(app, **headers)).body == origin.body
    assert (await ask(app)).body == origin.body
    assert origin.count == 2


async def test_a_client_says_how_old_it_may_be(later: Callable[[float], None]) -> None:
    origin = Origin()
    app = front(origin)
    await ask(app)
    later(20)
    await ask(app, cache_control="max-age=30")
    await ask(app, cache_control="min-fresh=30")
    assert origin.count == 1
    await ask(app, cache_control="max-age=10")
    assert origin.count == 2


async def test_only_if_cached_asks_nobody() -> None:
    origin = Origin()
    app = front(origin)
    assert (await ask(app, cache_control="only-if-cached")).status == 504
    assert origin.count == 0
    await ask(app)
    assert (await ask(app, cache_control="only-if-cached")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"cache_control": "no-store"},
        {"authorization": "Bearer x"},
        {"if_match": '"one"'},
        {"content_length": "5"},
    ],
    ids=str,
)
async def test_what_asks_for_more_than_the_answer_passes_by(headers: dict[str, str]) -> None:
    origin = Origin()
    app = front(origin)
    await ask(app, **headers)
    await ask(app, **headers)
    assert origin.count == 2
    assert len(app.shelf) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"if_modified_since": "Tue, 24 Nov 2026 00:00:00 GMT"},
        {"range": "bytes=0-3", "if_range": '"one"'},
    ],
    ids=str,
)
async def test_times_and_parts_make_no_other_question_of_what_has_a_tag(
    headers: dict[str, str],
) -> None:
    origin = Origin(headers={"Cache-Control": PUBLIC, "ETag": '"one"'})
    app = front(origin)
    whole = [await ask(app, **headers) for _ in range(2)]
    known = await ask(app, if_none_match='"one"', **headers)

    assert origin.count == 1
    assert [origin.header(name.replace("_", "-").encode()) for name in headers] == [None] * len(
        headers
    )
    assert [(one.status, one.body) for one in whole] == [(200, origin.body)] * 2
    assert known.status == 304


async def test_an_answer_to_what_passes_by_varies_as_its_copy_would() -> None:
    headers = {"Cache-Control": PUBLIC, "Content-Type": "application/json", "ETag": '"one"'}
    origin = Origin(headers=headers, body=LONG)
    app = front(origin)
    kept = await ask(app, accept_encoding="gzip")
    by = {"authorization": "Bearer x", "if_none_match": '"two", "one-gzip"'}
    passed = await ask(app, accept_encoding="gzip", **by)
    posted = await ask(app, method="POST", **by)

    assert kept.headers["content-encoding"] == "gzip"
    assert passed.body == LONG
    assert passed.headers["vary"] == kept.headers["vary"] == "Accept-Encoding"
    assert "vary" not in posted.headers
    assert origin.header(b"if-none-match") == b'"two", "one"'


async def test_who_wants_nothing_changed_gets_the_plain_form() -> None:
    headers = {"Cache-Control": PUBLIC, "Content-Type": "application/json"}
    app = front(Origin(headers=headers, body=LONG))
    for _ in range(2):
        answer = await ask(app, accept_encoding="gzip", cache_control="no-transform")
        assert (answer.body, "content-encoding" in answer.headers) == (LONG, False)
    assert (await ask(app, accept_encoding="gzip")).headers["content-encoding"] == "gzip"


async def test_an_old_copy_that_may_be_is_served_at_once_marked_and_renewed_behind(
    later: Callable[[float], None],
) -> None:
    headers = {"Cache-Control": "public, max-age=10, stale-while-revalidate=20"}
    origin = Origin(headers=headers)
    app = front(origin)
    await ask(app)
    before, origin.body = origin.body, b'{"price":2}'
    origin.gate = asyncio.Event()
    later(15)
    old = [await ask(app) for _ in range(3)]
    origin.gate.set()
    await asyncio.sleep(0.01)
    new = await ask(app)

    assert [(one.body, one.headers["x-cache"], one.headers["age"]) for one in old] == [
        (before, "STALE", "15")
    ] * 3
    assert (new.body, new.headers["x-cache"]) == (origin.body, "HIT")
    assert origin.count == 2


async def test_past_that_too_it_is_asked_for(later: Callable[[float], None]) -> None:
    headers = {"Cache-Control": "public, max-age=10, stale-while-revalidate=20"}
    origin = Origin(headers=headers)
    app = front(origin)
    await ask(app)
    later(31)
    assert "age" not in (await ask(app)).headers


async def test_gzip_is_made_once_and_has_a_tag_of_its_own() -> None:
    origin = Origin(
        headers={"Cache-Control": PUBLIC, "ETag": '"one"', "Content-Type": "application/json"},
        body=LONG,
    )
    app = front(origin)
    plain = await ask(app)
    zipped = [await ask(app, accept_encoding="gzip, br") for _ in range(2)]
    known = await ask(app, accept_encoding="gzip", if_none_match='"one-gzip"')
    unknown = await ask(app, accept_encoding="gzip", if_none_match='"one"')

    assert origin.count == 1
    assert origin.header(b"accept-encoding") is None
    assert gzip.decompress(zipped[0].body) == plain.body == LONG
    assert zipped[0].body is zipped[1].body
    assert (zipped[0].headers["etag"], plain.headers["etag"]) == ('"one-gzip"', '"one"')
    assert plain.headers["vary"] == zipped[0].headers["vary"] == "Accept-Encoding"
    assert zipped[0].headers["content-length"] == str(len(zipped[0].body))
    assert (known.status, unknown.status) == (304, 200)


@pytest.mark.parametrize(
    ("accept_encoding", "is_zipped"),
    [
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("*", False),
        ("br;q=1, GZIP;q=0.1", True),
        ("gzip;q=0.5, identity", False),
        ("identity;q=0.5, gzip;q=0.5", True),
        ("gzip;q=much", False),
    ],
)
async def test_gzip_is_sent_to_those_who_name_it(accept_encoding: str, is_zipped: bool) -> None:
    headers = {"Cache-Control": PUBLIC, "Content-Type": "application/json"}
    app = front(Origin(headers=headers, body=LONG))
    answer = await ask(app, accept_encoding=accept_encoding)

    assert ("content-encoding" in answer.headers) is is_zipped


async def test_a_long_body_is_compressed_once_for_all_who_wait() -> None:
    headers = {"Cache-Control": PUBLIC, "Content-Type": "application/json"}
    app = front(Origin(headers=headers, body=LONG * 100), max_bytes=2**23)
    await ask(app)
    answers = await asyncio.gather(*(ask(app, accept_encoding="gzip") for _ in range(8)))

    assert len({id(answer.body) for answer in answers}) == 1
    assert gzip.decompress(answers[0].body) == LONG * 100


async def test_a_client_that_does_not_take_the_copys_type_is_left_to_the_application() -> None:
    origin = Origin(headers={"Cache-Control": PUBLIC, "Content-Type": "application/json"})
    app = front(origin)
    await ask(app)
    for accept in ("*/*", "application/json", "text/html, application/*;q=0.5", "application/JSON"):
        await ask(app, accept=accept)
    assert origin.count == 1
    await ask(app, accept="text/csv")
    await ask(app, accept="application/json;q=0, */*")
    assert origin.count == 3


async def test_a_stream_goes_out_as_it_comes_and_nobody_waits_for_it() -> None:
    origin = Origin(headers={"Cache-Control": "no-cache"}, is_announced=False, parts=3, body=b"abc")
    app = front(origin)
    answers = await asyncio.gather(*(ask(app) for _ in range(5)))

    assert {answer.body for answer in answers} == {b"abc"}
    assert (await ask(app, method="HEAD")).body == b""
    assert len(app.shelf) == 0


async def test_with_no_bytes_nothing_is_kept_and_answers_are_the_same() -> None:
    origin = Origin(
        headers={"Cache-Control": PUBLIC, "ETag": '"one"', "Content-Type": "application/json"},
        body=LONG,
    )
    off, on = front(origin, max_bytes=0), front(origin)
    await ask(on)
    for headers in ({}, {"accept_encoding": "gzip"}, {"if_none_match": '"one"'}):
        without, kept = await ask(off, **headers), await ask(on, **headers)
        assert "x-cache" not in without.headers
        for name in ("age", "x-cache"):
            kept.headers.pop(name)
        assert without == kept
    assert origin.count == 4


async def test_what_the_application_says_of_its_own_cache_is_left_as_it_is() -> None:
    app = front(Origin(headers={"Cache-Control": PUBLIC, "X-Cache": "HIT"}))
    first, private = await ask(app), await ask(front(Origin(headers={})))

    assert first.headers["x-cache"] == "HIT"
    assert "x-cache" not in private.headers


async def test_what_stands_elsewhere_and_other_methods_are_not_touched() -> None:
    origin = Origin()
    app = front(origin)
    for _ in range(2):
        await ask(app, "/admin/")
        await ask(app, method="POST")
    assert origin.count == 4


@pytest.mark.parametrize(
    ("target", "root_path", "is_below"),
    [
        ("/behind/api/x", "/behind", True),
        ("/behind//api/x", "/behind/", True),
        ("/api/x", "/behind", True),
        ("/api/api/x", "/api", True),
        ("/api/x", "/api", False),
        ("/behind/admin/", "/behind", False),
        ("/behind/behind/api/x", "/behind", False),
        ("/behind/api/x", "", False),
    ],
)
async def test_the_prefix_begins_where_the_root_path_ends(
    target: str, root_path: str, is_below: bool
) -> None:
    origin = Origin(headers={"Cache-Control": PUBLIC, "Surrogate-Key": "a"})
    app = front(origin)
    await ask(app, target, root_path=root_path)
    second = await ask(app, target, root_path=root_path)

    assert origin.count == (1 if is_below else 2)
    assert ("age" in second.headers) is is_below
    assert ("surrogate-key" in second.headers) is not is_below


async def test_hits_are_counted_by_the_kind_of_their_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_REPORT_EVERY_S", 0.01)
    loop = asyncio.get_running_loop()
    counted: asyncio.Future[Any] = loop.create_future()
    batch = Origin(headers={"Cache-Control": PUBLIC, "Surrogate-Key": "price:A=1 price:B=1"})
    top = Origin(headers={"Cache-Control": PUBLIC, "Surrogate-Key": "top=1 price:A=1 price:B=1"})

    async def both(scope: Any, receive: Any, send: Any) -> None:
        await (top if scope["path"] == "/api/top" else batch)(scope, receive, send)

    app = front(
        both,
        count=lambda hits: loop.call_soon_threadsafe(counted.set_result, hits),
    )
    for _ in range(4):
        await ask(app)
        await ask(app, "/api/top")
    assert await asyncio.wait_for(counted, 5) == {"price": 6, "top": 3}
