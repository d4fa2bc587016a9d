"""What the log holds of other people's mistakes and of outages: a line each, or nothing."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from lokifi.embedded import EmbeddedServer
from tests.processes import until
from tests.product import Product

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("debug", ["0", "1"])
def test_clients_mistakes_fill_no_log_and_a_wrong_host_or_an_outage_is_one_line(
    product: Product, debug: str
) -> None:
    web = product.web(DEBUG=debug)
    assert web.get("/api/v1/nope").status == 404
    assert web.get("/nope").status == 404
    assert web.get("/", headers={"Host": "evil.example"}).status == 400
    product.sandbox.fault("status", status=503)
    statuses = {web.get(f"/api/v1/prices/{symbol}").status for symbol in ("AAPL", "MSFT", "TSLA")}
    assert statuses == {503}
    only_stored = {"Cache-Control": "only-if-cached"}
    assert web.get("/api/v1/prices/BTC/nothing", headers=only_stored).status == 504
    product.redis.kill()
    assert {web.get("/readyz").status for _ in range(3)} == {503}
    assert web.get("/nope").status == 404

    until(lambda: "/readyz" in web.process.said, "the last of them", told=lambda: web.process.said)
    said = web.process.said
    assert "nope" not in said
    assert len(re.findall("Invalid HTTP_HOST", said)) == 1
    assert "Traceback" not in said
    assert "/nothing" not in said, "a copy that was asked for alone and is not there is no fault"
    assert len(re.findall(r"WARNING.*Service Unavailable: /readyz", said)) == 1
    assert not re.search(r"ERROR.*/(readyz|api)", said)
    assert len(re.findall(r"WARNING.*Service Unavailable: /api/v1/prices/AAPL", said)) == 1
    assert not re.search(r"Unavailable: /api/v1/prices/(MSFT|TSLA)", said)


def test_requests_that_uvicorn_cannot_read_are_told_once(product: Product) -> None:
    web = product.web("uvicorn")
    upgrade = (
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    )
    for asked in (upgrade, b"no request\r\n\r\n") * 3:
        with socket.create_connection(("127.0.0.1", web.port), timeout=5) as connection:
            connection.sendall(asked)
            connection.recv(4096)

    told = ("Unsupported upgrade request. (further", "Invalid HTTP request received. (further")
    until(
        lambda: all(line in web.process.said for line in told),
        "both",
        told=lambda: web.process.said,
    )
    assert [web.process.said.count(line) for line in told] == [1, 1]


def test_beat_tells_an_outage_of_the_broker_once(product: Product, tmp_path: Path) -> None:
    beat = product.beat(PUBLISH_INTERVAL_S="1")

    def sent() -> int:
        return beat.said.count("Sending due task publish prices")

    until(lambda: sent() >= 1, "the first tick", told=lambda: beat.said)
    product.redis.kill()
    before = sent()
    until(lambda: sent() >= before + 4, "tries without a broker", told=lambda: beat.said)
    server = EmbeddedServer(tmp_path / "again", product.redis.port)
    try:
        until(lambda: "The broker is back" in beat.said, "its return", told=lambda: beat.said)
    finally:
        server.kill()

    assert beat.said.count("The broker is away") == 1
    assert "Traceback" not in beat.said
