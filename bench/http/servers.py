"""The servers of one run: the product in its forms, and peers on its Redis."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench.servers import BUILT, PEERS, _make
from lokifi import parts
from lokifi.embedded import free_port
from tests.lokifi.raw import Line
from tests.lokifi.standing import let_live
from tests.processes import ROOT, responds, until
from tests.product import Product, Web

API = "/api/v1/prices"
# What is told of each coin of a list depends on the moment: peers serve the bytes that we told.
_TOLD = "bench:top:100"
# What is asked for, and the key that holds its bytes for peers: the contract's, where it has them.
KNOWN = {
    "history 1w": (f"{API}/BTC/history?period=1w", "history:BTC:1w"),
    "history 1y": (f"{API}/BTC/history?period=1y", "history:BTC:1y"),
    "ohlcv 1m": (f"{API}/BTC/ohlcv?period=1m", "ohlcv:BTC:1m"),
    "quote": (f"{API}/BTC", "price:BTC"),
    # Behind the quote, which a later list would hold.
    "top 100": (f"{API}/crypto/top?limit=100", _TOLD),
}
_FAST = ("--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning")


@dataclass
class Servers:
    """Starts what a row asks for, each once."""

    product: Product
    _webs: dict[str, Web] = field(default_factory=dict)

    def ours(self, server: str = "uvicorn", **settings: str) -> Web:
        name = f"{server}{sorted(settings.items())}"
        if name not in self._webs:
            self._webs[name] = self.product.web(server, **settings)
        return self._webs[name]

    def workers(self, number: int) -> Web:
        """Run several processes of the product behind one port."""
        port = free_port()
        command = [*parts.uvicorn("127.0.0.1", port), "--workers", str(number)]
        return self._started(f"workers-{number}", port, command)

    def django_alone(self, server: str) -> Web:
        """Run the product's views with nothing in front of them."""
        port = free_port()
        serve = parts.uvicorn if server == "uvicorn" else parts.daphne
        command = [*serve("127.0.0.1", port)[:-1], "tests.lokifi.django_alone:application"]
        return self._started(f"alone-{server}", port, command)

    def starlette(self, copy_s: float) -> Web:
        """Run the Starlette peer. Raises Unavailable."""
        folder = BUILT / "starlette"
        if not (folder / "starlette").exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _make([*pip, "--target", str(folder), "starlette==1.10.0"], ROOT, "Starlette")
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", *_FAST, "--port", str(port)]
        more = {"PYTHONPATH": str(folder), "COPY_S": str(copy_s)}
        words = ["--app-dir", str(PEERS), "starlette_peer:app"]
        return self._started(f"starlette-{copy_s}", port, [*command, *words], more, "/")

    def bare_drf(self) -> Web:
        """Run a DRF view that asks the sandbox whatever it is asked."""
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", *_FAST, "--port", str(port)]
        more = {"UPSTREAM": self.product.sandbox.url}
        words = ["--app-dir", str(PEERS), "bare_drf:application"]
        ping = "/coingecko/api/v3/ping"
        return self._started("bare-drf", port, [*command, *words], more, ping)

    def bare(self) -> Web:
        port = free_port()
        words = [f"{target}={key}" for target, key in KNOWN.values()]
        command = [sys.executable, str(PEERS / "bare_http.py"), str(port), *words]
        return self._started("bare", port, command, {}, "/")

    def _started(
        self,
        name: str,
        port: int,
        command: Sequence[str],
        more: dict[str, str] | None = None,
        path: str = "/livez",
    ) -> Web:
        if name not in self._webs:
            settings = {"REDIS_URL": f"{self.product.redis.url}/0", **(more or {})}
            process = self.product.start(name, command, **settings)
            url = f"http://127.0.0.1:{port}{path}"
            until(lambda: responds(url), name, told=lambda: process.said)
            self._webs[name] = Web(process, port)
        return self._webs[name]

    def stop(self) -> None:
        for web in self._webs.values():
            web.process.stop(timeout_s=3)

    def fill(self, web: Web) -> None:
        """Have all that is known be known, in Redis for hours and in this server's process."""
        from redis import Redis

        line = Line(web.port)
        with Redis(port=self.product.redis.port) as store:
            for target, key in KNOWN.values():
                reply = line.ask(target)
                assert reply.status == 200, (target, reply.body[:500])
                let_live(store, key if key != _TOLD else "crypto:top:100", 3 * 3600)
                for _ in range(2):
                    reply = line.ask(target)
                if key == _TOLD:
                    store.set(key, reply.content)
        line.close()

    def fill_quotes(self, web: Web, count: int) -> list[str]:
        """Have the quotes of the largest coins be known, for hours; return their symbols."""
        from redis import Redis

        line = Line(web.port)
        rows = json.loads(line.ask(f"{API}/crypto/top?limit=80").body)["cryptos"]
        asked = ",".join(row["symbol"] for row in rows)
        # Not all are known by their ticker alone.
        symbols = list(json.loads(line.ask(f"{API}?symbols={asked}").body)["data"])[:count]
        with Redis(port=self.product.redis.port) as store:
            for symbol in symbols:
                let_live(store, f"price:{symbol}", 3 * 3600)
        said = json.dumps({"symbols": symbols}).encode()
        for _ in range(3):
            line.ask(f"{API}/batch", "POST", {"Content-Type": "application/json"}, said)
        line.close()
        return symbols


@contextmanager
def servers(product: Product) -> Iterator[Servers]:
    with ExitStack() as stack:
        found = Servers(product)
        stack.callback(found.stop)
        yield found
