"""The one stored list of coins by market cap, from which every other list is cut."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from prices import cache, freshness, gateway, registry
from prices.answers import CoinRow, TopAnswer
from prices.freshness import Cadence
from prices.types import AssetKind, Capability, Coin, Freshness

# Two calls of 250. Deeper than the 300 anybody can ask for, so that what has
# just dropped out of them is still known by its rank.
DEPTH = 500
KEY = cache.list_key("coins")


def held() -> cache.Held[TopAnswer]:
    """Return the stored list, loading it if need be. Raises UpstreamError."""
    return cache.fetch(KEY, _load, TopAnswer, cache.LIST)


def coins() -> list[Coin]:
    """Return the coins of the stored list, best rank first. Raises UpstreamError."""
    return [coin_of(row) for row in held().value.cryptos]


def row_of(coin: Coin) -> CoinRow:
    fields: dict[str, Any] = {name: getattr(coin, name) for name in Coin.__slots__}
    fields["symbol"] = coin.symbol.upper()
    return CoinRow(ref=f"coingecko:{coin.id}", **fields)


def coin_of(row: CoinRow) -> Coin:
    return Coin(**{name: getattr(row, name) for name in Coin.__slots__})


def judged(found: Sequence[CoinRow], now: datetime) -> list[CoinRow]:
    """Return rows with how fresh their figures are at that moment."""
    cadence = registry.cadence(registry.source_for(AssetKind.CRYPTO))
    return [replace(row, freshness=_freshness(row, now, cadence)) for row in found]


def _freshness(row: CoinRow, now: datetime, cadence: Cadence) -> Freshness:
    if row.last_updated is None:
        return Freshness.UNKNOWN
    return freshness.of_quote(AssetKind.CRYPTO, row.last_updated, now, cadence).freshness


def newest(found: Sequence[Coin] | Sequence[CoinRow]) -> datetime | None:
    """Return when the newest of some coins was last updated."""
    return max((c.last_updated for c in found if c.last_updated), default=None)


def _load() -> TopAnswer:
    got = gateway.ask(AssetKind.CRYPTO, Capability.COINS, lambda source: source.top(DEPTH))
    found = [row_of(coin) for coin in got.value]
    return TopAnswer(
        source=got.source,
        as_of=newest(found),
        fetched_at=got.fetched_at,
        cached=False,
        stale=False,
        count=len(found),
        page=1,
        limit=DEPTH,
        has_more=False,
        cryptos=found,
    )


def cut(held: cache.Held[TopAnswer], limit: int, page: int, depth: int) -> TopAnswer:
    """Return one page of the stored list, `depth` coins deep in all."""
    first = (page - 1) * limit
    everything = held.value.cryptos[:depth]
    found = everything[first : first + limit]
    return replace(
        held.value,
        as_of=newest(found),
        count=len(found),
        page=page,
        limit=limit,
        has_more=first + limit < len(everything),
        cryptos=found,
    )
