"""Fixtures of the front cache's tests, and the page in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from lokifi.frontcache import cache, capture, errors, flights, shelf
from tests.lokifi.browsing import ELSEWHERE, foreign, trouble
from tests.lokifi.raw import Connect, Line
from tests.lokifi.site import Site
from tests.product import Web

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass for the cache."""

    def pass_s(seconds: float) -> None:
        for module in (cache, capture, errors, flights, shelf):
            monkeypatch.setattr(module, "monotonic", lambda: monotonic() + seconds)

    return pass_s


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return what opens a connection to a server; all are closed behind the test."""
    with ExitStack() as stack:

        def opened(web: Web, timeout_s: float = 20) -> Line:
            line = Line(web.port, timeout_s)
            stack.callback(line.close)
            return line

        yield opened


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("page"))
    with running.product:
        yield running


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A fresh browser's page; what it complains of and asks of others fails the test."""
    context = browser.new_context(viewport={"width": 360, "height": 800})
    context.set_default_timeout(60_000)  # a busy machine is no fault of the page
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.extend(trouble(said.type, said.text)))
    opened.on("request", lambda sent: wrong.extend(foreign(sent.url, sent.resource_type, site)))
    opened.route(ELSEWHERE, lambda route: route.abort())
    yield opened
    context.close()
    assert wrong == []
