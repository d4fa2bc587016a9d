"""What becomes of assets that the catalogue lacks: gone for good, or known under another ticker.

A stock that vanished and a new one that bears the same FIGI are one: it was
renamed. Its share class keeps that identifier whatever it trades as. A coin
that vanished has no heir: CoinGecko's ids do not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from prices.former_tickers import FORMER
from prices.models import Asset, Dispute, Series, StockSplit
from prices.services import holdings
from prices.sessions import NEW_YORK
from prices.types import COMPOSITE, AssetKind


@dataclass(frozen=True, slots=True)
class Known:
    """What we held of a stock before its catalogue was filled anew."""

    figi: str
    is_active: bool
    name: str = ""

    def is_of_another_than(self, asset: Asset) -> bool:
        """Whether a ticker means another company now: by its number of the same kind, and name."""
        kinds = self.figi.startswith(COMPOSITE), asset.figi.startswith(COMPOSITE)
        if not self.figi or not asset.figi or kinds[0] != kinds[1]:
            return False
        return self.figi != asset.figi and self.name.casefold() != asset.name.casefold()


def known(kind: AssetKind) -> dict[str, Known]:
    """Return the stocks of the catalogue as it stands, by ref; of coins nothing is needed."""
    if kind is not AssetKind.STOCK:
        return {}
    rows = Asset.objects.filter(kind=kind).values_list("ref", "figi", "is_active", "name")
    return {ref: Known(figi, is_active, name) for ref, figi, is_active, name in rows}


def forget_former(before: Mapping[str, Known], listed: Collection[Asset]) -> None:
    """Drop what is kept of tickers that another company has now: its past is not theirs."""
    taken = [
        asset.ref
        for asset in listed
        if (was := before.get(asset.ref)) and was.is_of_another_than(asset)
    ]
    if not taken:
        return
    for model in (Series, StockSplit, Dispute):
        model.objects.filter(asset__ref__in=taken).delete()
    rows = Asset.objects.filter(ref__in=taken).values_list("ticker", "ref")
    holdings.forget([name for row in rows for name in row])


def retire(kind: AssetKind, before: Mapping[str, Known], since: datetime, now: datetime) -> int:
    """Strike off what the catalogue lacks that was filled at `now`; return how many.

    `since` is when it was filled before that: what it held then was listed up to
    that day. Others came by look-ups, and nothing is known of their end.
    """
    gone = list(Asset.objects.filter(kind=kind, is_active=True, seen_at__lt=now))
    heirs = _heirs(gone, before)
    for asset in gone:
        asset.is_active = False
        asset.market_cap_rank = None
        if asset.seen_at == since:
            asset.last_day = day_of(kind, since)
            asset.successor = heirs.get(asset.figi)
    Asset.objects.bulk_update(
        gone, ["is_active", "market_cap_rank", "last_day", "successor"], batch_size=500
    )
    tracked = [asset.successor_id for asset in gone if asset.tracked and asset.successor_id]
    Asset.objects.filter(pk__in=tracked).update(tracked=True)
    return len(gone)


def remember_former(seen_at: datetime) -> None:
    """Have a row for each former ticker that is known and nobody bears now.

    Not for one whose successor is not listed: it cannot be told what became of it.
    """
    tickers = [one.ticker for one in FORMER]
    held = set(
        Asset.objects.filter(kind=AssetKind.STOCK, ticker__in=tickers).values_list(
            "ticker", flat=True
        )
    )
    heirs = Asset.objects.filter(
        ref__in=[f"stock:{one.successor}" for one in FORMER if one.successor], is_active=True
    ).in_bulk(field_name="ref")
    for one in FORMER:
        heir = heirs.get(f"stock:{one.successor}")
        if one.ticker in held or (one.successor and heir is None):
            continue
        Asset.objects.create(
            ref=f"stock:{one.ticker}",
            kind=AssetKind.STOCK,
            ticker=one.ticker,
            name=one.name,
            finnhub_symbol=one.ticker,
            is_active=False,
            seen_at=seen_at,
            last_day=one.last_day,
            successor=heir,
        )


def day_of(kind: AssetKind, at: datetime) -> date:
    """Return the day a moment belongs to: New York's for stocks, UTC's for coins."""
    return (at.astimezone(NEW_YORK) if kind is AssetKind.STOCK else at).date()


def learn_last_day(asset: Asset, day: date) -> None:
    """Note the last day of an asset's history where it ended before the catalogue lacked it."""
    if asset.last_day is None or day < asset.last_day:
        asset.last_day = day
        Asset.objects.filter(pk=asset.pk).update(last_day=day)


def heir(asset: Asset) -> Asset | None:
    """Return what an asset trades as now, over several renamings; None where it does not."""
    passed = {asset.pk}
    while asset.successor is not None and asset.successor.pk not in passed:
        asset = asset.successor
        passed.add(asset.pk)
    return asset if asset.is_active and len(passed) > 1 else None


def bearers(tickers: Iterable[str]) -> dict[str, list[Asset]]:
    """Return the assets that are gone and bore a ticker, the latest to go first."""
    found: dict[str, list[Asset]] = {}
    rows = Asset.objects.filter(
        ticker__in=set(tickers), is_active=False, last_day__isnull=False
    ).select_related("successor")
    for asset in rows.order_by("-last_day", "ref"):
        found.setdefault(asset.ticker, []).append(asset)
    return found


def _heirs(gone: Sequence[Asset], before: Mapping[str, Known]) -> dict[str, Asset]:
    """Return the newly listed stock of each FIGI that was lost, where just one bears it."""
    lost = Counter(asset.figi for asset in gone if asset.figi)
    figis = [figi for figi, bearers in lost.items() if bearers == 1]
    found: dict[str, list[Asset]] = {}
    for asset in Asset.objects.filter(is_active=True, figi__in=figis):
        was = before.get(asset.ref)
        if was is None or not was.is_active or was.figi != asset.figi:
            found.setdefault(asset.figi, []).append(asset)
    return {figi: assets[0] for figi, assets in found.items() if len(assets) == 1}
