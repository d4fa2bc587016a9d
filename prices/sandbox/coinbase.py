"""Coinbase Exchange as the sandbox speaks it: rows of low, high, open, close, newest first."""

from __future__ import annotations

import math
from typing import Any

from prices.sandbox.market import DAY_S
from prices.sandbox.trade import bars, between, last_day, traded
from prices.sandbox.venues import Pair, pairs
from prices.sandbox.wire import Call, Reply, iso, json_reply, moment, spread

_STEPS = (60, 300, 900, 3600, 21_600, 86_400)
_MOST_ROWS = 300
_MONTH_S = 30 * DAY_S


def respond(call: Call) -> Reply:
    """Answer a call; `call.path` is what follows /coinbase."""
    parts = call.path.strip("/").split("/")
    if parts == ["time"]:
        return json_reply(200, {"iso": iso(call.now), "epoch": call.now})
    if parts[0] != "products" or len(parts) > 3:
        return failure(404, "NotFound")
    listed = {f"{pair.base}-{pair.quote}": pair for pair in pairs("coinbase", call.now)}
    if len(parts) == 1:
        return json_reply(200, [_product(pair) for pair in listed.values()])
    pair = listed.get(parts[1])
    if pair is None:
        return failure(404, "NotFound")
    match parts[2:]:
        case []:
            return json_reply(200, _product(pair))
        case ["candles"]:
            return _candles(call, pair)
        case ["ticker"]:
            return _ticker(call, pair)
        case ["stats"]:
            return _stats(call, pair)
    return failure(404, "NotFound")


def failure(status: int, text: str) -> Reply:
    return json_reply(status, {"message": text})


def rate_limited() -> Reply:
    return failure(429, "Public rate limit exceeded")


def _product(pair: Pair) -> dict[str, Any]:
    return {
        "id": f"{pair.base}-{pair.quote}",
        "base_currency": pair.base,
        "quote_currency": pair.quote,
        "quote_increment": f"{10**-pair.decimals:.{pair.decimals}f}",
        "base_increment": "0.00000001",
        "display_name": f"{pair.base}-{pair.quote}",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online" if pair.is_trading else "delisted",
        "status_message": "",
        "trading_disabled": not pair.is_trading,
        "fx_stablecoin": pair.base == "USDT",
        "max_slippage_percentage": "0.02000000",
        "auction_mode": False,
        "high_bid_limit_percentage": "",
    }


def _candles(call: Call, pair: Pair) -> Reply:
    query = call.query
    try:
        step = int(query.get("granularity", "60"))
    except ValueError:
        return failure(400, "Unsupported granularity")
    if step not in _STEPS:
        return failure(400, "Unsupported granularity")
    end, start = call.now, call.now - _MOST_ROWS * step
    if "start" in query and "end" in query:  # one alone is passed over, as by the source
        asked_start, asked_end = moment(query["start"]), moment(query["end"])
        if asked_start is None or asked_end is None:
            return failure(400, "Invalid start or end")
        start, end = asked_start, asked_end
    if (end - start) / step > _MOST_ROWS:
        text = "granularity too small for the requested time range."
        text += f" Count of aggregations requested exceeds {_MOST_ROWS}"
        return failure(400, text)
    if not pair.is_trading:
        return json_reply(200, [])
    first = math.ceil(start / step) * step
    if spread(f"{pair.base} {first}", 3) == 0:
        first -= step  # a row from before `start` comes now and then
    found = [bar for bar in bars(pair, step, first, end, call.now) if bar.volume]
    rows = [[bar.stamp, bar.low, bar.high, bar.open, bar.close, bar.volume] for bar in found]
    return json_reply(200, rows[::-1][:_MOST_ROWS])


def _ticker(call: Call, pair: Pair) -> Reply:
    if not pair.is_trading:
        return failure(404, "NotFound")
    price = pair.at(call.now)
    content = {
        "ask": _shown(pair, price * 1.0001),
        "bid": _shown(pair, price * 0.9999),
        "volume": f"{last_day(pair, call.now).volume:.8f}",
        "trade_id": int(call.now) // 3,
        "price": _shown(pair, price),
        "size": f"{20 / price:.8f}",
        "time": iso(call.now).replace("Z", "417Z"),
        "rfq_volume": "0.000000",
    }
    return json_reply(200, content)


def _stats(call: Call, pair: Pair) -> Reply:
    now = call.now
    day = last_day(pair, now) if pair.is_trading else between(pair, now, now)
    month = traded(pair, max(pair.listed, now - _MONTH_S), now)
    content = {
        "open": _shown(pair, day.open),
        "high": _shown(pair, day.high),
        "low": _shown(pair, day.low),
        "last": _shown(pair, day.close),
        "volume": f"{day.volume:.8f}",
        "volume_30day": f"{month:.8f}",
        "rfq_volume_24hour": "0.000000",
        "rfq_volume_30day": "0.000000",
    }
    return json_reply(200, content)


def _shown(pair: Pair, price: float) -> str:
    return f"{price:.{pair.decimals}f}"
