"""The board at / and the API at /api/docs, as files and as a browser shows them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from redis import Redis

from lokifi import parts
from lokifi.embedded import free_port
from tests.processes import ROOT, Process, responds, until
from tests.product import Product

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# A product and a browser take their time to start.
pytestmark = pytest.mark.timeout(180)
pages = pytest.mark.xdist_group("page")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FILES = ROOT / "lokifi/dashboard/static/dashboard"


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/", "/api/docs"])
def test_a_page_holds_no_script_or_style_and_allows_our_own_files_alone(address: str) -> None:
    response = Client().get(address)
    page = response.content.decode()

    assert "default-src 'self'" in response["Content-Security-Policy"]
    assert "unsafe-eval" not in response["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", page) == []
    for file in re.findall(r'(?:src|href)="/static/([^"]+)"', page):
        assert finders.find(file), file
    assert re.findall(r'(?:src|href)="(?!/)[^"]*"', page) == []


def test_what_comes_over_the_wire_is_put_into_the_page_as_text() -> None:
    scripts = "".join(path.read_text() for path in FILES.glob("*.js"))
    assert "textContent" in scripts
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", scripts) == []
    )


class Site:
    """A product whose server can be stopped and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.product = Product(folder, PUBLISH_INTERVAL_S="1")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.web = self.start()
        self.product.worker()
        self.product.beat()

    def start(self) -> Process:
        web = self.product.start("web", parts.daphne("127.0.0.1", self.port))
        until(lambda: responds(f"{self.url}/livez"), "the server", told=lambda: web.said)
        return web


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("page"))
    with running.product:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A fresh browser's page; what it complains of and asks of others fails the test."""
    context = browser.new_context(viewport={"width": 360, "height": 800})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.extend([said.text] * ("Security" in said.text)))
    opened.on("request", lambda sent: wrong.extend(foreign(sent.url, site)))
    yield opened
    context.close()
    assert wrong == []


def foreign(url: str, site: Site) -> list[str]:
    return [] if url.startswith((site.url, "data:")) else [url]


def cell(page: Page, symbol: str, name: str) -> str:
    """Return what a cell says once its row is there and filled."""
    row = page.locator(f'#board tr:has(th:text-is("{symbol}"))')
    row.locator("[data-name=source]:not(:empty)").wait_for()
    text: str = row.locator(f"[data-name={name}]").inner_text()
    return text


def open_board(page: Page, site: Site) -> None:
    page.goto(site.url)
    page.wait_for_selector("#state[data-state=live]")


@pages
def test_the_board_shows_what_is_tracked_and_says_that_it_is_made_up(
    page: Page, site: Site
) -> None:
    open_board(page, site)

    for symbol in ("BTC", "AAPL"):
        assert cell(page, symbol, "source") == "sandbox"
        assert re.fullmatch(r"[\d,]+\.\d\d", cell(page, symbol, "price"))
    assert "not real" in page.locator("#sandbox").inner_text()
    assert page.locator("#stale").is_hidden()


@pages
def test_the_board_fits_a_phone(page: Page, site: Site) -> None:
    open_board(page, site)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pages
def test_symbols_are_added_and_removed_by_typing_and_kept(page: Page, site: Site) -> None:
    open_board(page, site)
    for symbol, then in (
        ("doge", "#symbol:placeholder-shown"),
        ("<img src=x onerror=alert(1)>", "#answer:has-text('is not a symbol')"),
        ("NOPE", "#answer:has-text('NOPE is not listed')"),
    ):
        page.fill("#symbol", symbol)
        page.keyboard.press("Enter")
        page.wait_for_selector(then)
    page.get_by_role("button", name="Remove ETH").click()

    page.reload()
    page.wait_for_selector("#state[data-state=live]")

    assert cell(page, "DOGE", "source") == "sandbox"
    assert page.get_by_text("ETH", exact=True).count() == 0
    assert page.locator("img").count() == 0


@pages
def test_the_board_says_that_a_source_fails_and_that_it_is_back(page: Page, site: Site) -> None:
    open_board(page, site)
    # Every source: where CoinGecko alone fails, an exchange may answer.
    site.product.sandbox.fault("status", status=500)
    # As if its 60 s were over.
    with Redis.from_url(f"{site.product.redis.url}/0") as redis:
        redis.delete("price:BTC")
    page.locator("#stale", has_text="BTC").wait_for()

    site.product.sandbox.heal()
    # The sources' switches are open for half a minute.
    page.locator("#stale").wait_for(state="hidden", timeout=60_000)
    assert page.locator("tr.old").count() == 0


@pages
def test_the_board_says_that_the_server_is_gone_and_comes_back_to_it(
    page: Page, site: Site
) -> None:
    open_board(page, site)
    site.web.stop()
    page.wait_for_selector("#state[data-state=waiting]")
    assert "connection is down" in page.locator("#stale").inner_text()

    site.web = site.start()

    page.wait_for_selector("#state[data-state=live]")
    page.wait_for_selector("#stale", state="hidden")


@pages
def test_the_api_can_be_tried_out_without_the_internet(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/api/docs")
    page.click("#operations-prices-quote .opblock-summary")
    page.click("#operations-prices-quote .try-out__btn")
    page.fill("#operations-prices-quote tr[data-param-name=symbol] input", "BTC")
    page.click("#operations-prices-quote .execute")

    page.wait_for_selector(".live-responses-table .response-col_status:has-text('200')")
