"""Kraken: coins in dollars, euros and stablecoins, for the recent past.

Source: https://docs.kraken.com/api (REST, no key; open to the US). Limits: about
one call a second by address. Only the newest 720 bars of a width can be had,
whatever is asked: half a day of minutes, a month of hours, two years of days.
Failures come with HTTP 200 and a filled `error`. Its weeks begin on Thursdays,
so ours are made of days. Its oldest names live on: XBT is BTC, XDG is DOGE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from prices.errors import PricesError, UpstreamError, UpstreamNotFoundError
from prices.providers.bars import read_bars
from prices.providers.base import Quotes, Reply
from prices.providers.batches import coherent, in_batches, read_each
from prices.providers.exchange import Exchange
from prices.providers.values import amount, number, past_moment, price, seconds, stated_price, text
from prices.types import Candle, Instrument, Pair, Quote, Resolution, Window

_AT_ONCE = 50  # pairs in one call for quotes
_PAIR = re.compile(r"[A-Za-z0-9]{2,40}(/[A-Za-z0-9]{1,20})?", re.ASCII)
_USUAL = {"XBT": "BTC", "XDG": "DOGE"}

# What the words of an `error` amount to, as the HTTP status that others would give.
_STATUS = (
    (("rate limit", "too many requests", "throttled", "temporary lockout"), 429),
    (("unknown asset pair",), 404),
    (("unavailable", "busy", "timeout", "cancel_only", "post_only"), 503),
)


class _Errors(msgspec.Struct):
    """The part of an answer that says whether it is one."""

    error: list[str] = []


class Kraken(Exchange):
    """Coins at Kraken."""

    name = "kraken"
    attribution = "Data provided by Kraken"
    link = "https://www.kraken.com"
    rows_a_call = 720
    calls_a_request = 1
    began = datetime(2011, 9, 1, tzinfo=UTC)

    def ask(
        self,
        url: str,
        params: Mapping[str, str | int],
        headers: Mapping[str, str],
        max_bytes: int,
        within_s: float,
    ) -> Reply:
        """Return the answer with the status that its `error` means, so that the gate hears it."""
        reply = super().ask(url, params, headers, max_bytes, within_s)
        if reply.status == 200 and (errors := _errors(reply.body)):
            return replace(reply, status=_status(errors))
        return reply

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        if status == 404 and _errors(body):
            return UpstreamNotFoundError(self.name, "the pair is not known there")
        # There is no key that could be refused: a firewall, or something else at this address.
        return UpstreamError(self.name, f"{path} answered HTTP {status}")

    def resolutions(self, window: Window) -> list[Resolution]:
        # The bars it has are counted back from now, whenever the window ends.
        return super().resolutions(Window(window.start, max(window.end, datetime.now(UTC))))

    def pairs(self) -> list[Pair]:
        path = "/AssetPairs"
        payload = self.get_json(path, {})
        with self.parsing(path):
            found = [
                _pair(symbol, row)
                for symbol, row in payload["result"].items()
                if _PAIR.fullmatch(symbol) and "/" in row.get("wsname", "")
            ]
            if not found:
                raise ValueError  # An empty list would end every pair.
            return found

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return quotes, 50 pairs a call; pairs that nobody traded for a day are left out.

        The answer has no time of its own: `as_of` is the moment that its server
        gives the whole answer. There is no change, since it tells the price at
        midnight but not that of 24 hours ago.
        """
        return in_batches(instruments, self._quotes, size=_AT_ONCE)

    def earliest(self, resolution: Resolution) -> datetime:
        span = timedelta(minutes=resolution.minutes * (self.rows_a_call - 1))
        return max(super().earliest(resolution), datetime.now(UTC) - span)

    def page(
        self, symbol: str, width: Resolution, since: int, until: int
    ) -> tuple[list[Candle], int]:
        path = "/OHLC"
        # `since` itself is not among the answer.
        asked = {"interval": width.minutes, "since": since - 1}
        result = self.get_json(path, {"pair": _checked(symbol), **asked})
        with self.parsing(path):
            rows = _only(result["result"], beside="last")
            return read_bars(
                (seconds(at), ohlc, volume) for at, *ohlc, _, volume, _ in map(_eight, rows)
            )

    def _quotes(self, symbols: Sequence[str]) -> Quotes:
        path = "/Ticker"
        reply = self.answered(path, {"pair": ",".join(_checked(symbol) for symbol in symbols)})
        payload = self.decoded(path, reply)
        with self.parsing(path):
            as_of = past_moment(parsedate_to_datetime(reply.headers["date"]).isoformat())
            if as_of is None:
                raise ValueError
            rows = payload["result"]
            found = {symbol: row for symbol in symbols if (row := _row(rows, symbol))}
        return read_each(found, lambda row: _quote(row, as_of), lambda: self.parsing(path))


def _quote(row: Mapping[str, Any], as_of: datetime) -> Quote | None:
    """Return the quote in a row of /Ticker, whose pairs of figures are of today and of 24 hours."""
    value = stated_price(number(row["c"][0]))
    if value is None or not row["t"][1]:
        return None
    traded, mean = amount(number(row["v"][1])), price(number(row["p"][1]))
    return coherent(
        Quote(
            value,
            as_of,
            high=price(number(row["h"][1])),
            low=price(number(row["l"][1])),
            volume=None if traded is None or mean is None else float(f"{traded * mean:.10g}"),
            is_timed=False,
        )
    )


def _pair(symbol: str, row: Mapping[str, Any]) -> Pair:
    base, quote = row["wsname"].upper().split("/")
    return Pair(
        symbol,
        _USUAL.get(base, base),
        _USUAL.get(quote, quote),
        is_trading=row.get("status", "online") == "online",
    )


def _row(rows: Mapping[str, Any], symbol: str) -> Any:
    """Return a pair's row. It may be asked for as XBTUSD and answered as XXBTZUSD."""
    if symbol in rows:
        return rows[symbol]
    return next((row for name, row in rows.items() if _short(name) == _short(symbol)), None)


def _short(name: str) -> str:
    """Return a pair's name without the letters that old names have: XXBTZUSD is XBTUSD."""
    if len(name) == 8 and name[0] == "X" and name[4] in "XZ":
        return name[1:4] + name[5:]
    return name.replace("/", "")


def _only(result: Mapping[str, Any], *, beside: str) -> list[Any]:
    """Return the one list of rows in a result, whatever the pair is called in it."""
    (rows,) = (rows for name, rows in result.items() if name != beside)
    if not isinstance(rows, list):
        raise TypeError
    return rows


def _eight(row: Sequence[Any]) -> Sequence[Any]:
    if len(row) != 8:
        raise ValueError
    return row


def _checked(symbol: str) -> str:
    if not _PAIR.fullmatch(symbol):
        raise UpstreamNotFoundError("kraken", "no such name can be of a pair there")
    return symbol


def _errors(body: bytes) -> str:
    """Return the errors of a body in lower case; "" for none. A W in front marks a mere warning."""
    try:
        payload = msgspec.json.decode(body, type=_Errors)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    return text(" ".join(one for one in payload.error if not one.startswith("W"))).lower()


def _status(errors: str) -> int:
    found = (status for words, status in _STATUS if any(word in errors for word in words))
    return next(found, 500)
