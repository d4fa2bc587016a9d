"""Kraken as the sandbox speaks it: names of its own, errors with status 200."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prices.sandbox.market import DAY_S
from prices.sandbox.trade import Bar, bars, between, last_day, opening
from prices.sandbox.venues import Pair, pairs
from prices.sandbox.wire import Call, Reply, json_reply

_STEPS = (1, 5, 15, 30, 60, 240, 1440, 10_080, 21_600)
_MOST_ROWS = 720
_TICKERS = {"BTC": "XBT", "DOGE": "XDG"}
# What Kraken listed first bears an X before the ticker, money a Z.
_OLDEST = frozenset(["XBT", "ETH", "LTC", "XRP", "XLM", "XMR", "ZEC", "ETC", "REP", "XDG", "MLN"])
_OLDEST_PAIRS = _OLDEST - {"XDG"}


def respond(call: Call) -> Reply:
    """Answer a call; `call.path` is what follows /kraken/0/public."""
    answer = _ENDPOINTS.get(call.path.strip("/"))
    return answer(call) if answer else failure(200, "EGeneral:Unknown method")


def failure(status: int, *texts: str) -> Reply:
    return json_reply(status, {"error": list(texts)})


def rate_limited() -> Reply:
    return failure(200, "EAPI:Rate limit exceeded")


def _result(content: Any) -> Reply:
    return json_reply(200, {"error": [], "result": content})


def _assets(call: Call) -> Reply:
    tickers = dict.fromkeys(_ticker_of(pair.base) for pair in pairs("kraken", call.now))
    rows = {
        _asset(ticker): {
            "aclass": "currency",
            "altname": ticker,
            "decimals": 10,
            "display_decimals": 5,
            "status": "enabled",
        }
        for ticker in (*tickers, "USD", "EUR")
    }
    return _result(rows)


def _asset_pairs(call: Call) -> Reply:
    found = _asked(call, call.query.get("pair", ""))
    if found is None:
        return failure(200, "EQuery:Unknown asset pair")
    return _result({_key(pair): _pair_row(pair) for pair in found})


def _ohlc(call: Call) -> Reply:
    interval = call.query.get("interval", "1")
    if not interval.isdigit() or int(interval) not in _STEPS:
        return failure(200, "EGeneral:Invalid arguments:interval")
    found = _asked(call, call.query.get("pair", "-"))
    if found is None or len(found) != 1:
        return failure(200, "EQuery:Unknown asset pair")
    since = call.query.get("since", "0")
    if not since.isdigit():
        return failure(200, "EGeneral:Invalid arguments:since")
    pair, step = found[0], int(interval) * 60
    # Its grid counts from 1970: weeks begin on Thursday.
    newest = int(call.now // step * step)
    first = max(newest - (_MOST_ROWS - 1) * step, int(since) + 1)
    rows = [_row(pair, bar) for bar in _on_grid(pair, step, first, call.now)]
    return _result({_key(pair): rows, "last": newest - step})


def _on_grid(pair: Pair, step: int, first: int, now: float) -> Iterable[Bar]:
    if opening(step, now) == now // step * step:
        return bars(pair, step, first, now, now)
    start = max(first, pair.listed) // step * step
    return (
        between(pair, stamp, min(stamp + step, now))
        for stamp in range(int(start), int(now) + 1, step)
        if stamp >= first
    )


def _ticker(call: Call) -> Reply:
    found = _asked(call, call.query.get("pair", ""))
    if found is None:
        return failure(200, "EQuery:Unknown asset pair")
    return _result({_key(pair): _ticker_row(pair, call.now) for pair in found})


def _asked(call: Call, names: str) -> list[Pair] | None:
    """Return the pairs of a comma list, all for none; None where one is unknown."""
    listed = pairs("kraken", call.now)
    if not names:
        return listed
    by_name: dict[str, Pair] = {}
    for pair in listed:
        by_name |= {_key(pair): pair, _altname(pair): pair, _wsname(pair): pair}
    found = [by_name.get(name.strip().upper()) for name in names.split(",")]
    known = [pair for pair in found if pair is not None]
    return known if len(known) == len(found) else None


def _pair_row(pair: Pair) -> dict[str, Any]:
    return {
        "altname": _altname(pair),
        "wsname": _wsname(pair),
        "aclass_base": "currency",
        "base": _asset(_ticker_of(pair.base)),
        "aclass_quote": "currency",
        "quote": _asset(_ticker_of(pair.quote)),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": pair.decimals,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4], [10_000, 0.35]],
        "fees_maker": [[0, 0.25], [10_000, 0.2]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.00005",
        "costmin": "0.5",
        "tick_size": f"{10**-pair.decimals:.{pair.decimals}f}",
        "status": "online" if pair.is_trading else "cancel_only",
    }


def _row(pair: Pair, bar: Bar) -> list[Any]:
    levels = [_shown(pair, x) for x in (bar.open, bar.high, bar.low, bar.close)]
    average = _shown(pair, bar.typical if bar.volume else 0.0)
    return [bar.stamp, *levels, average, f"{bar.volume:.8f}", bar.trades]


def _ticker_row(pair: Pair, now: float) -> dict[str, Any]:
    """Return a row without a time; `o` is the price at midnight, not 24 hours ago."""
    today = between(pair, now // DAY_S * DAY_S, now)
    day, price = last_day(pair, now), pair.at(now)
    lot = f"{20 / price:.8f}"
    return {
        "a": [_shown(pair, price * 1.0001), "1", "1.000"],
        "b": [_shown(pair, price * 0.9999), "1", "1.000"],
        "c": [_shown(pair, price), lot],
        "v": [f"{today.volume:.8f}", f"{day.volume:.8f}"],
        "p": [_shown(pair, today.typical), _shown(pair, day.typical)],
        "t": [today.trades, day.trades],
        "l": [_shown(pair, today.low), _shown(pair, day.low)],
        "h": [_shown(pair, today.high), _shown(pair, day.high)],
        "o": _shown(pair, today.open),
    }


def _ticker_of(base: str) -> str:
    return _TICKERS.get(base, base)


def _asset(ticker: str) -> str:
    if ticker in ("USD", "EUR"):
        return f"Z{ticker}"
    return f"X{ticker}" if ticker in _OLDEST else ticker


def _altname(pair: Pair) -> str:
    return _ticker_of(pair.base) + _ticker_of(pair.quote)


def _wsname(pair: Pair) -> str:
    return f"{_ticker_of(pair.base)}/{_ticker_of(pair.quote)}"


def _key(pair: Pair) -> str:
    base, quote = _ticker_of(pair.base), _ticker_of(pair.quote)
    if base == "USDT" and quote == "USD":
        return "USDTZUSD"
    if base in _OLDEST_PAIRS and quote in ("USD", "EUR", "XBT"):
        return _asset(base) + _asset(quote)
    return base + quote


def _shown(pair: Pair, price: float) -> str:
    return f"{price:.{pair.decimals}f}"


_ENDPOINTS: dict[str, Callable[[Call], Reply]] = {
    "Assets": _assets,
    "AssetPairs": _asset_pairs,
    "OHLC": _ohlc,
    "Ticker": _ticker,
}
