"""What a person does on the dashboard, and what a page may ask for, in a few words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.lokifi.site import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

LIVE = "#state[data-state=live]"
ELSEWHERE = re.compile("^https://")


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


def add_compared(page: Page, words: str) -> None:
    page.get_by_role("combobox", name="Compare with").fill(words)
    page.locator("#compare-results [aria-selected=true]").wait_for()
    page.keyboard.press("Enter")


def as_coingecko(route: Route) -> None:
    """Let an answer of the sandbox have come from CoinGecko."""
    answer = route.fetch()
    body = answer.text().replace('"source":"sandbox"', '"source":"coingecko"')
    route.fulfill(response=answer, body=body)


def said_of(page: Page) -> str:
    """Return what the drawn chart tells a screen reader."""
    page.locator(".over").wait_for(state="hidden")
    text: str = page.locator("[role=img]").get_attribute("aria-label") or ""
    return text


def drawn(page: Page) -> None:
    """Wait until the page has drawn what it was last told."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")


def wait_for_another(page: Page, symbol: str, price: str) -> None:
    """Wait until a row shows another price than the one it has shown."""
    page.wait_for_function(
        "([at, before]) => document.querySelector(at).textContent != before",
        arg=[f"{row_of(symbol)} [data-name=price]", price],
    )


def nameless(page: Page) -> list[str]:
    """Return what can be used and has no name that a screen reader could say."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, [role=img], table")]
          .filter((one) => !one.parentElement.closest("[role=img]"))
          .filter((one) => !(one.ariaLabel || one.innerText.trim() || one.labels?.length))
          .map((one) => one.outerHTML)"""
    )
    return found
