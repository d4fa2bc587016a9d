"""Yahoo's chart service: US stocks without a key, and without any promise.

Source: https://query1.finance.yahoo.com/v8/finance/chart, which is documented
nowhere and licensed for nothing: it serves only where a setting asks for it,
last in a chain. Since 2025 it answers 429 to many a client that is no browser.

Limits by width: minutes of 30 days, 8 days a call; 5, 15 and 30 minutes of 60
days; hours of 730 days; all days. Prices are adjusted for splits. Values may be
null; a span without trading has no `timestamp` at all. A daily bar bears the
opening of its session, today's the moment of its newest trade.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

import msgspec

from prices.errors import (
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRefusedError,
)
from prices.providers.bars import DAY_S, midnight, read_bars
from prices.providers.base import Quotes
from prices.providers.batches import coherent, one_by_one
from prices.providers.stock_source import Read, StockSource, new_york_day, session_quote
from prices.providers.values import (
    price,
    seconds,
)
from prices.types import Candle, Instrument, Quote, Resolution, Split

_INTERVALS = {
    Resolution.M1: "1m",
    Resolution.M5: "5m",
    Resolution.M15: "15m",
    Resolution.M30: "30m",
    Resolution.H1: "1h",
    Resolution.DAY: "1d",
}
# A day inside what it allows, since its clock says where that begins.
_REACH_DAYS = {
    Resolution.M1: 29,
    Resolution.M5: 59,
    Resolution.M15: 59,
    Resolution.M30: 59,
    Resolution.H1: 729,
}
_MINUTES_A_CALL_S = 7 * DAY_S


class Yahoo(StockSource):
    """US stocks at Yahoo."""

    name = "yahoo"
    attribution = "Data provided by Yahoo Finance"
    link = "https://finance.yahoo.com"
    use = "It gives no licence for its data."
    most_bars = 24 * 5000  # what bounds it is days, not bars
    made_of: ClassVar[Mapping[Resolution, Resolution]] = {
        **{width: width for width in _REACH_DAYS},
        Resolution.H4: Resolution.H1,
    }

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        what = _error(body)
        if status == 404 and what:
            return UpstreamNotFoundError(self.name, "the stock is not known there")
        if status in (401, 403) and what:
            return UpstreamRefusedError(self.name, "it wants to know who asks")
        return UpstreamError(self.name, f"{path} answered HTTP {status}")

    def ticker(self, symbol: str) -> str:
        return super().ticker(symbol).replace(".", "-")

    def oldest(self, width: Resolution, now: datetime) -> datetime:
        return now - timedelta(days=_REACH_DAYS[width])

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return quotes, one call each: what a chart says of the regular session."""
        return one_by_one(instruments, self._quote, name=self.name)

    def _quote(self, symbol: str) -> Quote | None:
        path = f"/chart/{self.ticker(symbol)}"
        payload = self.get_json(path, {"interval": "1d", "range": "1d"})
        with self.parsing(path):
            meta = self._result(payload)["meta"]
            quote = session_quote(
                meta.get("regularMarketPrice"),
                meta.get("regularMarketTime"),
                # Of a chart of one day, what was before the chart is the previous close.
                before=price(meta.get("previousClose")) or meta.get("chartPreviousClose"),
                high=meta.get("regularMarketDayHigh"),
                low=meta.get("regularMarketDayLow"),
                volume=meta.get("regularMarketVolume"),
            )
            return quote and coherent(quote)

    def days(self, ticker: str, first: date) -> Read:
        now_s = int(datetime.now(UTC).timestamp())
        read = self._chart(ticker, Resolution.DAY, midnight(first), now_s + DAY_S)
        of_days = {}
        for bar in read.bars:
            day = midnight(new_york_day(bar.timestamp))
            of_days[day] = replace(bar, timestamp=day)
        return read._replace(bars=list(of_days.values()))

    def minutes(self, ticker: str, width: Resolution, first: datetime, last: datetime) -> Read:
        since, until = int(first.timestamp()), int(last.timestamp()) + 1
        step_s = _MINUTES_A_CALL_S if width is Resolution.M1 else until
        found: list[Candle] = []
        splits: dict[Split, None] = {}
        dropped = 0
        for start in range(since, until, step_s):
            read = self._chart(ticker, width, start, min(start + step_s, until))
            found += read.bars
            dropped += read.dropped
            splits |= dict.fromkeys(read.splits)
        return Read(found, dropped, tuple(splits))

    def _chart(self, ticker: str, width: Resolution, since: int, until: int) -> Read:
        path = f"/chart/{ticker}"
        payload = self.get_json(
            path,
            {
                "interval": _INTERVALS[width],
                "period1": since,
                "period2": until,
                "includePrePost": "false",
                "events": "splits",
            },
        )
        with self.parsing(path):
            result = self._result(payload)
            if result["meta"].get("dataGranularity", _INTERVALS[width]) != _INTERVALS[width]:
                raise ValueError  # For a span too long it answers wider bars, and does not say why.
            return Read(*read_bars(_rows(result)), tuple(_splits(result)))

    def _result(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        (result,) = payload["chart"]["result"]
        if result["meta"].get("currency") not in ("USD", "", None):
            raise UpstreamNotFoundError(self.name, "the stock is not quoted in dollars there")
        found: Mapping[str, Any] = result
        return found


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[int | None, list[Any], Any]]:
    """Yield opening, prices and volume of each bar; bars of nulls alone are holes."""
    stamps = result.get("timestamp")
    if stamps is None:
        return
    (columns,) = result["indicators"]["quote"]
    names = ("open", "high", "low", "close", "volume")
    for at, *ohlc, volume in zip(stamps, *(columns[name] for name in names), strict=True):
        if any(value is not None for value in ohlc):
            yield seconds(at), ohlc, volume


def _splits(result: Mapping[str, Any]) -> Iterator[Split]:
    """Yield the splits a chart tells of; one that cannot be read says nothing of the prices."""
    told = (result.get("events") or {}).get("splits") or {}
    for row in told.values():
        at = seconds(row.get("date"))
        new, old = price(row.get("numerator")), price(row.get("denominator"))
        if at is not None and new and old:
            yield Split(new_york_day(at), new / old)


def _error(body: bytes) -> str:
    """Return the code of an error body; "" where it has none."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    try:
        told = payload.get("chart") or payload["finance"]
        return str(told["error"]["code"])
    except (
        msgspec.DecodeError,
        ValueError,
        RecursionError,
        AttributeError,
        LookupError,
        TypeError,
    ):
        return ""
