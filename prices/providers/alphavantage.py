"""Alpha Vantage: US stocks, the newest 100 days of each, on a free key.

Source: https://www.alphavantage.co/documentation/ (TIME_SERIES_DAILY). Limits of
the free plan: 25 calls a day, one a second; the newest 100 days, as traded. What
is adjusted, longer or within the day is for paying plans and not asked for.
Numbers are texts, days come newest first. Failures come with HTTP 200: a limit
as `Note` or `Information`, an unknown stock or key as `Error Message`.

The key can travel in the query alone: there is no header for it. So no line of
the HTTP client may show the query of such a request (`_Discreet`), and it is
added where the request is made, past everything that names what is asked.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRefusedError,
)
from prices.providers.bars import DAY_S, read_bars
from prices.providers.base import Reply
from prices.providers.stock_source import Read, StockSource
from prices.providers.values import said, seconds
from prices.types import Adjustment, Capability, Resolution, TruncatedBy

_DAYS = 100
_REACH = timedelta(days=150)  # 100 sessions are not longer ago
_OHLC = ("1. open", "2. high", "3. low", "4. close")
_LIMITS = ("rate limit", "call frequency", "requests per", "request per", "calls per")
_BURSTS = ("per second", "per minute")


class AlphaVantage(StockSource):
    """US stocks at Alpha Vantage: days alone."""

    name = "alphavantage"
    attribution = "Data provided by Alpha Vantage"
    link = "https://www.alphavantage.co"
    offers = frozenset({Capability.HISTORY, Capability.CANDLES})
    adjustment = Adjustment.NONE
    made_of: ClassVar[Mapping[Resolution, Resolution]] = {}
    most_bars = 0

    def ask(
        self,
        url: str,
        params: Mapping[str, str | int],
        headers: Mapping[str, str],
        max_bytes: int,
        within_s: float,
    ) -> Reply:
        """Return the answer with the status its words come to, so that the gate hears it."""
        keyed = {**params, "apikey": self._api_key} if self._api_key else params
        reply = super().ask(url, keyed, headers, max_bytes, within_s)
        words = _words(reply.body)
        if reply.status != 200 or not words:
            return reply
        if any(limit in words for limit in _LIMITS):
            # A burst's words name the day's limit as well.
            is_burst = any(span in words for span in _BURSTS)
            now_s = int(datetime.now(UTC).timestamp())
            wait_s = 60 if is_burst else DAY_S - now_s % DAY_S
            return replace(reply, status=429, headers={**reply.headers, "retry-after": str(wait_s)})
        # A key is refused in the words for an unknown stock: only it names the key.
        is_refused = "premium" in words or "apikey" in words or "api key" in words
        return replace(reply, status=403 if is_refused else 404)

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        words = _words(body)
        if status == 404 and words:
            return UpstreamNotFoundError(self.name, "the stock is not known there")
        if status == 403 and "premium" in words:
            return PlanRestrictedError(
                self.name, f"{path} is not part of this plan", allowed_by="a paid plan"
            )
        if status == 403 and words:
            return UpstreamRefusedError(self.name, "the key is refused")
        return UpstreamError(self.name, f"{path} answered HTTP {status}")

    def ticker(self, symbol: str) -> str:
        return super().ticker(symbol).replace(".", "-")

    def earliest(self, resolution: Resolution) -> datetime:
        return datetime.now(UTC) - _REACH

    def days(self, ticker: str, first: date) -> Read:
        """Return the newest 100 days, however far back is asked."""
        path = "/query"
        payload = self.get_json(
            path,
            {"function": "TIME_SERIES_DAILY", "symbol": ticker, "outputsize": "compact"},
        )
        with self.parsing(path):
            rows = payload["Time Series (Daily)"]
            bars, dropped = read_bars(
                (seconds(day), [row[name] for name in _OHLC], row.get("5. volume"))
                for day, row in rows.items()
            )
            is_cut = len(rows) >= _DAYS
            return Read(bars, dropped, cut=TruncatedBy.PLAN if is_cut else None)


def _words(body: bytes) -> str:
    return said(body, "Note", "Information", "Error Message").lower()


class _Discreet(logging.Filter):
    """Takes the key out of what the HTTP client says of its requests."""

    _KEY = re.compile(r"(apikey=)[^&\s\"']+")

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if "apikey=" in said:
            record.msg, record.args = self._KEY.sub(r"\1...", said), None
        return True


for _name in ("httpx", "httpcore.http11", "httpcore.connection"):
    logging.getLogger(_name).addFilter(_Discreet())
