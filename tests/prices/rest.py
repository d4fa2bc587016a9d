"""A client of the REST API as tests use it, and the fields of the contract."""

from __future__ import annotations

import functools
from typing import Any

from django.test import Client

ROOT = "/api/v1/prices"
ENVELOPE = {"source", "as_of", "fetched_at", "cached", "stale", "currency"}
QUOTE = ENVELOPE | {
    *("symbol", "ref", "name", "kind", "price", "change", "change_percent", "high", "low"),
    *("volume", "market_cap", "last_updated", "change_basis", "volume_basis", "alternatives"),
    *("quote_currency", "fallback_from", "freshness", "market", "session", "disputed"),
}
SERIES = ENVELOPE | {
    *("success", "symbol", "ref", "period", "resolution", "count", "from", "to", "truncated"),
    *("truncated_by", "available_from", "volume_basis", "alternatives"),
    *(
        "quote_currency",
        "fallback_from",
        "freshness",
        "market",
        "session",
        "adjustment",
        "segments",
    ),
    *("origin", "coverage"),
}
ASSET = {
    *("id", "ref", "symbol", "name", "image", "current_price", "market_cap", "market_cap_rank"),
    *("total_volume", "high_24h", "low_24h", "price_change_24h", "price_change_percentage_24h"),
    *("circulating_supply", "total_supply", "max_supply", "ath", "ath_change_percentage"),
    *("ath_date", "atl", "atl_change_percentage", "atl_date", "last_updated", "freshness"),
}


@functools.cache
def client() -> Client:
    """Return one client for all tests: the first request of each loads every middleware."""
    return Client()


def get(path: str, **query: Any) -> Any:
    return client().get(f"{ROOT}{path}", query)


def ok(path: str, **query: Any) -> Any:
    response = get(path, **query)
    assert response.status_code == 200, response.content
    return response.json()


def problem(response: Any, status: int, code: str) -> Any:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert {"type", "title", "detail", "instance", "request_id", "errors"} <= body.keys()
    return body


def max_age(response: Any) -> int:
    assert response["Cache-Control"].startswith("public, max-age=")
    return int(response["Cache-Control"].partition("max-age=")[2])
