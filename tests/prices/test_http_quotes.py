"""Quotes, one and many, as a client of the REST API sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import RequestFactory
from redis import Redis
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from prices import cache, redis_clients, rest
from prices.serializers import BatchQuery
from tests.market import Sandbox
from tests.prices.rest import QUOTE, ROOT, client, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


def test_a_coin_s_quote_has_every_field_of_the_contract() -> None:
    quote = ok("/btc")

    assert quote.keys() == QUOTE
    assert (quote["symbol"], quote["ref"], quote["kind"]) == ("BTC", "coingecko:bitcoin", "crypto")
    assert (quote["source"], quote["currency"]) == ("sandbox", "USD")
    assert quote["low"] <= quote["price"] <= quote["high"]
    assert (quote["change_basis"], quote["volume_basis"]) == ("24h", "24h_currency")
    assert quote["last_updated"] == quote["as_of"]


def test_a_stock_s_quote_says_what_its_source_does_not_give_as_null() -> None:
    quote = ok("/AAPL")

    assert quote.keys() == QUOTE
    assert (quote["volume"], quote["market_cap"], quote["volume_basis"]) == (None, None, None)
    assert quote["change_basis"] == "previous_close"


@pytest.mark.parametrize(
    ("asked", "symbol"),
    [
        ("BRK-B", "BRK.B"),
        ("BRK/B", "BRK.B"),
        ("BRK%2FB", "BRK.B"),
        ("crypto:btc", "BTC"),
        ("stock:STX", "stock:STX"),
        ("STX", "STX"),
        ("coingecko:bitcoin", "BTC"),
        ("coingecko%3Abitcoin", "BTC"),
    ],
)
def test_every_form_of_a_symbol_is_accepted_in_a_path(asked: str, symbol: str) -> None:
    assert ok(f"/{asked}")["symbol"] == symbol


def test_a_batch_keeps_order_folds_doubles_and_names_what_failed(sandbox: Sandbox) -> None:
    dead = "coingecko:01coin"
    body = {"symbols": ["eth", "BTC", "AAPL", "btc", "NOPE", "$x", dead, "coingecko:solana"]}

    batch = client().post(f"{ROOT}/batch", body, content_type="application/json").json()

    assert list(batch["data"]) == ["ETH", "BTC", "AAPL", "SOL"]
    assert batch["failed"]["NOPE"] == "unknown_symbol"
    assert batch["failed"]["$x"] == "invalid_symbol"
    assert "not_found" in batch["failed"].values()
    assert batch["resolved"]["coingecko:solana"] == "SOL"
    assert all(quote.keys() == QUOTE for quote in batch["data"].values())
    assert (batch["success"], batch["count"], batch["api_calls"]) == (True, 4, 2)


@pytest.mark.parametrize(
    ("path", "key", "most"),
    [
        # With the lock, the budget, storing, how its series end.
        ("/BTC", "price:BTC", 4),
        ("/AAPL", "price:AAPL", 4),
        # With the lock, the budget, the price to hold it against, how it ends, storing.
        ("/BTC/history?period=1w", "history:BTC:1w", 5),
        ("/BTC/ohlcv?period=1w", "ohlcv:BTC:1w", 5),
    ],
)
def test_a_miss_asks_redis_few_questions(
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    questions: list[Any],
    path: str,
    key: str,
    most: int,
) -> None:
    ok("/crypto/top", limit="1")  # The list of coins is read by then.
    ok(path)
    redis_client.delete(key, f"good:{key}")
    questions.clear()
    monkeypatch.setattr(redis_clients, "_AHEAD_S", 60.0)  # on a busy machine too
    token = cache.absent.set(frozenset({key}))
    try:
        response = client().get(f"{ROOT}{path}")
    finally:
        cache.absent.reset(token)

    assert response["X-Cache"] == "MISS"
    assert len(questions) <= most


def test_one_coin_without_a_price_does_not_spoil_a_batch() -> None:
    batch = ok("", symbols="BTC,coingecko:01coin,ETH")

    assert list(batch["data"]) == ["BTC", "ETH"]
    assert list(batch["failed"].values()) == ["not_found"]


def test_a_batch_of_known_quotes_costs_no_upstream_call() -> None:
    ok("", symbols="BTC,ETH")

    again = ok("", symbols="BTC,ETH")

    assert (again["api_calls"], again["cache_hits"], again["cached"]) == (0, 2, True)


@pytest.mark.parametrize(
    "body",
    [
        {"symbols": []},
        {"symbols": [f"S{n}" for n in range(101)]},
        {"symbols": "BTC"},
        {"symbols": [1, None]},
        {"symbols": [["BTC"]]},
        {},
        [],
        "BTC",
    ],
    ids=["none", "too many", "text", "numbers", "nested", "no list", "a list", "a string"],
)
def test_a_batch_of_another_shape_is_refused(body: Any) -> None:
    response = client().post(f"{ROOT}/batch", json.dumps(body), content_type="application/json")

    assert problem(response, 400, "invalid_parameter")["errors"]


def test_a_query_string_is_validated_once_and_each_request_has_its_own_of_it() -> None:
    def asked(text: str, **more: Any) -> dict[str, Any]:
        made = RequestFactory().generic("GET", "/", QUERY_STRING=text, **more)
        return rest.query_of(Request(made), BatchQuery)

    first = asked("symbols=BTC,ETH")
    first["symbols"] = first["sparkline"] = None

    assert asked("symbols=BTC,ETH") == {
        "symbols": ("BTC", "ETH"),
        "force_refresh": False,
        "sparkline": False,
    }
    for _ in range(2):
        with pytest.raises(ValidationError):
            asked("symbols=")
    # In Latin-1 the same octets are other letters.
    latin = {"CONTENT_TYPE": "text/plain; charset=latin-1"}
    assert asked("symbols=%C3%A9")["symbols"] == ("\u00e9",)
    assert asked("symbols=%C3%A9", **latin)["symbols"] == ("\u00c3\u00a9",)
