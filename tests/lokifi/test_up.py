"""`make run`: everything starts as one, says so, and stops as one."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from lokifi import parts
from lokifi.embedded import EmbeddedServer
from lokifi.supervisor import STOP_READS_S
from tests.lokifi.checkout import IS_UP, Start, until_gone
from tests.processes import responds, until

pytestmark = [
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="processes are looked up in /proc"
    ),
    # Six processes a start; on a busy machine each takes its seconds.
    pytest.mark.timeout(180),
]


together = pytest.mark.xdist_group("one running product")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """One that is up, for tests that leave it so."""
    folder = tmp_path_factory.mktemp("running")
    with Start(folder, UPSTREAM="auto", COINGECKO_URL="http://127.0.0.1:9/api/v3") as up:
        up.wait_until_up()
        yield up


@together
def test_up_starts_everything_and_says_what_runs_where(running: Start) -> None:
    assert responds(f"{running.url}/livez")
    assert Redis.from_url(running.notes()["redis_url"]).ping()
    said = running.said[running.said.index(IS_UP) :]
    assert running.url in said
    assert f"curl '{running.url}/api/v1/prices/BTC/history?period=1w'" in said
    assert "SUBSCRIBE lokifi:price_updates" in said
    assert f"ws://127.0.0.1:{running.port}/api/ws/prices" in said
    assert "user is admin, the password" in running.said


@together
def test_in_development_without_keys_and_without_coingecko_it_is_the_sandbox(
    running: Start,
) -> None:
    assert running.notes()["upstream"] == "sandbox"
    assert "sandbox, a market made up here" in running.said
    assert "CoinGecko did not answer within 2 s" in running.said


@together
def test_ticks_come_by_themselves(running: Start) -> None:
    until(lambda: running.said.count("succeeded") >= 2, "two ticks", told=lambda: running.said)
    assert "Task streaming.tasks.publish_prices" in running.said


@together
def test_a_second_start_in_one_checkout_is_refused_in_a_sentence(running: Start) -> None:
    with Start(running.var.parent) as second:
        assert second.process.wait() == 2
        assert second.said.startswith("It runs in this checkout already")
        assert str(running.port) in second.said
        assert "Traceback" not in second.said


@together
def test_runserver_beside_up_uses_what_runs_already(running: Start) -> None:
    with Start(running.var.parent, "runserver", "--noreload", UPSTREAM="auto") as server:
        until(lambda: responds(f"{server.url}/livez"), "the server", told=lambda: server.said)
        assert f"Using what process {running.process.pid} runs" in server.said
        assert "worker" not in server.said
    assert responds(f"{running.url}/livez")


def test_it_stops_as_one_and_starts_again_where_it_was(tmp_path: Path) -> None:
    with Start(tmp_path, SERVER="uvicorn") as up:
        pids = up.wait_until_up()
        assert f"{up.url}/ (uvicorn)" in up.said
        assert responds(f"{up.url}/livez")
        assert up.stop(signal.SIGTERM) == 0
        until_gone(pids, timeout_s=1)
        assert not (up.var / "run.json").exists()

    with Start(tmp_path) as again:
        pids = again.wait_until_up()
        assert "the password" not in again.said, "it is shown once, when it is made"
        assert again.stop(signal.SIGINT) == 0, "Ctrl-C is no failure"
        until_gone(pids, timeout_s=1)
        # Python 3.13 may catch beat within a weak reference when the signal comes, and says so.
        excused = "beat " if sys.version_info >= (3, 13) else "no part"
        ours = [line for line in again.said.splitlines() if not line.startswith(excused)]
        assert not [line for line in ours if "Traceback" in line]


def farewell(follower: ClientConnection) -> tuple[dict[str, Any], int | None]:
    """Return the last notice of a connection, and the code that it was closed with."""
    notice: dict[str, Any] = {}
    try:
        while True:
            message = json.loads(follower.recv(timeout=30))
            notice = message if message["type"] == "notice" else notice
    except ConnectionClosed as closed:
        return notice, closed.rcvd.code if closed.rcvd else None


def test_a_part_that_dies_takes_the_rest_down_and_is_named(tmp_path: Path) -> None:
    with Start(tmp_path) as up:
        pids = up.wait_until_up()
        with connect(f"ws://127.0.0.1:{up.port}/api/ws/prices") as follower:
            follower.recv(timeout=20)
            os.kill(up.part("celery --quiet -A lokifi beat"), signal.SIGKILL)
            notice, code = farewell(follower)

        assert notice["code"] == "stopping"
        assert "does not come back by itself" in notice["message"]
        assert notice["retry_after_ms"] >= 30_000
        assert code == 1001, "and not that of a restart"
        assert up.process.wait() == 1
        until_gone(pids, timeout_s=1)
        assert "beat was ended by SIGKILL. Everything was stopped." in up.said
        assert "The last lines of beat:" in up.said


def test_killing_the_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    with Start(tmp_path) as up:
        pids = up.wait_until_up()
        assert up.stop(signal.SIGKILL) == -signal.SIGKILL
        until_gone(pids)

    with Start(tmp_path) as again:
        again.wait_until_up()


def test_a_taken_port_is_named_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Start(tmp_path, PORT=str(port)) as up:
            assert up.process.wait() == 2
            assert up.said.startswith(f"Port {port} of 127.0.0.1 cannot be had")
            assert len(up.said.splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_named_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder, which even root cannot write into")
    with Start(tmp_path, VAR_DIR=str(tmp_path / "file" / "var")) as up:
        assert up.process.wait() == 2
        assert "cannot be written to" in up.said
        assert len(up.said.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PUBLISH_INTERVAL_S", "0"),
        ("UPSTREAM", "maybe"),
        ("SERVER", "apache"),
        ("DEBUG", "perhaps"),
        ("COINGECKO_PLAN", "gold"),
        ("REDIS_URL", "http://localhost"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    tmp_path: Path, name: str, value: str
) -> None:
    with Start(tmp_path, **{name: value}) as up:
        assert up.process.wait() == 2
        assert name in up.said
        assert "Traceback" not in up.said


def test_two_that_start_at_once_do_not_take_each_others_ports(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with Start(one) as first, Start(two) as second:
        first.wait_until_up()
        second.wait_until_up()
        notes = [first.notes(), second.notes()]
        for name in ("redis_url", "sandbox_url"):
            assert notes[0][name] != notes[1][name]


@pytest.mark.parametrize("victim", ["valkey-server", "celery --quiet -A lokifi worker"])
def test_a_part_that_dies_during_the_start_is_named_and_nothing_is_added(
    tmp_path: Path, victim: str
) -> None:
    def starts() -> bool:
        with suppress(AssertionError):
            return bool(up.part("celery --quiet -A lokifi worker"))
        return False

    with Start(tmp_path) as up:
        until(starts, "the worker's start", 60, told=lambda: up.said)
        os.kill(up.part(victim), signal.SIGKILL)
        assert up.process.wait(30) == 1
        assert "was ended by SIGKILL. Everything was stopped." in up.said
        assert "never retrieved" not in up.said
        assert "Task exception" not in up.said


def test_redis_of_ones_own_that_is_not_there_is_named_in_a_sentence(tmp_path: Path) -> None:
    with Start(tmp_path, REDIS_URL="redis://:secret@127.0.0.1:1") as up:
        assert up.process.wait() == 2
        assert "REDIS_URL: no Redis answers at 127.0.0.1:1;" in up.said
        assert "secret" not in up.said


def test_with_redis_and_sources_of_ones_own_it_starts_the_rest(tmp_path: Path) -> None:
    redis = EmbeddedServer(tmp_path / "redis")
    names = ("COINGECKO", "FINNHUB", "COINBASE", "BINANCE", "KRAKEN")
    nowhere = {f"{name}_URL": "http://127.0.0.1:9" for name in names}
    try:
        with Start(
            tmp_path,
            REDIS_URL=f"redis://127.0.0.1:{redis.port}",
            UPSTREAM="live",
            ADMIN_PASSWORD="of-my-own",
            **nowhere,
        ) as up:
            up.wait_until_up()
            assert responds(f"{up.url}/livez")
            assert "Traceback" not in up.said
            assert "the password is that of ADMIN_PASSWORD" in up.said
            assert "of-my-own" not in up.said
    finally:
        redis.stop()


def test_an_address_that_is_not_of_this_machine_is_named_as_such(tmp_path: Path) -> None:
    with Start(tmp_path, HOST="999.1.1.1") as up:
        assert up.process.wait() == 2
        assert up.said.startswith("HOST must be")


def test_stopping_takes_less_than_five_seconds_even_where_every_part_hangs() -> None:
    every = [
        parts.web("127.0.0.1", 1),
        parts.worker(""),
        parts.beat(),
        parts.sandbox(1),
        parts.valkey(1, Path()),
    ]
    waits = [max(p.stop_within_s for p in every if p.name in names) for names in parts.STOP_ORDER]
    # What is left at the end is read once more.
    assert sum(waits) + (len(waits) + 1) * STOP_READS_S < 4.8
