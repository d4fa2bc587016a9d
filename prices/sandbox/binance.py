"""Binance's spot market as the sandbox speaks it: pairs in USDT, prices as text, weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from prices.sandbox.market import DAY_S
from prices.sandbox.trade import MONTH, Bar, bars, following, last_day, opening
from prices.sandbox.venues import Pair, pairs
from prices.sandbox.wire import Call, Reply, json_reply

_STEPS: dict[str, int | str] = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14_400,
    "6h": 21_600,
    "8h": 28_800,
    "12h": 43_200,
    "1d": DAY_S,
    "3d": 3 * DAY_S,
    "1w": 7 * DAY_S,
    "1M": MONTH,
}
_ROWS = 500
_MOST_ROWS = 1000
_TOO_MANY = (
    "Too many requests; current request count exceeds the limit."
    " Please use WebSocket Streams for live updates to avoid polling the API."
)
_BANNED = "Way too much request weight used; IP banned until {until}."
_RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in"
    " the Terms of Use. Please contact customer service if you believe you received"
    " this message in error."
)


def respond(call: Call) -> Reply:
    """Answer a call; `call.path` is what follows /binance/api/v3."""
    answer = _ENDPOINTS.get(call.path.strip("/"))
    return answer(call) if answer else Reply(404, b"", {"content-type": "text/html"})


def failure(status: int, text: str) -> Reply:
    if status == 451:
        return _error(451, 0, _RESTRICTED)
    if status in (418, 429):
        return _error(status, -1003, _TOO_MANY)
    return _error(status, -1000, text)


def rate_limited(retry_after: int) -> Reply:
    reply = _error(429, -1003, _TOO_MANY)
    reply.headers["retry-after"] = str(retry_after)
    return reply


def banned(retry_after: int, until: float) -> Reply:
    reply = _error(418, -1003, _BANNED.format(until=int(until * 1000)))
    reply.headers["retry-after"] = str(retry_after)
    return reply


def weight(path: str, query: Mapping[str, str]) -> int:
    """Return what a call weighs; `path` is what follows /binance/api/v3."""
    name = path.strip("/")
    if name == "exchangeInfo":
        return 20
    if name not in ("ticker/24hr", "ticker/price"):
        return 2 if name == "klines" else 1
    number = query.get("symbols", "").count(",") + 1
    if "symbol" in query:
        return 2
    if name == "ticker/price":
        return 4
    return 80 if "symbols" not in query or number > 100 else 40 if number > 20 else 2


def _ping(_: Call) -> Reply:
    return json_reply(200, {})


def _time(call: Call) -> Reply:
    return json_reply(200, {"serverTime": int(call.now * 1000)})


def _exchange_info(call: Call) -> Reply:
    found = _asked(call, is_list=True)
    if isinstance(found, Reply):
        return found
    content = {
        "timezone": "UTC",
        "serverTime": int(call.now * 1000),
        "rateLimits": [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": 6000,
            }
        ],
        "exchangeFilters": [],
        "symbols": [_symbol_row(pair) for pair in found],
    }
    return json_reply(200, content)


def _klines(call: Call) -> Reply:
    query = call.query
    if not query.get("symbol"):
        return _missing("symbol")
    found = _asked(call, is_list=False)
    if isinstance(found, Reply):
        return found
    step = _STEPS.get(query.get("interval", ""))
    if step is None:
        return (
            _error(400, -1120, "Invalid interval.") if "interval" in query else _missing("interval")
        )
    try:
        limit = min(int(query.get("limit", _ROWS)), _MOST_ROWS)
        start, end = (
            float(query[n]) / 1000 if n in query else None for n in ("startTime", "endTime")
        )
    except ValueError:
        return _error(400, -1100, "Illegal characters found in a parameter.")
    pair, last = found[0], min(call.now if end is None else end, call.now)
    if not pair.is_trading or limit < 1:
        return json_reply(200, [])
    if start is None:
        start = float(opening(step, last))
        for _ in range(limit - 1):
            start = float(opening(step, start - 1))
    else:
        last = min(last, start + (limit + 1) * (32 * DAY_S if isinstance(step, str) else step))
    rows = bars(pair, step, start, last, call.now)[:limit]
    return json_reply(200, [_row(pair, bar, following(step, bar.stamp)) for bar in rows])


def _day(call: Call) -> Reply:
    return _tickers(call, lambda pair: _day_row(pair, call.now))


def _price(call: Call) -> Reply:
    def row(pair: Pair) -> dict[str, Any]:
        price = pair.at(call.now) if pair.is_trading else 0.0
        return {"symbol": _name(pair), "price": _shown(pair, price)}

    return _tickers(call, row)


def _tickers(call: Call, row: Callable[[Pair], dict[str, Any]]) -> Reply:
    """Answer with one row for `symbol`, with a list for `symbols` and for all."""
    found = _asked(call, is_list=True)
    if isinstance(found, Reply):
        return found
    if "symbol" in call.query:
        return json_reply(200, row(found[0]))
    return json_reply(200, [row(pair) for pair in found])


def _asked(call: Call, *, is_list: bool) -> list[Pair] | Reply:
    """Return the pairs that were asked for, all where none was named; or the refusal."""
    listed = {_name(pair): pair for pair in pairs("binance", call.now)}
    names = [call.query["symbol"]] if "symbol" in call.query else None
    if is_list and "symbols" in call.query:
        try:
            names = list(json.loads(call.query["symbols"]))
        except (ValueError, TypeError):
            names = [""]
    if names is None:
        return list(listed.values())
    if not all(str(name) in listed for name in names):
        return _error(400, -1121, "Invalid symbol.")
    return [listed[name] for name in names]


def _symbol_row(pair: Pair) -> dict[str, Any]:
    return {
        "symbol": _name(pair),
        "status": "TRADING" if pair.is_trading else "BREAK",
        "baseAsset": pair.base,
        "baseAssetPrecision": 8,
        "quoteAsset": pair.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "icebergAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _row(pair: Pair, bar: Bar, end: int) -> list[Any]:
    worth, half = bar.volume * bar.typical, bar.volume * 0.51
    return [
        bar.stamp * 1000,
        *(_shown(pair, x) for x in (bar.open, bar.high, bar.low, bar.close)),
        f"{bar.volume:.8f}",
        end * 1000 - 1,
        f"{worth:.8f}",
        bar.trades,
        f"{half:.8f}",
        f"{half * bar.typical:.8f}",
        "0",
    ]


def _day_row(pair: Pair, now: float) -> dict[str, Any]:
    day = last_day(pair, now) if pair.is_trading else Bar(0, 0, 0, 0, 0, 0, 0)
    change = day.close - day.open
    prices = {
        "priceChange": change,
        "weightedAvgPrice": day.typical,
        "prevClosePrice": day.open,
        "lastPrice": day.close,
        "bidPrice": day.close * 0.9999,
        "askPrice": day.close * 1.0001,
        "openPrice": day.open,
        "highPrice": day.high,
        "lowPrice": day.low,
    }
    return {
        "symbol": _name(pair),
        **{name: _shown(pair, price) for name, price in prices.items()},
        "priceChangePercent": f"{change / day.open * 100 if day.open else 0:.3f}",
        "lastQty": f"{day.volume / 1e5:.8f}",
        "bidQty": f"{day.volume / 1e5:.8f}",
        "askQty": f"{day.volume / 1e5:.8f}",
        "volume": f"{day.volume:.8f}",
        "quoteVolume": f"{day.volume * day.typical:.8f}",
        "openTime": int((now - DAY_S) * 1000),
        "closeTime": int(now * 1000),
        "firstId": int(now) // 2,
        "lastId": int(now) // 2 + day.trades,
        "count": day.trades,
    }


def _name(pair: Pair) -> str:
    return pair.base + pair.quote


def _shown(pair: Pair, price: float) -> str:
    return f"{price:.{max(8, pair.decimals)}f}"


def _missing(name: str) -> Reply:
    text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    return _error(400, -1102, text)


def _error(status: int, code: int, text: str) -> Reply:
    return json_reply(status, {"code": code, "msg": text})


_ENDPOINTS: dict[str, Callable[[Call], Reply]] = {
    "ping": _ping,
    "time": _time,
    "exchangeInfo": _exchange_info,
    "klines": _klines,
    "ticker/24hr": _day,
    "ticker/price": _price,
}
