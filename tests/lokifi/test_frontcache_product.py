"""The front cache before the product itself, in real servers: the same answers, only sooner."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from lokifi.embedded import free_port
from tests.lokifi.raw import OWN, Connect, Line, Reply, kept
from tests.lokifi.standing import let_live
from tests.processes import responds, until
from tests.product import Product, Web

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("frontcache")]

ROOT = "/api/v1/prices"
KNOWN = [
    f"{ROOT}/BTC",
    f"{ROOT}/AAPL",
    f"{ROOT}/ETH/history?period=1w",
    f"{ROOT}/BTC/history",
    f"{ROOT}/BTC/ohlcv?period=1m",
    f"{ROOT}/AAPL/ohlcv?period=1m&resolution=D",
    f"{ROOT}/crypto/top?limit=100",
    f"{ROOT}/crypto/top?limit=5&page=2",
    f"{ROOT}/crypto/search?q=doge",
    f"{ROOT}/crypto/mapping",
    f"{ROOT}/symbols/search?q=app",
    f"{ROOT}?symbols=BTC,ETH,AAPL",
    "/api/schema",
]
ODD = [
    f"{ROOT}/btc",
    f"{ROOT}/crypto:BTC",
    f"{ROOT}/crypto%3ABTC",
    f"{ROOT}/coingecko:bitcoin",
    f"{ROOT}/BTC/history?period=1W",
    f"{ROOT}/ETH/history?junk=1&period=1w",
    f"{ROOT}/ETH/history?period=1w&junk=1",
    f"{ROOT}/ETH/history?period=1y&period=1w",
    f"{ROOT}/ETH/history?period=1w&period=1y",
    f"{ROOT}/ETH/history?%70eriod=1w",
    f"{ROOT}/ETH/history?%70eriod=1y&period=1w",
    f"{ROOT}/ETH/history?period=1w&%70eriod=1y",
    f"{ROOT}/ETH/history?&&period=1w&",
    f"{ROOT}/ETH/history?period=1w;period=1y",
    f"{ROOT}/crypto/top?limit=100&page=1",
    f"{ROOT}/crypto/top?page=1&limit=100",
    f"{ROOT}/crypto/search?q=%20doge",
    f"{ROOT}?symbols=BTC&symbols=ETH",
    f"{ROOT}?symbols=ETH&symbols=BTC",
]
BAD = [
    f"{ROOT}/BTC/history?period=never",
    f"{ROOT}/crypto/top?limit=0",
    f"{ROOT}/crypto/top?limit=%00",
    f"{ROOT}/crypto/top?limit=" + "9" * 3000,
    f"{ROOT}/{'A' * 3000}",
    f"{ROOT}/%ff%fe",
    f"{ROOT}/..%2f..%2fadmin",
    f"{ROOT}/BTC/",
    f"{ROOT}/BTC?" + "&".join(f"a{n}=1" for n in range(200)),
    "/api/nothing",
    "/api//v1/prices/BTC",
]
BODIES = [
    b'{"symbols":["BTC"]}',
    b'{"symbols":["BTC","ETH","AAPL","btc","crypto:BTC"]}',
    b'{"symbols":["AAPL","coingecko:ethereum"]}',
    b'{ "symbols" : ["BTC", "BTC", " ETH"] }',
    b'{"symbols":["BTC","NOPE1","B$C"]}',
    b'{"symbols":["BTC"],"more":1}',
    b'{"symbols":"BTC"}',
    b'{"symbols":[]}',
    b"nothing",
    b"[" * 5000,
]
TYPES = ["application/json", "application/json", "application/json; charset=utf-8", "text/plain"]
HEADERS: list[dict[str, str]] = [
    {},
    {},
    {"Accept": "*/*"},
    {"Accept": "application/json"},
    {"Accept": "application/problem+json"},
    {"Accept": "text/csv"},
    {"Accept": "application/json;q=0, */*"},
    {"Accept-Encoding": "gzip"},
    {"Accept-Encoding": "br, gzip;q=0.5, *;q=0"},
    {"Accept-Encoding": "gzip;q=0"},
    {"Origin": "https://page.example"},
    {"Origin": "null", "Cookie": "sessionid=" + "x" * 32},
    {"If-None-Match": '"never"'},
    {"If-None-Match": "*"},
    {"If-None-Match": "THE-ETAG"},
    {"If-None-Match": 'W/THE-ETAG, "x"'},
    {"If-Modified-Since": "Tue, 24 Nov 2026 00:00:00 GMT"},
    {"Cache-Control": "no-cache"},
    {"Cache-Control": "max-age=0"},
    {"Cache-Control": "no-store"},
    {"Range": "bytes=0-10"},
    {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
    {"X-Forwarded-For": "1.2.3.4", "X-Original-URL": "/admin/"},
    {"X-Http-Method-Override": "DELETE", "X-Forwarded-Prefix": "/evil"},
    {"Daphne-Root-Path": "/api"},
    {"Surrogate-Capability": "me", "Surrogate-Key": "price:BTC"},
    {"Host": "evil.example"},
    {"Host": "localhost"},
    {"Host": "127.0.0.1:1"},
]


@dataclass(frozen=True)
class Pair:
    """Servers on the same Redis and database: ours, and Django without anything in front."""

    front: Web
    # As front, with nothing kept in the process: what is known comes from Redis.
    bare: Web
    alone: Web
    product: Product


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Product(tmp_path_factory.mktemp("pair")) as product:
        front = product.web("uvicorn")
        bare = product.web("uvicorn", FRONT_CACHE_BYTES="0")
        with closing(Line(front.port)) as line:
            kept(line, f"{ROOT}/ETH/history?period=1w", age_s=1)
        yield Pair(front, bare, serve_alone(product), product)


def serve_alone(product: Product) -> Web:
    port = free_port()
    words = ["uvicorn", "--port", str(port), "--no-access-log", "--no-server-header"]
    command = [sys.executable, "-m", *words, "tests.lokifi.django_alone:application"]
    process = product.start(f"alone-{port}", command)
    url = f"http://127.0.0.1:{port}/livez"
    until(lambda: responds(url), "Django alone", told=lambda: process.said)
    return Web(process, port)


def same(reply: Reply) -> dict[str, str]:
    """Return the headers that have to be the same, in Django's own words for the plain form."""
    # Django tells a cache in front what it asks about; who plays one is told too.
    headers = {
        name: value
        for name, value in reply.headers
        if name not in OWN and not name.startswith("surrogate-")
    }
    if headers.pop("content-encoding", None) == "gzip":
        headers["content-length"] = "of gzip"
    if headers.get("vary", "").endswith("Accept-Encoding"):
        headers["vary"] = headers["vary"].removesuffix("Accept-Encoding").removesuffix(", ")
        if not headers["vary"]:
            del headers["vary"]
    headers["etag"] = headers.get("etag", "").replace("-gzip", "")
    if "max-age" in headers.get("cache-control", ""):
        headers["cache-control"] = "public, max-age=N"
    return headers


def plain(body: bytes) -> Any:
    """Return a body without the id that each problem bears."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    if isinstance(value, dict) and "request_id" in value:
        value["request_id"] = "ID"
    return value


def check_same(
    target: str, method: str, headers: dict[str, str], ours: Reply, its: Reply, took_s: float
) -> None:
    said = f"{method} {target[:100]} {headers}\n{ours.headers}\n{its.headers}"
    assert ours.status == its.status, said
    ours_same, its_same = same(ours), same(its)
    if ours_same.get("content-length") == "of gzip":
        its_same["content-length"] = "of gzip"
    assert ours_same == its_same, said
    assert plain(ours.content) == plain(its.content), said
    assert "surrogate-key" not in dict(ours.headers), said
    # A life is told in whole seconds, and runs while the other is asked.
    assert ours.life_left <= its.life_left + 1 + took_s, said
    # Quotes and the schema have the same life in every answer of Django's, and ours age.
    if its.max_age > 300:
        assert its.life_left <= ours.life_left + 1 + took_s, said


@pytest.mark.timeout(900)
def test_every_answer_is_the_one_that_django_alone_gives(pair: Pair, connect: Connect) -> None:
    """Questions at random, of a fixed seed, each to both, while the market stands still.

    QUESTIONS says how many; `make equality` asks more than a build does.
    """
    dice = random.Random(int(os.environ.get("SEED", "4711")))
    ours, bare, its = connect(pair.front), connect(pair.bare), connect(pair.alone)
    let_stand(pair, its)
    questions = int(os.environ.get("QUESTIONS", "400"))
    hits = 0
    for number in range(questions):
        target = dice.choice(dice.choice([KNOWN, KNOWN, ODD, BAD]))
        method = dice.choice(["GET", "GET", "GET", "HEAD", "OPTIONS", "DELETE"])
        headers = dict(dice.choice(HEADERS)) | (dice.choice(HEADERS) if number % 3 == 0 else {})
        body = None
        if number % 8 == 0:
            target, method, body = f"{ROOT}/batch", "POST", dice.choice(BODIES)
            headers |= {"Content-Type": dice.choice(TYPES)}
        if "If-None-Match" in headers:
            etag = ours.ask(target).header("etag") or '"none"'
            headers["If-None-Match"] = headers["If-None-Match"].replace("THE-ETAG", etag)
        begun = time.monotonic()
        one, two = (line.ask(target, method, headers, body) for line in (ours, bare))
        other = its.ask(target, method, headers, body)
        took_s = time.monotonic() - begun
        hits += one.header("x-cache") == "HIT" and one.header("age") is not None
        if "gzip" in headers.get("Accept-Encoding", "") and "If-None-Match" in headers:
            continue  # Tags are of an encoding each; that is tested by itself.
        check_same(target, method, headers, one, other, took_s)
        check_same(target, method, headers, two, other, took_s)
    # Fewer than it might be: quotes and lists of coins are kept for 5 s.
    assert hits > questions / 8


def let_stand(pair: Pair, its: Line) -> None:
    """Have all that will be asked for be known, and let none of it be renewed meanwhile.

    A quote that one server renews is laid over the lists of both, and our copy of a list
    lives for some seconds: only while nothing moves must two servers say the same.
    """
    for target in [*KNOWN, *ODD]:
        its.ask(target)
    with Redis(port=pair.product.redis.port) as store:
        for pattern in ("price:*", "list:search:*"):
            for key in store.scan_iter(pattern):
                let_live(store, key.decode(), 3600)


def test_security_cors_and_ids_hold_on_both_paths_header_by_header(
    pair: Pair, connect: Connect
) -> None:
    for target in KNOWN:
        line = connect(pair.front)
        first, copy = line.ask(target), kept(line, target)
        other = connect(pair.alone).ask(target)
        assert copy.header("x-cache") == "HIT"
        assert {n for n, _ in copy.headers} - OWN == {n for n, _ in other.headers} - OWN | (
            {"vary"} if copy.header("vary") else set()
        )
        ids = [reply.header("x-request-id") or "" for reply in (first, copy)]
        assert len(set(ids)) == 2
        assert [len(one) for one in ids] == [32, 32]
        given = line.ask(target, headers={"X-Request-ID": "mine-1"})
        refused = line.ask(target, headers={"X-Request-ID": "not a word"})
        assert given.header("x-request-id") == "mine-1"
        assert len(refused.header("x-request-id") or "") == 32


def test_an_answer_that_caused_an_upstream_call_is_not_given_to_anyone_else(
    pair: Pair, connect: Connect
) -> None:
    line = connect(pair.front)
    target = f"{ROOT}/SOL/history?period=3m"
    first, second, third = (line.ask(target) for _ in range(3))

    assert [json.loads(one.body)["cached"] for one in (first, second, third)] == [False, True, True]
    marks = [one.header("x-cache") for one in (first, second, third)]
    assert (marks, second.header("age"), third.header("age")) == (["MISS", "HIT", "HIT"], None, "0")


def test_a_forced_refresh_is_neither_kept_nor_hidden_by_what_is(
    pair: Pair, connect: Connect
) -> None:
    line = connect(pair.front)
    target = f"{ROOT}/DOGE/history?period=1m"
    copy = kept(line, target)
    forced = line.ask(target + "&force_refresh=true")
    again = line.ask(target + "&force_refresh=true")
    after = line.ask(target)

    assert copy.header("x-cache") == "HIT"
    assert forced.header("cache-control") == "no-store"
    assert again.header("age") is None
    assert json.loads(after.body)["fetched_at"] >= json.loads(forced.body)["fetched_at"]


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /api/v1/prices/BTC HTTP/1.0\r\n\r\n",
        b"GET /api/v1/prices/BTC HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
        b"GET /api/v1/prices/BTC HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/api/v1/prices/BTC HTTP/1.1\r\nHost: localhost\r\n"
        b"Connection: close\r\n\r\n",
        b"GET /api/v1/prices/BTC HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
        b"Connection: close\r\n\r\n",
        b"GET /api/v1/prices/BTC?\xc3\xa9=\xff HTTP/1.1\r\nHost: localhost\r\n"
        b"Connection: close\r\n\r\n",
    ],
)
def test_odd_ways_to_write_a_request_get_what_django_alone_gives(
    pair: Pair, connect: Connect, request_line: bytes
) -> None:
    let_quote_stand(pair, connect)
    connect(pair.front).ask(f"{ROOT}/BTC", headers={"Host": "localhost"})
    ours, its = (spoken(web.port, request_line) for web in (pair.front, pair.alone))
    assert ours.split(b"\r\n")[0] == its.split(b"\r\n")[0]
    assert plain(ours.partition(b"\r\n\r\n")[2]) == plain(its.partition(b"\r\n\r\n")[2])


def test_a_request_with_more_headers_than_anyone_needs_is_refused(
    pair: Pair, connect: Connect
) -> None:
    line = connect(pair.front)
    for target in (f"{ROOT}/BTC", "/livez", f"{ROOT}/stream"):
        refused = line.ask(target, headers={"Accept": "a/b;q=0.5," * 100_000})
        assert (refused.status, json.loads(refused.body)["code"]) == (431, "headers_too_large")
    assert line.ask(f"{ROOT}/BTC").status == 200


@pytest.mark.parametrize("headers", [{}, {"X-Request-ID": "not_found"}], ids=str)
def test_an_error_that_was_asked_for_before_bears_the_id_of_its_own_request(
    pair: Pair, connect: Connect, headers: dict[str, str]
) -> None:
    line, target = connect(pair.front), f"{ROOT}/NOPE9"
    line.ask(target, headers=headers)
    errors = [line.ask(target) for _ in range(2)]
    bodies = [json.loads(error.body) for error in errors]

    assert {(one["status"], one["code"]) for one in bodies} == {(404, "unknown_symbol")}
    ids = [one.pop("request_id") for one in bodies]
    assert ids == [error.header("x-request-id") for error in errors]
    assert len(set(ids)) == 2
    assert bodies[0] == bodies[1] == dict(bodies[0], instance=target)
    assert [error.header("content-length") for error in errors] == [
        str(len(error.body)) for error in errors
    ]


def let_quote_stand(pair: Pair, connect: Connect) -> None:
    """Have all servers give one quote of BTC, which nobody renews, and no older copy of it."""
    connect(pair.alone).ask(f"{ROOT}/BTC")
    with Redis(port=pair.product.redis.port) as store:
        let_live(store, "price:BTC", 3600)
    connect(pair.front).ask(f"{ROOT}/BTC", headers={"Cache-Control": "no-cache"})


def spoken(port: int, said: bytes, answers: int = 1) -> bytes:
    """Return all that comes back on a connection, up to so many whole answers."""
    heard = b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as connection:
        connection.sendall(said)
        while heard.count(b"\r\n\r\n") < answers or not is_whole(heard):
            if not (part := connection.recv(65536)):
                break
            heard += part
    return heard


def is_whole(heard: bytes) -> bool:
    """Whether the last answer has as many bytes as it says."""
    *_, head, body = heard.split(b"\r\n\r\n")
    length = re.findall(rb"(?i)content-length: (\d+)", head)
    return bool(length) and len(body) >= int(length[-1])


def test_requests_sent_in_one_go_are_answered_in_their_order(pair: Pair, connect: Connect) -> None:
    targets = [f"{ROOT}/BTC", f"{ROOT}/crypto/top?limit=5", "/livez", f"{ROOT}/BTC", "/api/none"]
    for target in targets:
        connect(pair.front).ask(target, headers={"Host": "localhost"})
    said = b"".join(
        b"GET %b HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: n%d\r\n\r\n" % (target.encode(), n)
        for n, target in enumerate(targets)
    )
    heard = spoken(pair.front.port, said, len(targets))

    places = [heard.find(b"x-request-id: n%d\r\n" % n) for n in range(len(targets))]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("server", ["daphne", "granian"])
def test_every_server_serves_copies_alike(pair: Pair, connect: Connect, server: str) -> None:
    if server == "granian" and importlib.util.find_spec("granian") is None:
        pytest.skip("granian is not installed")
    web = pair.product.web() if server == "daphne" else serve_granian(pair.product)
    line, target = connect(web), f"{ROOT}/BTC/history?period=1w"
    reply = kept(line, target, age_s=1)
    zipped = line.ask(target, headers={"Accept-Encoding": "gzip"})
    known = line.ask(target, headers={"If-None-Match": reply.header("etag") or ""})
    head = line.ask(target, "HEAD")
    web.process.stop(timeout_s=3)

    assert (reply.status, reply.header("x-cache")) == (200, "HIT")
    assert zipped.content == reply.body
    assert (known.status, known.body) == (304, b"")
    assert (head.body, head.header("content-length")) == (b"", str(len(reply.body)))


def serve_granian(product: Product) -> Web:
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "asginl", "--port", str(port)]
    process = product.start(f"granian-{port}", [*command, "lokifi.asgi:application"])
    url = f"http://127.0.0.1:{port}/livez"
    until(lambda: responds(url), "granian", told=lambda: process.said)
    return Web(process, port)


def test_behind_a_root_path_copies_are_kept_and_nothing_internal_is_told(
    pair: Pair, connect: Connect
) -> None:
    web = serve_behind(pair.product, "/behind")
    line, target = connect(web), f"{ROOT}/BTC/history?period=1w"
    # A proxy has taken the root path off; uvicorn puts it back before what is asked.
    kept(line, target, age_s=1)
    reply = line.ask(target, headers={"Surrogate-Capability": "me"})
    twice = line.ask(f"/behind{target}")
    web.process.stop(timeout_s=3)

    assert (reply.status, reply.header("x-cache")) == (200, "HIT")
    assert reply.header("age") is not None
    assert "surrogate-key" not in dict(reply.headers)
    assert twice.status == 404


def serve_behind(product: Product, root_path: str) -> Web:
    port = free_port()
    words = ["uvicorn", "--port", str(port), "--root-path", root_path]
    command = [sys.executable, "-m", *words, "lokifi.asgi:application"]
    process = product.start(f"behind-{port}", command)
    url = f"http://127.0.0.1:{port}/livez"
    until(lambda: responds(url), "uvicorn behind a root path", told=lambda: process.said)
    return Web(process, port)


def test_a_copy_is_as_old_as_it_says_by_the_clock(pair: Pair, connect: Connect) -> None:
    line, target = connect(pair.front), f"{ROOT}/ETH/history?period=1m"
    begun = time.monotonic()
    first = kept(line, target)
    seen = time.monotonic()
    time.sleep(2.1)
    asked = time.monotonic()
    again = line.ask(target)
    answered = time.monotonic()

    # It was kept between the first two times, and its age told between the last two.
    assert first.body == again.body
    assert int(asked - seen) <= int(again.header("age") or -1) <= answered - begun
    assert again.max_age == first.max_age
