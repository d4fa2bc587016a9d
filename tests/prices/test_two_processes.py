"""What several server processes on one Redis owe a client, with real daphne and uvicorn."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from tests.product import Answer, Product, Web

ROOT = "/api/v1/prices"

# The two servers are started once, in one test process.
pytestmark = pytest.mark.xdist_group("two processes")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, list[Web]]]:
    with Product(tmp_path_factory.mktemp("product")) as product:
        yield product, [product.web("daphne"), product.web("uvicorn")]


def ask_together(webs: list[Web], path: str, times: int) -> list[Answer]:
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda n: webs[n % len(webs)].get(path), range(times)))


def test_two_hundred_requests_for_one_cold_key_over_two_processes_cost_one_call(
    running: tuple[Product, list[Web]],
) -> None:
    product, webs = running
    product.sandbox.reset()
    product.sandbox.fault("delay", delay_s=0.5)

    answers = ask_together(webs, f"{ROOT}/DOGE/history?period=1w", 200)

    assert {answer.status for answer in answers} == {200}
    assert sum(answer.json()["cached"] is False for answer in answers) == 1
    assert len({answer.json()["to"] for answer in answers}) == 1
    assert product.sandbox.count() == 1
    product.sandbox.heal()


def test_a_cached_quote_is_served_after_a_restart_and_in_a_second_process(
    running: tuple[Product, list[Web]],
) -> None:
    product, (one, two) = running
    first = one.get(f"{ROOT}/LTC").json()
    calls = product.sandbox.count()

    restarted = product.web("uvicorn")
    answers = [web.get(f"{ROOT}/LTC").json() for web in (two, restarted)]

    assert product.sandbox.count() == calls
    assert answers == [{**first, "cached": True}] * 2


def test_what_one_process_finds_of_a_source_holds_for_the_other(
    running: tuple[Product, list[Web]],
) -> None:
    product, (one, two) = running
    product.sandbox.reset()
    product.sandbox.fault("status", source="coingecko", status=503)
    for symbol in ("XRP", "ADA", "TRX"):
        one.get(f"{ROOT}/{symbol}")
    asked = product.sandbox.count("/coingecko")

    two.get(f"{ROOT}/AVAX")
    assert product.sandbox.count("/coingecko") == asked

    product.sandbox.heal()
    with Redis(port=product.redis.port) as client:
        assert client.delete("breaker:coingecko:open") == 1  # as after its rest
    answers = [web.get(f"{ROOT}/{symbol}") for web, symbol in ((two, "DOT"), (one, "BCH"))]
    assert [answer.json()["fallback_from"] for answer in answers] == [[], []]


def test_a_page_from_another_port_of_localhost_may_fetch(
    running: tuple[Product, list[Web]],
) -> None:
    for web in running[1]:
        answer = web.get(f"{ROOT}/BTC", {"Origin": "http://localhost:3000"})

        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


def in_chunks(web: Web, body: bytes) -> tuple[int, dict[str, Any]]:
    """Post a body of a length that is not announced."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    try:
        connection.request(
            "POST",
            f"{ROOT}/batch",
            iter([body[:7], body[7:]]),
            {"Content-Type": "application/json"},
            encode_chunked=True,
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_body_sent_in_chunks_is_read_and_bounded_like_any_other(
    running: tuple[Product, list[Web]],
) -> None:
    for web in running[1]:
        status, answer = in_chunks(web, b'{"symbols": ["BTC"]}')
        assert (status, list(answer.get("data", {}))) == (200, ["BTC"])

        status, answer = in_chunks(web, b'{"symbols": ["' + b"A" * 100_000 + b'"]}')
        assert (status, answer["code"]) == (413, "too_large")


@pytest.mark.parametrize("path", ["/api/schema", f"{ROOT}/BTC", f"{ROOT}/NOPE", "/", "/admin/"])
def test_an_answer_to_head_has_the_headers_of_get_and_no_body(
    running: tuple[Product, list[Web]], path: str
) -> None:
    for web in running[1]:
        web.get(path)  # What is cached from here on has the same length again.
        with socket.create_connection(("127.0.0.1", web.port), timeout=20) as raw:
            raw.sendall(
                f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            head, _, body = b"".join(iter(lambda: raw.recv(65_536), b"")).partition(b"\r\n\r\n")

        assert body == b""
        lengths = [
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        assert lengths == [f"content-length: {len(web.get(path).body)}".encode()]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["hung", "killed"])
def test_with_redis_away_known_and_new_keys_are_answered_and_nothing_is_a_500(
    tmp_path_factory: pytest.TempPathFactory, how: str
) -> None:
    with Product(tmp_path_factory.mktemp(how)) as product:
        web = product.web("uvicorn")
        known = [f"{ROOT}/BTC", f"{ROOT}/BTC/history?period=1w", f"{ROOT}/crypto/top?limit=5"]
        for path in known:
            assert web.get(path).status == 200

        pid = product.redis.pid
        os.kill(pid, signal.SIGSTOP if how == "hung" else signal.SIGKILL)
        try:
            with ThreadPoolExecutor(20) as pool:
                again = list(pool.map(web.get, known * 10))
            new = web.get(f"{ROOT}/ETH")
            ready = web.get("/readyz")
        finally:
            if how == "hung":
                os.kill(pid, signal.SIGCONT)

        assert {answer.status for answer in again} == {200}
        assert (new.status, new.json()["source"]) == (200, "sandbox")
        assert ready.status == 503
