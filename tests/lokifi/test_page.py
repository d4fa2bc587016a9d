"""The dashboard's three views and the API at /api/docs, as a browser shows them."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from bench.dashboard import contrast
from tests.lokifi.browsing import (
    ELSEWHERE,
    LIVE,
    add,
    add_compared,
    as_coingecko,
    cell,
    nameless,
    open_view,
    row_of,
    said_of,
    wait_for_another,
)
from tests.lokifi.site import Site
from tests.processes import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route, WebSocketRoute

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("page")]
FILES = ROOT / "lokifi/dashboard/static/dashboard"
EVIL = "<img src=x onerror=alert(1)>"
# How long the server stays away: `make page` has it 20 s.
DOWN_S = float(os.environ.get("PAGE_DOWN_S", "3"))
NONSENSE = (
    "not json",
    "null",
    "[]",
    "7",
    '{"type": "price_update", "epoch": "e", "seq": 1, "data": {"BTC": {"symbol": "BTC"}}}',
    '{"type": "price_update", "epoch": "e", "seq": 1, "data": {"BTC": {"symbol": "BTC",'
    ' "ref": 1, "price": "7", "last_updated": "2999-01-01T00:00:00Z"}}}',
    '{"type": "unheard_of", "data": 1}',
)


def test_the_board_shows_what_is_tracked_and_that_it_is_made_up(page: Page, site: Site) -> None:
    open_view(page, site)

    for symbol in ("BTC", "AAPL"):
        assert "sandbox" in cell(page, symbol, "source")
        assert re.fullmatch(r"[\d,]+\.\d\d", cell(page, symbol, "price"))
    assert re.search("live|closed|delayed", cell(page, "AAPL", "source"))
    assert "not real" in page.locator("#sandbox").inner_text()
    assert page.locator("#stale").is_hidden()
    page.wait_for_selector(f"{row_of('BTC')} svg.spark")


@pytest.mark.parametrize(
    ("address", "drawn"),
    [
        ("/", "tr[data-symbol=BTC] svg.spark"),
        ("/chart/BTC?ma=20,50&rsi=&compare=ETH", ".chip"),
        ("/discover", ".pager:not([hidden])"),
        ("/chart/NOPE", ".over p"),
    ],
)
def test_a_view_fits_every_screen_and_can_be_read_dark_and_light(
    page: Page, site: Site, address: str, drawn: str
) -> None:
    open_view(page, site, address)
    page.locator(drawn).first.wait_for()
    page.fill("#search", "stx")
    page.locator("#results [aria-selected]").first.wait_for()
    for width in (360, 1280, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            seen = contrast.seen(page)
            assert len(seen) > 20
            assert [str(one) for one in seen if one.is_weak] == []
    assert nameless(page) == []


def test_a_price_that_changes_is_seen_to_change(page: Page, site: Site) -> None:
    open_view(page, site)
    before = cell(page, "BTC", "price")
    wait_for_another(page, "BTC", before)
    page.wait_for_selector(f"{row_of('BTC')} [data-name=price]:is(.up, .down)")


def test_the_board_is_sorted_counts_down_and_ages(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    open_view(page, site)
    for symbol in ("BTC", "ETH", "SOL", "AAPL", "MSFT", "TSLA"):
        cell(page, symbol, "price")
    page.locator("#next", has_text="next in 1 s").wait_for()
    assert re.fullmatch(r"[\d,.]+\n[\d,.]+", cell(page, "BTC", "range"))
    assert re.fullmatch(r"\$[\d.]+[TBM]", cell(page, "BTC", "cap"))
    assert re.fullmatch(r"\$[\d.]+[TBM]", cell(page, "BTC", "volume"))

    page.get_by_role("button", name="Price, USD").click()
    page.locator("th[aria-sort=descending]", has_text="Price").wait_for()
    page.reload()

    cell(page, "TSLA", "price")
    page.locator("th[aria-sort=descending]", has_text="Price").wait_for()
    page.wait_for_function(
        "() => document.querySelector('tbody tr:first-child').dataset.symbol === 'BTC'"
        " && document.querySelector('tbody tr:last-child').dataset.symbol === 'SOL'"
    )


def test_a_screen_reader_is_told_what_happens_and_not_every_price(page: Page, site: Site) -> None:
    open_view(page, site)
    before = cell(page, "BTC", "price")
    page.evaluate(
        """() => {
          window.told = [];
          const seen = new MutationObserver((changes) =>
            window.told.push(...changes.map(({ target }) => target.textContent)));
          document.querySelectorAll("[role=status], [role=alert], [aria-live]").forEach((one) =>
            seen.observe(one, { childList: true, characterData: true, subtree: true }));
        }"""
    )
    wait_for_another(page, "BTC", before)
    assert page.evaluate("window.told") == []

    page.get_by_role("button", name="Remove SOL").click()

    page.wait_for_function("() => window.told.includes('SOL was removed.')")


def test_coins_have_their_pictures_and_what_has_none_its_letter(page: Page, site: Site) -> None:
    icon = (FILES / "icon.svg").read_bytes()
    asked: list[str] = []

    def give(route: Route) -> None:
        asked.append(route.request.url)
        if "bitcoin" in route.request.url:
            route.fulfill(body=icon, content_type="image/svg+xml")
        else:
            route.abort()

    page.route(ELSEWHERE, give)
    open_view(page, site)
    page.locator(f"{row_of('BTC')} svg.spark").wait_for()
    assert asked == []  # of a market made up here nobody else hears

    page.route("**/api/v1/prices/crypto/**", as_coingecko)
    page.reload()
    page.locator(f"{row_of('BTC')} .logo.has-image").wait_for()
    assert page.locator(f"{row_of('AAPL')} .logo").inner_text() == "A"
    page.locator(f"{row_of('ETH')} .logo img").wait_for(state="detached")
    assert page.locator(f"{row_of('ETH')} .logo").inner_text() == "E"
    assert all(url.startswith("https://assets.coingecko.com/") for url in asked)
    add(page, "bitcoin cash")
    page.locator(f"{row_of('BCH')} .logo.has-image").wait_for()
    page.unroute_all(behavior="ignoreErrors")


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


def test_two_windows_show_one_board(page: Page, site: Site) -> None:
    open_view(page, site)
    page.wait_for_selector(row_of("BTC"))
    other = page.context.new_page()
    open_view(other, site)
    add(other, "doge")
    page.wait_for_selector(row_of("DOGE"))
    page.get_by_role("button", name="Remove ETH").click()
    other.wait_for_selector(row_of("ETH"), state="detached")
    assert other.locator(row_of("DOGE")).count() == 1


def test_of_what_a_browser_kept_symbols_alone_are_taken_each_once(page: Page, site: Site) -> None:
    kept = '["BTC", null, 5, "btc", "", " ", {"a": 1}, "ETH", "BTC"]'
    page.add_init_script(f"localStorage.setItem('lokifi.symbols', '{kept}')")
    open_view(page, site)
    cell(page, "ETH", "price")
    rows = page.locator("tbody tr").evaluate_all("(all) => all.map((row) => row.dataset.symbol)")
    assert rows == ["BTC", "ETH"]


def test_what_is_not_listed_is_said_and_stays_text(page: Page, site: Site) -> None:
    open_view(page, site)
    page.fill("#search", EVIL)
    page.locator("#results [role=option][aria-disabled=true]", has_text=EVIL).wait_for()
    assert page.locator("#results img").count() == 0


def test_tickers_that_several_assets_bear_are_marked(page: Page, site: Site) -> None:
    open_view(page, site)
    page.fill("#search", "stx")
    for name in ("Stacks", "SEAGATE"):
        page.locator("#results li", has_text=name).get_by_text("shared ticker").wait_for()


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
    assert page.locator("option", has_text="1 minute").is_disabled()
    page.get_by_role("button", name="1D").click()
    page.locator("[role=img][aria-label*='5 minutes']").wait_for()
    assert page.locator("option", has_text="1 minute").is_enabled()


def test_the_charts_last_bar_lives(page: Page, site: Site) -> None:
    open_view(page, site, "/chart/BTC?period=1d")
    said_of(page)
    before = page.locator(".legend").inner_text()
    has_moved = "before => document.querySelector('.legend').innerText != before"
    page.wait_for_function(has_moved, arg=before)
    assert "still open" in page.locator(".legend").inner_text()


def test_a_source_that_wants_to_be_named_is_named(page: Page, site: Site) -> None:
    page.route("**/api/v1/prices/**", as_coingecko)
    open_view(page, site, "/discover")
    page.get_by_role("link", name="Data provided by CoinGecko").wait_for()
    page.unroute_all(behavior="ignoreErrors")


def test_a_chart_compares_smooths_and_is_taken_away(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    open_view(page, site, "/chart/coingecko:bitcoin?period=1m&ma=20&rsi=")
    page.wait_for_url("**/chart/BTC?**")
    said_of(page)
    page.get_by_role("button", name="Log").click()
    add_compared(page, "eth")
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


def test_a_chart_says_how_it_is_drawn_and_shows_gaps(page: Page, site: Site) -> None:
    def with_a_gap(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        del body["candles"][-9:-6]
        route.fulfill(response=answer, json=body)

    page.route("**/BTC/ohlcv?**", with_a_gap)
    open_view(page, site, "/chart/BTC?period=1w")
    assert "3 bars are missing" in said_of(page)
    page.get_by_role("button", name="Log").click()
    page.locator("[role=img][aria-label*='log scale']").wait_for()
    add_compared(page, "eth")
    page.locator("[role=img][aria-label*='in percent with ETH']").wait_for()
    page.locator(".legend", has_text="ETH").wait_for()
    assert page.get_by_role("button", name="Log").is_disabled()
    assert page.get_by_role("button", name="Line").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Stop comparing ETH").click()
    page.locator("[role=img][aria-label*='log scale']").wait_for()
    page.unroute_all(behavior="ignoreErrors")


@pytest.mark.parametrize(
    ("address", "said"),
    [("NOPE", "No asset is listed under 'NOPE'"), ("%E0%A4%A", "'%E0%A4%A' is not a symbol")],
)
def test_a_chart_of_what_is_not_listed_says_so(
    page: Page, site: Site, address: str, said: str
) -> None:
    open_view(page, site, f"/chart/{address}")
    page.locator(".over", has_text=said).wait_for()
    # Asking again would change nothing.
    assert page.get_by_role("button", name="Try again").count() == 0


def test_a_stock_that_goes_by_another_name_leads_there_and_to_its_past(
    page: Page, site: Site
) -> None:
    open_view(page, site, "/chart/FB")
    page.get_by_role("link", name="What FB was").click()
    page.wait_for_url("**/chart/stock%3AFB**")
    page.go_back()
    page.get_by_role("link", name="The chart of META").click()
    assert said_of(page).startswith("META, ")


def test_a_chart_that_failed_is_drawn_once_the_source_answers(page: Page, site: Site) -> None:
    page.route("**/BTC/ohlcv?**", lambda route: route.abort())
    open_view(page, site, "/chart/BTC")
    page.locator(".over", has_text="cannot be reached").wait_for()
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    assert said_of(page).startswith("BTC, ")


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


def test_the_board_says_that_the_server_is_gone_and_comes_back_to_it(
    page: Page, site: Site
) -> None:
    chart = page.context.new_page()
    open_view(chart, site, "/chart/BTC")
    said_of(chart)
    open_view(page, site)
    cell(page, "BTC", "price")
    sent: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda text: sent.append(str(text))))
    site.web.send(signal.SIGKILL)
    page.wait_for_selector("#state[data-state=waiting]", timeout=40_000)
    assert "connection is down" in page.locator("#stale").inner_text()
    page.locator(f"{row_of('BTC')} [data-badge=stale]").wait_for()
    assert "reconnecting" in page.locator("#state-word").inner_text()
    chart.get_by_role("button", name="1Y").click()
    chart.locator(".over", has_text="cannot be reached").wait_for()
    page.wait_for_timeout(DOWN_S * 1000)

    site.web = site.start()

    chart.get_by_role("button", name="Try now").click()
    assert "bars of 1 day" in said_of(chart)
    page.wait_for_selector(LIVE, timeout=90_000)
    page.wait_for_selector("#stale", state="hidden")
    before = cell(page, "BTC", "price")
    wait_for_another(page, "BTC", before)
    assert '"since":' in sent[0]


def test_a_page_that_was_suspended_shows_what_is_now(page: Page, site: Site) -> None:
    open_view(page, site)
    before = cell(page, "BTC", "price")
    browser = page.context.new_cdp_session(page)
    browser.send("Page.setWebLifecycleState", {"state": "frozen"})
    page.wait_for_timeout(4000)
    browser.send("Page.setWebLifecycleState", {"state": "active"})

    page.wait_for_selector(LIVE, timeout=60_000)
    wait_for_another(page, "BTC", before)
    page.locator(f"{row_of('BTC')} .age", has_text=re.compile("^[0-3] s$")).wait_for()


def test_what_the_server_says_that_is_no_price_is_taken_for_none(page: Page, site: Site) -> None:
    page.route_web_socket("**/api/ws/prices**", with_nonsense)
    open_view(page, site)
    shown = cell(page, "BTC", "price")
    assert re.fullmatch(r"[\d,]+\.\d\d", shown)
    wait_for_another(page, "BTC", shown)
    assert re.fullmatch(r"[\d,]+\.\d\d", cell(page, "BTC", "price"))
    assert page.locator("tbody tr").count() == 6


def with_nonsense(line: WebSocketRoute) -> None:
    """Pass a socket through, with what is broken before each frame of the server."""
    server = line.connect_to_server()

    def pass_on(frame: str | bytes) -> None:
        for nonsense in NONSENSE:
            line.send(nonsense)
        line.send(frame)

    server.on_message(pass_on)


def test_the_theme_is_chosen_and_kept(page: Page, site: Site) -> None:
    open_view(page, site)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Theme: auto").click()
    page.reload()
    page.get_by_role("button", name="Theme: dark").wait_for()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_the_api_can_be_tried_out_without_the_internet(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/api/docs")
    page.click("#operations-prices-quote .opblock-summary")
    page.click("#operations-prices-quote .try-out__btn")
    page.fill("#operations-prices-quote tr[data-param-name=symbol] input", "BTC")
    page.click("#operations-prices-quote .execute")

    page.wait_for_selector(".live-responses-table .response-col_status:has-text('200')")
