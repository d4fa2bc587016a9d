"""The pages as files: what they may run and load, and what they weigh."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import socket
import subprocess
from contextlib import closing, suppress
from threading import Thread
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


def of_module(name: str, expression: str, *given: Any) -> Any:
    """Return what an expression of the module `m` and of `given` is, in Node."""
    if (node := shutil.which("node")) is None:
        pytest.skip("no Node on PATH")
    code = base64.b64encode((FILES / name).read_bytes()).decode()
    script = (
        f"const m = await import('data:text/javascript;base64,{code}');"
        f"const given = {json.dumps(given)}; console.log(JSON.stringify({expression}));"
    )
    command = [node, "--input-type=module", "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_averages_strength_and_gaps_are_what_they_are_said_to_be() -> None:
    closes = [10.0, 11.0, 10.5, 12.0, 11.0, 13.0]
    bars = [{"timestamp": 60 * at, "close": close} for at, close in enumerate(closes)]

    told = "[m.average(given[0], 3), m.strength(given[0], 3)]"
    means, strength = of_module("bars.js", told, bars)
    assert [round(one["value"], 4) for one in means] == [10.5, 11.1667, 11.1667, 12.0]
    # Of three steps 1, -0.5, 1.5: mean gain 0.8333, mean loss 0.1667, so 83.33; then smoothed.
    assert [round(one["value"], 2) for one in strength] == [83.33, 55.56, 77.78]

    del bars[2:4]
    told = "[m.holes(given[0], '1'), m.stroke(given[0], '1', true)]"
    holes, strokes = of_module("bars.js", told, bars)
    assert holes == [{"time": 120}, {"time": 180}]
    assert [one.get("color") for one in strokes] == [None, "transparent", None, None]


def test_figures_have_the_digits_that_their_size_wants() -> None:
    shown = {
        67234.5: "67,234.50",
        12: "12.00",
        2.5: "2.50",
        1.00034: "1.0003",
        0.9999: "0.9999",
        0.0000000633: "0.0000000633",
        0: "0.00",
        None: "\u2013",
    }
    assert of_module("figures.js", "given.map(m.money)", *shown) == list(shown.values())
    # What is shown as 0.00 % has gone neither way.
    assert of_module("figures.js", "given.map(m.way)", 0.004, -0.003, 0.006, -1) == [
        "0",
        "0",
        "1",
        "-1",
    ]


def test_a_live_bar_takes_only_what_its_series_does_not_say_better() -> None:
    last = {"timestamp": 600, "open": 1, "high": 3, "low": 1, "close": 2, "volume": 5}
    quote = {"ref": "coingecko:x", "price": 4, "freshness": "live", "stale": False}

    def with_quote(at: int, **told: Any) -> Any:
        fields = {**quote, "last_updated": f"1970-01-01T00:{at // 60:02}:{at % 60:02}Z", **told}
        fetched_at = "1970-01-01T00:12:00Z"
        return of_module("bars.js", "m.barWith(...given)", last, fields, "5", fetched_at)

    assert with_quote(800) == {**last, "high": 4, "close": 4, "closed": False}
    assert (with_quote(900)["timestamp"], with_quote(1199)["open"]) == (900, 4)
    # A bar between was never seen here: it is asked for, not left out.
    assert with_quote(1200) is None
    assert with_quote(700) is None  # of before the series was fetched
    for doubt in ({"stale": True}, {"disputed": True}, {"freshness": "unknown"}):
        assert with_quote(800, **doubt) is None


def test_a_table_of_prices_makes_no_bars_of_them() -> None:
    bars = [{"timestamp": 60, "open": 7, "high": 7, "low": 7, "close": 7, "volume": None}]
    head = "timestamp,open,high,low,close,volume\n"

    assert of_module("bars.js", "m.csv(given[0], true)", bars) == f"{head}60,,,,7,\n"
    assert of_module("bars.js", "m.csv(given[0])", bars) == f"{head}60,7,7,7,7,\n"


def test_an_answer_that_breaks_off_hangs_or_is_let_go_is_told_for_what_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=_half_an_answer, args=[server], daemon=True).start()
        told = of_module(
            "api.js",
            """await (async () => {
              const real = fetch;
              globalThis.fetch = (path, init) => real(given[0] + path, init);
              const said = ({ name, code, message }) => [name, code ?? null, message];
              const broken = await m.ask("/broken").catch(said);
              const caller = new AbortController();
              const asked = m.ask("/hangs", {}, caller.signal).catch(said);
              setTimeout(() => caller.abort(), 200);
              const letGo = await asked;
              const patience = globalThis.setTimeout;
              globalThis.setTimeout = (done, ms, ...more) =>
                patience(done, Math.min(ms, 200), ...more);
              const hung = await m.ask("/hangs").catch(said);
              return [broken, letGo[0], hung];
            })()""",
            f"http://127.0.0.1:{server.getsockname()[1]}",
        )
    assert told == [
        ["Error", "unreachable", "The server cannot be reached."],
        "AbortError",
        ["Error", "unreachable", "The server does not answer."],
    ]


def _half_an_answer(server: socket.socket) -> None:
    """Answer each request with half of what its head promises; only /broken is then closed."""
    kept = []
    with suppress(OSError):
        while True:
            line, _ = server.accept()
            asked = line.recv(65_536)
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            if b"/broken" in asked:
                line.close()
            else:
                kept.append(line)
