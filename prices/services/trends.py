"""How coins have moved: sparklines and changes, laid beside rows and quotes.

One markets call tells of 250 coins, and what it told is kept by coin, so that lists
and batches of any make share it. Without it rows and quotes are what they were.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from prices import cache, gateway
from prices.answers import (
    BatchAnswer,
    QuoteAnswer,
    TopAnswer,
    TrendAnswer,
    TrendedBatchAnswer,
    TrendedQuote,
    TrendedRow,
    TrendedTopAnswer,
)
from prices.budget import Purpose, spending
from prices.cache import Held
from prices.errors import PricesError
from prices.types import AssetKind, Capability, Trend

LIFE = cache.Lifetime("list", 1800)
_PREFIX = "coingecko:"


def of_coins(ids: Collection[str]) -> tuple[dict[str, TrendAnswer], int]:
    """Return the trends that are known or can be had, by id, and the calls that were made."""
    keys = {cache.list_key(f"trend:{coin_id}"): coin_id for coin_id in ids}

    def load(missing: Sequence[str]) -> Mapping[str, TrendAnswer | PricesError]:
        got = gateway.ask(
            AssetKind.CRYPTO,
            Capability.COINS,
            lambda source: source.trends([keys[key] for key in missing]),
        )
        nothing = Trend(as_of=None)  # Kept too: it need not be asked for again.
        return {key: _answer(got, got.value.get(keys[key], nothing)) for key in missing}

    with spending(Purpose.ANSWER) as tally:
        results = cache.fetch_many(keys, load, TrendAnswer, LIFE)
    found = {keys[key]: held.value for key, held in results.items() if isinstance(held, Held)}
    return found, tally.calls


def _answer(got: gateway.Sourced[Any], trend: Trend) -> TrendAnswer:
    return TrendAnswer(
        source=got.source,
        fetched_at=got.fetched_at,
        cached=False,
        stale=False,
        **{name: getattr(trend, name) for name in Trend.__slots__},
    )


def of_top(held: Held[TopAnswer]) -> Held[TrendedTopAnswer]:
    """Return a list of coins with their trends."""
    found, calls = of_coins([row.id for row in held.value.cryptos])
    rows = []
    for row in held.value.cryptos:
        trend = found.get(row.id)
        changes: dict[str, Any] = {
            f"price_change_percentage_{span}": getattr(trend, f"change_percent_{span}", None)
            for span in ("1h", "7d", "30d")
        }
        rows.append(TrendedRow(**_fields(row), **changes, **_line(trend)))
    told = {**_fields(held.value), "cryptos": rows, "cached": held.value.cached and not calls}
    answer = TrendedTopAnswer(**told)
    return Held(answer, cache.encode(answer), held.life_s, held.was_hit and not calls)


def of_batch(batch: BatchAnswer) -> TrendedBatchAnswer:
    """Return a batch with the trends of its coins."""
    coins = [q.ref.removeprefix(_PREFIX) for q in batch.data.values() if _is_coin(q)]
    found, calls = of_coins(coins)
    quotes = {name: _trended(q, found) for name, q in batch.data.items()}
    told = {**_fields(batch), "data": quotes, "api_calls": batch.api_calls + calls}
    return TrendedBatchAnswer(**told)


def _trended(quote: QuoteAnswer, found: Mapping[str, TrendAnswer]) -> TrendedQuote:
    trend = found.get(quote.ref.removeprefix(_PREFIX)) if _is_coin(quote) else None
    changes: dict[str, Any] = {
        name: getattr(trend, name, None)
        for name in ("change_percent_1h", "change_percent_7d", "change_percent_30d")
    }
    return TrendedQuote(**_fields(quote), **changes, **_line(trend))


def _is_coin(quote: QuoteAnswer) -> bool:
    return quote.ref.startswith(_PREFIX)


def _line(trend: TrendAnswer | None) -> dict[str, Any]:
    return {
        "sparkline": trend.sparkline if trend else None,
        "trend_as_of": trend.as_of if trend else None,
    }


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
