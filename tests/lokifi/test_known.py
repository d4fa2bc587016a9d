"""The second way out: what Redis holds leaves without Django where the process has no copy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from lokifi.embedded import free_port
from lokifi.frontcache.copies import Head
from lokifi.known import Heads
from prices import questions, sidecar
from tests.lokifi.raw import COUNT, Line, Reply
from tests.lokifi.standing import let_live
from tests.processes import responds, until
from tests.product import Product, Web

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("frontcache")]

ROOT = "/api/v1/prices"
PLAIN = [
    f"{ROOT}/BTC",
    f"{ROOT}/aapl",
    f"{ROOT}/coingecko:bitcoin",
    f"{ROOT}/ETH/history?period=1W",
    f"{ROOT}/BTC/history",
    f"{ROOT}/BTC/ohlcv?period=1m&resolution=1h",
    f"{ROOT}?symbols=BTC,eth,AAPL,crypto:BTC",
]
BATCH = {"symbols": ["BTC", "eth", "coingecko:bitcoin", "AAPL"]}


@dataclass(frozen=True)
class Stage:
    """A server that keeps no copies and counts Django's answers, and Django alone."""

    ours: Web
    alone: Web
    store: Redis
    product: Product


def served(product: Product, application: str, **settings: str) -> Web:
    port = free_port()
    words = ["uvicorn", "--port", str(port), "--no-access-log", "--no-server-header"]
    process = product.start(application, [sys.executable, "-m", *words, application], **settings)
    url = f"http://127.0.0.1:{port}/livez"
    until(lambda: responds(url), application, told=lambda: process.said)
    return Web(process, port)


def staged(product: Product) -> Stage:
    return Stage(
        served(product, "tests.lokifi.counting:application", FRONT_CACHE_BYTES="0"),
        served(product, "tests.lokifi.django_alone:application"),
        Redis(port=product.redis.port),
        product,
    )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Product(tmp_path_factory.mktemp("known")) as product:
        staging = staged(product)
        yield staging
        staging.store.close()


@pytest.fixture
def line(stage: Stage) -> Iterator[Line]:
    line = Line(stage.ours.port)
    yield line
    line.close()


@pytest.fixture
def its(stage: Stage) -> Iterator[Line]:
    line = Line(stage.alone.port)
    yield line
    line.close()


def post(line: Line, asked: object, **headers: str) -> Reply:
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    given = {"Content-Type": "application/json", **headers}
    return line.ask(f"{ROOT}/batch", "POST", given, body)


def warmed(stage: Stage, line: Line, target: str) -> Reply:
    """Have what is asked for be in Redis for long, its names and headers known; ask once more."""
    for _ in range(2):
        line.ask(target)
    # Series live long by themselves, until their newest bar is over.
    for key in stage.store.scan_iter("price:*"):
        let_live(stage.store, key.decode(), 1700)
    return line.ask(target)


def without_id(reply: Reply) -> Any:
    said = json.loads(reply.body)
    said.pop("request_id", None)
    return said


def entered(one: Reply, other: Reply) -> bool:
    """Whether Django made the second of two answers."""
    return one.header(COUNT) != other.header(COUNT)


@pytest.mark.parametrize("target", PLAIN)
def test_what_redis_holds_leaves_without_django_and_is_the_same(
    stage: Stage, line: Line, its: Line, target: str
) -> None:
    first = warmed(stage, line, target)
    again = line.ask(target)
    other = its.ask(target)

    assert not entered(first, again)
    assert again.header("x-cache") == "HIT"
    assert (again.status, again.body) == (200, other.body)
    names = {name for name, _ in again.headers} - {COUNT, "vary"}
    assert names == {name for name, _ in other.headers} - {"vary"}
    assert abs(again.life_left - other.life_left) <= 2


def test_a_batch_that_is_known_is_joined_of_the_bodies_that_redis_holds(
    stage: Stage, line: Line, its: Line
) -> None:
    warmed(stage, line, f"{ROOT}?symbols=BTC,ETH,AAPL")
    post(line, BATCH)
    first, again = post(line, BATCH), post(line, BATCH)
    other = post(its, BATCH)

    assert not entered(first, again)
    assert again.body == other.body
    assert again.header("cache-control") == "no-store"
    assert again.header("etag") == other.header("etag")
    assert json.loads(again.body)["resolved"] == {"coingecko:bitcoin": "BTC"}


@pytest.mark.parametrize(
    "asked",
    [
        b"{",
        b"[]",
        {"symbols": []},
        {"symbols": [" BTC "]},
        {"symbols": ["BTC", 1]},
        {"symbols": ["BTC", "NOSUCHTHING"]},
        {"symbols": ["BTC"] * 101},
        {"symbols": ["BTC"], "force_refresh": False},
        {"symbols": ["BTC", "B$C"]},
    ],
)
def test_an_odd_batch_is_left_to_django(stage: Stage, line: Line, its: Line, asked: object) -> None:
    warmed(stage, line, f"{ROOT}/BTC")
    post(line, {"symbols": ["BTC"]})
    first, again = post(line, asked), post(line, asked)
    other = post(its, asked)

    assert entered(first, again)
    assert again.status == other.status
    assert without_id(again) == without_id(other)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic x"},
        {"Range": "bytes=0-10"},
        {"Accept": "text/csv"},
        {"If-Modified-Since": "Tue, 24 Nov 2026 00:00:00 GMT"},
        {"Host": "evil.example"},
        {"Content-Length": "2"},
    ],
)
def test_a_request_that_asks_for_more_is_left_to_django(
    stage: Stage, line: Line, headers: dict[str, str]
) -> None:
    target = f"{ROOT}/BTC"
    warmed(stage, line, target)
    body = b"{}" if "Content-Length" in headers else None
    given = {name: value for name, value in headers.items() if body is None}
    first, again = (line.ask(target, headers=given, body=body) for _ in range(2))

    assert entered(first, again)


def spoiled(stage: Stage, key: str, how: str) -> None:
    body, beside = stage.store.get(key), stage.store.get(sidecar.name(key))
    assert isinstance(body, bytes)
    assert isinstance(beside, bytes)
    if how == "another body":
        stage.store.set(key, body.replace(b'"price":', b'"price":1'), keepttl=True)
    elif how == "no sidecar":
        stage.store.delete(sidecar.name(key))
    elif how == "another sidecar":
        stage.store.set(sidecar.name(key), b"[1]", keepttl=True)
    elif how == "a past life":
        stage.store.set(sidecar.name(key), beside.replace(b'"until":', b'"until":0.'), keepttl=True)
    elif how == "another asset":
        for name in (key, sidecar.name(key)):
            other = stage.store.get(name.replace("BTC", "ETH"))
            assert isinstance(other, bytes)
            stage.store.set(name, other, keepttl=True)
    else:
        stage.store.set(key, b"\xff not ours", keepttl=True)


@pytest.mark.parametrize(
    "how",
    ["another body", "no sidecar", "another sidecar", "a past life", "another asset", "garbage"],
)
def test_what_is_in_doubt_is_left_to_django(stage: Stage, line: Line, how: str) -> None:
    target = f"{ROOT}/BTC/history?period=1w"
    warmed(stage, line, f"{ROOT}/ETH/history?period=1w")
    first = warmed(stage, line, target)
    spoiled(stage, "history:BTC:1w", how)
    again = line.ask(target)

    assert entered(first, again)
    assert (again.status, json.loads(again.body)["ref"]) == (200, "coingecko:bitcoin")
    stage.store.delete("history:BTC:1w", "good:history:BTC:1w")


def test_what_another_process_renewed_is_what_leaves(stage: Stage, line: Line, its: Line) -> None:
    target = f"{ROOT}/ETH/history?period=3m"
    before = warmed(stage, line, target)
    renewed = its.ask(target + "&force_refresh=true")
    stage.store.delete("history:ETH:3m")
    its.ask(target)
    after = line.ask(target)

    assert renewed.status == 200
    assert not entered(before, after)
    assert json.loads(after.body)["fetched_at"] > json.loads(before.body)["fetched_at"]


def test_compressed_and_conditional_requests_are_answered_without_django(
    stage: Stage, line: Line
) -> None:
    target = f"{ROOT}/BTC/history?period=1m"
    first = warmed(stage, line, target)
    zipped = line.ask(target, headers={"Accept-Encoding": "gzip"})
    known = line.ask(target, headers={"If-None-Match": first.header("etag") or ""})
    head = line.ask(target, "HEAD")

    assert [entered(first, one) for one in (zipped, known, head)] == [False] * 3
    assert zipped.header("content-encoding") == "gzip"
    assert zipped.content == first.body
    assert zipped.header("etag") != first.header("etag")
    assert (known.status, known.body, head.body) == (304, b"", b"")


def test_what_was_read_past_django_is_served_while_redis_hangs(
    stage: Stage, line: Line, its: Line
) -> None:
    last, kept, batch = away(stage, line, its, stage.product.redis.pause)
    stage.product.redis.resume()

    assert {(one.status, one.body) for one in kept} == {(200, last.body)}
    assert all(one.life_left > 0 for one in kept)
    assert batch.status == 200


def test_what_was_read_past_django_is_served_when_redis_is_gone(tmp_path: Path) -> None:
    with Product(tmp_path) as product:
        stage = staged(product)
        with closing(Line(stage.ours.port)) as line, closing(Line(stage.alone.port)) as its:
            last, kept, batch = away(stage, line, its, product.redis.kill)
        stage.store.close()

    assert {(one.status, one.body) for one in kept} == {(200, last.body)}
    assert all(one.life_left > 0 for one in kept)
    assert batch.status == 200


def away(
    stage: Stage, line: Line, its: Line, go: Callable[[], None]
) -> tuple[Reply, list[Reply], Reply]:
    """Ask while Redis is away for what our Django has read itself only in an older copy."""
    target = f"{ROOT}/BTC/history?period=1w"
    first = warmed(stage, line, target)
    stage.store.delete("history:BTC:1w")
    its.ask(target)
    last = line.ask(target)
    assert not entered(first, last)
    assert last.body != first.body
    post(line, {"symbols": ["BTC"]})
    go()
    return last, [line.ask(target) for _ in range(3)], post(line, {"symbols": ["BTC"]})


def test_what_was_just_looked_for_in_vain_is_looked_for_once_more_and_with_the_lock(
    stage: Stage, line: Line
) -> None:
    key = "price:XRP"
    warmed(stage, line, f"{ROOT}/XRP")
    stage.store.delete(key, f"good:{key}")

    with stage.store.monitor() as watched:  # type: ignore[no-untyped-call]
        answer = line.ask(f"{ROOT}/XRP")
        stage.store.echo("that is all")
        said = []
        while "that is all" not in (command := watched.next_command()["command"]):
            said.append(command)

    assert answer.header("x-cache") == "MISS"
    at = next(n for n, command in enumerate(said) if command.startswith(f"SET lock:{key}"))
    looks = [n for n, command in enumerate(said) if command == f"MGET {key}"]
    assert len(looks) == 1
    assert looks[0] > at


def test_headers_of_made_up_hosts_are_not_held_without_bound() -> None:
    heads = Heads()
    for number in range(1000):
        place = ("quote", b"host-%d" % number, "http", "")
        heads._learn(place, {}, [(b"content-type", b"application/json")])
    assert len(heads._heads) == len(heads._vary) == 256
    assert isinstance(heads.get(("quote", b"host-999", "http", ""), {}), Head)


def test_an_answer_that_sets_a_cookie_teaches_no_headers() -> None:
    heads, place = Heads(), ("quote", b"host", "http", "")
    json_type = (b"content-type", b"application/json")
    heads._learn(place, {}, [json_type, (b"set-cookie", b"a=b")])
    heads._learn(place, {}, [json_type, (b"vary", b"*")])
    heads._learn(place, {}, [(b"content-type", b"text/csv")])
    assert heads.get(place, {}) is None


def test_headers_that_vary_are_given_to_those_who_ask_alike() -> None:
    heads, place = Heads(), ("quote", b"host", "http", "")
    one, other = {b"origin": b"https://one"}, {b"origin": b"https://other"}
    allowed = (b"access-control-allow-origin", b"https://one")
    heads._learn(
        place, one, [(b"content-type", b"application/json"), (b"vary", b"Origin"), allowed]
    )

    head = heads.get(place, one)
    assert head is not None
    assert allowed in head.plain
    assert heads.get(place, other) is None


@pytest.mark.parametrize(
    ("query", "key"),
    [
        (b"", "history:BTC:1m"),
        (b"period=1W", "history:BTC:1w"),
        (b"%70eriod=1y&junk=1", "history:BTC:1y"),
        (b"period=1w&period=1y", "history:BTC:1y"),
        (b"period=never", None),
        (b"force_refresh=true", None),
        (b"explain=1", None),
        (b"limit=5", None),
        (b"format=csv", None),
        (b"from=2026-11-01", None),
        (b"a=%ff" * 600, None),
        (b"\xff", None),
    ],
)
def test_a_query_asks_for_the_key_that_the_view_would_read(query: bytes, key: str | None) -> None:
    question: Any = questions.of_request(f"{ROOT}/BTC/history", query)
    assert (question and question.key("BTC")) == key
