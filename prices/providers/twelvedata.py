"""Twelve Data: US stocks, daily bars of decades and intraday ones, on a free key.

Source: https://twelvedata.com/docs (header `Authorization: apikey ...`). Limits
of the free plan: 8 credits a minute and 800 a day, one credit a symbol; 5,000
bars a call. Numbers are texts, rows come newest first. Failures may come with
HTTP 200 and a `code` in the body. Bars are adjusted for splits, intraday ones
too; intraday bars are asked in UTC, since they come in the exchange's time
otherwise. Intraday bars are not much older than 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

import msgspec

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRefusedError,
)
from prices.providers.bars import DAY_S, read_bars
from prices.providers.base import Quotes, Reply
from prices.providers.batches import coherent, one_by_one
from prices.providers.stock_source import Read, StockSource, session_quote
from prices.providers.values import number, said, seconds
from prices.types import Candle, Instrument, Quote, Resolution

_ROWS = 5000
_CALLS = 4  # pages a request: half of what a free key may ask a minute
_INTRADAY_SINCE = datetime(2020, 2, 10, tzinfo=UTC)

_INTERVALS = {
    Resolution.M1: "1min",
    Resolution.M5: "5min",
    Resolution.M15: "15min",
    Resolution.M30: "30min",
    Resolution.DAY: "1day",
}


class TwelveData(StockSource):
    """US stocks at Twelve Data."""

    name = "twelvedata"
    attribution = "Data provided by Twelve Data"
    link = "https://twelvedata.com"
    most_bars = _ROWS * _CALLS
    # Its hours may count from the full hour; a session begins at half past nine.
    made_of: ClassVar[Mapping[Resolution, Resolution]] = {
        Resolution.M1: Resolution.M1,
        Resolution.M5: Resolution.M5,
        Resolution.M15: Resolution.M15,
        Resolution.M30: Resolution.M30,
        Resolution.H1: Resolution.M30,
        Resolution.H4: Resolution.M30,
    }

    def auth_headers(self) -> dict[str, str]:
        return {"Authorization": f"apikey {self._api_key}"} if self._api_key else {}

    def ask(
        self,
        url: str,
        params: Mapping[str, str | int],
        headers: Mapping[str, str],
        max_bytes: int,
        within_s: float,
    ) -> Reply:
        """Return the answer with the status its body names, so that the gate hears it."""
        reply = super().ask(url, params, headers, max_bytes, within_s)
        status = _status(reply)
        headers = reply.headers
        if status == 429 and "for the day" in _words(reply.body):
            # The day's credits come back at midnight; the minute's in a minute.
            wait_s = DAY_S - int(datetime.now(UTC).timestamp()) % DAY_S
            headers = {**headers, "retry-after": str(wait_s)}
        return replace(reply, status=status, headers=headers)

    def decoded(self, path: str, reply: Reply) -> Any:
        if reply.status in (400, 404) and "no data is available" in _words(reply.body):
            return {"values": []}
        return super().decoded(path, reply)

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        words = _words(body)
        if status in (403, 404) and ("plan" in words or "upgrad" in words):
            return PlanRestrictedError(
                self.name, f"{path} is not part of this plan", allowed_by="a paid Twelve Data plan"
            )
        if status in (401, 403) and words:
            return UpstreamRefusedError(self.name, "the key is refused")
        if status in (400, 404) and "symbol" in words:
            return UpstreamNotFoundError(self.name, "the stock is not known there")
        return UpstreamError(self.name, f"{path} answered HTTP {status}")

    def oldest(self, width: Resolution, now: datetime) -> datetime:
        return _INTRADAY_SINCE

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return quotes, one call and one credit each."""
        return one_by_one(instruments, self._quote, name=self.name)

    def _quote(self, symbol: str) -> Quote | None:
        path = "/quote"
        payload = self.get_json(path, {"symbol": self.ticker(symbol)})
        with self.parsing(path):
            self._check_currency(payload)
            quote = session_quote(
                number(payload["close"]),
                payload.get("last_quote_at"),  # `timestamp` alone would be when the day began.
                payload.get("timestamp"),
                change=number(payload.get("change")),
                percent=number(payload.get("percent_change")),
                high=number(payload.get("high")),
                low=number(payload.get("low")),
                volume=number(payload.get("volume")),
            )
            return quote and coherent(quote)

    def days(self, ticker: str, first: date) -> Read:
        return self._pages(ticker, Resolution.DAY, first.isoformat(), "")

    def minutes(self, ticker: str, width: Resolution, first: datetime, last: datetime) -> Read:
        return self._pages(ticker, width, _clock(first), _clock(last))

    def _pages(self, ticker: str, width: Resolution, first: str, last: str) -> Read:
        """Return the bars between two times of its own form, asked for newest first."""
        found: dict[int, Candle] = {}
        dropped = 0
        for _ in range(_CALLS):
            page, bad, rows = self._page(ticker, width, first, last)
            found |= {bar.timestamp: bar for bar in page}
            dropped += bad
            if rows < _ROWS or not page:
                break
            before = datetime.fromtimestamp(page[0].timestamp, UTC) - timedelta(seconds=1)
            last = before.date().isoformat() if width is Resolution.DAY else _clock(before)
        return Read([found[at] for at in sorted(found)], dropped)

    def _page(
        self, ticker: str, width: Resolution, first: str, last: str
    ) -> tuple[list[Candle], int, int]:
        path = "/time_series"
        span = {"start_date": first} | ({"end_date": last} if last else {})
        if width.is_intraday:
            span["timezone"] = "UTC"  # of a day it would only blur which one it is
        payload = self.get_json(
            path,
            {
                "symbol": ticker,
                "interval": _INTERVALS[width],
                "outputsize": _ROWS,
                **span,
            },
        )
        with self.parsing(path):
            self._check_currency(payload.get("meta", {}))
            rows = payload["values"]
            bars, dropped = read_bars(
                (
                    seconds(row["datetime"]),
                    [row[name] for name in ("open", "high", "low", "close")],
                    row.get("volume"),
                )
                for row in rows
            )
            return bars, dropped, len(rows)

    def _check_currency(self, payload: Mapping[str, Any]) -> None:
        """Raise where a ticker turns out to be of another market than the US."""
        if payload.get("currency") not in ("USD", "", None):
            raise UpstreamNotFoundError(self.name, "the stock is not quoted in dollars there")


class _Status(msgspec.Struct):
    """The part of an answer that says whether it is one."""

    status: str = "ok"
    code: int = 200


def _status(reply: Reply) -> int:
    """Return the status that a body names; that of the answer where it names none."""
    try:
        told = msgspec.json.decode(reply.body, type=_Status)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return reply.status
    return told.code if told.status == "error" and 400 <= told.code < 600 else reply.status


def _words(body: bytes) -> str:
    return said(body, "message").lower()


def _clock(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
