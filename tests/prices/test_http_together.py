"""Trends beside lists and batches, and several histories at once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis

from tests.market import Sandbox
from tests.prices.rest import client, get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

MARKETS = "/coingecko/api/v3/coins/markets"
TREND = {"sparkline", "trend_as_of"}


def test_a_list_has_seven_days_by_the_hour_from_one_call_that_is_kept(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    bare = ok("/crypto/top", limit=40)
    before = sandbox.count(MARKETS)

    told = ok("/crypto/top", limit=40, sparkline="true")
    again = ok("/crypto/top", limit=20, sparkline="true")

    assert sandbox.count(MARKETS) == before + 1
    assert TREND.isdisjoint(bare["cryptos"][0])
    bitcoin = told["cryptos"][0]
    assert 166 <= len(bitcoin["sparkline"]) <= 168
    assert abs(bitcoin["sparkline"][-1] / bitcoin["current_price"] - 1) < 0.2
    moved = 100 * (bitcoin["sparkline"][-1] / bitcoin["sparkline"][0] - 1)
    assert abs(moved - bitcoin["price_change_percentage_7d"]) < 8
    assert bitcoin["price_change_percentage_30d"] is not None
    assert again["cryptos"][0]["sparkline"] == bitcoin["sparkline"]
    assert 1700 < redis_client.ttl("list:trend:bitcoin") <= 1800


def test_a_batch_has_the_trends_of_its_coins_and_nulls_for_stocks(sandbox: Sandbox) -> None:
    ok("", symbols="BTC,AAPL")
    before = sandbox.count(MARKETS)

    told = ok("", symbols="BTC,AAPL", sparkline="true")
    posted = client().post(
        "/api/v1/prices/batch",
        {"symbols": ["BTC"], "sparkline": True},
        content_type="application/json",
    )

    coin, stock = told["data"]["BTC"], told["data"]["AAPL"]
    assert len(coin["sparkline"]) >= 166
    assert isinstance(coin["change_percent_1h"], float)
    assert {stock[name] for name in TREND} == {None}
    assert (told["api_calls"], sandbox.count(MARKETS)) == (1, before + 1)
    assert posted.json()["data"]["BTC"]["sparkline"] == coin["sparkline"]


def test_without_trends_a_batch_is_what_it_was(sandbox: Sandbox) -> None:
    ok("", symbols="BTC")
    sandbox.fault("status", status=500, path=MARKETS)

    told = ok("", symbols="BTC", sparkline="true")

    assert told["data"]["BTC"]["price"] > 0
    assert told["data"]["BTC"]["sparkline"] is None


def test_histories_of_several_assets_are_those_that_each_is_given_alone(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    alone = {symbol: ok(f"/{symbol}/history", period="1w") for symbol in ("BTC", "AAPL")}
    calls = sandbox.count()

    told = ok("/batch/history", symbols="btc,AAPL,coingecko:bitcoin,NOPE", period="1w")

    assert sandbox.count() == calls
    assert list(told["data"]) == ["BTC", "AAPL"]
    assert told["failed"] == {"NOPE": "unknown_symbol"}
    assert told["resolved"] == {"coingecko:bitcoin": "BTC"}
    for symbol, series in told["data"].items():
        assert series["data"] == alone[symbol]["data"]
    assert told["as_of"] == min(series["as_of"] for series in alone.values())


def test_histories_are_cut_and_written_as_each_would_be() -> None:
    query: dict[str, Any] = {"symbols": "BTC,ETH", "limit": 3, "format": "columns"}

    told = ok("/batch/history", **query, **{"from": int(time.time()) - 5 * 86_400})

    for series in told["data"].values():
        assert series["period"] == "1w"
        assert {len(column) for column in series["data"].values()} == {3}


def test_what_nobody_can_answer_is_refused(sandbox: Sandbox) -> None:
    for query in (
        {"symbols": ","},
        {"symbols": ",".join(f"A{n}" for n in range(21))},
        {"symbols": "BTC", "format": "csv"},
    ):
        problem(get("/batch/history", **query), 400, "invalid_parameter")
    sandbox.fault("status", status=500)
    problem(get("/batch/history", symbols="SOL,ADA"), 503, "upstream_unavailable")
