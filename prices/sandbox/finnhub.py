"""Finnhub v1 as the sandbox speaks it: a call in, a reply out, quirks included.

Beside the API there is the file that /stock/symbol points to, under /files. It is
signed, and its host is not meant to see the API key.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from prices.sandbox.bars import bars
from prices.sandbox.market import stock_series
from prices.sandbox.stocks import EXCHANGES, FOREIGN, Stock, listed_stocks
from prices.sandbox.wire import (
    Call,
    Plan,
    Reply,
    encoded,
    is_refused,
    json_reply,
    key_of,
    weak_etag,
)
from prices.sessions import NEW_YORK, closures, is_open, latest_session, session_on

FILES = "/finnhub/files/"

_RESOLUTIONS = {"1", "5", "15", "30", "60", "D", "W", "M"}
_FILE_LIFE_S = 3600
_NO_ACCESS = "You don't have access to this resource."
_ZEROS = {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}
# Endings that tell a listing outside the United States.
_ABROAD = frozenset(
    ("TO", "V", "DE", "F", "L", "PA", "AS", "SW", "MI", "HK", "T", "SS", "SZ", "KL", "AX", "MX")
)


def respond(call: Call) -> Reply:
    """Answer a call; `call.path` is what follows /api/v1."""
    if is_refused(key_of(call.query, call.headers)):
        return _error(401, "Invalid API key.")
    answer = _ENDPOINTS.get(call.path.strip("/"))
    return answer(call) if answer else _error(404, "Endpoint not found.")


def respond_file(call: Call) -> Reply:
    """Answer for the file host; `call.path` is what follows /finnhub/files."""
    expires = call.query.get("Expires", "")
    if call.query.get("Signature") != _signature(expires) or call.now > float(expires or 0):
        body = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
        return Reply(403, body, {"content-type": "application/xml"})
    if call.path.strip("/") != "us-symbols.json":
        return Reply(404, b"", {"content-type": "application/xml"})
    body = _symbol_file(int(call.now // 86_400))
    return Reply(200, body, {"content-type": "application/json", "etag": weak_etag(body)})


def rate_limited(limit: int, reset_at: int) -> Reply:
    headers = {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(reset_at),
    }
    text = "API limit reached. Please try again later. Remaining Limit: 0"
    return json_reply(429, {"error": text}, headers)


def _quote(call: Call) -> Reply:
    symbol = call.query.get("symbol", "")
    if _is_abroad(symbol):
        return _error(403, _NO_ACCESS)
    stock = listed_stocks(call.now).get(symbol)
    if stock is None:
        return json_reply(200, _ZEROS)
    now = datetime.fromtimestamp(call.now, UTC)
    session = latest_session(now)
    today = bars(stock, "D", call.now - 14 * 86_400, call.now, call.now)
    current, before = today[-1], today[-2].close if len(today) > 1 else today[-1].open
    change = round(current.close - before, 4)
    content = {
        "c": current.close,
        "d": change,
        "dp": round(change / before * 100, 4),
        "h": current.high,
        "l": current.low,
        "o": current.open,
        "pc": before,
        "t": int(min(now, session.closes).timestamp()),
    }
    return json_reply(200, content)


def _candle(call: Call) -> Reply:
    query = call.query
    symbol, resolution = query.get("symbol", ""), query.get("resolution", "")
    if call.plan is Plan.FREE or _is_abroad(symbol):
        return _error(403, _NO_ACCESS)
    if resolution not in _RESOLUTIONS:
        return _error(422, "Wrong resolution, please choose one of 1,5,15,30,60,D,W,M")
    try:
        start, end = float(query["from"]), float(query["to"])
    except (KeyError, ValueError):
        return _error(422, "Missing or wrong from and to")
    stock = listed_stocks(call.now).get(symbol)
    found = bars(stock, resolution, start, end, call.now) if stock else []
    if not found:
        return json_reply(200, {"s": "no_data"})
    content = {
        "c": [bar.close for bar in found],
        "h": [bar.high for bar in found],
        "l": [bar.low for bar in found],
        "o": [bar.open for bar in found],
        "s": "ok",
        "t": [bar.stamp for bar in found],
        "v": [bar.volume for bar in found],
    }
    return json_reply(200, content)


def _search(call: Call) -> Reply:
    text = call.query.get("q", "").strip().lower()
    if not text:
        return _error(422, "Query parameter q is required")
    rows = [
        _found(symbol, stock.name, stock.kind)
        for symbol, stock in listed_stocks(call.now).items()
        if text in symbol.lower() or text in stock.name.lower()
    ]
    rows.sort(key=lambda row: row["symbol"].lower() != text)
    if call.query.get("exchange") != "US":
        rows += [
            _found(symbol, name, "Common Stock")
            for symbol, name, words in FOREIGN
            if text in symbol.lower() or text in words
        ]
    return _go_json({"count": len(rows), "result": rows})


def _symbols(call: Call) -> Reply:
    exchange = call.query.get("exchange", "")
    if exchange != "US":
        return _error(401, _NO_ACCESS)
    expires = str(int(call.now) + _FILE_LIFE_S)
    location = f"{call.origin}{FILES}us-symbols.json?Expires={expires}"
    location += f"&Signature={_signature(expires)}"
    body = f'<a href="{location.replace("&", "&amp;")}">Found</a>.\n\n'.encode()
    return Reply(302, body, {"content-type": "text/html; charset=utf-8", "location": location})


def _profile(call: Call) -> Reply:
    symbol = call.query.get("symbol", "")
    if _is_abroad(symbol):
        return _error(403, _NO_ACCESS)
    stock = listed_stocks(call.now).get(symbol)
    if stock is None or stock.kind == "ETP":
        return json_reply(200, {})
    price = stock_series(stock.symbol).at(call.now)
    content = {
        "country": "US",
        "currency": "USD",
        "estimateCurrency": "USD",
        "exchange": EXCHANGES[stock.mic],
        "finnhubIndustry": stock.industry,
        "ipo": stock.ipo.isoformat(),
        "logo": f"https://static2.finnhub.io/file/publicdatany/finnhubimage/stock_logo/{symbol}.png",
        "marketCapitalization": price * stock.shares,
        "name": stock.name,
        "phone": "",
        "shareOutstanding": stock.shares,
        "ticker": symbol,
        "weburl": "",
    }
    return _go_json(content)


def _market_status(call: Call) -> Reply:
    if call.query.get("exchange") != "US":
        return _error(403, _NO_ACCESS)
    now = datetime.fromtimestamp(call.now, UTC)
    day = now.astimezone(NEW_YORK).date()
    names = {closure.day: closure.name for closure in closures(day.year)}
    content = {
        "exchange": "US",
        "holiday": names.get(day),
        "isOpen": is_open(now),
        "session": _part_of_day(now, day),
        "t": int(call.now),
        "timezone": "America/New_York",
    }
    return json_reply(200, content)


def _part_of_day(now: datetime, day: date) -> str | None:
    session = session_on(day)
    if session is None:
        return None
    if session.opens <= now < session.closes:
        return "regular"
    clock = now.astimezone(NEW_YORK).time()
    if now < session.opens:
        return "pre-market" if clock >= time(4) else None
    return "post-market" if clock < time(20) else None


def _market_holiday(call: Call) -> Reply:
    if call.query.get("exchange") != "US":
        return _error(403, _NO_ACCESS)
    year = datetime.fromtimestamp(call.now, UTC).year
    known = [closure for y in range(year - 3, year + 2) for closure in closures(y)]
    rows = [
        {
            "eventName": closure.name,
            "atDate": closure.day.isoformat(),
            "tradingHour": f"09:30-{closure.closes:%H:%M}" if closure.closes else "",
        }
        for closure in reversed(known)
    ]
    return json_reply(200, {"data": rows[:51], "exchange": "US", "timezone": "America/New_York"})


_ENDPOINTS: dict[str, Callable[[Call], Reply]] = {
    "quote": _quote,
    "stock/candle": _candle,
    "search": _search,
    "stock/symbol": _symbols,
    "stock/profile2": _profile,
    "stock/market-status": _market_status,
    "stock/market-holiday": _market_holiday,
}


@lru_cache(maxsize=4)
def _symbol_file(day: int) -> bytes:
    listed = listed_stocks(day * 86_400)
    return _go_json([_symbol_row(symbol, stock) for symbol, stock in listed.items()]).body


def _symbol_row(symbol: str, stock: Stock) -> dict[str, Any]:
    return {
        "currency": "USD",
        "description": stock.name.upper(),
        "displaySymbol": symbol,
        "figi": _figi(stock.symbol, "listing"),
        "figiComposite": _figi(stock.symbol, "listing"),
        "isin": "",
        "mic": stock.mic,
        "shareClassFIGI": _figi(stock.symbol, "class"),
        "symbol": symbol,
        "symbol2": "",
        "type": stock.kind,
    }


def _figi(symbol: str, what: str) -> str:
    """Return an identifier of the right form; the real ones are not ours to list."""
    digest = blake2b(f"{symbol} {what}".encode(), digest_size=5).hexdigest().upper()
    return f"BBG00{digest[:7]}"


def _signature(expires: str) -> str:
    return blake2b(f"us-symbols {expires}".encode(), digest_size=20).hexdigest()


def _is_abroad(symbol: str) -> bool:
    _, dot, ending = symbol.rpartition(".")
    return bool(dot) and ending in _ABROAD


def _found(symbol: str, name: str, kind: str) -> dict[str, str]:
    return {"description": name, "displaySymbol": symbol, "symbol": symbol, "type": kind}


def _go_json(content: Any) -> Reply:
    """Return JSON as Go writes it: & < > escaped within strings."""
    reply = json_reply(200, content)
    body = encoded(content)
    for sign in (b"&", b"<", b">"):
        body = body.replace(sign, b"\\u%04x" % ord(sign))
    return Reply(200, body, reply.headers)


def _error(status: int, text: str) -> Reply:
    return json_reply(status, {"error": text})
