"""Which assets exist, what each source calls them, and who owns a ticker."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from prices.types import AssetKind, Instrument


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
    listed_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(
        null=True, blank=True, help_text="when a catalogue of its source last held it"
    )

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
    def instrument(self) -> Instrument:
        """What a provider needs to know of it."""
        kind = AssetKind(self.kind)
        upstream_id = self.coingecko_id if kind is AssetKind.CRYPTO else self.finnhub_symbol
        return Instrument(ref=self.ref, kind=kind, upstream_id=upstream_id)


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

    `apart_percent` is how far its price lay from CoinGecko's when it was looked at.
    """

    asset = models.ForeignKey(Asset, on_delete=models.CASCADE, related_name="pairs")
    source = models.CharField(max_length=40)
    symbol = models.CharField(max_length=60, blank=True, help_text="as the exchange names it")
    quote = models.CharField(max_length=10, blank=True, help_text="USD, or a stand-in for it")
    is_settled = models.BooleanField()
    apart_percent = models.FloatField(null=True, blank=True)
    checked_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["source", "symbol"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["asset", "source"], name="one_pair_per_exchange")
        ]

    def __str__(self) -> str:
        return f"{self.source}:{self.symbol or 'none'}"
