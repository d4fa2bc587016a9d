"""Twelve Data as the sandbox speaks it: text, newest first, New York time, errors in bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from prices.sandbox.bars import Bar
from prices.sandbox.market import DAY_S
from prices.sandbox.papers import seen_by
from prices.sandbox.stocks import Stock, listed_stocks
from prices.sandbox.wire import Call, Reply, is_refused, json_reply, key_of, spread
from prices.sessions import NEW_YORK, is_open, latest_session

# Its name of an interval to ours, and how many days hold one bar of it, at least.
_INTERVALS = {
    "1min": ("1", 0.004),
    "5min": ("5", 0.02),
    "15min": ("15", 0.06),
    "30min": ("30", 0.12),
    "1h": ("60", 0.24),
    "1day": ("D", 1.6),
    "1week": ("W", 7.0),
    "1month": ("M", 31.0),
}
_ROWS, _MOST_ROWS = 30, 5000
_EXCHANGES = {"XNAS": "NASDAQ", "XNYS": "NYSE", "ARCX": "NYSE", "OOTC": "OTC"}
_NO_KEY = (
    "**apikey** parameter is incorrect or not specified. You can get your free API key"
    " instantly following this link: https://twelvedata.com/pricing."
)
_NO_SYMBOL = (
    "**symbol** or **figi** parameter is missing or invalid. Please provide a valid symbol"
    " according to API documentation: https://twelvedata.com/docs#reference-data"
)
_NO_DATA = "No data is available on the specified dates. Try setting different start/end dates."


class _RefusedError(Exception):
    """The request is refused: a code and a text of the source's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def respond(call: Call) -> Reply:
    """Answer a call; `call.path` is what follows /twelvedata."""
    name = call.path.strip("/")
    key = key_of(call.query, call.headers)
    if name != "stocks" and (not key or is_refused(key)):
        return failure(401, _NO_KEY)
    answer = _ENDPOINTS.get(name)
    if answer is None:
        return failure(404, "The requested endpoint was not found.")
    try:
        return json_reply(200, answer(call))
    except _RefusedError as exc:
        # Some errors come with their own status, some with 200: told by the body alone.
        is_plain = spread(call.query.get("symbol", ""), 2) == 0
        return failure(exc.code, exc.text, http=exc.code if is_plain else 200)


def failure(code: int, text: str, *, http: int | None = None) -> Reply:
    content = {"code": code, "message": text, "status": "error"}
    return json_reply(code if http is None else http, content)


def rate_limited(used: int, limit: int, span: str) -> Reply:
    """Refuse for the minute or the day; every other time with status 200."""
    told = "current minute" if span == "minute" else span
    text = (
        f"You have run out of API credits for the {told}. {used} API credits were used,"
        f" with the current limit being {limit}. Wait for the next {span} or consider switching"
        " to a higher tier plan at https://twelvedata.com/pricing"
    )
    return failure(429, text, http=429 if used % 2 else 200)


def credits_of(path: str, query: Mapping[str, str]) -> int:
    """Return what a call costs: one credit a symbol; the list of stocks is free of charge."""
    if path.strip("/") in ("stocks", "api_usage"):
        return 0
    return query.get("symbol", "").count(",") + 1


def _batch(call: Call, one: Callable[[Call, str], dict[str, Any]]) -> dict[str, Any]:
    """Return the answer for one symbol, or several keyed by symbol, errors among them."""
    symbols = [text.strip() for text in call.query.get("symbol", "").split(",")]
    if len(symbols) == 1:
        return one(call, symbols[0])
    found = {}
    for symbol in symbols:
        try:
            found[symbol] = one(call, symbol)
        except _RefusedError as exc:
            found[symbol] = {"code": exc.code, "message": exc.text, "status": "error"}
    return found


def _time_series(call: Call) -> dict[str, Any]:
    return _batch(call, _series_of)


def _series_of(call: Call, symbol: str) -> dict[str, Any]:
    query, stock = call.query, _stock(call, symbol)
    interval = query.get("interval", "")
    if interval not in _INTERVALS:
        raise _RefusedError(400, f"Invalid **interval** provided: {interval}.")
    resolution, days = _INTERVALS[interval]
    zone, number = _zone(query.get("timezone", "Exchange")), _outputsize(query)
    start, end = (_when(query.get(name), zone) for name in ("start_date", "end_date"))
    last = min(call.now, call.now if end is None else end)
    first = last - (number * days + 10) * DAY_S if start is None else start
    if resolution in ("D", "W", "M"):
        # Days are days, whatever the zone: stamped with midnight UTC.
        first, last = (float(_day(text, zone)) for text in (first, last))
    found = seen_by("twelvedata", stock, resolution, (first, last), call.now)[-number:]
    if not found:
        raise _RefusedError(400, _NO_DATA)
    rows = [_row(bar, resolution, zone) for bar in found]
    if query.get("order", "desc").lower() != "asc":
        rows.reverse()
    meta = {
        "symbol": symbol,
        "interval": interval,
        "currency": "USD",
        "exchange_timezone": "America/New_York",
        "exchange": _EXCHANGES[stock.mic],
        "mic_code": stock.mic,
        "type": _kind(stock),
    }
    return {"meta": meta, "values": rows, "status": "ok"}


def _outputsize(query: Mapping[str, str]) -> int:
    usual = str(_MOST_ROWS if "start_date" in query else _ROWS)
    text = query.get("outputsize", usual)
    if not text.isdigit() or not 1 <= int(text) <= _MOST_ROWS:
        raise _RefusedError(400, "Invalid **outputsize** provided. It must be from 1 to 5000.")
    return int(text)


def _zone(name: str) -> ZoneInfo:
    if name == "Exchange":
        return NEW_YORK
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError):
        raise _RefusedError(400, f"Invalid **timezone** provided: {name}.") from None


def _when(text: str | None, zone: ZoneInfo) -> float | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
    except ValueError:
        raise _RefusedError(400, "Invalid **start_date** or **end_date** provided.") from None


def _day(when: float, zone: ZoneInfo) -> int:
    """Return midnight UTC of the day that a moment has in a zone."""
    day = datetime.fromtimestamp(when, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(day.replace(tzinfo=UTC).timestamp())


def _row(bar: Bar, resolution: str, zone: ZoneInfo) -> dict[str, str]:
    if resolution in ("D", "W", "M"):
        shown = f"{datetime.fromtimestamp(bar.stamp, UTC):%Y-%m-%d}"
    else:
        shown = f"{datetime.fromtimestamp(bar.stamp, zone):%Y-%m-%d %H:%M:%S}"
    levels = {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close}
    prices = {name: f"{price:.5f}" for name, price in levels.items()}
    return {"datetime": shown, **prices, "volume": str(bar.volume)}


def _quote(call: Call) -> dict[str, Any]:
    return _batch(call, _quote_of)


def _quote_of(call: Call, symbol: str) -> dict[str, Any]:
    stock, now = _stock(call, symbol), datetime.fromtimestamp(call.now, UTC)
    session = latest_session(now)
    span = (call.now - 370 * DAY_S, call.now)
    year = seen_by("twelvedata", stock, "D", span, call.now)
    if not year:
        raise _RefusedError(400, _NO_DATA)
    today, before = year[-1], year[-2 if len(year) > 1 else -1].close
    high, low = max(bar.high for bar in year), min(bar.low for bar in year)
    last = min(now, session.closes - timedelta(minutes=1)).replace(second=0, microsecond=0)
    change = today.close - before
    prices = {
        "open": today.open,
        "high": today.high,
        "low": today.low,
        "close": today.close,
        "previous_close": before,
        "change": change,
        "percent_change": change / before * 100,
    }
    return {
        "symbol": symbol,
        "name": stock.name,
        "exchange": _EXCHANGES[stock.mic],
        "mic_code": stock.mic,
        "currency": "USD",
        "datetime": session.day.isoformat(),
        "timestamp": int(session.opens.timestamp()),
        "last_quote_at": int(last.timestamp()),
        **{name: f"{price:.5f}" for name, price in prices.items()},
        "volume": str(today.volume),
        "average_volume": str(sum(bar.volume for bar in year[-10:]) // len(year[-10:])),
        "is_market_open": is_open(now),
        "fifty_two_week": {
            "low": f"{low:.5f}",
            "high": f"{high:.5f}",
            "low_change": f"{today.close - low:.5f}",
            "high_change": f"{today.close - high:.5f}",
            "low_change_percent": f"{(today.close / low - 1) * 100:.5f}",
            "high_change_percent": f"{(today.close / high - 1) * 100:.5f}",
            "range": f"{low:.6f} - {high:.6f}",
        },
    }


def _stocks(call: Call) -> dict[str, Any]:
    query = call.query
    rows = [
        {
            "symbol": symbol,
            "name": stock.name,
            "currency": "USD",
            "exchange": _EXCHANGES[stock.mic],
            "mic_code": stock.mic,
            "country": "United States",
            "type": _kind(stock),
        }
        for symbol, stock in listed_stocks(call.now).items()
        if query.get("symbol", symbol) == symbol
    ]
    is_here = query.get("country", "United States") in ("United States", "US", "USA")
    return {"data": rows if is_here else [], "count": len(rows) if is_here else 0, "status": "ok"}


def _stock(call: Call, symbol: str) -> Stock:
    stock = listed_stocks(call.now).get(symbol.upper())
    if stock is None:
        raise _RefusedError(404, _NO_SYMBOL)
    return stock


def _kind(stock: Stock) -> str:
    return {"ETP": "ETF", "ADR": "Depositary Receipt"}.get(stock.kind, "Common Stock")


_ENDPOINTS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "time_series": _time_series,
    "quote": _quote,
    "stocks": _stocks,
}
