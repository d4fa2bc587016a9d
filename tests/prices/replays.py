"""How a test lets sources stand still, prices grow old and pairs be settled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from redis import Redis

from prices import cache
from prices.answers import QuoteAnswer
from prices.models import Asset
from prices.services import pairs
from tests.market import Sandbox
from tests.prices.rest import ok

COINS = "/coingecko/api/v3/coins/markets"


def again(redis_client: Redis, symbol: str = "BTC") -> Any:
    """Let a quote's life be over, and ask for it."""
    redis_client.delete(f"price:{symbol}")
    return ok(f"/{symbol}")


def settle_pairs(symbol: str = "BTC") -> None:
    asset = Asset.objects.get(ticker=symbol, market_cap_rank__lte=50)
    for source in ("binance", "coinbase", "kraken"):
        assert pairs.settled(asset, source).is_settled


def freeze(sandbox: Sandbox, source: str, for_s: float) -> None:
    """Let a source stand still since `for_s` seconds ago."""
    sandbox.control("POST", "clock", {"shift_s": -for_s})
    sandbox.fault("frozen", source=source)
    sandbox.control("POST", "clock", {"shift_s": 0})


def age_copy(
    redis_client: Redis,
    symbol: str,
    by: timedelta,
    *,
    fetched: bool = True,
    price: float | None = None,
) -> None:
    """Let the copy of a quote be older, and its life be over."""
    body = redis_client.get(f"good:price:{symbol}")
    assert isinstance(body, str)
    old = msgspec.json.decode(body, type=QuoteAnswer)
    at = old.last_updated - by
    aged = msgspec.structs.replace(
        old,
        as_of=at,
        last_updated=at,
        price=price or old.price,
        fetched_at=old.fetched_at - by if fetched else old.fetched_at,
    )
    redis_client.set(f"good:price:{symbol}", cache.encode(aged), ex=1000)
    redis_client.delete(f"price:{symbol}")
