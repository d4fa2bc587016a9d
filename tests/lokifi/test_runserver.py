"""`manage.py runserver` alone is a working product, ticks included."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from redis import Redis

from tests.lokifi.checkout import Start, until_gone
from tests.processes import responds, until

pytestmark = [
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="processes are looked up in /proc"
    ),
    # Six processes a start; on a busy machine each takes its seconds.
    pytest.mark.timeout(180),
]


def test_runserver_starts_what_is_missing_and_ticks_come(tmp_path: Path) -> None:
    with Start(tmp_path, "runserver") as server:
        pids = server.wait_until_up()
        until(lambda: responds(f"{server.url}/livez"), "the server", told=lambda: server.said)
        with Redis.from_url(server.notes()["redis_url"], socket_timeout=10) as redis:
            listener = redis.pubsub(ignore_subscribe_messages=True)
            listener.subscribe("lokifi:price_updates")
            first = next(listener.listen())
            second = next(listener.listen())
            listener.close()
        seqs = [json.loads(tick["data"])["seq"] for tick in (first, second)]
        assert seqs[1] == seqs[0] + 1

        assert server.stop(signal.SIGTERM) == 0
        until_gone(pids, timeout_s=2)


def test_killing_runserver_leaves_no_orphan(tmp_path: Path) -> None:
    with Start(tmp_path, "runserver") as server:
        pids = server.wait_until_up()
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        until_gone(pids)
