"""Every client has every behaviour of clients/behaviours.json, against one running server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.clients.behaviours import behaviours
from tests.clients.runs import HERE, NodeRun, PageRun, PythonRun, Results, Run, shown
from tests.lokifi.site import Site
from tests.processes import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

# Products, browsers and a restart take their time.
pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]
BEHAVIOURS: dict[str, str] = json.loads((ROOT / "clients/behaviours.json").read_text())
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Results]]:
    """What came of each behaviour, by client; of those that can be had on this machine."""
    with ExitStack() as stack:
        site = Site(tmp_path_factory.mktemp("clients"))
        stack.enter_context(site.product)
        runs: dict[str, Run] = {"python": PythonRun(site.url, behaviours)}
        if NODE is not None:
            runs["node"] = node = NodeRun(NODE, site.url)
            stack.callback(node.stop)
        if (context := browser(stack)) is not None:
            runs["chromium"] = PageRun(opened(context, site), "/tests/page.mjs")
            runs["eventsource"] = PageRun(opened(context, site), "/tests/eventsource.mjs")
        yield shown(site, runs)


def browser(stack: ExitStack) -> BrowserContext | None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if CHROMIUM is None:
        return None
    driver = stack.enter_context(sync_playwright())
    launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    stack.callback(launched.close)
    return launched.new_context()


def opened(context: BrowserContext, site: Site) -> Page:
    """Return a page of the server that can load the scripts of this folder."""
    page = context.new_page()
    page.route(
        "**/tests/*.mjs",
        lambda route: route.fulfill(
            body=(HERE / route.request.url.rpartition("/")[2]).read_text(),
            content_type="text/javascript",
        ),
    )
    page.goto(f"{site.url}/livez")
    return page


@pytest.mark.parametrize("name", BEHAVIOURS, ids=lambda name: f"{name}: {BEHAVIOURS[name][:60]}")
@pytest.mark.parametrize("client", ["python", "node", "chromium"])
def test_a_client_behaves_as_listed(results: dict[str, Results], client: str, name: str) -> None:
    if client not in results:
        pytest.skip(f"{client} cannot be had here")
    assert results[client].keys() == BEHAVIOURS.keys()
    assert results[client][name] == "ok"


def test_a_browsers_own_event_source_comes_back_and_resumes(results: dict[str, Results]) -> None:
    if "eventsource" not in results:
        pytest.skip("no chromium here")
    assert set(results["eventsource"].values()) == {"ok"}, results["eventsource"]
