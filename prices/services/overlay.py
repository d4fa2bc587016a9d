"""Newer quotes over the rows of coin lists: all figures of a row together, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from prices import cache
from prices.answers import CoinRow, QuoteAnswer
from prices.redis_clients import RedisAwayError
from prices.services import doubts, holdings


@dataclass(frozen=True, slots=True)
class Laid:
    """Rows, and the keys of the cache that they may change with, each with when it was fetched."""

    rows: list[CoinRow]
    keys: Mapping[str, datetime] = field(default_factory=dict)


def laid_over(rows: Sequence[CoinRow]) -> Laid:
    """Return rows with the figures of a newer quote that is held, wherever there is one.

    Two MGETs, and no query: a coin's quote is held under its ticker, its forced
    ticker or its ref, and says by its ref whose it is. The key of one that is not newer
    is named too: the next under it may be. What became doubtful after a quote was stored
    is noted beside it, and such a quote is laid over nothing.
    """
    names = {name: row for row in rows for name in _names(row)}
    try:
        held = holdings.quotes(names)
    except RedisAwayError:
        held = holdings.quotes_here(names)
    listed = {row.ref for row in rows}
    theirs = {name: quote for name, quote in held.items() if quote.ref in listed}
    newer: dict[str, QuoteAnswer] = {}
    for quote in theirs.values():
        best = newer.get(quote.ref)
        if best is None or quote.last_updated > best.last_updated:
            newer[quote.ref] = quote
    notes = doubts.noted(newer)
    sure = {
        ref: quote
        for ref, quote in newer.items()
        if ref not in notes.disputed and ref not in notes.suspicions
    }
    return Laid(
        [_row(row, sure.get(row.ref)) for row in rows],
        {cache.price_key(name): quote.fetched_at for name, quote in theirs.items()},
    )


def _names(row: CoinRow) -> list[str]:
    return [row.symbol, f"crypto:{row.symbol}", row.ref]


def _row(row: CoinRow, quote: QuoteAnswer | None) -> CoinRow:
    if quote is None or row.last_updated is None or quote.last_updated <= row.last_updated:
        return row
    figures = (quote.change, quote.change_percent, quote.high, quote.low, quote.market_cap)
    if quote.disputed or any(figure is None for figure in figures):
        return row  # An exchange knows no market cap: figures of two sources are not mixed.
    return msgspec.structs.replace(
        row,
        current_price=quote.price,
        price_change_24h=quote.change,
        price_change_percentage_24h=quote.change_percent,
        high_24h=quote.high,
        low_24h=quote.low,
        market_cap=quote.market_cap,
        total_volume=quote.volume if quote.volume is not None else row.total_volume,
        last_updated=quote.last_updated,
        **_extremes(row, quote),
    )


def _extremes(row: CoinRow, quote: QuoteAnswer) -> dict[str, Any]:
    """Return the highest and the lowest price ever, which the quote's own may be."""
    found: dict[str, Any] = {}
    for name, choose in (("ath", max), ("atl", min)):
        extreme: float | None = getattr(row, name)
        if extreme is not None and extreme != choose(extreme, quote.price):
            extreme = quote.price
            found |= {name: extreme, f"{name}_date": quote.last_updated}
        found[f"{name}_change_percentage"] = _off(quote.price, extreme)
    return found


def _off(price: float, extreme: float | None) -> float | None:
    """Return how far a price is off an extreme, in percent."""
    return round(100 * (price / extreme - 1), 5) if extreme else None
