"""Charts on other people's pages: lightweight-charts as it is, and TradingView's adapter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from tests.processes import ROOT
from tests.product import Product, Web

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# A product and a browser take their time to start.
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("charts")]
LIBRARY = "/static/dashboard/vendor/lightweight-charts/lightweight-charts-5.2.1.mjs"
ADAPTER = Path(__file__).with_name("udf_adapter.js")


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("charts")) as running:
        yield running


@pytest.fixture(scope="module")
def web(product: Product) -> Web:
    return product.web("uvicorn")


@pytest.fixture
def page(product: Product, web: Web, browser: Browser) -> Iterator[Page]:
    """A browser's page, at another origin; what it complains of fails the test."""
    wrong: list[str] = []
    opened = browser.new_page()
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    opened.close()
    product.sandbox.heal()
    assert wrong == []


class Elsewhere:
    """Somebody else's site at another port, and so another origin, with a few files."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, str]] = {}
        files = self.files

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = files.get(self.path, ("text/plain", ""))
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    site = Elsewhere()
    yield site
    site.server.shutdown()
    site.server.server_close()


def test_a_page_of_twenty_lines_without_mapping_draws_candles(
    page: Page, web: Web, elsewhere: Elsewhere
) -> None:
    text = (ROOT / "docs/chart.html").read_text()
    assert len(text.splitlines()) <= 20
    elsewhere.files["/chart.html"] = ("text/html", text.replace("http://localhost:8000", web.url))

    page.goto(f"{elsewhere.url}/chart.html")

    page.locator("#source", has_text="sandbox").wait_for()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", page.locator("#as-of").inner_text())
    # Candles are drawn in the library's own two colours.
    page.wait_for_function(
        """() => [...document.querySelectorAll("canvas")].some((canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let candles = 0;
          for (let at = 0; at < data.length; at += 4) {
            if (data[at] === 38 && data[at + 1] === 166 && data[at + 2] === 154) candles++;
          }
          return candles > 1000;
        })"""
    )


@pytest.fixture
def chart(page: Page, web: Web, elsewhere: Elsewhere) -> Page:
    """A page with the adapter and the library, its data feed at our address."""
    elsewhere.files["/adapter.js"] = ("text/javascript", ADAPTER.read_text())
    elsewhere.files["/udf.html"] = ("text/html", "<!doctype html><div id=chart></div>")
    page.goto(f"{elsewhere.url}/udf.html")
    page.evaluate(
        """async ([site, library]) => {
          Object.assign(window, await import("/adapter.js"));
          window.library = await import(site + library);
          window.adapter = new Adapter(`${site}/api/udf`);
          await adapter.start();
        }""",
        [web.url, LIBRARY],
    )
    return page


def drawn(chart: Page, name: str, resolution: str, now: int) -> Any:
    told = chart.evaluate(
        """(asked) => draw(adapter, library, document.getElementById("chart"), ...asked)""",
        [name, resolution, now],
    )
    assert told["numbers"] is True
    assert told["times"] == sorted(set(told["times"]))
    assert told["steps"] == 2
    assert told["coloured"] > 100
    return told


def failing(chart: Page, call: str) -> str:
    said: str = chart.evaluate(f"() => {call}.then(() => '', (error) => error.message)")
    return said


def test_the_adapter_draws_a_coin_a_stock_at_the_weekend_and_a_coin_of_a_shared_ticker(
    chart: Page, product: Product
) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hour, day = int(now.timestamp()) + 1, now.replace(hour=12)
    sunday = int((day - timedelta(days=day.weekday() + 1)).timestamp())

    found = chart.evaluate("() => adapter.search('btc')")
    refs = {one["ticker"] for one in found if one["symbol"] == "BTC"}
    assert {"coingecko:bitcoin", "coingecko:batcat"} <= refs

    coin = drawn(chart, "coingecko:bitcoin", "60", hour)
    assert coin["times"][-1] == hour - 1
    stock = drawn(chart, "US:AAPL", "1D", sunday)
    days = {datetime.fromtimestamp(at, UTC).weekday() for at in stock["times"]}
    assert days == set(range(5))
    other = drawn(chart, "coingecko:batcat", "1D", hour)
    assert other["symbol"]["name"] == coin["symbol"]["name"] == "BTC"
    assert other["symbol"]["pricescale"] > coin["symbol"]["pricescale"]
    assert other["closes"][-1] * 1000 < coin["closes"][-1]

    quotes = chart.evaluate("() => adapter.quotes(['US:AAPL', 'coingecko:batcat', 'NOPE'])")
    assert [(one["n"], one["s"]) for one in quotes] == [
        *(("US:AAPL", "ok"), ("coingecko:batcat", "ok")),
        ("NOPE", "error"),
    ]
    assert chart.evaluate("() => adapter.quotes([])") == []

    before = product.sandbox.count()
    polled = """async (now) => {
      const symbol = await adapter.resolve("coingecko:bitcoin");
      for (let polls = 0; polls < 6; polls++) await adapter.pulse(symbol, "60", null, now + polls);
    }"""
    chart.evaluate(polled, hour)
    assert product.sandbox.count() - before <= 1, "a quote's minute may have been over"


def test_the_adapter_reads_every_error(chart: Page, product: Product, web: Web) -> None:
    assert failing(chart, "adapter.resolve('NOPE')") == "unknown_symbol"
    symbol = "{ticker: 'coingecko:ripple'}"
    call = f"adapter.bars({symbol}, '60', {{from: 1, to: 2000000000, countBack: 2}})"
    assert "One of" in failing(chart, call.replace("'60'", "'7'"))
    for name in ("marks", "symbol_info", "nothing/here"):
        told = chart.evaluate("(name) => adapter.ask(name)", name)
        assert (told["s"], told["code"]) == ("error", "not_found")

    product.sandbox.fault("status", status=500)
    with Redis.from_url(f"{product.redis.url}/0") as redis:
        redis.flushdb()
    assert "answered HTTP 500" in failing(chart, call)
