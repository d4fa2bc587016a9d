"""Fixtures for tests of prices."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from tests.market import Sandbox

_FIRST_SOURCES = {
    f"{kind}_{what}": [source]
    for kind, source in (("coin", "coingecko"), ("stock", "finnhub"))
    for what in ("quotes", "history", "candles")
}
_filled: list[list[object]] = []


@pytest.fixture
def market(db: None, sandbox: Sandbox, redis_client: Redis) -> Sandbox:
    """The sandbox with its catalogues filled: by the service once, then from those rows."""
    from prices import cache, failures, registry
    from prices.models import Asset, Catalogue

    cache._local.clear()
    failures._here.clear()
    registry.forget()
    if _filled:
        for model, rows in zip((Asset, Catalogue), _filled, strict=True):
            model.objects.bulk_create(rows)  # type: ignore[attr-defined]
    else:
        _fill()
        _filled[:] = [list(Asset.objects.all()), list(Catalogue.objects.all())]
        redis_client.flushall()
        sandbox.reset()
    return sandbox


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
