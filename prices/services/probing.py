"""Asking the sources on an operator's behalf, within the budget everything else shares.

A source that fails is part of what is returned, never an exception.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prices import cache, gateway
from prices.answers import QuoteAnswer
from prices.budget import Purpose
from prices.errors import PricesError
from prices.models import Asset
from prices.redis_clients import RedisAwayError
from prices.services import holdings, quotes, symbols
from prices.services.inspection import glimpses
from prices.types import AssetKind, Capability


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What renewing a quote came to. `error` says why it is not new, where it is not."""

    asset: Asset
    quote: QuoteAnswer | None
    is_new: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Refresh:
    """What renewing some quotes came to, and how many upstream calls it took."""

    outcomes: list[Refreshed]
    calls: int


@dataclass(frozen=True, slots=True)
class Checked:
    """What the source says of an asset now, beside what is held.

    knows   whether the source still lists it; None where it does not say: it could not be
            asked, or is of stocks and gives no price
    """

    asset: Asset
    knows: bool | None
    price: float | None = None
    held: QuoteAnswer | None = None
    error: str = ""

    @property
    def off_percent(self) -> float | None:
        """How far what is held is from what the source says, in percent of the latter."""
        if self.held is None or not self.price:
            return None
        return (self.held.price / self.price - 1) * 100


def refresh(assets: Sequence[Asset]) -> Refresh:
    """Renew the quotes of assets, as `force_refresh` does and within its share of the budget."""
    names = symbols.names(assets)
    for name in names.values():
        # Whoever presses a button wants it tried again, not told that it failed just now.
        cache.discard(cache.price_key(name))
    batch = quotes.quotes(list(names.values()), force=True)
    reasons = _failures(names.values())
    outcomes = []
    for asset in assets:
        name = names[asset.ref]
        quote, error = batch.data.get(name), batch.errors.get(name)
        if quote is None:
            outcomes.append(Refreshed(asset, None, is_new=False, error=str(error or "no answer")))
        elif not quote.cached:
            outcomes.append(Refreshed(asset, quote, is_new=True))
        else:
            outcomes.append(
                Refreshed(asset, quote, is_new=False, error=_why_old(quote, reasons.get(name)))
            )
    return Refresh(outcomes, batch.api_calls)


def _why_old(quote: QuoteAnswer, reason: str | None) -> str:
    age_s = (datetime.now(UTC) - quote.fetched_at).total_seconds()
    if not quote.stale and age_s <= cache.FORCED_AGE_S:
        return ""
    return reason or "its source could not be asked"


def _failures(names: Collection[str]) -> dict[str, str]:
    try:
        return holdings.failures({name: cache.price_key(name) for name in names})
    except RedisAwayError:
        return {}


def check(assets: Sequence[Asset]) -> list[Checked]:
    """Ask the source of each asset, by its id there, what it says of it now; nothing is stored."""
    page = glimpses(assets)
    held = {ref: glimpse.quote for ref, glimpse in page.glimpses.items()}
    checked: dict[str, Checked] = {}
    for kind, ask in ((AssetKind.CRYPTO, _check_coins), (AssetKind.STOCK, _check_stocks)):
        group = [asset for asset in assets if asset.kind == kind]
        if not group:
            continue
        try:
            found = ask(group, held)
        except PricesError as exc:
            found = [Checked(a, None, held=held[a.ref], error=str(exc)) for a in group]
        checked |= {one.asset.ref: one for one in found}
    return [checked[asset.ref] for asset in assets]


Held = Mapping[str, QuoteAnswer | None]


def _check_coins(assets: Sequence[Asset], held: Held) -> list[Checked]:
    ids = [asset.coingecko_id for asset in assets]
    got = gateway.ask(
        AssetKind.CRYPTO,
        Capability.COINS,
        lambda source: source.coins(ids),
        purpose=Purpose.REFRESH,
    )
    coins = {coin.id: coin for coin in got.value}
    return [
        Checked(
            asset,
            knows=asset.coingecko_id in coins,
            price=coins[asset.coingecko_id].current_price if asset.coingecko_id in coins else None,
            held=held[asset.ref],
        )
        for asset in assets
    ]


def _check_stocks(assets: Sequence[Asset], held: Held) -> list[Checked]:
    instruments = [asset.instrument for asset in assets]
    got = gateway.ask(
        AssetKind.STOCK,
        Capability.QUOTES,
        lambda source: source.quotes(instruments),
        purpose=Purpose.REFRESH,
    )
    checked = []
    for asset in assets:
        quote, error = got.value.found.get(asset.ref), got.value.failed.get(asset.ref)
        if quote is not None:
            checked.append(Checked(asset, knows=True, price=quote.price, held=held[asset.ref]))
        elif error is not None:
            checked.append(Checked(asset, None, held=held[asset.ref], error=str(error)))
        else:
            # No source of stocks is asked whether it lists one: without a price it may be idle.
            checked.append(Checked(asset, None, held=held[asset.ref]))
    return checked
