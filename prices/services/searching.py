"""Finding assets by what people type: a part of a name, a ticker, a ref."""

from __future__ import annotations

from django.db.models import Q

from prices.models import Asset
from prices.services import settling, spelling, symbols
from prices.types import AssetKind


def search(text: str, kind: AssetKind | None, limit: int) -> list[symbols.Resolved]:
    """Return assets whose ticker, name or id fits `text`, the likeliest first.

    A symbol in any of its forms is found too: a ref before everything else, and a
    forced kind narrows the search to that kind.
    """
    folded = " ".join(text.split()).casefold()
    prefix, colon, rest = folded.partition(":")
    if colon and prefix in spelling.FORCED:
        words, kinds = rest.strip(), {spelling.FORCED[prefix]}
    else:
        words, kinds = folded, set(AssetKind)
    kinds &= {kind} if kind else set(AssetKind)
    if not words or not kinds:
        return []
    tickers = spelling.spellings(spelling.SHARE_CLASS.sub(".", words.upper()))
    fits = Q(name__icontains=words) | Q(coingecko_id__icontains=words)
    for ticker in tickers:
        fits |= Q(ticker__startswith=ticker)
    rows = Asset.objects.filter(fits, is_active=True, kind__in=kinds)

    def likelihood(asset: Asset) -> tuple[object, ...]:
        name = asset.name.casefold()
        fit = (
            asset.ref.casefold() != folded,
            asset.ticker not in tickers,
            name != words,
            not asset.ticker.startswith(tuple(tickers)) and not name.startswith(words),
        )
        # A stock has no rank; it stands beside the coins of the middle field.
        rank = asset.market_cap_rank or (
            settling.TOP_RANK if asset.kind == AssetKind.STOCK else 2**31
        )
        return (*fit, asset.is_derivative, rank, asset.exchange == "OTC", asset.ticker, asset.ref)

    # A thousand rows are ranked at most, those with the best ranks among them, and
    # whatever bears the very name.
    exact = rows.filter(Q(ticker__in=tickers) | Q(coingecko_id__iexact=words))
    found = {asset.pk: asset for asset in [*rows[:1000], *exact[:1000]]}
    best = sorted(found.values(), key=likelihood)[:limit]
    by_ref = symbols.named(best)
    return [by_ref[asset.ref] for asset in best]
