"""The admin in a browser that keeps to the policy sent with each page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.product import Product

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.timeout(120)
@pytest.mark.xdist_group("two processes")
def test_no_page_of_the_admin_needs_what_its_policy_forbids(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    with Product(tmp_path, DJANGO_SUPERUSER_PASSWORD="only-for-tests") as product:
        product.manage("createsuperuser", "--noinput", "--username=op", "--email=op@localhost")
        web = product.web("uvicorn")
        web.get("/api/v1/prices/BTC/ohlcv?period=1w")
        wrong: list[str] = []
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda said: wrong.extend([said.text] * (said.type == "error")))
            page.goto(f"{web.url}/admin/")
            page.fill("[name=username]", "op")
            page.fill("[name=password]", "only-for-tests")
            page.click("[type=submit]")
            for path in ("", "prices/asset/?q=BTC", "prices/asset/status/", "auth/user/add/"):
                page.goto(f"{web.url}/admin/{path}")
            page.goto(f"{web.url}/admin/prices/asset/?q=bitcoin")
            page.click("#result_list tbody tr:first-child a")
            page.locator("h2", has_text="pairs at the exchanges").first.wait_for()
            browser.close()

    # Browsers ask for an icon by themselves.
    assert [text for text in wrong if "404" not in text] == []
