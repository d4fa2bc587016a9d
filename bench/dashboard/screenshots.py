"""docs/screenshots/: the running product as a person sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.lokifi.browsing import ELSEWHERE, open_view
from tests.processes import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.lokifi.site import Site

FOLDER = ROOT / "docs" / "screenshots"
# In the order they are added: two coins of very different size, and stocks.
BOARD = '["BTC", "ETH", "SOL", "DOGE", "PEPE", "AAPL", "MSFT", "TSLA"]'


@dataclass(frozen=True)
class Shot:
    name: str
    address: str
    ready: str  # what is there once everything is drawn
    scheme: Literal["dark", "light"]
    size: tuple[int, int] = (1200, 720)


SHOTS = (
    Shot("board", "/", "tr[data-symbol=TSLA] svg.spark", "dark"),
    Shot(
        "chart",
        "/chart/BTC?period=3m&resolution=D&ma=20&rsi=",
        ".legend b",
        "light",
    ),
    Shot("compare", "/chart/BTC?period=1m&compare=ETH,AAPL", "[aria-label*=percent]", "dark"),
    Shot("discover", "/discover", ".pager:not([hidden])", "light"),
    Shot("phone", "/", "tr[data-symbol=BTC] svg.spark", "light", (360, 720)),
)


def take(site: Site, browser: Browser) -> None:
    """Write one PNG a shot."""
    FOLDER.mkdir(exist_ok=True)
    for shot in SHOTS:
        width, height = shot.size
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=shot.scheme
        )
        context.add_init_script(f"localStorage.setItem('lokifi.symbols', '{BOARD}')")
        context.set_default_timeout(120_000)
        page = context.new_page()
        # The pictures of coins lie elsewhere, and the figures here are made up anyway.
        page.route(ELSEWHERE, lambda route: route.abort())
        open_view(page, site, shot.address)
        page.locator(shot.ready).first.wait_for(state="attached")
        page.wait_for_timeout(1500)
        file = FOLDER / f"{shot.name}.png"
        page.screenshot(path=file)
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size / 1000:.0f} kB")
        context.close()
