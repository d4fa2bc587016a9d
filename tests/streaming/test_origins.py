from __future__ import annotations

import pytest
from pytest_django import Settings

from streaming.origins import is_allowed

HOST = "prices.example.com"


@pytest.fixture(autouse=True)
def _hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = [HOST, "127.0.0.1", "localhost"]
    settings.WS_ALLOWED_ORIGINS = ["https://board.example.org", "http://other.example.org:8080"]
    settings.DEBUG = False


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        pytest.param(None, HOST, True, id="no page at all"),
        pytest.param(f"https://{HOST}", HOST, True, id="own host"),
        pytest.param(f"https://{HOST.upper()}", HOST, True, id="own host, loud"),
        pytest.param(f"https://{HOST}:443", HOST, True, id="own host, port written out"),
        pytest.param(f"http://{HOST}:8000", f"{HOST}:8000", True, id="own host and port"),
        pytest.param(f"http://{HOST}:8001", f"{HOST}:8000", False, id="own host, other port"),
        pytest.param("http://evil.example", "evil.example", False, id="host not allowed"),
        pytest.param("https://evil.example", HOST, False, id="foreign"),
        pytest.param(f"https://{HOST}.evil.example", HOST, False, id="suffix trick"),
        pytest.param(f"https://evil{HOST}", HOST, False, id="prefix trick"),
        pytest.param(f"https://{HOST}@evil.example", HOST, False, id="user trick"),
        pytest.param("null", HOST, False, id="sandboxed page"),
        pytest.param("", HOST, False, id="empty"),
        pytest.param(f"ftp://{HOST}", HOST, False, id="scheme"),
        pytest.param(f"https://{HOST}:99999", HOST, False, id="port out of range"),
        pytest.param(f"https://{HOST}/path", HOST, False, id="more than an origin"),
        pytest.param("https://[", HOST, False, id="broken"),
        pytest.param("https://board.example.org", HOST, True, id="listed"),
        pytest.param("https://BOARD.example.org", HOST, True, id="listed, loud"),
        pytest.param("http://board.example.org", HOST, False, id="listed, other scheme"),
        pytest.param("https://board.example.org:8443", HOST, False, id="listed, other port"),
        pytest.param("http://other.example.org:8080", HOST, True, id="listed with its port"),
        pytest.param("http://localhost:3000", HOST, False, id="a developer's page"),
        pytest.param("http://127.0.0.1:3000", "127.0.0.1:8000", False, id="neighbour port"),
    ],
)
def test_which_pages_may_connect(origin: str | None, host: str, allowed: bool) -> None:
    assert is_allowed(origin, host) is allowed


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1:9", "https://localhost", "http://[::1]:1"]
)
def test_in_development_a_page_of_this_machine_may_connect_from_any_port(
    settings: Settings, origin: str
) -> None:
    settings.DEBUG = True

    assert is_allowed(origin, "127.0.0.1:8000")
    assert not is_allowed("http://localhost.evil.example", "127.0.0.1:8000")


def test_a_star_lets_every_page_in(settings: Settings) -> None:
    settings.WS_ALLOWED_ORIGINS = ["*"]

    assert is_allowed("https://anywhere.example", HOST)
