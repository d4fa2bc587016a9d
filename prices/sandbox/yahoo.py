"""Yahoo's chart as the sandbox speaks it: parallel arrays with holes, noise in the floats."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prices.sandbox.bars import Bar
from prices.sandbox.market import DAY_S
from prices.sandbox.papers import local, seen_by, without_dividends
from prices.sandbox.stocks import Stock, listed_stocks
from prices.sandbox.wire import Call, Reply, json_reply, spread
from prices.sessions import NEW_YORK, Session, latest_session, session_on

# Interval to ours, how far back it may begin, and how long a request may be; in days.
_INTERVALS: dict[str, tuple[str, int | None, int | None]] = {
    "1m": ("1", 30, 8),
    "5m": ("5", 60, None),
    "15m": ("15", 60, None),
    "30m": ("30", 60, None),
    "60m": ("60", 730, None),
    "1h": ("60", 730, None),
    "1d": ("D", None, None),
    "1wk": ("W", None, None),
    "1mo": ("M", None, None),
}
_RANGES = {
    "1d": 1,
    "5d": 7,
    "1mo": 31,
    "3mo": 92,
    "6mo": 183,
    "1y": 366,
    "2y": 731,
    "5y": 1827,
    "10y": 3653,
    "max": 20_000,
}
_EXCHANGES = {
    "XNAS": ("NMS", "NasdaqGS"),
    "XNYS": ("NYQ", "NYSE"),
    "ARCX": ("PCX", "NYSEArca"),
    "OOTC": ("PNK", "OTC Markets OTCPK"),
}


def respond(call: Call) -> Reply:
    """Answer a call; `call.path` is what follows /yahoo/v8/finance."""
    match call.path.strip("/").split("/"):
        case ["chart", symbol]:
            return _chart(call, symbol.upper())
    return failure(404, "Not Found")


def failure(status: int, text: str) -> Reply:
    if status == 429:
        return Reply(429, b"Too Many Requests\r\n", {"content-type": "text/html"})
    codes = {404: "Not Found", 422: "Unprocessable Entity", 400: "Bad Request"}
    error = {"code": codes.get(status, "Internal Server Error"), "description": text}
    return json_reply(status, {"chart": {"result": None, "error": error}})


def _chart(call: Call, symbol: str) -> Reply:
    query = call.query
    # A class of shares is told with a dash here: BRK-B.
    stock = None if "." in symbol else listed_stocks(call.now).get(symbol.replace("-", "."))
    if stock is None:
        return failure(404, "No data found, symbol may be delisted")
    interval = query.get("interval", "1d")
    if interval not in _INTERVALS:
        text = f"Invalid input - interval={interval} is not supported."
        return failure(422, f"{text} Valid intervals: [{', '.join(_INTERVALS)}]")
    resolution, reach, most = _INTERVALS[interval]
    try:
        start, end = _span(query, call.now)
    except ValueError:
        return failure(400, "Invalid input - period1 and period2 must be Unix seconds.")
    if start > end:
        return failure(400, "Invalid input - start date cannot be after end date.")
    told = f"{interval} data not available for startTime={start:.0f} and endTime={end:.0f}."
    if most and end - start > most * DAY_S:
        text = f"Only {most} days worth of {interval} granularity data are allowed"
        return failure(422, f"{told} {text} to be fetched per request.")
    if reach and start < call.now - reach * DAY_S:
        return failure(422, f"{told} The requested range must be within the last {reach} days.")
    is_daily = resolution in ("D", "W", "M")
    first = start // DAY_S * DAY_S if is_daily else start
    bars = seen_by("yahoo", stock, resolution, (first, end - 1), call.now)
    result: dict[str, Any] = {"meta": _meta(call, stock, symbol, interval, bars)}
    if bars:
        result["timestamp"] = [_stamp(bar, is_daily) for bar in bars]
        if events := _events(stock, query, start, end):
            result["events"] = events
    result["indicators"] = _indicators(stock, bars, call.now, is_daily)
    return json_reply(200, {"chart": {"result": [result], "error": None}})


def _span(query: Mapping[str, str], now: float) -> tuple[float, float]:
    end = min(float(query.get("period2", now)), now + DAY_S)
    if "period1" in query:
        return float(query["period1"]), end
    days = _RANGES.get(query.get("range", "1d"), 1)
    session = latest_session(datetime.fromtimestamp(now, UTC))
    newest = min(now, session.opens.timestamp())
    return (newest if days == 1 else now - days * DAY_S), end


def _stamp(bar: Bar, is_daily: bool) -> int:
    """Return a bar's time; a day's is the opening of its session."""
    if not is_daily:
        return bar.stamp
    session = session_on(local(bar.stamp).date())
    if session is None:  # a week or month that does not begin with a trading day
        return bar.stamp + 5 * 3600
    return int(session.opens.timestamp())


def _indicators(stock: Stock, bars: list[Bar], now: float, is_daily: bool) -> dict[str, Any]:
    if not bars:
        return {"quote": [{}]} | ({"adjclose": [{}]} if is_daily else {})
    holes = {
        number
        for number, bar in enumerate(bars[:-1])
        if spread(f"{stock.symbol} {bar.stamp}", 400 if is_daily else 97) == 0
    }

    def row(values: list[float]) -> list[float | None]:
        return [None if n in holes else value for n, value in enumerate(values)]

    quote = {
        "open": row([_noisy(bar.open) for bar in bars]),
        "high": row([_noisy(bar.high) for bar in bars]),
        "low": row([_noisy(bar.low) for bar in bars]),
        "close": row([_noisy(bar.close) for bar in bars]),
        "volume": row([bar.volume for bar in bars]),
    }
    if not is_daily:
        return {"quote": [quote]}
    paid = [_noisy(b.close * without_dividends(stock, local(b.stamp).date(), now)) for b in bars]
    return {"quote": [quote], "adjclose": [{"adjclose": row(paid)}]}


def _noisy(price: float) -> float:
    """Return a price as it comes out of four bytes: 75.0875 is 75.0875015258789."""
    found: float = struct.unpack("<f", struct.pack("<f", price))[0]
    return found


def _events(stock: Stock, query: Mapping[str, str], start: float, end: float) -> dict[str, Any]:
    if "split" not in query.get("events", "") or stock.split is None:
        return {}
    session = session_on(stock.split.day)
    if session is None or not start <= session.opens.timestamp() < end:
        return {}
    stamp, ratio = int(session.opens.timestamp()), stock.split.ratio
    row = {"date": stamp, "numerator": ratio, "denominator": 1.0, "splitRatio": f"{ratio:.0f}:1"}
    return {"splits": {str(stamp): row}}


def _meta(call: Call, stock: Stock, symbol: str, interval: str, bars: list[Bar]) -> dict[str, Any]:
    now = datetime.fromtimestamp(call.now, UTC)
    session = latest_session(now)
    span = (call.now - 370 * DAY_S, call.now)
    year = seen_by("yahoo", stock, "D", span, call.now)
    today = year[-1]
    before = year[-2 if len(year) > 1 else -1].close
    offset = int((now.astimezone(NEW_YORK).utcoffset() or timedelta()).total_seconds())
    code, name = _EXCHANGES[stock.mic]
    return {
        "currency": "USD",
        "symbol": symbol,
        "exchangeName": code,
        "fullExchangeName": name,
        "instrumentType": "ETF" if stock.kind == "ETP" else "EQUITY",
        "firstTradeDate": stock.listed + 52_200,
        "regularMarketTime": int(min(now, session.closes).timestamp()),
        "hasPrePostMarketData": True,
        "gmtoffset": offset,
        "timezone": "EDT" if offset == -14_400 else "EST",
        "exchangeTimezoneName": "America/New_York",
        "regularMarketPrice": today.close,
        "fiftyTwoWeekHigh": max(bar.high for bar in year),
        "fiftyTwoWeekLow": min(bar.low for bar in year),
        "regularMarketDayHigh": today.high,
        "regularMarketDayLow": today.low,
        "regularMarketVolume": today.volume,
        "longName": stock.name,
        "shortName": stock.name,
        "chartPreviousClose": bars[0].open if bars else before,
        "previousClose": before,
        "scale": 3,
        "priceHint": 2,
        "currentTradingPeriod": _periods(session, offset),
        "dataGranularity": interval,
        "range": call.query.get("range", ""),
        "validRanges": [*_RANGES, "ytd"],
    }


def _periods(session: Session, offset: int) -> dict[str, Any]:
    opens, closes = int(session.opens.timestamp()), int(session.closes.timestamp())
    zone = "EDT" if offset == -14_400 else "EST"

    def period(start: int, end: int) -> dict[str, Any]:
        return {"timezone": zone, "start": start, "end": end, "gmtoffset": offset}

    return {
        "pre": period(opens - 19_800, opens),
        "regular": period(opens, closes),
        "post": period(closes, closes + 14_400),
    }
