"""docs/performance-page.md: what each view costs a browser that has nothing of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.dashboard import contrast
from tests.lokifi.browsing import LIVE
from tests.processes import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from bench.dashboard.contrast import Seen
    from tests.lokifi.site import Site

PAGE = ROOT / "docs" / "performance-page.md"
# By name: the address, and what is there once it shows what it is for.
VIEWS = {
    "board": ("/", "tr[data-symbol=TSLA] svg.spark"),
    "chart": ("/chart/BTC?period=1m&ma=20,50&rsi=", ".legend b"),
    "discover": ("/discover", ".pager:not([hidden])"),
}
MOST_KB = 150
MOST_PAINT_MS = 1000
_TIMES = """() => {
  const told = performance.getEntriesByType("paint").map((one) => [one.name, one.startTime]);
  const paint = Object.fromEntries(told);
  return { first: paint["first-paint"], content: paint["first-contentful-paint"] };
}"""
_HEAD = """# What the page costs

Written by `make bench-page`. Each view is opened by a fresh browser (headless Chromium, nothing
kept, loopback) in front of a running product of one server process, worker and beat; figures are
medians, contrast is the weakest of all that is seen. Bytes are those that came over the wire, with
their headers, up to the moment the view shows what it is for; pictures of coins are not counted.
"first load of all three" is one browser that opens the views one after another.
"""


@dataclass
class Visit:
    """What came over the wire, and when something was seen."""

    page_bytes: int = 0  # the page itself: markup, style, scripts
    data_bytes: int = 0  # prices
    requests: int = 0
    paint_ms: float = 0.0
    content_ms: float = 0.0
    ready_ms: float = 0.0


@dataclass
class View:
    name: str
    visits: list[Visit] = field(default_factory=list)
    weakest: dict[str, list[Seen]] = field(default_factory=dict)  # by scheme: a text, an edge

    def median(self, name: str) -> float:
        return float(statistics.median(getattr(visit, name) for visit in self.visits))

    @property
    def kb(self) -> float:
        return (self.median("page_bytes") + self.median("data_bytes")) / 1000

    @property
    def is_good(self) -> bool:
        is_read = not any(one.is_weak for seen in self.weakest.values() for one in seen)
        is_light = self.median("page_bytes") < 1000 * MOST_KB
        return is_read and is_light and self.median("paint_ms") < MOST_PAINT_MS


def measure(site: Site, browser: Browser, rounds: int) -> list[View]:
    views = [View(name) for name in VIEWS]
    whole = View("first load of all three")
    for _ in range(rounds):
        for view in views:
            with_nothing(site, browser, [view.name], view)
        with_nothing(site, browser, list(VIEWS), whole)
    return [*views, whole]


def with_nothing(site: Site, browser: Browser, names: Sequence[str], view: View) -> None:
    """Open views with a browser that keeps nothing of any earlier one."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(120_000)
    page = context.new_page()
    visit = Visit()
    count_bytes(page, visit)
    for name in names:
        address, ready = VIEWS[name]
        page.goto(f"{site.url}{address}", wait_until="commit")
        page.locator(ready).first.wait_for()
        page.wait_for_selector(LIVE)
        visit.ready_ms = visit.ready_ms or page.evaluate("performance.now()")
        times = page.evaluate(_TIMES)
        visit.paint_ms = max(visit.paint_ms, times["first"])
        visit.content_ms = max(visit.content_ms, times["content"])
        if not view.visits:
            weigh(page, view)
    page.wait_for_timeout(300)  # what is under way when the view is ready is counted too
    view.visits.append(visit)
    context.close()


def count_bytes(page: Page, visit: Visit) -> None:
    """Add up what the network brings, as it came: packed."""
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    kinds: dict[str, str] = {}

    def begun(told: dict[str, Any]) -> None:
        if told["response"]["url"].startswith("http:"):
            kinds[told["requestId"]] = told["type"]

    def ended(told: dict[str, Any]) -> None:
        kind = kinds.get(told["requestId"])
        if kind is None or not told["encodedDataLength"]:
            return  # of another host, or from what this browser has already
        visit.requests += 1
        if kind in {"Fetch", "XHR"}:
            visit.data_bytes += int(told["encodedDataLength"])
        else:
            visit.page_bytes += int(told["encodedDataLength"])

    wire.on("Network.responseReceived", begun)
    wire.on("Network.loadingFinished", ended)


def weigh(page: Page, view: View) -> None:
    """Note the weakest text and the weakest edge, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        all_seen = contrast.seen(page)
        for needed in (4.5, 3.0):
            of_kind = [one for one in all_seen if one.needed == needed]
            held = [one for one in view.weakest.get(scheme, []) if one.needed == needed]
            others = [one for one in view.weakest.get(scheme, []) if one.needed != needed]
            weakest = min([*of_kind, *held], key=lambda one: one.ratio, default=None)
            view.weakest[scheme] = [*others, *([weakest] if weakest else [])]
    page.emulate_media(color_scheme="light")


def page(views: Sequence[View], facts: str) -> str:
    lines = [
        _HEAD,
        f"{facts}.\n",
        "| | page, kB | data, kB | requests | first paint, ms | first content, ms | shows it, ms |"
        " weakest text (4.5) | weakest edge (3) |",
        f"| --- |{' ---: |' * 8}",
        *(_row(view) for view in views),
        "",
        "| to reach | measured | |\n| --- | ---: | --- |",
        *_marks(views),
        "",
    ]
    return "\n".join(lines)


def _row(view: View) -> str:
    names = ("requests", "paint_ms", "content_ms", "ready_ms")
    sizes = [f"{view.median(name) / 1000:.1f}" for name in ("page_bytes", "data_bytes")]
    cells = [*sizes, *(f"{view.median(name):,.0f}" for name in names)]
    return f"| {view.name} | {' | '.join([*cells, _weakest(view, 4.5), _weakest(view, 3.0)])} |"


def _weakest(view: View, needed: float) -> str:
    found = [one.ratio for seen in view.weakest.values() for one in seen if one.needed == needed]
    return f"{min(found):.2f}" if found else ""


def _marks(views: Sequence[View]) -> list[str]:
    *single, whole = views
    files = whole.median("page_bytes") / 1000
    heaviest = max(view.kb for view in single)
    paint = max(view.median("paint_ms") for view in views)
    weak = sum(one.is_weak for view in views for seen in view.weakest.values() for one in seen)
    marks = [
        (f"files of all three views, packed: under {MOST_KB} kB", files, MOST_KB, "kB"),
        (f"any one view with its prices, packed: under {MOST_KB} kB", heaviest, MOST_KB, "kB"),
        (f"first paint of any view: under {MOST_PAINT_MS} ms", paint, MOST_PAINT_MS, "ms"),
        ("texts and edges below AA, dark and light: none", weak, 1, ""),
    ]
    return [
        f"| {what} | {value:,.0f} {unit} | {'reached' if value < most else '**missed**'} |"
        for what, value, most, unit in marks
    ]
