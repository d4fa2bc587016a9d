"""Which assets exist, what each source calls them, and who owns a ticker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.signals import post_delete, post_save
from django.dispatch import Signal

from prices.types import Adjustment, AssetKind, Instrument, Resolution

# Sent after any change to the rows of Asset that this process makes.
assets_changed = Signal()


class AssetQuerySet(models.QuerySet["Asset"]):
    """Assets, whose changes by the many are told of too: Django itself is silent then."""

    def update(self, **kwargs: Any) -> int:
        changed = super().update(**kwargs)
        assets_changed.send(Asset)
        return changed

    def settle(self, **flags: bool) -> int:
        """Write down who has a ticker; that nobody is told, since it keeps what is so already."""
        return super().update(**flags)

    def bulk_create(self, objs: Iterable[Asset], *args: Any, **kwargs: Any) -> list[Asset]:
        created = super().bulk_create(objs, *args, **kwargs)
        assets_changed.send(Asset)
        return created


class Asset(models.Model):
    """One coin or stock. `ref` never changes; tickers are shared and change hands.

    A bare ticker is answered by the asset that is `pinned` on it, else by the
    one it `settled` on; `crypto:TICKER` by the coin that is `leading` it.
    services/symbols.py decides these; here the database only sees to it that
    no two assets hold the same one.
    """

    ref = models.CharField(
        max_length=120, unique=True, help_text="coingecko:bitcoin, stock:AAPL; always accepted"
    )
    ticker = models.CharField(
        max_length=100, db_index=True, help_text="in upper case; may be shared"
    )
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=[(k.value, k.value) for k in AssetKind])
    coingecko_id = models.CharField(max_length=100, blank=True, db_index=True)
    finnhub_symbol = models.CharField(max_length=40, blank=True)
    exchange = models.CharField(max_length=40, blank=True)
    market_cap_rank = models.PositiveIntegerField(null=True, blank=True, db_index=True)
    market_cap = models.FloatField(null=True, blank=True)
    volume = models.FloatField(null=True, blank=True, help_text="over 24 hours, US dollars")
    is_derivative = models.BooleanField(
        default=False, help_text="tokenised stock, wrapped or bridged coin: never wins a ticker"
    )
    is_active = models.BooleanField(default=True, db_index=True)
    settled = models.BooleanField(default=False, help_text="the bare ticker means this asset")
    leading = models.BooleanField(default=False, help_text="crypto:TICKER means this coin")
    pinned = models.BooleanField(default=False, help_text="an operator's choice for the ticker")
    tracked = models.BooleanField(
        default=False, db_index=True, help_text="kept current even when nobody follows it"
    )
    figi = models.CharField(
        max_length=20,
        blank=True,
        db_index=True,
        help_text="of a stock's share class; outlives tickers",
    )
    successor = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="predecessors",
        help_text="what it trades as now, where it was renamed",
    )
    last_day = models.DateField(
        null=True, blank=True, help_text="its last day of trading, where it is gone"
    )
    listed_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(
        null=True, blank=True, help_text="when a catalogue of its source last held it"
    )

    objects = AssetQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = [F("market_cap_rank").asc(nulls_last=True), "ticker", "ref"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["ticker"], condition=Q(settled=True), name="one_settled_per_ticker"
            ),
            models.UniqueConstraint(
                fields=["ticker"], condition=Q(leading=True), name="one_leading_coin_per_ticker"
            ),
            models.UniqueConstraint(
                fields=["ticker"], condition=Q(pinned=True), name="one_pinned_per_ticker"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.ticker} ({self.name})"

    @property
    def is_gone(self) -> bool:
        """Whether its catalogue had it and lacks it now."""
        return not self.is_active and self.last_day is not None

    @property
    def instrument(self) -> Instrument:
        """What a provider needs to know of it."""
        kind = AssetKind(self.kind)
        upstream_id = self.coingecko_id if kind is AssetKind.CRYPTO else self.finnhub_symbol
        return Instrument(ref=self.ref, kind=kind, upstream_id=upstream_id)


def _one_changed(**_: Any) -> None:
    assets_changed.send(Asset)


post_save.connect(_one_changed, sender=Asset, dispatch_uid="an asset was saved")
post_delete.connect(_one_changed, sender=Asset, dispatch_uid="an asset was deleted")


class Catalogue(models.Model):
    """When a kind of asset was last filled from its source: tells "none" from "not yet"."""

    kind = models.CharField(
        max_length=10, primary_key=True, choices=[(k.value, k.value) for k in AssetKind]
    )
    source = models.CharField(max_length=40)
    filled_at = models.DateTimeField()
    rows = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.kind}: {self.rows} from {self.source}"


class ExchangePair(models.Model):
    """Which pair of an exchange stands for a coin, or that none does (`is_settled` off).

    `apart_percent` is how far its price lay from CoinGecko's when it was looked at;
    `refusals` how many looks in a row found none.
    """

    asset = models.ForeignKey(Asset, on_delete=models.CASCADE, related_name="pairs")
    source = models.CharField(max_length=40)
    symbol = models.CharField(max_length=60, blank=True, help_text="as the exchange names it")
    quote = models.CharField(max_length=10, blank=True, help_text="USD, or a stand-in for it")
    is_settled = models.BooleanField()
    apart_percent = models.FloatField(null=True, blank=True)
    checked_at = models.DateTimeField()
    refusals = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["source", "symbol"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["asset", "source"], name="one_pair_per_exchange"),
            models.UniqueConstraint(
                fields=["source", "symbol"], condition=Q(is_settled=True), name="one_coin_per_pair"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source}:{self.symbol or 'none'}"


class Series(models.Model):
    """Bars of one asset and width that one source gave, or that we recorded from its quotes.

    `spans` are the stretches that were asked for and got, each from one Unix second to
    the opening of its last closed bar, oldest first; from 0 where that was all there is;
    the third number is when the source last said the same of it.
    Bars outside of them, and those of recorded series, are no promise that none are
    missing. `currency` is what the bars are in.
    """

    asset = models.ForeignKey(Asset, on_delete=models.CASCADE, related_name="series")
    source = models.CharField(max_length=40, help_text="a source's name, or recorded")
    resolution = models.CharField(max_length=3, choices=[(r.value, r.value) for r in Resolution])
    currency = models.CharField(max_length=10, default="USD")
    adjustment = models.CharField(
        max_length=10, choices=[(a.value, a.value) for a in Adjustment], default=Adjustment.NONE
    )
    spans = models.JSONField(default=list, blank=True)
    renewed_at = models.DateTimeField(help_text="when bars were last added")

    class Meta:
        verbose_name_plural = "series"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["asset", "source", "resolution"], name="one_series_per_source_and_width"
            )
        ]

    def __str__(self) -> str:
        return f"{self.asset_id}:{self.source}:{self.resolution}"


class Bar(models.Model):
    """A closed bar of a series; of a recorded one also the bar under way.

    `opens` is in Unix seconds. `minutes` is null but for recorded bars wider than a
    minute: of how many they are made, below zero where those at their session's end lack.
    """

    pk = models.CompositePrimaryKey("series_id", "opens")
    series = models.ForeignKey(
        Series, on_delete=models.CASCADE, related_name="bars", db_index=False
    )
    opens = models.BigIntegerField()
    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.FloatField(null=True)
    minutes = models.SmallIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.series_id}@{self.opens}"


class StockSplit(models.Model):
    """A split of a stock: `ratio` new shares for one old, from the session of `day` on."""

    asset = models.ForeignKey(Asset, on_delete=models.CASCADE, related_name="splits")
    day = models.DateField()
    ratio = models.FloatField()
    source = models.CharField(max_length=40, help_text="who told of it, or how it was found")
    learned_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-day"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["asset", "day"], name="one_split_per_day")
        ]

    def __str__(self) -> str:
        return f"{self.asset_id}: {self.ratio:g} for 1 on {self.day}"


class Dispute(models.Model):
    """Two sources that differed about a price, or a price that jumped beyond reason.

    `ended_at` is null while it lasts.
    """

    asset = models.ForeignKey(Asset, on_delete=models.CASCADE, related_name="disputes")
    kind = models.CharField(max_length=10, choices=[("sources", "sources"), ("jump", "jump")])
    source = models.CharField(max_length=40)
    price = models.FloatField(help_text="US dollars, as that source said last")
    against = models.CharField(max_length=40, help_text="the other source, or our own last price")
    other_price = models.FloatField()
    apart_percent = models.FloatField()
    began_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-seen_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["asset", "kind"],
                condition=Q(ended_at=None),
                name="one_open_dispute_of_a_kind",
            )
        ]

    def __str__(self) -> str:
        return (
            f"{self.asset_id}: {self.source} and {self.against}, {self.apart_percent:.1f} % apart"
        )
