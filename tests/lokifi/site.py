"""A product whose server can be stopped and started again on the same port, for a browser."""

from __future__ import annotations

from pathlib import Path

from lokifi import parts
from lokifi.embedded import free_port
from tests.processes import Process, responds, until
from tests.product import Product


class Site:
    def __init__(self, folder: Path) -> None:
        self.product = Product(folder, PUBLISH_INTERVAL_S="1")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.web = self.start()
        self.product.worker()
        self.product.beat()

    def start(self) -> Process:
        web = self.product.start("web", parts.daphne("127.0.0.1", self.port))
        until(lambda: responds(f"{self.url}/livez"), "the server", told=lambda: web.said)
        return web
