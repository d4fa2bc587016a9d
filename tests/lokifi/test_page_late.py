"""The page where answers come late, break off, fail, or mean another asset by now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lokifi.browsing import (
    add_compared,
    as_coingecko,
    cell,
    drawn,
    open_view,
    row_of,
    said_of,
)
from tests.lokifi.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Route, WebSocketRoute

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("page")]


class Held:
    """The first request to an address, kept waiting; what comes after it is refused."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.first: Route | None = None
        page.route(address, self._take)

    def _take(self, route: Route) -> None:
        if self.first is None:
            self.first = route
        else:
            route.abort()

    def wait(self) -> None:
        while self.first is None:
            self.page.wait_for_timeout(20)

    def let_through(self, change: Callable[[str], str] = str) -> None:
        assert self.first is not None
        answer = self.first.fetch()
        self.first.fulfill(response=answer, body=change(answer.text()))
        drawn(self.page)


def test_after_a_pin_a_row_is_of_the_asset_that_its_ticker_means_now(
    page: Page, site: Site
) -> None:
    is_pinned: list[bool] = []

    def pass_on(line: WebSocketRoute) -> None:
        server = line.connect_to_server()

        def change(frame: str | bytes) -> None:
            told = json.loads(frame)
            if is_pinned and "BTC" in told.get("data", {}):
                new = {"ref": "coingecko:batcat", "price": 0.0001234}
                told["data"]["BTC"] |= {**new, "last_updated": "2026-01-01T00:00:00Z"}
            line.send(json.dumps(told))

        server.on_message(change)

    page.route_web_socket("**/api/ws/prices**", pass_on)
    open_view(page, site)
    page.locator(row_of("BTC"), has_text="Bitcoin").wait_for()
    page.route("**/api/v1/prices?symbols=**", lambda route: route.abort())
    is_pinned.append(True)

    page.locator(row_of("BTC"), has_text="0.0001234").wait_for()

    assert "Bitcoin" not in page.locator(row_of("BTC")).inner_text()


def test_a_comparison_that_comes_late_is_not_drawn_into_other_bars(page: Page, site: Site) -> None:
    held = Held(page, "**/ETH/ohlcv?period=1m**")
    open_view(page, site, "/chart/BTC?period=1m&compare=ETH")
    held.wait()
    page.get_by_role("button", name="1W").click()
    page.locator(".legend", has_text="ETH").wait_for()

    held.let_through(with_closes_of("7777777"))

    assert "7,777,777" not in page.locator(".legend").inner_text()
    assert "in percent with ETH" in said_of(page)


def with_closes_of(price: str) -> Callable[[str], str]:
    def changed(body: str) -> str:
        told = json.loads(body)
        for bar in told["candles"]:
            bar["close"] = float(price)
        return json.dumps(told)

    return changed


def test_who_leaves_a_chart_is_not_pulled_back_to_it(page: Page, site: Site) -> None:
    held = Held(page, "**/api/v1/prices?symbols=coingecko**")
    open_view(page, site, "/chart/coingecko:bitcoin")
    held.wait()
    page.get_by_role("link", name="Discover").click()
    page.locator("#filter").wait_for()

    held.let_through()

    assert page.url.endswith("/discover")


def test_a_name_that_objects_have_is_no_symbol_s_other_name(page: Page, site: Site) -> None:
    open_view(page, site, "/chart/constructor?period=constructor")
    page.locator(".over", has_text="No asset is listed").wait_for()
    assert page.url.endswith("/chart/constructor?period=1m")


def test_a_view_that_cannot_be_loaded_says_so_and_is_loaded_later(page: Page, site: Site) -> None:
    open_view(page, site)
    cell(page, "BTC", "price")
    page.route("**/dashboard/chart.js", lambda route: route.abort())
    page.get_by_role("link", name="Chart", exact=True).click()
    page.get_by_text("Chart cannot be shown now").wait_for()
    page.unroute_all()

    page.get_by_role("button", name="Try again").click()

    page.locator('[role=img][aria-label^="BTC, "]').wait_for()


def test_a_quiet_refresh_does_not_overrule_the_period_that_is_being_loaded(
    page: Page, site: Site
) -> None:
    page.clock.install()
    open_view(page, site, "/chart/BTC?period=1w")
    said_of(page)
    page.clock.fast_forward(115_000)
    held = Held(page, "**/BTC/ohlcv?period=1y**")
    page.get_by_role("button", name="1Y").click()
    held.wait()
    page.clock.fast_forward(6000)

    held.let_through()

    page.locator("[role=img][aria-label*='1 day']").wait_for()
    assert page.locator(".over").is_hidden()


def test_the_legend_is_of_the_newest_bar_again_once_the_keyboard_has_left_the_chart(
    page: Page, site: Site
) -> None:
    open_view(page, site, "/chart/BTC?period=1d")
    said_of(page)
    page.locator(".legend", has_text="still open").wait_for()
    page.locator("[role=img]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert "still open" not in page.locator(".legend").inner_text()

    page.locator("#search").focus()
    page.locator(".legend", has_text="still open").wait_for()
    before = page.locator(".legend").inner_text()
    has_moved = "before => document.querySelector('.legend').innerText != before"
    page.wait_for_function(has_moved, arg=before)


def test_whose_bars_are_drawn_is_named_though_that_was_not_known_at_first(
    page: Page, site: Site
) -> None:
    page.clock.install()
    page.route("**/api/v1/sources", lambda route: route.abort())
    page.route("**/BTC/ohlcv?**", as_coingecko)
    page.route("**/BTC/history?**", as_coingecko)
    open_view(page, site, "/chart/BTC")
    page.locator(".notes", has_text="Source: coingecko").wait_for()
    page.unroute("**/api/v1/sources")
    page.clock.fast_forward(61_000)
    credit = page.get_by_role("link", name="Data provided by CoinGecko")
    credit.wait_for()

    page.get_by_role("link", name="Discover").click()
    credit.wait_for(state="detached")
    page.get_by_role("link", name="Board").click()
    credit.wait_for()  # for a row's week
    page.unroute_all(behavior="ignoreErrors")


def test_a_comparison_that_fails_is_told_where_it_was_wished(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    open_view(page, site, "/chart/BTC?period=1d&compare=NOSUCHX,NOSUCHY,NOSUCHZ,ETH")
    page.locator(".legend", has_text="ETH").wait_for()
    page.locator(".chip", has_text="No asset is listed under 'NOSUCHX'").wait_for()
    add_compared(page, "sol")
    page.locator("#toast", has_text="4 can be compared at once.").wait_for()
    page.get_by_role("button", name="Stop comparing ETH").click()

    page.locator("[role=img]:not([aria-label*='in percent'])").wait_for()

    assert page.get_by_role("button", name="Candles").get_attribute("aria-pressed") == "true"
    assert page.get_by_role("button", name="Log").is_enabled()


def test_the_list_of_coins_is_renewed_and_ages_where_it_cannot_be(page: Page, site: Site) -> None:
    page.clock.install()
    open_view(page, site, "/discover")
    page.get_by_text("1 of 6").wait_for()
    price = page.locator("tbody tr", has_text="Bitcoin").first.locator("[data-name=price]")
    assert "old" not in price.inner_text()
    page.route("**/crypto/top?**page=2", lambda route: route.abort())

    with page.expect_request(lambda asked: asked.url.endswith("page=2")):
        page.clock.fast_forward(3_600_000)

    page.locator("tbody [data-name=price]", has_text="old").first.wait_for()
    page.get_by_text("1 of 6").wait_for()


def test_a_row_s_week_is_asked_for_again_after_half_an_hour(page: Page, site: Site) -> None:
    page.clock.install()
    open_view(page, site)
    page.locator(f"{row_of('BTC')} svg.spark").wait_for()

    with page.expect_request(lambda asked: "/BTC/history?" in asked.url):
        page.clock.fast_forward(1_860_000)


def test_pictures_that_were_kept_too_long_are_kept_anew(page: Page, site: Site) -> None:
    kept = "lokifi.pictures"
    old = """{at: Date.now() - 8 * 86400000, of: {"coingecko:x": null}}"""
    open_view(page, site)
    page.evaluate(f"localStorage.setItem('{kept}', JSON.stringify({old}))")
    page.route("**/api/v1/prices/crypto/**", as_coingecko)
    page.reload()
    page.wait_for_function(
        f"""() => {{
          const {{ at, of }} = JSON.parse(localStorage.getItem('{kept}'));
          return "coingecko:bitcoin" in of && !("coingecko:x" in of) && Date.now() - at < 86400000;
        }}"""
    )
    page.unroute_all(behavior="ignoreErrors")


def test_a_row_that_is_removed_hands_its_focus_on(page: Page, site: Site) -> None:
    open_view(page, site)
    page.get_by_role("button", name="Remove ETH").press("Enter")
    page.wait_for_selector(row_of("ETH"), state="detached")
    focused = "() => document.activeElement.closest('tr')?.dataset.symbol"
    assert page.evaluate(focused) == "SOL"


def test_a_connection_that_is_closed_for_good_is_not_called_tried_again(
    page: Page, site: Site
) -> None:
    page.route_web_socket("**/api/ws/prices**", lambda line: line.close(code=4401))
    page.goto(site.url)
    page.locator("#stale", has_text="closed the connection for good").wait_for()
    assert page.locator("#state-word").inner_text() == "closed"
    assert page.locator("#hurry").is_hidden()
