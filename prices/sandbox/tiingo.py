"""Tiingo as the sandbox speaks it: days as traded beside days adjusted, and IEX's trades."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from prices.sandbox.bars import Bar
from prices.sandbox.market import DAY_S
from prices.sandbox.papers import (
    is_ex_day,
    local,
    midnight,
    payout,
    seen_by,
    without_dividends,
)
from prices.sandbox.stocks import Stock, listed_stocks, stocks
from prices.sandbox.wire import Call, Reply, is_refused, iso, json_reply, key_of
from prices.sessions import NEW_YORK, latest_session

_EXCHANGES = {"XNAS": "NASDAQ", "XNYS": "NYSE", "ARCX": "NYSE ARCA", "OOTC": "PINK"}
_READY = time(17, 30)  # in New York, a session's day appears
_FREQUENCIES = {
    "1min": "1",
    "5min": "5",
    "15min": "15",
    "30min": "30",
    "1hour": "60",
}
_MOST_IEX_ROWS = 2000
# What is traded on IEX is this part of all trade.
_IEX_PART = 0.025


def respond(call: Call) -> Reply:
    """Answer a call; `call.path` is what follows /tiingo."""
    key = key_of(call.query, call.headers)
    if not key:
        return failure(403, "Please supply a token")
    if is_refused(key):
        return failure(401, "Invalid token.")
    match call.path.strip("/").lower().split("/"):
        case ["tiingo", "daily", ticker]:
            return _meta(call, ticker)
        case ["tiingo", "daily", ticker, "prices"]:
            return _daily(call, ticker)
        case ["iex"]:
            return _iex(call, call.query.get("tickers", "").lower().split(","))
        case ["iex", ticker]:
            return _iex(call, [ticker])
        case ["iex", ticker, "prices"]:
            return _iex_prices(call, ticker)
    return failure(404, "Not found.")


def failure(status: int, text: str) -> Reply:
    return json_reply(status, {"detail": text})


def rate_limited(span: str) -> Reply:
    text = f"Error: You have run over your {span} request allocation."
    text += " Please upgrade at https://api.tiingo.com/pricing to have your limits increased."
    return failure(429, text)


def _known(call: Call, ticker: str) -> Stock | None:
    """Return a stock by its ticker of today: BRK-B; one that is gone keeps its own."""
    name = ticker.upper().replace("-", ".")
    for stock in stocks():
        if stock.listed <= call.now and stock.ticker_at(call.now) == name:
            return stock
    return None


def _meta(call: Call, ticker: str) -> Reply:
    stock = _known(call, ticker)
    if stock is None:
        return failure(404, "Not found.")
    content = {
        "ticker": ticker.upper(),
        "name": stock.name,
        "description": f"{stock.name} ({stock.industry})",
        "startDate": max(stock.ipo, date(2000, 1, 3)).isoformat(),
        "endDate": _newest_day(stock, call.now).isoformat(),
        "exchangeCode": _EXCHANGES[stock.mic],
    }
    return json_reply(200, content)


def _newest_day(stock: Stock, now: float) -> date:
    """Return the newest day with an end: each is ready in the evening, New York time."""
    here = datetime.fromtimestamp(now, UTC)
    day = latest_session(here).day
    if here < datetime.combine(day, _READY, NEW_YORK):
        day = latest_session(datetime.combine(day, time(0), NEW_YORK)).day
    return min(day, stock.last_day or day)


def _daily(call: Call, ticker: str) -> Reply:
    stock, query = _known(call, ticker), call.query
    if stock is None:
        return failure(404, "Not found.")
    newest = _newest_day(stock, call.now)
    try:
        start = _date(query.get("startDate"), newest)
        end = min(newest, _date(query.get("endDate"), newest))
    except ValueError:
        return failure(400, "Error: startDate and endDate must be dates, as 2026-01-31.")
    resolution = {"daily": "D", "weekly": "W", "monthly": "M"}.get(
        query.get("resampleFreq", "daily")
    )
    if resolution is None:
        return failure(400, "Error: resampleFreq must be daily, weekly or monthly.")
    span = (float(midnight(start)), float(midnight(end)))
    traded = seen_by("tiingo", stock, resolution, span, call.now, adjusted=False)
    adjusted = seen_by("tiingo", stock, resolution, span, call.now)
    rows = [_row(stock, a, b, call.now) for a, b in zip(traded, adjusted, strict=True)]
    return json_reply(200, rows)


def _date(text: str | None, otherwise: date) -> date:
    if not text:
        return otherwise
    year, month, day = text[:10].split("-")
    return date(int(year), int(month), int(day))


def _row(stock: Stock, traded: Bar, adjusted: Bar, now: float) -> dict[str, Any]:
    """Return a day as it was, and as it is after all splits and dividends since."""
    day = local(traded.stamp).date()
    factor = without_dividends(stock, day, now)
    is_split = stock.split is not None and stock.split.day == day
    return {
        "date": iso(traded.stamp),
        "close": traded.close,
        "high": traded.high,
        "low": traded.low,
        "open": traded.open,
        "volume": traded.volume,
        "adjClose": adjusted.close * factor,
        "adjHigh": adjusted.high * factor,
        "adjLow": adjusted.low * factor,
        "adjOpen": adjusted.open * factor,
        "adjVolume": adjusted.volume,
        "divCash": round(traded.close * payout(stock), 4) if is_ex_day(stock, day) else 0.0,
        "splitFactor": stock.split.ratio if stock.split and is_split else 1.0,
    }


def _iex(call: Call, tickers: list[str]) -> Reply:
    listed, rows = listed_stocks(call.now), []
    session = latest_session(datetime.fromtimestamp(call.now, UTC))
    last = min(call.now, session.closes.timestamp())
    stamp = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%dT%H:%M:%S.018467291+00:00")
    for ticker in tickers:
        stock = listed.get(ticker.upper().replace("-", "."))
        if stock is None:
            continue  # the unknown is left out in silence
        days = seen_by("tiingo", stock, "D", (call.now - 14 * DAY_S, call.now), call.now)
        today, before = days[-1], days[-2 if len(days) > 1 else -1].close
        is_open = last == call.now
        rows.append(
            {
                "ticker": ticker.upper(),
                "timestamp": stamp,
                "lastSaleTimestamp": stamp,
                "quoteTimestamp": stamp,
                "open": today.open,
                "high": today.high,
                "low": today.low,
                "mid": today.close if is_open else None,
                "tngoLast": today.close,
                "last": today.close,
                "lastSize": 100 if is_open else None,
                "bidSize": 100 if is_open else None,
                "bidPrice": round(today.close * 0.9999, 2) if is_open else None,
                "askPrice": round(today.close * 1.0001, 2) if is_open else None,
                "askSize": 100 if is_open else None,
                "volume": int(today.volume * _IEX_PART),
                "prevClose": before,
            }
        )
    return json_reply(200, rows)


def _iex_prices(call: Call, ticker: str) -> Reply:
    stock, query = listed_stocks(call.now).get(ticker.upper().replace("-", ".")), call.query
    if stock is None:
        return failure(404, "Not found.")
    minutes = _FREQUENCIES.get(query.get("resampleFreq", "5min").lower())
    if minutes is None:
        return failure(400, "Error: resampleFreq is not one of ours.")
    today = latest_session(datetime.fromtimestamp(call.now, UTC)).day
    try:
        start, end = _date(query.get("startDate"), today), _date(query.get("endDate"), today)
    except ValueError:
        return failure(400, "Error: startDate and endDate must be dates, as 2026-01-31.")
    # The newest rows alone, however far back was asked.
    first = max(midnight(start), call.now - (_MOST_IEX_ROWS * int(minutes) / 390 * 1.6 + 5) * DAY_S)
    last = midnight(end + timedelta(days=1))
    found = seen_by("tiingo", stock, minutes, (first, last), call.now, adjusted=False)
    columns = query.get("columns", "open,high,low,close").split(",")
    rows = [
        {
            "date": iso(bar.stamp),
            **{
                name: value
                for name, value in (
                    ("open", bar.open),
                    ("high", bar.high),
                    ("low", bar.low),
                    ("close", bar.close),
                    ("volume", int(bar.volume * _IEX_PART)),
                )
                if name in columns
            },
        }
        for bar in found[-_MOST_IEX_ROWS:]
    ]
    return json_reply(200, rows)
