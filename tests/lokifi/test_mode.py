"""Made-up prices and real ones never share a database of Redis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import LazySettings
from redis import Redis

from lokifi.embedded import EmbeddedServer, free_port
from prices.mode import STAMP, OtherModeError, claim
from tests.processes import ROOT, Process, environment, until

pytestmark = pytest.mark.timeout(90)

SENTENCE = "holds live data, and this process runs in sandbox mode"
BIN = Path(sys.executable).parent
BY_HAND = {
    "prepare": [sys.executable, "manage.py", "prepare"],
    "up": [sys.executable, "manage.py", "up"],
    "daphne": [str(BIN / "daphne"), "-p", "0", "lokifi.asgi:application"],
    "uvicorn": [str(BIN / "uvicorn"), "--port", "0", "lokifi.asgi:application"],
    "worker": [str(BIN / "celery"), "--quiet", "-A", "lokifi", "worker"],
    "beat": [str(BIN / "celery"), "--quiet", "-A", "lokifi", "beat", "--pidfile="],
}


def test_whoever_comes_first_stamps_the_database(
    redis_client: Redis, settings: LazySettings
) -> None:
    claim()
    assert redis_client.get(STAMP) == "sandbox"
    claim()
    settings.UPSTREAM_MODE = "live"
    with pytest.raises(OtherModeError, match="holds sandbox data"):
        claim()
    assert redis_client.get(STAMP) == "sandbox"


def surroundings(folder: Path, redis_url: str) -> dict[str, str]:
    return environment(
        REDIS_URL=redis_url,
        PORT=str(free_port()),
        SANDBOX_URL="http://127.0.0.1:9",
        SECRET_KEY="k",
        UPSTREAM="sandbox",
        VAR_DIR=str(folder / "var"),
    )


@pytest.mark.parametrize("part", BY_HAND)
def test_a_part_stops_in_a_sentence_where_the_other_mode_keeps_its_data(
    redis_server: EmbeddedServer, redis_client: Redis, tmp_path: Path, part: str
) -> None:
    redis_client.set(STAMP, "live")
    done = subprocess.run(
        BY_HAND[part],
        cwd=ROOT,
        env=surroundings(tmp_path, f"{redis_server.url}/0"),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode != 0
    assert SENTENCE in done.stderr
    assert "Traceback" not in done.stderr
    assert redis_client.get(STAMP) == "live"


def test_the_sandbox_beside_live_has_a_database_of_its_own(
    redis_server: EmbeddedServer, redis_client: Redis, tmp_path: Path
) -> None:
    redis_client.set(STAMP, "live")
    migrate = [sys.executable, "manage.py", "prepare"]
    env = surroundings(tmp_path, redis_server.url)
    subprocess.run(migrate, cwd=ROOT, env=env, capture_output=True, timeout=40, check=True)
    with Redis(port=redis_server.port, db=1, decode_responses=True) as sandboxs:
        assert sandboxs.get(STAMP) == "sandbox"


def test_a_process_that_starts_without_redis_looks_once_it_is_there(tmp_path: Path) -> None:
    port = free_port()
    env = surroundings(tmp_path, f"redis://127.0.0.1:{port}/0")
    web = Process(BY_HAND["daphne"], tmp_path / "daphne.log", env)
    try:
        web.wait_until_said("Redis is away")
        # As another process of the other mode would, between the start and the next look.
        server = EmbeddedServer(tmp_path / "redis", port)
        try:
            assert server.port == port
            with Redis(port=port) as redis:
                redis.set(STAMP, "live")
            until(lambda: not web.is_running, "its end", told=lambda: web.said)
            assert SENTENCE in web.said
        finally:
            server.kill()
    finally:
        web.stop()
