"""Coinbase Exchange: coins in dollars, euros and stablecoins, with bars of true volume.

Source: https://docs.cdp.coinbase.com/exchange (no key; open to the US).
Limits: 10 calls a second by address, bursts of 15; 300 bars a call, bars since
2015. Intervals without a trade have no bar. One product a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from prices.errors import PricesError, UpstreamError, UpstreamNotFoundError
from prices.providers.bars import read_bars
from prices.providers.base import Quotes
from prices.providers.batches import coherent, one_by_one
from prices.providers.exchange import EVERY_WIDTH, Exchange
from prices.providers.values import (
    change_since,
    number,
    past_moment,
    price,
    said,
    seconds,
    stated_price,
)
from prices.types import Candle, Instrument, Pair, Quote, Resolution

_PRODUCT = re.compile(r"[A-Z0-9]{1,30}-[A-Z0-9]{1,10}", re.ASCII)


class Coinbase(Exchange):
    """Coins at Coinbase Exchange."""

    name = "coinbase"
    attribution = "Data provided by Coinbase Exchange"
    link = "https://exchange.coinbase.com"
    quiet_s = 3.0
    rows_a_call = 300
    calls_a_request = 30  # a year of hours; 10 calls a second are allowed
    # XRP did not trade here for 905 days, and was there before: three pages of days without a bar.
    empty_pages = 4
    began = datetime(2015, 7, 20, tzinfo=UTC)
    # It has 6-hour bars too, which no width of ours is made of.
    made_of: ClassVar[Mapping[Resolution, Resolution]] = {
        **EVERY_WIDTH,
        Resolution.M30: Resolution.M15,
        Resolution.H4: Resolution.H1,
    }

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        if status == 404 and said(body, "message"):
            return UpstreamNotFoundError(self.name, "the product is not known there")
        # There is no key that could be refused: a firewall, or something else at this address.
        return UpstreamError(self.name, f"{path} answered HTTP {status}")

    def pairs(self) -> list[Pair]:
        path = "/products"
        rows = self.get_json(path, {})
        with self.parsing(path):
            found = [
                Pair(
                    row["id"],
                    row["base_currency"].upper(),
                    row["quote_currency"].upper(),
                    is_trading=_is_trading(row),
                )
                for row in rows
                if _PRODUCT.fullmatch(row["id"])
            ]
            if not found:
                raise ValueError  # An empty list would end every pair.
            return found

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return quotes, two calls each: the newest trade, and the 24 hours before it.

        The volume is None: it is told in units of the coin alone.
        """
        return one_by_one(instruments, self._quote, name=self.name)

    def _quote(self, product: str) -> Quote | None:
        path = self._path(product, "ticker")
        ticker = self.get_json(path, {})
        with self.parsing(path):
            value, as_of = stated_price(number(ticker["price"])), past_moment(ticker["time"])
        if value is None or as_of is None:
            return None
        path = self._path(product, "stats")
        stats = self.get_json(path, {})
        with self.parsing(path):
            change, percent = change_since(value, price(number(stats["open"])))
            return coherent(
                Quote(
                    value,
                    as_of,
                    change=change,
                    change_percent=percent,
                    high=price(number(stats["high"])),
                    low=price(number(stats["low"])),
                )
            )

    def page(
        self, symbol: str, width: Resolution, since: int, until: int
    ) -> tuple[list[Candle], int]:
        path = self._path(symbol, "candles")
        rows = self.get_json(
            path,
            {"granularity": width.minutes * 60, "start": _iso(since), "end": _iso(until)},
        )
        with self.parsing(path):
            if not isinstance(rows, list):
                raise TypeError
            return read_bars(
                (seconds(at), (opening, high, low, close), volume)
                for at, low, high, opening, close, volume in rows
            )

    def _path(self, product: str, what: str) -> str:
        if not _PRODUCT.fullmatch(product):
            raise UpstreamNotFoundError(self.name, "no such name can be of a product there")
        return f"/products/{product}/{what}"


def _is_trading(row: dict[str, Any]) -> bool:
    halted = row.get("trading_disabled") or row.get("cancel_only")
    return row.get("status") == "online" and not halted


def _iso(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
