"""`make run`: everything starts as one, says so, and stops as one."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from redis import Redis

from tests.lokifi.checkout import IS_UP, Start, until_gone
from tests.processes import responds, until

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are looked up in /proc"
)


def test_up_starts_everything_and_says_what_runs_where(tmp_path: Path) -> None:
    with Start(tmp_path) as up:
        pids = up.wait_until_up()
        notes = up.notes()

        assert responds(f"{up.url}/livez")
        assert Redis.from_url(notes["redis_url"]).ping()
        said = up.said[up.said.index(IS_UP) :]
        assert up.url in said
        assert "sandbox" in said
        assert "UPSTREAM says so" in said
        assert f"curl '{up.url}/api/v1/prices/BTC/history?period=1w'" in said
        assert "SUBSCRIBE lokifi:price_updates" in said
        assert f"ws://127.0.0.1:{up.port}/api/ws/prices" in said
        assert "user is admin, the password" in up.said

        assert up.stop(signal.SIGTERM) == 0
        until_gone(pids, timeout_s=1)
        assert not (up.var / "run.json").exists()

    with Start(tmp_path) as again:
        again.wait_until_up()
        assert "the password" not in again.said, "it is shown once, when it is made"


def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    with Start(tmp_path) as up:
        pids = up.wait_until_up()
        assert up.stop(signal.SIGINT) == 0
        until_gone(pids, timeout_s=1)
        assert "Traceback" not in up.said


def test_a_part_that_dies_takes_the_rest_down_and_is_named(tmp_path: Path) -> None:
    with Start(tmp_path) as up:
        pids = up.wait_until_up()
        os.kill(up.part("celery --quiet -A lokifi beat"), signal.SIGKILL)

        assert up.process.wait() == 1
        until_gone(pids, timeout_s=1)
        assert "beat was ended by SIGKILL. Everything was stopped." in up.said
        assert "The last lines of beat:" in up.said


def test_killing_the_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    with Start(tmp_path) as up:
        pids = up.wait_until_up()
        up.stop(signal.SIGKILL)
        until_gone(pids)

    with Start(tmp_path) as again:
        again.wait_until_up()


def test_uvicorn_serves_where_it_is_asked_for(tmp_path: Path) -> None:
    with Start(tmp_path, SERVER="uvicorn") as up:
        up.wait_until_up()
        assert f"{up.url}/ (uvicorn)" in up.said
        assert responds(f"{up.url}/livez")


def test_a_second_start_in_one_checkout_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with Start(tmp_path) as first:
        first.wait_until_up()
        with Start(tmp_path) as second:
            assert second.process.wait() == 2
            assert second.said.startswith("It runs in this checkout already")
            assert str(first.port) in second.said
            assert "Traceback" not in second.said


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


def binds(to_bind: socket.socket, port: int) -> bool:
    try:
        to_bind.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_a_taken_redis_port_is_left_alone(tmp_path: Path) -> None:
    """Another program's 6379 is neither used nor disturbed."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Another test's own server may have it for the moment.
        until(lambda: binds(other, 6379), "port 6379")
        other.listen()
        with Start(tmp_path) as up:
            up.wait_until_up()
            assert ":6379/" not in up.notes()["redis_url"]


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


def test_in_development_without_keys_and_without_coingecko_the_sandbox_is_chosen(
    tmp_path: Path,
) -> None:
    nowhere = "http://127.0.0.1:9/api/v3"
    with Start(tmp_path, UPSTREAM="auto", COINGECKO_URL=nowhere) as up:
        up.wait_until_up()
        assert up.notes()["upstream"] == "sandbox"
        assert "CoinGecko did not answer" in up.said
        until(lambda: "succeeded" in up.said, "a tick", told=lambda: up.said)
