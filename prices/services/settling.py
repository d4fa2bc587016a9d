"""Who has a ticker that several assets bear, and that it stays so.

A bare ticker that fits several assets goes, in this order, to: the one pinned
in the admin; the one it settled on before; an untokenised, unwrapped coin
among the top 300 by market cap; a US stock; the coin with the best rank. The
choice is then stored, and stays until someone pins it otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import IntegrityError, transaction

from prices.models import Asset, Catalogue
from prices.services.spelling import STOCK_TICKER, TICKER
from prices.types import AssetKind

TOP_RANK = 300


def bearers(tickers: Iterable[str]) -> dict[str, list[Asset]]:
    """Return the active assets of each ticker, best first."""
    found: dict[str, list[Asset]] = {}
    wanted = {ticker for ticker in tickers if ticker}
    for asset in Asset.objects.filter(ticker__in=wanted, is_active=True):
        found.setdefault(asset.ticker, []).append(asset)
    for assets in found.values():
        assets.sort(key=by_size)
    return found


def by_size(asset: Asset) -> tuple[object, ...]:
    """Order of coins: originals before copies, then rank, market cap, volume, id."""
    return (
        asset.is_derivative,
        asset.market_cap_rank if asset.market_cap_rank is not None else 2**31,
        -(asset.market_cap or 0.0),
        -(asset.volume or 0.0),
        asset.ref,
    )


def winner(
    candidates: Sequence[Asset], kind: AssetKind | None, *, keep: bool = True
) -> Asset | None:
    """Return who has the ticker among its bearers, best first, and let it stay so if `keep`."""
    if kind is AssetKind.STOCK:
        return next((a for a in candidates if a.kind == AssetKind.STOCK), None)
    if kind is AssetKind.CRYPTO:
        return leading_coin(candidates)
    for flag in ("pinned", "settled"):
        for asset in candidates:
            if getattr(asset, flag):
                return asset
    top = next((a for a in candidates if is_top_coin(a)), None)
    stock = next((a for a in candidates if a.kind == AssetKind.STOCK), None)
    winner = top or stock or next(iter(candidates), None)
    if keep and winner is not None and (winner is top or _all_are_known()):
        return _stored(winner, "settled")
    if winner is not None and winner.is_derivative and STOCK_TICKER.fullmatch(winner.ticker):
        return None  # It may be a copy of a stock that we cannot see yet.
    return winner


def leading_coin(candidates: Sequence[Asset], *, keep: bool = True) -> Asset | None:
    coins = [a for a in candidates if a.kind == AssetKind.CRYPTO]
    for flag in ("pinned", "settled", "leading"):
        for asset in coins:
            if getattr(asset, flag):
                return asset
    if not coins or not keep:
        return next(iter(coins), None)
    return _stored(coins[0], "leading")


def is_top_coin(asset: Asset) -> bool:
    return (
        asset.kind == AssetKind.CRYPTO
        and not asset.is_derivative
        and asset.market_cap_rank is not None
        and asset.market_cap_rank <= TOP_RANK
    )


def _stored(asset: Asset, flag: str) -> Asset:
    """Let a ticker stay with an asset; where another process was first, its choice holds."""
    try:
        with transaction.atomic():
            # A ticker whose owner is gone is free again.
            Asset.objects.filter(ticker=asset.ticker, is_active=False, **{flag: True}).settle(
                **{flag: False}
            )
            Asset.objects.filter(pk=asset.pk).settle(**{flag: True})
    except IntegrityError:
        return Asset.objects.get(ticker=asset.ticker, **{flag: True})
    setattr(asset, flag, True)
    return asset


def _all_are_known() -> bool:
    """Whether nobody else can bear a ticker whom we do not know yet."""
    return Catalogue.objects.filter(kind__in=list(AssetKind)).count() == len(AssetKind)


def symbol_of(asset: Asset, rivals: Sequence[Asset], *, keep: bool = True) -> str:
    """Return the bare ticker where it means this asset, else the form that does."""
    if asset.is_active and TICKER.fullmatch(asset.ticker):
        owner = winner(rivals, None, keep=keep)
        if owner is not None and owner.pk == asset.pk:
            return asset.ticker
        if asset.kind == AssetKind.STOCK:
            return asset.ref
        leader = leading_coin(rivals, keep=keep)
        if leader is not None and leader.pk == asset.pk:
            return f"crypto:{asset.ticker}"
    return asset.ref


def is_final(asset: Asset, rivals: Sequence[Asset]) -> bool:
    """Whether the name of an asset rests on choices that are stored, and so will not change.

    `rivals` are the bearers of its ticker, asked for its name before.
    """
    if not asset.is_active or not TICKER.fullmatch(asset.ticker):
        return asset.is_active
    if not any(a.pinned or a.settled for a in rivals):
        return False
    coins = [a for a in rivals if a.kind == AssetKind.CRYPTO]
    return asset.kind == AssetKind.STOCK or any(a.pinned or a.settled or a.leading for a in coins)
