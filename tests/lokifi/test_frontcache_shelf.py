"""What the front cache keeps stays within its bytes, and what is used stays longest."""

from __future__ import annotations

import random
import tracemalloc
from time import monotonic, time_ns
from typing import Any

import pytest

from lokifi.frontcache import shelf as shelves
from lokifi.frontcache.copies import Copy, compressed
from lokifi.frontcache.rules import Life, ordered, seconds
from lokifi.frontcache.shelf import Key, Shelf, placed
from tests.lokifi.origin import PUBLIC, Origin, ask, front

KEEP = Life(is_public=True, may_be_kept=True, fresh_s=60)


def copy(size: int = 1000, tags: str = "") -> Copy:
    headers = [(b"content-type", b"application/json"), (b"surrogate-key", tags.encode())]
    return Copy(200, headers, dict(headers), random.randbytes(size), (), KEEP, monotonic())


def key(number: int | str) -> Key:
    return (f"/api/{number}", b"", b"host", "http", "")


def test_whatever_is_put_on_it_the_shelf_holds_no_more_than_it_may() -> None:
    dice = random.Random(5)
    shelf = Shelf(300_000)
    for _ in range(5000):
        name = key(dice.randrange(400))
        held = shelf.copies.get(name)
        if held and dice.random() < 0.5:
            held.uses += 1
        elif held and dice.random() < 0.3:
            held.zipped(compressed(held.plain.body))
            shelf.grew(held)
        else:
            shelf.put(name, copy(dice.randrange(20_000), f"a{dice.randrange(50)}"))
        if dice.random() < 0.01:
            shelf.purge([f"a{dice.randrange(50)}"])
        assert shelf.bytes <= shelf.max_bytes
        assert shelf.bytes == sum(shelf._sizes.values())
        assert shelf._small.keys() | shelf._large.keys() == shelf.copies.keys()
        assert shelf._small_bytes == sum(shelf._sizes[name] for name in shelf._small)
    for name in list(shelf.copies):
        shelf.drop(name)
    assert (shelf.bytes, shelf._small_bytes, shelf._bearers) == (0, 0, {})


def test_what_a_shelf_counts_is_what_its_copies_take() -> None:
    shelf = Shelf(20_000_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1000):
        shelf.put(key(number), copy(600, f"price:A{number}=17{number}"))
    took = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert len(shelf) == 1000
    assert 0.5 * shelf.bytes < took <= shelf.bytes


def test_a_flood_of_keys_asked_for_once_does_not_push_out_what_is_used() -> None:
    shelf = Shelf(1_000_000)
    used = [key(f"used-{number}") for number in range(50)]
    for name in used:
        shelf.put(name, copy())
    for number in range(5000):
        shelf.put(key(number), copy())
        if number % 50 == 0:
            for name in used:
                if name in shelf.copies:
                    shelf.copies[name].uses += 1

    assert all(name in shelf.copies for name in used)


def test_a_renewed_copy_keeps_the_place_that_its_key_has_earned() -> None:
    shelf = Shelf(1_000_000)
    shelf.put(key("used"), copy())
    shelf.copies[key("used")].uses = 3
    for number in range(400):
        shelf.put(key(number), copy())
    assert key("used") in shelf._large
    shelf.put(key("used"), copy())

    assert key("used") in shelf._large


def test_no_single_answer_empties_the_shelf() -> None:
    shelf = Shelf(100_000)
    shelf.put(key("small"), copy())

    assert not shelf.put(key("huge"), copy(50_000))
    assert list(shelf.copies) == [key("small")]


def test_an_answer_from_a_clock_that_is_ahead_keeps_out_what_follows_for_two_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = time_ns()
    monkeypatch.setattr(shelves, "time_ns", lambda: at)
    shelf = Shelf(100_000)
    hour_ahead = at // 1000 + 3_600_000_000
    assert shelf.put(key("ahead"), copy(tags=f"a={hour_ahead}"))
    assert shelf.note({"a": hour_ahead})
    assert len(shelf) == 1
    assert not shelf.note({"a": at // 1000})

    at += 3_000_000_000
    assert shelf.put(key("right"), copy(tags=f"a={at // 1000}"))
    # Whoever is given the right one is not given the other after it.
    assert list(shelf.copies) == [key("right")]
    assert not shelf.note({"a": at // 1000 - 1})


def test_after_this_hosts_own_clock_was_set_back_what_follows_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = time_ns()
    monkeypatch.setattr(shelves, "time_ns", lambda: at)
    shelf = Shelf(100_000)
    assert shelf.put(key("one"), copy(tags=f"a={at // 1000}"))
    at -= 3_600_000_000_000

    assert shelf.put(key("other"), copy(tags=f"a={at // 1000}"))
    assert list(shelf.copies) == [key("other")]


@pytest.mark.asyncio
async def test_made_up_queries_headers_and_hosts_take_no_more_than_the_bound() -> None:
    app = front(Origin(headers={"Cache-Control": PUBLIC, "Vary": "Origin"}), max_bytes=200_000)
    for number in range(500):
        await ask(app, f"/api/x?junk={number}" + "y" * 3000)
        await ask(app, host=f"{number}.example")
        await ask(app, origin=f"https://{number}.example")
        await ask(app, accept=f"application/json, a/{number}", accept_encoding=f"gzip, {number}")
        await ask(app, cache_control=f"max-age={number}, a={number}")

    assert app.shelf.bytes <= 200_000
    assert not app.shelf._forks.keys() - set(app.shelf._keys.values())
    assert (len(app._flights), len(app._flights._alone_until)) == (0, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("vary", ["", "Origin"])
@pytest.mark.parametrize("cache_control", [PUBLIC, "no-store"])
async def test_long_made_up_queries_take_no_more_memory_than_the_bound(
    vary: str, cache_control: str
) -> None:
    """And than what is remembered of keys that went: numbers, 4,096 of them at most."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        headers = {"Cache-Control": cache_control, "Vary": vary}
        if cache_control != PUBLIC:
            headers["Surrogate-Control"] = "max-age=1"
        status = 200 if cache_control == PUBLIC else 404
        await Origin(headers=headers, status=status)(scope, receive, send)

    app = front(answer, max_bytes=2**20)
    tracemalloc.start()
    try:
        for number in range(400):
            await ask(app, f"/api/x?{number}{'q' * 7900}", origin=f"https://{number}.example")
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held_bytes < 2**20 + 500_000
    if cache_control == PUBLIC:
        assert app.shelf.bytes > 2**19


@pytest.mark.asyncio
async def test_a_flood_of_keys_leaves_what_is_used_and_varies_where_it_is_found() -> None:
    origin = Origin(headers={"Cache-Control": PUBLIC, "Vary": "Origin"})
    app = front(origin)
    used = [f"/api/used-{number}" for number in range(20)]
    for target in used * 3:
        await ask(app, target)
    for number in range(1000):
        await ask(app, f"/api/x?{number}")
    before = origin.count
    for target in used:
        assert (await ask(app, target)).headers["x-cache"] == "HIT"

    assert origin.count == before


def test_copies_that_vary_go_when_the_answer_varies_by_something_else() -> None:
    def varying(*vary: bytes) -> Copy:
        one = copy()
        one.vary = vary
        return one

    shelf, asked, fields = Shelf(1_000_000), key("x"), {b"origin": b"a", b"accept": b"a"}
    for vary in ((b"origin",), (b"accept",), (), (b"accept", b"origin")):
        one = varying(*vary)
        assert shelf.put(placed(asked, vary, fields), one, asked)
        assert list(shelf.copies.values()) == [one]
        assert shelf.copies[shelf.place(asked, fields)] is one
    shelf.clear()
    assert (shelf._forks, shelf._keys, shelf.bytes) == ({}, {}, 0)


@pytest.mark.parametrize(
    ("query", "in_order"),
    [
        (b"b=1&a=2", b"a=2&b=1"),
        (b"a=2&b=1&a=1", b"a=2&a=1&b=1"),
        (b"b=1&%61=2", b"b=1&%61=2"),
        (b"b=1&a+=2", b"b=1&a+=2"),
        (b"", b""),
    ],
)
def test_a_query_is_put_in_order_where_that_cannot_change_what_it_means(
    query: bytes, in_order: bytes
) -> None:
    assert ordered(query) == in_order


@pytest.mark.parametrize(
    ("given", "read"),
    [(None, None), (b"5", 5), (b"-1", 0), (b"1.5", 0), (b"", 0), (b"9" * 500, 31_536_000)],
)
def test_seconds_are_read_with_care(given: bytes | None, read: int | None) -> None:
    assert seconds(given) == read
