"""Fixtures for tests of prices."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from redis import Redis

from tests.market import Sandbox

_FIRST_SOURCES = {
    f"{kind}_{what}": [source]
    for kind, source in (("coin", "coingecko"), ("stock", "finnhub"))
    for what in ("quotes", "history", "candles")
}
# What fills the catalogues, as the database is told it: written once, said again for each test.
_filling: list[tuple[str, Any]] = []


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Redis is asked from here on by the test's own thread, in order."""
    from prices import redis_clients

    asked: list[Any] = []
    ask = redis_clients.ask

    me = threading.get_ident()

    def noted(question: Any) -> Any:
        if threading.get_ident() == me:  # Hits are counted by another.
            asked.append(question)
        return ask(question)

    monkeypatch.setattr(redis_clients, "ask", noted)
    return asked


@pytest.fixture
def market(db: None, sandbox: Sandbox, redis_client: Redis) -> Sandbox:
    """The sandbox with its catalogues filled: by the service once, then from those rows."""
    from django.db import connection

    from prices import cache, failures, registry
    from prices.models import Asset, Catalogue, assets_changed
    from prices.services import doubts, listed

    cache._local.clear()
    failures._here.clear()
    listed._held.clear()
    doubts._here.clear()
    registry.forget()
    if not _filling:
        _fill()
        filled = [(model, list(model._default_manager.all())) for model in (Asset, Catalogue)]
        Asset.objects.all().delete()
        Catalogue.objects.all().delete()
        with connection.execute_wrapper(_noting):
            for model, rows in filled:
                model._default_manager.bulk_create(rows)
        redis_client.flushall()
        sandbox.reset()
        return sandbox
    with connection.cursor() as cursor:
        for sql, parameters in _filling:
            cursor.execute(sql, parameters)
    assets_changed.send(Asset)
    return sandbox


def _noting(execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
    if sql.startswith("INSERT"):
        _filling.append((sql, params))
    return execute(sql, params, many, context)


def _fill() -> None:
    """Fill both catalogues; a market that has just started may be slow on a busy machine."""
    from prices.errors import PricesError
    from prices.services import catalogue
    from prices.types import AssetKind

    left = list(AssetKind)
    for _ in range(4):
        outcomes = catalogue.fill_all(left)
        left = [kind for kind in left if isinstance(outcomes[kind], PricesError)]
    assert not left, outcomes


@pytest.fixture
def alone(settings: Any) -> None:
    """CoinGecko and Finnhub are the only sources: nobody steps in for them."""
    settings.PRICE_CHAINS = _FIRST_SOURCES
