"""Every test runs on a real Redis and, where it asks for one, a real market.

Each worker process has its own: an embedded Valkey and a sandbox server on free
ports, gone with the process. Django's settings are loaded only when these are
known, so nothing that loads them is imported at the top of this file.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lokifi.embedded import EmbeddedServer, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from redis import Redis

    from tests.market import Sandbox
    from tests.product import Product

_redis_server = pytest.StashKey[EmbeddedServer]()
_folder = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Start this process's Redis and load Django on it."""
    if config.getoption("numprocesses", None):
        # This process only hands out tests, and its workers inherit its environment.
        return
    folder = Path(tempfile.mkdtemp(prefix="lokifi-tests-"))
    server = EmbeddedServer(folder / "redis")
    config.stash[_folder], config.stash[_redis_server] = folder, server
    for name in ("COINGECKO_KEY", "COINGECKO_PLAN", "COINGECKO_URL", "FINNHUB_KEY", "FINNHUB_URL"):
        os.environ.pop(name, None)
    os.environ.update(
        {
            "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
            "CELERY_BROKER_URL": f"{server.url}/2",
            "DATABASE_URL": os.environ.get(
                "TEST_DATABASE_URL", f"sqlite:///{folder / 'tests.sqlite3'}"
            ),
            "DEBUG": "0",
            "DJANGO_SETTINGS_MODULE": "lokifi.settings",
            "ENV_FILE": "/dev/null",
            "REDIS_URL": f"{server.url}/0",
            "SANDBOX_PLAN": "all",
            "SANDBOX_URL": f"http://127.0.0.1:{free_port()}",
            "SECRET_KEY": "only-for-tests",
            "UPSTREAM": "sandbox",
            "VAR_DIR": str(folder),
        }
    )
    import django

    django.setup()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail where tests that share a running product would be spread over several processes."""
    if not session.config.getoption("loadgroup", None):
        return
    if not all("@" in one.nodeid for one in session.items if one.get_closest_marker("xdist_group")):
        raise pytest.UsageError("this pytest-xdist does not see groups in this pytest")


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(_redis_server, None)
    if server is not None:
        server.kill()
        shutil.rmtree(config.stash[_folder], ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> EmbeddedServer:
    """The server behind this process; a test that stops or pauses it starts one of its own."""
    return pytestconfig.stash[_redis_server]


@pytest.fixture
def redis_client(redis_server: EmbeddedServer) -> Iterator[Redis]:
    """A plain client on the database that holds the contract's keys."""
    from redis import Redis

    with Redis(port=redis_server.port, decode_responses=True, socket_timeout=5) as client:
        yield client


_GROUP = re.compile(r"@[^\[\]:]+$")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Name what failed as the next run does: by its group's name `make again` would not find it."""
    cache = getattr(session.config, "cache", None)
    if cache is not None and not hasattr(session.config, "workerinput"):
        failed = cache.get("cache/lastfailed", {})
        cache.set("cache/lastfailed", {_GROUP.sub("", name): True for name in failed})


@pytest.fixture(autouse=True)
def _empty_redis(redis_server: EmbeddedServer) -> Iterator[None]:
    from redis import Redis

    from prices import cache
    from prices.services import listed, symbols

    yield
    # What this process remembers for when Redis is away goes with it.
    cache._local.clear()
    cache._unknown_here.clear()
    listed._held.clear()
    symbols._index.clear()
    with Redis(port=redis_server.port, socket_timeout=5) as client:
        client.flushall()


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    from django.conf import settings

    from tests.market import Sandbox

    server = Sandbox(settings.SANDBOX_URL)
    yield server
    server.stop()


@pytest.fixture
def sandbox(sandbox_server: Sandbox) -> Iterator[Sandbox]:
    """The market that settings point at, without faults and with its counts at zero."""
    sandbox_server.reset()
    yield sandbox_server
    sandbox_server.reset()


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    """An installation of its own: Redis, sandbox, database; processes are started by name."""
    from tests.product import Product

    with Product(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own chromium, without a window."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()
