"""What several server processes on one Redis owe a client, with real daphne and uvicorn."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

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


def test_a_page_from_another_port_of_localhost_may_fetch(
    running: tuple[Product, list[Web]],
) -> None:
    for web in running[1]:
        answer = web.get(f"{ROOT}/BTC", {"Origin": "http://localhost:3000"})

        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


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
