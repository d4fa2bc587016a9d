"""The dashboard's three views and the API at /api/docs, as files and as a browser shows them."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from redis import Redis

from tests.lokifi.site import Site
from tests.processes import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

# A product and a browser take their time to start.
pytestmark = pytest.mark.timeout(240)
pages = pytest.mark.xdist_group("page")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FILES = ROOT / "lokifi/dashboard/static/dashboard"
VENDORED = FILES / "vendor/lightweight-charts"
LIVE = "#state[data-state=live]"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/", "/chart/BTC", "/discover", "/api/docs"])
def test_a_page_holds_no_script_or_style_and_allows_our_own_files_alone(address: str) -> None:
    response = Client().get(address)
    page = response.content.decode()

    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert ("unsafe-inline" in policy) == (address == "/api/docs")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", page) == []
    for file in re.findall(r'(?:src|href)="/static/([^"]+)"', page):
        assert finders.find(file), file
    assert re.findall(r'(?:src|href)="(?![/#])[^"]*"', page) == []


def test_what_comes_over_the_wire_is_put_into_the_page_as_text() -> None:
    scripts = "".join(path.read_text() for path in FILES.glob("*.js"))
    assert "textContent" in scripts
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", scripts) == []
    )


def test_the_vendored_chart_library_is_what_its_maker_published_with_its_licence() -> None:
    checksum, name = (VENDORED / "SHA256SUMS").read_text().split()
    content = (VENDORED / name).read_bytes()

    assert hashlib.sha256(content).hexdigest() == checksum
    assert gzip.decompress((VENDORED / f"{name}.gz").read_bytes()) == content
    assert "Apache License" in (VENDORED / "LICENSE").read_text()
    assert "TradingView" in (VENDORED / "NOTICE").read_text()


def test_all_three_views_together_are_under_150_kb_compressed() -> None:
    own = [path for path in (*FILES.iterdir(), *FILES.glob("client/*.js")) if path.is_file()]
    sizes = [len(gzip.compress(path.read_bytes())) for path in [*own, *VENDORED.glob("*.mjs")]]
    assert sum(sizes) < 150_000


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
    opened.on("console", lambda said: wrong.extend(trouble(said.type, said.text)))
    opened.on("request", lambda sent: wrong.extend(foreign(sent.url, sent.resource_type, site)))
    opened.route("https://**", lambda route: route.abort())
    yield opened
    context.close()
    assert wrong == []


def trouble(kind: str, text: str) -> list[str]:
    """Return what counts: the browser itself says of each request that it got no answer."""
    is_network = "net::ERR_" in text or "Failed to load resource" in text
    return [text] if kind == "error" and not is_network else []


def foreign(url: str, kind: str, site: Site) -> list[str]:
    """Return the address unless it is ours or a coin's picture."""
    is_picture = kind == "image" and url.startswith("https://")
    return [] if is_picture or url.startswith((site.url, "data:", "blob:")) else [url]


def row_of(symbol: str) -> str:
    return f'tr[data-symbol="{symbol}"]'


def cell(page: Page, symbol: str, name: str) -> str:
    """Return what a cell says once its row is there and filled."""
    page.locator(f"{row_of(symbol)} .age:not(:empty)").wait_for()
    text: str = page.locator(f"{row_of(symbol)} [data-name={name}]").inner_text()
    return text


def open_view(page: Page, site: Site, address: str = "/") -> None:
    page.goto(f"{site.url}{address}")
    page.wait_for_selector(LIVE)


def add(page: Page, words: str) -> None:
    page.keyboard.press("/")
    page.keyboard.type(words)
    page.wait_for_selector("#results [aria-selected=true]")
    page.keyboard.press("Enter")


@pages
def test_the_board_shows_what_is_tracked_and_says_that_it_is_made_up(
    page: Page, site: Site
) -> None:
    open_view(page, site)

    for symbol in ("BTC", "AAPL"):
        assert "sandbox" in cell(page, symbol, "source")
        assert re.fullmatch(r"[\d,]+\.\d\d", cell(page, symbol, "price"))
    assert re.search("live|closed|delayed", cell(page, "AAPL", "source"))
    assert "not real" in page.locator("#sandbox").inner_text()
    assert page.locator("#stale").is_hidden()
    page.wait_for_selector(f"{row_of('BTC')} svg.spark")


@pages
@pytest.mark.parametrize("address", ["/", "/chart/BTC", "/discover"])
def test_a_view_fits_a_phone(page: Page, site: Site, address: str) -> None:
    open_view(page, site, address)
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pages
def test_a_price_that_changes_is_seen_to_change(page: Page, site: Site) -> None:
    open_view(page, site)
    before = cell(page, "BTC", "price")
    page.wait_for_function(
        "([at, before]) => document.querySelector(at).textContent != before",
        arg=[f"{row_of('BTC')} [data-name=price]", before],
    )
    page.wait_for_selector(f"{row_of('BTC')} [data-name=price]:is(.up, .down)")


@pages
def test_symbols_are_found_added_and_removed_by_keyboard_and_kept(page: Page, site: Site) -> None:
    open_view(page, site)
    add(page, "doge")
    page.wait_for_selector(row_of("DOGE"))
    page.locator("#search").blur()
    page.get_by_role("button", name="Remove ETH").click()

    page.reload()
    page.wait_for_selector(LIVE)

    assert "sandbox" in cell(page, "DOGE", "source")
    assert page.locator(row_of("ETH")).count() == 0
    page.locator(f"{row_of('BTC')} a").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chart/SOL")


@pages
def test_what_is_not_listed_is_said_and_stays_text(page: Page, site: Site) -> None:
    open_view(page, site)
    page.fill("#search", EVIL)
    page.locator("#results .note", has_text=EVIL).wait_for()
    assert page.locator("#results img").count() == 0


@pages
def test_tickers_that_several_assets_bear_are_marked(page: Page, site: Site) -> None:
    open_view(page, site)
    page.fill("#search", "stx")
    for name in ("Stacks", "SEAGATE"):
        page.locator("#results li", has_text=name).get_by_text("shared ticker").wait_for()


@pages
def test_the_top_coins_are_sorted_filtered_paged_and_followed(page: Page, site: Site) -> None:
    open_view(page, site, "/discover")
    page.get_by_text("1 of 6").wait_for()
    assert page.locator("tbody th b").first.inner_text() == "BTC"

    page.select_option(".sorting select", "change")
    risen = page.locator("tbody tr [data-name=change]").first.inner_text()
    page.get_by_role("button", name="Falling").click()
    fallen = page.locator("tbody tr [data-name=change]").last.inner_text()
    assert risen.startswith("+")
    assert fallen.startswith("-")

    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("2 of 6").wait_for()

    page.fill("#filter", "dogelon")
    page.locator("table").get_by_role("button", name="Follow ELON").click()
    page.locator("table [aria-pressed=true]").wait_for()
    page.get_by_role("link", name="Board").click()
    assert re.fullmatch(r"0\.0000000\d{3,4}", cell(page, "ELON", "price"))


@pages
def test_a_coins_name_is_text_whatever_it_holds(page: Page, site: Site) -> None:
    def with_evil_names(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('"Bitcoin"', f'"{EVIL}"'))

    page.route("**/api/v1/prices**", with_evil_names)
    page.route("**/api/v1/prices/**", with_evil_names)
    open_view(page, site)
    page.locator(row_of("BTC"), has_text=EVIL).wait_for()
    page.fill("#search", "btc")
    page.locator("#results li", has_text=EVIL).wait_for()
    assert page.locator("[src=x]").count() == 0
    page.goto(f"{site.url}/discover")
    page.locator("tbody tr", has_text=EVIL).wait_for()
    assert page.locator("[src=x]").count() == 0
    page.unroute_all(behavior="ignoreErrors")


def said_of(page: Page) -> str:
    """Return what the drawn chart tells a screen reader."""
    page.locator(".over").wait_for(state="hidden")
    text: str = page.locator("[role=img]").get_attribute("aria-label") or ""
    return text


@pages
def test_the_chart_follows_its_period_and_width_of_bars(page: Page, site: Site) -> None:
    open_view(page, site, "/chart/BTC?period=1w")
    assert "BTC, 67" in said_of(page)
    assert "bars of 15 minutes" in said_of(page)
    assert page.locator(".canvas canvas").count() > 2

    page.get_by_role("button", name="1Y").click()
    page.locator("[role=img][aria-label*='1 day']").wait_for()
    page.select_option("select[aria-label='Width of a bar']", "W")
    page.locator("[role=img][aria-label*='1 week']").wait_for()
    assert "period=1y&resolution=W" in page.url
    # No source has bars of a minute over a year: the nearest that can be had, and it says so.
    page.select_option("select[aria-label='Width of a bar']", "1")
    page.locator(".notes", has_text="1 minute cannot be had").wait_for()


@pages
def test_the_charts_last_bar_lives(page: Page, site: Site) -> None:
    open_view(page, site, "/chart/BTC?period=1d")
    said_of(page)
    before = page.locator(".legend").inner_text()
    page.wait_for_function(
        "before => document.querySelector('.legend').innerText != before", arg=before
    )
    assert "still open" in page.locator(".legend").inner_text()


@pages
def test_a_source_that_wants_to_be_named_is_named(page: Page, site: Site) -> None:
    def as_coingecko(route: Route) -> None:
        answer = route.fetch()
        body = answer.text().replace('"source":"sandbox"', '"source":"coingecko"')
        route.fulfill(response=answer, body=body)

    page.route("**/api/v1/prices/**", as_coingecko)
    open_view(page, site, "/discover")
    page.get_by_role("link", name="Data provided by CoinGecko").wait_for()
    page.unroute_all(behavior="ignoreErrors")


@pages
def test_a_chart_compares_smooths_and_is_taken_away(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    open_view(page, site, "/chart/coingecko:bitcoin?period=1m&ma=20&rsi=")
    page.wait_for_url("**/chart/BTC?**")
    said_of(page)
    page.get_by_role("button", name="Log").click()
    page.get_by_role("combobox", name="Compare with").fill("eth")
    page.locator("#compare-results [aria-selected=true]").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**compare=ETH**")
    page.locator(".chip", has_text="ETH").wait_for()
    page.locator("[role=img]").focus()
    page.keyboard.press("ArrowLeft")
    page.locator(".legend", has_text="MA 20").wait_for()

    with page.expect_download() as told:
        page.get_by_role("button", name="CSV").click()
    lines = told.value.path().read_text().splitlines()
    assert lines[0] == "timestamp,open,high,low,close,volume"
    assert len(lines) > 700
    with page.expect_download() as told:
        page.get_by_role("button", name="PNG").click()
    assert told.value.path().read_bytes().startswith(b"\x89PNG")


@pages
def test_a_chart_of_what_is_not_listed_says_so(page: Page, site: Site) -> None:
    open_view(page, site, "/chart/NOPE")
    page.locator(".over", has_text="NOPE").wait_for()
    page.get_by_role("button", name="Try again").wait_for()


@pages
def test_the_board_says_that_a_source_fails_and_that_it_is_back(page: Page, site: Site) -> None:
    open_view(page, site)
    # Every source: where CoinGecko alone fails, an exchange may answer.
    site.product.sandbox.fault("status", status=500)
    # As if its 60 s were over.
    with Redis.from_url(f"{site.product.redis.url}/0") as redis:
        redis.delete("price:BTC")
    page.locator("#stale", has_text="BTC").wait_for()
    page.locator(f"{row_of('BTC')} [data-badge=stale]").wait_for()

    site.product.sandbox.heal()
    # The sources' switches are open for half a minute.
    page.locator("#stale").wait_for(state="hidden", timeout=60_000)
    assert page.locator("tr.old").count() == 0


@pages
def test_the_board_says_that_the_server_is_gone_and_comes_back_to_it(
    page: Page, site: Site
) -> None:
    open_view(page, site)
    sent: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda text: sent.append(str(text))))
    site.web.stop()
    page.wait_for_selector("#state[data-state=waiting]")
    assert "connection is down" in page.locator("#stale").inner_text()

    site.web = site.start()

    page.wait_for_selector(LIVE, timeout=60_000)
    page.wait_for_selector("#stale", state="hidden")
    assert '"since":' in sent[0]


@pages
def test_the_theme_is_chosen_and_kept(page: Page, site: Site) -> None:
    open_view(page, site)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Theme: auto").click()
    page.reload()
    page.get_by_role("button", name="Theme: dark").wait_for()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


@pages
def test_the_api_can_be_tried_out_without_the_internet(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/api/docs")
    page.click("#operations-prices-quote .opblock-summary")
    page.click("#operations-prices-quote .try-out__btn")
    page.fill("#operations-prices-quote tr[data-param-name=symbol] input", "BTC")
    page.click("#operations-prices-quote .execute")

    page.wait_for_selector(".live-responses-table .response-col_status:has-text('200')")
