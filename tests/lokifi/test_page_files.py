"""The pages as files: what they may run and load, and what they weigh."""

from __future__ import annotations

import gzip
import hashlib
import re
from contextlib import closing
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from tests.processes import ROOT

FILES = ROOT / "lokifi/dashboard/static/dashboard"
VENDORED = FILES / "vendor/lightweight-charts"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address", ["/", "/chart/BTC", "/discover", "/api/docs", "/api/docs/websocket"]
)
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


@pytest.mark.django_db
def test_the_page_and_its_files_leave_packed_and_are_known_again() -> None:
    packed = {"accept-encoding": "gzip"}
    for address in ("/", "/static/dashboard/app.css", "/static/dashboard/app.js"):
        headers, body = given(address, packed)
        assert headers["Content-Encoding"] == "gzip", address
        assert "Accept-Encoding" in headers["Vary"]
    assert gzip.decompress(body) == given(address, {})[1]
    assert given(address, {**packed, "if-none-match": headers["ETag"]})[1] == b""

    library = "/static/dashboard/vendor/lightweight-charts/lightweight-charts-5.2.1.mjs"
    assert "immutable" in given(library, packed)[0]["Cache-Control"]
    assert "Content-Encoding" not in given("/admin/login/", packed)[0]


def given(address: str, headers: dict[str, str]) -> tuple[Any, bytes]:
    """Return the headers and the body of an answer, whose file is closed."""
    with closing(Client().get(address, headers=headers)) as response:
        return response.headers, b"".join(response)


def test_all_three_views_together_are_under_150_kb_compressed() -> None:
    own = [path for path in (*FILES.iterdir(), *FILES.glob("client/*.js")) if path.is_file()]
    sizes = [len(gzip.compress(path.read_bytes())) for path in [*own, *VENDORED.glob("*.mjs")]]
    assert sum(sizes) < 150_000
