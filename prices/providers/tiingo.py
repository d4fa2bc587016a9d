"""Tiingo: US stocks, daily bars of decades and IEX's own intraday ones, on a free key.

Source: https://www.tiingo.com/documentation (header `Authorization: Token ...`).
Limits of the free plan: 50 calls an hour, 1,000 a day, 500 stocks a month, for
one's own use. A day is ready at 17:30 in New York.

Its adjusted columns take dividends off as well, so that a year ago nobody paid
what they say. Ours are adjusted for splits alone: the plain columns, divided by
the `splitFactor` of every later day; volumes are multiplied.

Intraday bars are of trades at the IEX exchange alone, some hundredths of all,
and say so in `volume_basis`; they are not adjusted. The newest 2,000 bars of a
width can be had: 5 sessions of minutes, 25 of five minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRefusedError,
)
from prices.providers.bars import DAY_S, midnight, read_bars
from prices.providers.base import Quotes, Reply
from prices.providers.batches import in_batches, read_each
from prices.providers.stock_source import Read, StockSource, new_york_day, session_quote
from prices.providers.values import (
    amount,
    price,
    reckoned,
    said,
    seconds,
    text,
)
from prices.types import Adjustment, Instrument, Quote, Resolution, Split

BAR_SHARES_IEX = "bar_shares_iex"
"""Volume is the shares traded within the bar at one exchange of many, IEX."""

_AT_ONCE = 100  # tickers in one call for quotes
_ROWS = 2000
_OLDEST = datetime(2017, 1, 3, tzinfo=UTC)

_FREQUENCIES = {
    Resolution.M1: "1min",
    Resolution.M5: "5min",
    Resolution.M15: "15min",
    Resolution.M30: "30min",
}


class Tiingo(StockSource):
    """US stocks at Tiingo."""

    name = "tiingo"
    attribution = "Data provided by Tiingo"
    link = "https://www.tiingo.com"
    use = "Said to be for internal use unless licensed; its terms were not read."
    most_bars = _ROWS
    intraday_basis = BAR_SHARES_IEX
    intraday_adjustment = Adjustment.NONE
    # Its hours count from the full hour; a session begins at half past nine.
    made_of: ClassVar[Mapping[Resolution, Resolution]] = {
        **{width: width for width in _FREQUENCIES},
        Resolution.H1: Resolution.M30,
        Resolution.H4: Resolution.M30,
    }

    def auth_headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self._api_key}"} if self._api_key else {}

    def ask(
        self,
        url: str,
        params: Mapping[str, str | int],
        headers: Mapping[str, str],
        max_bytes: int,
        within_s: float,
    ) -> Reply:
        """Return the answer; a used up allowance as a 429, whatever its status, with a time."""
        reply = super().ask(url, params, headers, max_bytes, within_s)
        words = said(reply.body, "detail").lower()
        if "allocation" not in words and reply.status != 429:
            return reply
        wait_s = 3600 - int(datetime.now(UTC).timestamp()) % 3600 if "hourly" in words else DAY_S
        given = {"retry-after": str(wait_s)} if words else {}
        return replace(reply, status=429, headers={**given, **reply.headers})

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        words = said(body, "detail").lower()
        if status == 404 and words:
            return UpstreamNotFoundError(self.name, "the stock is not known there")
        if status in (401, 403) and ("permission" in words or "subscri" in words):
            return PlanRestrictedError(
                self.name, f"{path} is not part of this plan", allowed_by="another Tiingo plan"
            )
        if status in (401, 403) and words:
            return UpstreamRefusedError(self.name, "the key is refused")
        return UpstreamError(self.name, f"{path} answered HTTP {status}")

    def ticker(self, symbol: str) -> str:
        return super().ticker(symbol).replace(".", "-")

    def oldest(self, width: Resolution, now: datetime) -> datetime:
        return _OLDEST

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return quotes, 100 stocks a call, from what IEX sees of the market.

        Open, high, low and volume would be those of one exchange alone: high
        and low are given, since they hardly differ, and the volume is not.
        """
        return in_batches(instruments, self._quotes, size=_AT_ONCE)

    def _quotes(self, symbols: Sequence[str]) -> Quotes:
        path = "/iex/"
        symbol_of = {self.ticker(symbol): symbol for symbol in symbols}
        rows = self.get_json(path, {"tickers": ",".join(symbol_of)})
        with self.parsing(path):
            named = {text(row["ticker"]).upper(): row for row in _listed(rows)}
        found = {symbol_of[name]: row for name, row in named.items() if name in symbol_of}
        return read_each(found, _quote, lambda: self.parsing(path))

    def days(self, ticker: str, first: date) -> Read:
        path = f"/tiingo/daily/{ticker}/prices"
        rows = self.get_json(path, {"startDate": first.isoformat()})
        with self.parsing(path):
            return Read(*read_bars(_adjusted(_listed(rows))), _splits(rows))

    def minutes(self, ticker: str, width: Resolution, first: datetime, last: datetime) -> Read:
        path = f"/iex/{ticker}/prices"
        rows = self.get_json(
            path,
            {
                "startDate": new_york_day(int(first.timestamp())).isoformat(),
                "endDate": new_york_day(int(last.timestamp())).isoformat(),
                "resampleFreq": _FREQUENCIES[width],
                "columns": "open,high,low,close,volume",
                "afterHours": "false",
            },
        )
        with self.parsing(path):
            return Read(
                *read_bars(
                    (seconds(row["date"]), _ohlc(row), row.get("volume")) for row in _listed(rows)
                )
            )


def _quote(row: Mapping[str, Any]) -> Quote | None:
    """Return the quote in a row of /iex: Tiingo's reference price, else the last trade at IEX."""
    for value_at, time_at in (("tngoLast", "timestamp"), ("last", "lastSaleTimestamp")):
        quote = session_quote(
            row.get(value_at),
            row.get(time_at),
            before=row.get("prevClose"),
            high=row.get("high"),
            low=row.get("low"),
        )
        if quote is not None:
            return quote
    return None


def _adjusted(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[int | None, list[object], object]]:
    """Return each day as it is in today's shares: divided by the splits of all later days."""
    found: list[tuple[int | None, list[object], object]] = []
    factor = 1.0
    for row in sorted(rows, key=lambda row: str(row["date"]), reverse=True):
        at = seconds(row["date"])
        day = midnight(datetime.fromtimestamp(at, UTC).date()) if at is not None else None
        volume = amount(row.get("volume"))
        found.append(
            (
                day,
                [value and reckoned(value / factor) for value in map(price, _ohlc(row))],
                None if volume is None else volume * factor,
            )
        )
        split = price(row.get("splitFactor", 1.0))
        if split is None:
            raise ValueError("not a factor")
        factor *= split
    return found


def _splits(rows: Sequence[Mapping[str, Any]]) -> tuple[Split, ...]:
    found = ((seconds(row["date"]), price(row.get("splitFactor", 1.0))) for row in rows)
    return tuple(
        Split(datetime.fromtimestamp(at, UTC).date(), factor)
        for at, factor in found
        if at is not None and factor not in (None, 1.0)
    )


def _ohlc(row: Mapping[str, Any]) -> list[Any]:
    return [row[name] for name in ("open", "high", "low", "close")]


def _listed(payload: object) -> list[Any]:
    if not isinstance(payload, list):
        raise TypeError("not a list")
    return payload
