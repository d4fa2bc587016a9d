"""Binance: the most coins, mostly against USDT, with bars of true volume of every width.

Source: https://developers.binance.com/docs/binance-spot-api-docs (no key; market
data also at data-api.binance.vision). Limits: 6,000 of weight a minute by
address; a page of 1,000 bars weighs 2, a batch of quotes up to 80, the list of
pairs 20. Over it: 429, and 418 with a ban of minutes to days for going on.
From the US and other places it answers 451. Numbers are texts; the last bar is
open. Intervals without a trade have a flat bar, so that a page has no holes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
)
from prices.providers.bars import read_bars
from prices.providers.base import (
    CATALOGUE_LIMIT,
    CATALOGUE_LIMIT_S,
    RETRY_AFTER_FLOOR_S,
    Quotes,
    Reply,
)
from prices.providers.batches import coherent, in_batches, read_each
from prices.providers.exchange import Exchange
from prices.providers.values import (
    amount,
    figure,
    number,
    past_moment,
    price,
    said,
    seconds,
    stated_price,
)
from prices.types import Candle, Instrument, Pair, Quote, Resolution

_AT_ONCE = 100  # pairs in one call for quotes; it weighs 40
_SYMBOL = re.compile(r"[A-Z0-9]{2,40}", re.ASCII)
# How long the answer "not from here" is believed without asking again.
_RESTRICTED_S = 3600.0

_INTERVALS = {
    Resolution.M1: "1m",
    Resolution.M5: "5m",
    Resolution.M15: "15m",
    Resolution.M30: "30m",
    Resolution.H1: "1h",
    Resolution.H4: "4h",
    Resolution.DAY: "1d",
}


class Binance(Exchange):
    """Coins at Binance."""

    name = "binance"
    attribution = "Data provided by Binance"
    link = "https://www.binance.com"
    rows_a_call = 1000
    began = datetime(2017, 7, 14, tzinfo=UTC)

    def decoded(self, path: str, reply: Reply) -> Any:
        if reply.status == 451:
            raise PlanRestrictedError(
                self.name,
                "it does not serve this location",
                allowed_by="another location",
                of_source_s=_RESTRICTED_S,
            )
        # A ban for having gone on after a 429 is a longer 429.
        return super().decoded(path, replace(reply, status=429) if reply.status == 418 else reply)

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        if status == 400 and "invalid symbol" in said(body, "msg").lower():
            return UpstreamNotFoundError(self.name, "the pair is not known there")
        if status == 403:
            return UpstreamRateLimitedError(
                self.name, "its firewall asks for fewer calls", retry_after_s=RETRY_AFTER_FLOOR_S
            )
        # There is no key that could be refused: something else lies at this address.
        return UpstreamError(self.name, f"{path} answered HTTP {status}")

    def pairs(self) -> list[Pair]:
        path = "/exchangeInfo"
        payload = self.get_json(
            path,
            # Without this each pair comes with some thousand words about accounts.
            {"showPermissionSets": "false"},
            max_bytes=CATALOGUE_LIMIT,
            within_s=CATALOGUE_LIMIT_S,
        )
        with self.parsing(path):
            found = [
                Pair(
                    row["symbol"],
                    row["baseAsset"].upper(),
                    row["quoteAsset"].upper(),
                    is_trading=_is_trading(row),
                )
                for row in payload["symbols"]
                if _SYMBOL.fullmatch(row["symbol"])
            ]
            if not found:
                raise ValueError  # An empty list would end every pair.
            return found

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return quotes, 100 pairs a call; high, low and volume are of 24 hours."""
        return in_batches(instruments, self._quotes, size=_AT_ONCE)

    def _quotes(self, symbols: Sequence[str]) -> Quotes:
        path = "/ticker/24hr"
        wanted = json.dumps([_checked(one) for one in symbols], separators=(",", ":"))
        rows = self.get_json(path, {"symbols": wanted})
        with self.parsing(path):
            row_of = {row["symbol"]: row for row in rows}
        return read_each(row_of, _quote, lambda: self.parsing(path))

    def page(
        self, symbol: str, width: Resolution, since: int, until: int
    ) -> tuple[list[Candle], int]:
        path = "/klines"
        rows = self.get_json(
            path,
            {
                "symbol": _checked(symbol),
                "interval": _INTERVALS[width],
                "startTime": since * 1000,
                "endTime": until * 1000,
                "limit": self.rows_a_call,
            },
        )
        with self.parsing(path):
            if not isinstance(rows, list):
                raise TypeError
            return read_bars((seconds(row[0]), row[1:5], row[5]) for row in rows)


def _quote(row: Mapping[str, Any]) -> Quote | None:
    value, as_of = stated_price(number(row["lastPrice"])), past_moment(row["closeTime"])
    if value is None or as_of is None:
        return None
    return coherent(
        Quote(
            value,
            as_of,
            change=figure(number(row["priceChange"])),
            change_percent=figure(number(row["priceChangePercent"])),
            high=price(number(row["highPrice"])),
            low=price(number(row["lowPrice"])),
            volume=amount(number(row["quoteVolume"])),
        )
    )


def _is_trading(row: Mapping[str, Any]) -> bool:
    return row.get("status") == "TRADING" and row.get("isSpotTradingAllowed") is not False


def _checked(symbol: str) -> str:
    if not _SYMBOL.fullmatch(symbol):
        raise UpstreamNotFoundError("binance", "no such name can be of a pair there")
    return symbol
