"""The parts as a person who has a Redis starts them, without `up`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from redis import Redis

from lokifi.embedded import free_port
from tests.processes import responds, until
from tests.product import Product

pytestmark = pytest.mark.timeout(180)

BIN = Path(sys.executable).parent


def test_daphne_a_worker_and_beat_on_a_redis_of_ones_own_make_ticks(product: Product) -> None:
    port = free_port()
    daphne = [str(BIN / "daphne"), "-p", str(port), "lokifi.asgi:application"]
    web = product.start("daphne", daphne)
    celery = str(BIN / "celery")
    product.start("worker", [celery, "-A", "lokifi", "worker"], PUBLISH_INTERVAL_S="1")
    product.start("beat", [celery, "-A", "lokifi", "beat", "--pidfile="], PUBLISH_INTERVAL_S="1")
    with Redis.from_url(f"{product.redis.url}/0", socket_timeout=30) as redis:
        listener = redis.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("lokifi:price_updates")
        told = listener.listen()
        ticks = [json.loads(next(told)["data"]) for _ in range(2)]
        listener.close()

    assert ticks[1]["seq"] == ticks[0]["seq"] + 1, product.logs
    until(lambda: responds(f"http://127.0.0.1:{port}/livez"), "daphne", told=lambda: web.said)


def test_the_parts_of_a_container_run_with_the_flags_of_up(product: Product) -> None:
    port = free_port()
    manage = [sys.executable, "manage.py", "part"]
    web = product.start("web", [*manage, "web"], PORT=str(port))
    worker = product.start("worker", [*manage, "worker"])

    until(lambda: responds(f"http://127.0.0.1:{port}/livez"), "the server", told=lambda: web.said)
    worker.wait_until_said(" ready.")
    product.manage("ping_worker")
    line = Path(f"/proc/{web.pid}/cmdline").read_bytes().split(b"\0")
    assert b"--websocket-max-message-size" in line
