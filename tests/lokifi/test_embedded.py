from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path

import pytest
from redis import Redis

from lokifi import embedded
from lokifi.embedded import EmbeddedServer, EmbeddedServerError, free_port


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    first = EmbeddedServer(tmp_path)
    Redis(port=first.port).set("budget:month", 41)
    first.stop()

    second = EmbeddedServer(tmp_path)
    try:
        assert Redis(port=second.port).get("budget:month") == b"41"
    finally:
        second.kill()


def test_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    try:
        bound = Redis(port=server.port, decode_responses=True).config_get("bind")
        assert bound == {"bind": "127.0.0.1"}
    finally:
        server.kill()


def test_a_server_of_somebody_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    theirs = EmbeddedServer(tmp_path / "theirs")
    try:
        assert embedded.answers(theirs.port, tmp_path / "theirs")
        assert not embedded.answers(theirs.port, tmp_path / "ours")
    finally:
        theirs.kill()


def test_a_taken_port_is_not_offered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        assert free_port(taken) != taken


def test_a_server_on_the_path_is_the_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "redis-server"
    shutil.copy("/bin/true", stand_in)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    assert embedded.binary() == str(stand_in)


def test_without_any_server_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(EmbeddedServerError, match="REDIS_URL"):
        embedded.binary()
