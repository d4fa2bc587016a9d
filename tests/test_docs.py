"""The pages against the product: what they show is there, and what is there they show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.urls import URLPattern, get_resolver

from prices import errors, problems, schema, urls
from prices.udf import schema as udf
from prices.udf import urls as udf_urls
from streaming import protocol
from tests.processes import ROOT

HTTP_API = (ROOT / "docs/http-api.md").read_text()
UDF = (ROOT / "docs/udf.md").read_text()
README = (ROOT / "README.md").read_text()
CLIENTS = [ROOT / f"clients/{name}/README.md" for name in ("python", "typescript")]
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", *CLIENTS),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PLAIN_ADDRESSES = {
    "",
    "chart",
    "discover",
    "admin/",
    "livez",
    "readyz",
    "api/schema",
    "api/docs",
    "api/docs/websocket",
    "api/asyncapi.yaml",
}
STREAM = "api/v1/prices/stream"


def json_blocks(page: str) -> list[Any]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]


def heading_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and most others make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_address_below_prices_is_on_the_page_of_the_http_api() -> None:
    for pattern in urls.urlpatterns:
        if not pattern.name:
            continue
        written = re.sub(r"\(\?P<symbol>.*\)(?=/|\$)", "{symbol}", str(pattern.pattern))
        address = "/api/v1/" + written.strip("^$")
        assert re.search(rf"`(?:GET|POST) {re.escape(address)}[`?]", HTTP_API), address


def test_the_other_addresses_are_on_it_too() -> None:
    patterns = get_resolver().url_patterns
    own = {str(p.pattern) for p in patterns if isinstance(p, URLPattern) and p.name}
    assert own - {STREAM} | {"admin/"} == PLAIN_ADDRESSES
    assert f"[`GET /{STREAM}`](events.md)" in HTTP_API
    for address in PLAIN_ADDRESSES:
        assert f"`/{address}`" in HTTP_API


def test_every_error_code_has_its_status_and_an_example_on_the_page() -> None:
    of_errors = {cls.code: cls.http_status for cls in vars(errors).values() if is_error(cls)}
    of_http = {code: status for status, code in problems._CODES.items() if code != "forbidden"}
    examples = {block.get("code") for block in json_blocks(HTTP_API) if isinstance(block, dict)}
    for code, status in {**of_http, **of_errors}.items():
        assert f"| {status} | [`{code}`](#{code}) |" in HTTP_API
        assert code in examples


def is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, errors.PricesError)


@pytest.mark.parametrize("name", schema.EXAMPLES)
def test_an_example_of_the_openapi_document_is_on_the_page(name: str) -> None:
    assert schema.EXAMPLES[name] in json_blocks(HTTP_API)


def test_the_example_of_a_stream_is_on_its_page() -> None:
    page = (ROOT / "docs/events.md").read_text()
    assert schema.EVENTS.strip() in page


def test_every_address_and_example_of_udf_is_on_its_page() -> None:
    for pattern in udf_urls.urlpatterns:
        assert re.search(rf"`GET /api/udf/{pattern.pattern}[`?]", UDF)
    blocks = json_blocks(UDF)
    assert [name for name, example in udf.EXAMPLES.items() if example not in blocks] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in heading_anchors(target), link


def test_every_code_a_socket_can_send_is_on_the_page_of_the_websocket() -> None:
    page = (ROOT / "docs/websocket.md").read_text()
    for code in [*protocol.Code, *protocol.Notice]:
        assert f"`{code}`" in page, code
    for close in protocol.Close:
        assert str(int(close)) in page, close


def test_every_key_of_the_contract_is_on_the_page_of_the_architecture() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    keys = ["price:{SYMBOL}", "history:{SYMBOL}:{PERIOD}", "ohlcv:{SYMBOL}:{PERIOD}"]
    for key in [*keys, "crypto:top:{LIMIT}", protocol.UPDATES_CHANNEL]:
        assert key in page


def test_the_readme_fits_a_screen_and_its_commands_exist() -> None:
    assert len(README.splitlines()) <= 60
    for command in re.findall(r"manage\.py (\w+)", README):
        assert command in get_commands(), command
    for target in re.findall(r"\bmake (run|test|\w+ +#)", README):
        assert re.search(rf"^{target.split()[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_version_is_that_of_the_newest_entry_of_the_changelog() -> None:
    versions = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == versions[0]
