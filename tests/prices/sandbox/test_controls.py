from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from prices.sandbox.server import Running, running
from prices.sandbox.wire import Plan
from tests.prices.sandbox.conftest import TRADING

MARKETS = "coins/markets?vs_currency=usd&ids=bitcoin,ethereum"


def fail(market: httpx.Client, **fault: Any) -> dict[str, Any]:
    response = market.post("/_sandbox/faults", json=fault)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def counts(market: httpx.Client, **query: str) -> Any:
    return market.get("/_sandbox/calls", params=query).json()


# Counts


def test_every_call_is_counted_by_source_path_and_key(
    market: httpx.Client, gecko: httpx.Client, finn: httpx.Client
) -> None:
    for _ in range(3):
        gecko.get("ping", headers={"x-cg-demo-api-key": "CG-one"})
    gecko.get("coins/nope")
    finn.get("quote", params={"symbol": "AAPL", "token": "two"})
    told = counts(market)
    assert {name: number for name, number in told["total"].items() if number} == {
        "coingecko": 4,
        "finnhub": 1,
    }
    assert told["paths"]["/coingecko/api/v3/ping"] == 3
    assert told["keys"] == {"coingecko:CG-one": 3, "coingecko:": 1, "finnhub:two": 1}
    assert told["statuses"]["coingecko:404"] == 1
    latest = told["recent"][-1]
    assert latest["path"] == "/finnhub/api/v1/quote"
    assert latest["query"]["symbol"] == "AAPL"
    assert latest["status"] == 200


def test_counts_can_be_asked_for_a_part_and_set_to_zero(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    gecko.get("ping")
    gecko.get("global")
    assert list(counts(market, path="/coingecko/api/v3/ping")["paths"]) == [
        "/coingecko/api/v3/ping"
    ]
    market.post("/_sandbox/reset")
    assert counts(market)["total"]["coingecko"] == 0
    assert counts(market)["recent"] == []


def test_many_callers_at_once_are_all_answered_and_counted(
    gecko: httpx.Client, market: httpx.Client
) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: gecko.get("ping"), range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert counts(market)["total"]["coingecko"] == 100


# Faults


def test_a_status_fault_ends_after_its_calls(market: httpx.Client, gecko: httpx.Client) -> None:
    fail(market, kind="status", source="coingecko", status=503, calls=2)
    assert [gecko.get("ping").status_code for _ in range(3)] == [503, 503, 200]


def test_a_fault_ends_after_its_seconds(market: httpx.Client, gecko: httpx.Client) -> None:
    fail(market, kind="status", status=500, seconds=0.05)
    assert gecko.get("ping").status_code == 500
    time.sleep(0.06)
    assert gecko.get("ping").status_code == 200
    assert market.get("/_sandbox/faults").json() == {"faults": []}


def test_a_fault_hits_its_path_or_source_alone(
    market: httpx.Client, gecko: httpx.Client, finn: httpx.Client
) -> None:
    fail(market, kind="status", path="/coingecko/api/v3/coins/", status=500)
    assert gecko.get("coins/bitcoin").status_code == 500
    assert gecko.get("ping").status_code == 200
    fail(market, kind="status", source="finnhub", status=502)
    assert finn.get("quote", params={"symbol": "AAPL"}).status_code == 502
    assert gecko.get("ping").status_code == 200


def test_a_fault_can_be_taken_away(market: httpx.Client, gecko: httpx.Client) -> None:
    first = fail(market, kind="status", status=500)
    fail(market, kind="status", status=501)
    assert len(market.get("/_sandbox/faults").json()["faults"]) == 2
    market.delete("/_sandbox/faults", params={"number": first["number"]})
    assert gecko.get("ping").status_code == 501
    market.delete("/_sandbox/faults")
    assert gecko.get("ping").status_code == 200


@pytest.mark.parametrize("retry_after", [None, 7])
def test_a_429_tells_how_long_to_wait_or_does_not(
    market: httpx.Client, gecko: httpx.Client, finn: httpx.Client, retry_after: int | None
) -> None:
    fail(market, kind="status", status=429, retry_after=retry_after)
    response = gecko.get("ping")
    assert response.status_code == 429
    assert response.headers.get("retry-after") == (None if retry_after is None else "7")
    assert response.json()["status"]["error_code"] == 429
    assert finn.get("quote").json()["error"].startswith("API limit reached")


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("status", {"status": {"timestamp", "error_code", "error_message"}}),
        ("nested", {"error": {"status"}}),
        ("top", {"error_code": None, "status": {"error_message"}}),
        ("string", {"error": None}),
        ("int", {"status": None, "error": None}),
    ],
)
def test_an_error_comes_in_any_shape(
    market: httpx.Client, gecko: httpx.Client, body: str, shape: dict[str, set[str] | None]
) -> None:
    fail(market, kind="status", status=400, body=body)
    answer = gecko.get("ping").json()
    assert answer.keys() == shape.keys()
    for name, inner in shape.items():
        if inner is not None:
            assert answer[name].keys() == inner


@pytest.mark.parametrize(
    ("body", "start"), [("html", b"<!DOCTYPE html>"), ("empty", b""), ("text", b"out of order")]
)
def test_an_error_may_be_no_json_at_all(
    market: httpx.Client, gecko: httpx.Client, body: str, start: bytes
) -> None:
    fail(market, kind="status", status=500, body=body, text="out of order")
    response = gecko.get("ping")
    assert response.content.startswith(start)
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_a_delayed_answer_outlasts_an_impatient_caller(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    fail(market, kind="delay", delay_s=30, calls=1)
    with pytest.raises(httpx.ReadTimeout):
        gecko.get("ping", timeout=0.1)
    assert gecko.get("ping").status_code == 200
    fail(market, kind="delay", delay_s=0.05)
    assert gecko.get("ping").json() == {"gecko_says": "(V3) To the Moon!"}


def test_a_slow_drip_outlasts_the_time_between_bytes(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    fail(market, kind="slow_drip", bytes_per_s=200)
    pieces: list[bytes] = []
    with gecko.stream("GET", "ping", timeout=1) as response:
        pieces.extend(response.iter_raw())
    assert len(pieces) > 5
    assert b"".join(pieces) == b'{"gecko_says":"(V3) To the Moon!"}'


def test_a_reset_breaks_the_connection_without_an_answer(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    fail(market, kind="reset", calls=1)
    with pytest.raises(httpx.ReadError):
        gecko.get("ping")
    assert counts(market)["recent"][-1]["status"] == 0
    assert gecko.get("ping").status_code == 200


def test_a_truncated_body_ends_before_its_length(market: httpx.Client, gecko: httpx.Client) -> None:
    fail(market, kind="truncated", calls=1)
    with pytest.raises(httpx.RemoteProtocolError):
        gecko.get("coins/list")
    assert gecko.get("coins/list").status_code == 200


def test_html_and_nothing_come_with_status_200(market: httpx.Client, gecko: httpx.Client) -> None:
    fail(market, kind="html", calls=1)
    page = gecko.get("ping")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    fail(market, kind="empty", calls=1)
    assert (gecko.get("ping").status_code, gecko.get("global").status_code) == (200, 200)


@pytest.mark.parametrize(
    ("kind", "is_wrong"),
    [
        ("wrong_types", lambda value: value == "n/a"),
        ("nulls", lambda value: value is None),
        ("negative", lambda value: value < 0),
        ("absurd", lambda value: value > 1e14),
        ("repeats", lambda value: value == 1.0),
        ("not_finite", math.isnan),
    ],
)
def test_values_are_spoiled_everywhere_or_in_one_row(
    market: httpx.Client, gecko: httpx.Client, finn: httpx.Client, kind: str, is_wrong: Any
) -> None:
    fail(market, kind=kind)
    assert all(is_wrong(row["current_price"]) for row in gecko.get(MARKETS).json())
    chart = gecko.get("coins/bitcoin/market_chart?vs_currency=usd&days=1").json()
    stamp, price = chart["prices"][5]
    assert stamp > 1.7e12
    assert is_wrong(price)
    assert is_wrong(finn.get("quote?symbol=AAPL").json()["c"])
    market.delete("/_sandbox/faults")
    fail(market, kind=kind, only=["bitcoin"])
    bitcoin, ethereum = gecko.get(MARKETS).json()
    assert is_wrong(bitcoin["current_price"])
    assert 500 < ethereum["current_price"] < 20_000
    simple = gecko.get("simple/price?ids=bitcoin,ethereum&vs_currencies=usd").json()
    assert is_wrong(simple["bitcoin"]["usd"])
    assert 500 < simple["ethereum"]["usd"] < 20_000


def test_single_fields_can_be_spoiled(market: httpx.Client, gecko: httpx.Client) -> None:
    fail(market, kind="nulls", only=["bitcoin"], names=["current_price"])
    bitcoin = gecko.get(MARKETS).json()[0]
    assert bitcoin["current_price"] is None
    assert bitcoin["high_24h"] > 0


def test_bad_bars_close_above_their_high(
    market: httpx.Client, gecko: httpx.Client, finn: httpx.Client
) -> None:
    fail(market, kind="bad_bars")
    rows = gecko.get("coins/bitcoin/ohlc?vs_currency=usd&days=7").json()
    assert [row[4] > row[2] for row in rows[:4]] == [True, False, False, True]
    query = f"symbol=AAPL&resolution=D&from={TRADING - 9e6:.0f}&to={TRADING:.0f}"
    bars = finn.get(f"stock/candle?{query}").json()
    assert bars["c"][0] > bars["h"][0]
    assert bars["c"][1] <= bars["h"][1]


def test_a_frozen_market_stands_still_while_the_clock_goes_on(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    fail(market, kind="frozen")
    first = gecko.get(MARKETS).json()
    market.post("/_sandbox/clock", json={"by_s": 3600})
    assert gecko.get(MARKETS).json() == first
    market.delete("/_sandbox/faults")
    assert gecko.get(MARKETS).json() != first


def test_a_huge_body_is_as_long_as_was_asked(market: httpx.Client, gecko: httpx.Client) -> None:
    fail(market, kind="huge", size_bytes=3_000_000, calls=1)
    response = gecko.get("ping")
    assert len(response.content) == 3_000_000
    assert "content-length" not in response.headers
    assert response.json() == {"gecko_says": "(V3) To the Moon!"}


def test_a_redirect_loop_leads_to_itself(market: httpx.Client, gecko: httpx.Client) -> None:
    fail(market, kind="redirect_loop")
    with pytest.raises(httpx.TooManyRedirects):
        gecko.get("ping", follow_redirects=True)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "earthquake"},
        {"kind": "status", "source": "elsewhere"},
        {"kind": "status", "body": "poem"},
        {"kind": "delay", "delay_s": "long"},
        {"kind": "delay", "dealy_s": 3},
        [],
    ],
)
def test_a_fault_described_wrongly_is_refused_with_a_reason(
    market: httpx.Client, fault: Any
) -> None:
    response = market.post("/_sandbox/faults", json=fault)
    assert response.status_code == 400
    assert response.json()["error"].startswith("FaultError")


# Plan and clock


def test_the_free_plan_limits_coingecko_by_the_minute(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    market.post("/_sandbox/plan", json={"plan": "free"})
    statuses = [gecko.get("ping").status_code for _ in range(32)]
    assert statuses == [200] * 30 + [429] * 2
    refused = gecko.get("ping")
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    other = gecko.get("ping", headers={"x-cg-demo-api-key": "CG-other"})
    assert other.status_code == 200
    market.post("/_sandbox/clock", json={"by_s": 61})
    assert gecko.get("ping").status_code == 200


def test_a_month_of_the_free_plan_can_be_used_up(market: httpx.Client, gecko: httpx.Client) -> None:
    limits = {"coingecko_month": 3, "coingecko_minute": None}
    market.post("/_sandbox/plan", json={"plan": "free", "limits": limits})
    gecko.get("coins/nope")
    statuses = [gecko.get("ping").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert "retry-after" not in gecko.get("ping").headers


def test_the_free_plan_limits_finnhub_by_the_second_and_the_minute(
    market: httpx.Client, finn: httpx.Client
) -> None:
    limits = {"finnhub_second": 5, "finnhub_minute": None}
    market.post("/_sandbox/plan", json={"plan": "free", "limits": limits})
    statuses = {finn.get("quote?symbol=AAPL").status_code for _ in range(40)}
    assert statuses == {200, 429}
    limits = {"finnhub_second": None, "finnhub_minute": 5}
    market.post("/_sandbox/plan", json={"plan": "free", "limits": limits})
    answers = [finn.get("quote?symbol=AAPL") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[-1].json()["error"].startswith("API limit reached.")
    assert answers[-1].headers["x-ratelimit-remaining"] == "0"


def test_a_wrong_plan_or_limit_is_refused(market: httpx.Client) -> None:
    assert market.post("/_sandbox/plan", json={"plan": "gold"}).status_code == 400
    limits = {"limits": {"no_such_limit": 1}}
    assert market.post("/_sandbox/plan", json=limits).status_code == 400


def test_the_clock_can_be_set_moved_and_set_back(market: httpx.Client, gecko: httpx.Client) -> None:
    state = market.post("/_sandbox/clock", json={"shift_s": 0}).json()
    assert state["shift_s"] == 0
    state = market.post("/_sandbox/clock", json={"by_s": 86_400}).json()
    assert state["shift_s"] == 86_400
    old = gecko.get("simple/price?ids=bitcoin&vs_currencies=usd&include_last_updated_at=true")
    seen = old.json()["bitcoin"]["last_updated_at"]
    assert abs(seen - state["now"]) < 30


def test_an_unknown_control_names_the_known_ones(market: httpx.Client) -> None:
    response = market.get("/_sandbox/nowhere")
    assert response.status_code == 404
    assert "GET calls" in response.json()["error"]


# The wire


def raw(server: Running, text: bytes) -> bytes:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 5) as plain:
        plain.sendall(text)
        found = b""
        while piece := plain.recv(65_536):
            found += piece
    return found


def test_one_connection_carries_many_requests(server: Running) -> None:
    once = b"GET /coingecko/api/v3/ping HTTP/1.1\r\nhost: x\r\n"
    told = raw(server, (once + b"\r\n") * 2 + once + b"connection: close\r\n\r\n")
    assert told.count(b"HTTP/1.1 200 OK") == 3


def test_what_is_no_http_is_refused(server: Running) -> None:
    assert raw(server, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_head_without_end_is_not_read_for_ever(server: Running, market: httpx.Client) -> None:
    # The refusal may be lost in the reset that follows: the client is still sending.
    with suppress(ConnectionError):
        told = raw(server, b"GET /" + b"a" * 500_000)
        assert told.startswith(b"HTTP/1.1 400")
    assert market.get("/_sandbox/state").status_code == 200


def test_a_head_request_has_a_length_and_no_body(gecko: httpx.Client, market: httpx.Client) -> None:
    response = gecko.head("ping")
    assert response.headers["content-length"] == "34"
    assert response.content == b""


def test_two_sandboxes_have_clocks_and_plans_of_their_own(market: httpx.Client) -> None:
    with running(Plan.FREE) as other:
        assert httpx.get(f"{other.url}/_sandbox/state").json()["plan"] == "free"
        assert market.get("/_sandbox/state").json()["plan"] == "all"


def test_the_command_says_where_it_listens_and_stops_when_told() -> None:
    command = [sys.executable, "manage.py", "sandbox", "--port", "0", "--plan", "free"]
    environment = {**os.environ, "SECRET_KEY": "only-for-tests", "UPSTREAM": "sandbox"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("sandbox market on http://127.0.0.1:")
        assert line.endswith(", plan free\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
