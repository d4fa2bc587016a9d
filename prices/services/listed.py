"""What the list of coins says of coins that were never quoted: a price we had of them all the same.

No source is asked, and a list past its life counts too: by its time a reader knows how much
a price may have moved since.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from prices import cache, freshness, registry
from prices.answers import CoinRow, QuoteAnswer, TopAnswer
from prices.services import ranking
from prices.services.symbols import Resolved
from prices.types import AssetKind

# A list is renewed once an hour and has some hundred kilobytes: more than all else that a load
# of one quote reads. So long a process does without looking whether there is a newer one.
_LOOK_AGAIN_S = 10.0


def quotes(wanted: Mapping[str, Resolved]) -> dict[str, QuoteAnswer]:
    """Return the newest rows of coins as quotes, by key, where they have a price and a time."""
    if not wanted:
        return {}
    newest = _newest()
    if newest is None:
        return {}
    found = {key: newest.rows.get(one.asset.ref) for key, one in wanted.items()}
    told = {key: _quote(row, wanted[key], newest.whole) for key, row in found.items() if row}
    return {key: quote for key, quote in told.items() if quote is not None}


def instead(failed: Mapping[str, Resolved]) -> dict[str, QuoteAnswer]:
    """Return quotes, by key, in place of those that no source gave: old, and marked so."""
    return {key: cache.as_copy(quote) for key, quote in quotes(failed).items()}


def price(ref: str) -> tuple[float, datetime] | None:
    """Return the price of a coin in the newest list, and when it held."""
    newest = _newest()
    row = newest.rows.get(ref) if newest else None
    if row is None or not row.current_price or row.current_price < 0 or row.last_updated is None:
        return None
    return row.current_price, row.last_updated


class _Newest(NamedTuple):
    """The newest list, its rows by ref, and the monotonic time to look for a newer one."""

    whole: TopAnswer
    rows: Mapping[str, CoinRow]
    look_again_at: float


_held: list[_Newest] = []  # one, or none


def _newest() -> _Newest | None:
    held = _held[0] if _held else None
    if held is not None and time.monotonic() < held.look_again_at:
        return held
    whole = cache.newest([ranking.KEY], TopAnswer).get(ranking.KEY)
    rows = {row.ref: row for row in whole.cryptos} if whole else {}
    found = [_Newest(whole, rows, time.monotonic() + _LOOK_AGAIN_S)] if whole else []
    _held[:] = found
    return found[0] if found else None


def _quote(row: CoinRow, resolved: Resolved, whole: TopAnswer) -> QuoteAnswer | None:
    worth, at = row.current_price, row.last_updated
    if not worth or worth < 0 or at is None:
        return None
    cadence = registry.cadence(registry.source_for(AssetKind.CRYPTO))
    verdict = freshness.of_quote(AssetKind.CRYPTO, at, datetime.now(UTC), cadence)
    return QuoteAnswer(
        source=whole.source,
        as_of=at,
        fetched_at=whole.fetched_at,
        cached=True,
        stale=whole.stale,
        symbol=resolved.symbol,
        ref=row.ref,
        name=resolved.asset.name,
        kind=AssetKind.CRYPTO,
        price=worth,
        change=row.price_change_24h,
        change_percent=row.price_change_percentage_24h,
        high=row.high_24h,
        low=row.low_24h,
        volume=row.total_volume,
        market_cap=row.market_cap,
        last_updated=at,
        freshness=verdict.freshness,
        market=None,
        session=None,
        disputed=False,
        quote_currency=whole.currency,
        fallback_from=[],
        change_basis="24h",
        volume_basis="24h_currency" if row.total_volume is not None else None,
        alternatives=resolved.alternatives,
    )
