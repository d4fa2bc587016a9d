"""CoinGecko v3 as the sandbox speaks it: a call in, a reply out, quirks included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from prices.sandbox import charts
from prices.sandbox.coingecko_rows import chosen, coin_page, market_row, picture, price_row
from prices.sandbox.coins import Coin, coin_by_id, coins
from prices.sandbox.market import DAY_S, coin_series
from prices.sandbox.quotes import CURRENCIES, Market, last_seen, market_of, per_dollar, ranks
from prices.sandbox.wire import (
    Call,
    Plan,
    Reply,
    is_refused,
    json_reply,
    key_of,
    spread,
    weak_etag,
)

_OHLC_DAYS = {"1", "7", "14", "30", "90", "180", "365", "max"}
# A caller's clock may be behind ours, and a start of exactly a year ago is allowed.
_YEAR_S = 365 * DAY_S + 3600
_MAX_ROWS = 250
_PRICING = "https://www.coingecko.com/en/api/pricing"

# Seconds a reply may sit in the caches in front of the source: on free plans, on paid ones.
_SHARED_LIFE_S = {
    "simple/price": (60, 20),
    "simple/supported_vs_currencies": (60, 30),
    "coins/markets": (60, 45),
    "coins/list": (1800, 300),
    "coins/{id}": (60, 60),
    "market_chart": (30, 30),
    "range": (300, 300),
    "ohlc": (1800, 900),
    "search": (900, 600),
    "search/trending": (600, 600),
}


class _RefusedError(Exception):
    """The call ends here, with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def respond(call: Call) -> Reply:
    """Answer a call; `call.path` is what follows /api/v3."""
    try:
        _check_key(call)
        return _route(call)
    except _RefusedError as refused:
        return refused.reply


def rate_limited(retry_after_s: int | None) -> Reply:
    """Return the answer over the limit; the source does not always say how long to wait."""
    content = {
        "status": {
            "error_code": 429,
            "error_message": f"You've exceeded the Rate Limit. Please visit {_PRICING}"
            " to subscribe to our API plans for higher rate limits.",
        }
    }
    wait = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return json_reply(429, content, wait)


def _check_key(call: Call) -> None:
    key = key_of(call.query, call.headers)
    if is_refused(key):
        raise _refusal(401, {"status": _status(call, 10002, "API Key Missing")})
    if call.plan is Plan.FREE and "x-cg-pro-api-key" in call.headers:
        text = (
            "If you are using Pro API key, please change your root URL from"
            " api.coingecko.com to pro-api.coingecko.com"
        )
        top = _status(call, 10010, text)
        message = {"error_message": top.pop("error_message")}
        raise _refusal(400, {**top, "status": message})


def _route(call: Call) -> Reply:
    parts = call.path.strip("/").split("/")
    match parts:
        case ["coins", "markets"] | ["coins", "list"]:
            return _PLAIN["/".join(parts)](call)
        case ["coins", coin_id]:
            return _coin(call, coin_id)
        case ["coins", coin_id, "market_chart"]:
            return _market_chart(call, coin_id)
        case ["coins", coin_id, "market_chart", "range"]:
            return _range(call, coin_id)
        case ["coins", coin_id, "ohlc"]:
            return _ohlc(call, coin_id)
    plain = _PLAIN.get("/".join(parts))
    if plain is None:
        text = "Incorrect path. Please check https://www.coingecko.com/api/"
        return json_reply(404, {"error": text})
    return plain(call)


def _ping(call: Call) -> Reply:
    return json_reply(200, {"gecko_says": "(V3) To the Moon!"})


def _key(call: Call) -> Reply:
    if call.plan is Plan.FREE:
        raise _paid_only(call)
    content = {
        "plan": "Enterprise",
        "rate_limit_request_per_minute": 100_000,
        "monthly_call_credit": 100_000_000,
        "current_total_monthly_calls": 1,
        "current_remaining_monthly_calls": 99_999_999,
        "api_key_rate_limit_request_per_minute": 100_000,
        "api_key_monthly_call_credit": 100_000_000,
        "api_key_current_total_monthly_calls": 1,
        "api_key_current_remaining_monthly_calls": 99_999_999,
    }
    return json_reply(200, content)


def _currencies(call: Call) -> Reply:
    return _cached(call, "simple/supported_vs_currencies", list(CURRENCIES))


def _simple_price(call: Call) -> Reply:
    query = call.query
    if not any(query.get(name) for name in ("ids", "names", "symbols")):
        raise _missing("ids")
    wanted = _required(query, "vs_currencies").lower().split(",")
    rates = {code: rate for code in wanted if (rate := per_dollar(code, call.now)) is not None}
    reply = {
        coin.id: price_row(market_of(coin, call.now, call.plan), coin, rates, query)
        for coin in sorted(chosen(query, call.now), key=lambda coin: coin.id)
    }
    return _cached(call, "simple/price", reply)


def _markets(call: Call) -> Reply:
    query = call.query
    rate = _rate(call)
    size = min(max(_whole(query.get("per_page"), 100), 1), _MAX_ROWS)
    page = max(_whole(query.get("page"), 1), 1)
    named = any(query.get(name) for name in ("ids", "names", "symbols"))
    if query.get("category"):
        listed = _category(query["category"])
    else:
        listed = chosen(query, call.now) if named else list(coins())
    found = [(coin, market_of(coin, call.now, call.plan)) for coin in listed]
    if not named:
        # What is not traded, or not yet, is in no list of markets; it can be asked by id.
        found = [(coin, market) for coin, market in found if market is not None]
    rows = _ordered(found, query.get("order", "market_cap_desc"), call.now)
    rows = rows[(page - 1) * size : page * size]
    rank = ranks(call.now)
    reply = [market_row(coin, market, rank.get(coin.id), rate, query) for coin, market in rows]
    return _cached(call, "coins/markets", reply)


def _ordered(
    found: list[tuple[Coin, Market | None]], order: str, now: float
) -> list[tuple[Coin, Market | None]]:
    by, _, way = order.rpartition("_")
    rank = ranks(now)

    def place(row: tuple[Coin, Market | None]) -> tuple[bool, float, str]:
        coin, market = row
        if by == "volume":
            value = -market.volume if market else 0.0
        elif by == "id":
            value = 0.0
        else:
            value = float(rank.get(coin.id, len(rank) + 1))
        return market is None, value, coin.id

    return sorted(found, key=place, reverse=way == "asc" if by != "id" else way == "desc")


def _category(category: str) -> list[Coin]:
    if category == "stablecoins":
        return [coin for coin in coins() if coin.daily_vol < 0.001]
    if category == "meme-token":
        return [coin for coin in coins() if coin.daily_vol > 0.05]
    return []


def _coin_list(call: Call) -> Reply:
    if call.query.get("status", "active") != "active":
        if call.plan is Plan.FREE:
            raise _paid_only(call)
        return _cached(call, "coins/list", [])
    rows: list[dict[str, Any]] = []
    with_platforms = call.query.get("include_platform", "").lower() == "true"
    for coin in sorted(coins(), key=lambda coin: coin.id):
        row: dict[str, Any] = {"id": coin.id, "symbol": coin.symbol, "name": coin.name}
        if with_platforms:
            row["platforms"] = dict(coin.platforms)
        rows.append(row)
    return _cached(call, "coins/list", rows)


def _coin(call: Call, coin_id: str) -> Reply:
    coin = _known(coin_id)
    market = market_of(coin, call.now, call.plan)
    rates = {code: per_dollar(code, call.now) or 1.0 for code in CURRENCIES}
    page = coin_page(coin, market, ranks(call.now).get(coin.id), rates, call.query)
    return _cached(call, "coins/{id}", page)


def _market_chart(call: Call, coin_id: str) -> Reply:
    rate = _rate(call)
    text = _required(call.query, "days")
    coin = _known(coin_id)
    if text == "max":
        _check_age(call, _YEAR_S + 1)
    series = coin_series(coin.id)
    if series is None:
        return _cached(call, "market_chart", {"prices": [], "market_caps": [], "total_volumes": []})
    days = (call.now - series.listed) / DAY_S if text == "max" else _days(text)
    _check_age(call, days * DAY_S if text != "max" else 0)
    step = _step(call, DAY_S if text == "max" else charts.step_for(days))
    seen = last_seen(coin, call.now, call.plan)
    span = (call.now - days * DAY_S, seen)
    content = charts.chart(coin, series, span, step, last=seen, rate=rate)
    return _cached(call, "market_chart", content)


def _range(call: Call, coin_id: str) -> Reply:
    rate = _rate(call)
    start = _moment(_required(call.query, "from"))
    end = _moment(_required(call.query, "to"))
    coin = _known(coin_id)
    _check_age(call, call.now - start)
    series = coin_series(coin.id)
    if series is None or start > end:
        return _cached(call, "range", {"prices": [], "market_caps": [], "total_volumes": []})
    seen = last_seen(coin, call.now, call.plan)
    ends_now = end >= call.now - charts.HOUR_S
    days = (end - start) / DAY_S
    step = charts.step_for(days)
    if step == charts.FIVE_MINUTES_S and not ends_now:
        step = charts.HOUR_S
    step = _step(call, step)
    if step == charts.FIVE_MINUTES_S and days > 5.8:
        end = start + 5.8 * DAY_S
    content = charts.chart(
        coin,
        series,
        (start, min(end, seen)),
        step,
        last=seen if end >= seen else None,
        delay=charts.RANGE_DELAY_S if ends_now else 0,
        rate=rate,
    )
    return _cached(call, "range", content)


def _ohlc(call: Call, coin_id: str) -> Reply:
    if not (call.query.get("vs_currency") and call.query.get("days")):
        # The source falls over here, and `status` is a number for once.
        return json_reply(500, {"status": 500, "error": "Internal Server Error"})
    rate, text = _rate(call), call.query["days"]
    coin = _known(coin_id)
    if text not in _OHLC_DAYS:
        raise _refusal(422, {"error": "Invalid days parameter"})
    if text == "max":
        _check_age(call, _YEAR_S + 1)
    series = coin_series(coin.id)
    if series is None:
        return _cached(call, "ohlc", [])
    now = last_seen(coin, call.now, call.plan)
    days = (now - series.listed) / DAY_S if text == "max" else float(text)
    step = 1800 if days <= 2 else 14_400 if days <= 30 else 4 * DAY_S
    step = _step(call, step)
    return _cached(call, "ohlc", charts.candles(series, now, days, step, rate=rate))


def _search(call: Call) -> Reply:
    text = call.query.get("query", "").strip().lower()
    rank = ranks(call.now)
    found = [
        coin
        for coin in coins()
        if text and (text in coin.name.lower() or text in coin.symbol.lower() or text in coin.id)
    ]
    found.sort(key=lambda coin: (rank.get(coin.id, len(rank) + 1), coin.id))
    rows = [
        {
            "id": coin.id,
            "name": coin.name,
            "api_symbol": coin.id,
            "symbol": coin.symbol.upper(),
            "market_cap_rank": rank.get(coin.id),
            "thumb": picture(coin, "thumb"),
            "large": picture(coin, "large"),
        }
        for coin in found[:25]
    ]
    content = {"coins": rows, "exchanges": [], "icos": [], "categories": [], "nfts": []}
    return _cached(call, "search", content)


def _trending(call: Call) -> Reply:
    rank = ranks(call.now)
    ranked = sorted(rank, key=lambda coin_id: spread(f"{coin_id} {int(call.now // 3600)}", 9999))
    items = []
    for score, coin_id in enumerate(ranked[:15]):
        coin = coin_by_id()[coin_id]
        market = market_of(coin, call.now, call.plan)
        if market is None or market.cap is None:
            continue
        per_btc = per_dollar("btc", call.now) or 0.0
        change = (market.price / market.day_before - 1) * 100 if market.day_before else 0.0
        data = {
            "price": market.price,
            "price_btc": str(market.price * per_btc),
            "price_change_percentage_24h": {"usd": change},
            "market_cap": f"${market.cap:,.0f}",
            "market_cap_btc": str(market.cap * per_btc),
            "total_volume": f"${market.volume:,.0f}",
            "total_volume_btc": str(market.volume * per_btc),
            "content": None,
        }
        item = {
            "id": coin.id,
            "coin_id": coin.number,
            "name": coin.name,
            "symbol": coin.symbol.upper(),
            "market_cap_rank": rank[coin.id],
            **{size: picture(coin, size) for size in ("thumb", "small", "large")},
            "slug": coin.id,
            "price_btc": market.price * per_btc,
            "score": score,
            "data": data,
        }
        items.append({"item": item})
    return _cached(call, "search/trending", {"coins": items, "nfts": [], "categories": []})


def _global(call: Call) -> Reply:
    now = call.now // 600 * 600
    markets = [market for coin in coins() if (market := market_of(coin, now, Plan.ALL))]
    caps = {m.coin.id: m.cap or 0.0 for m in markets if m.coin.is_ranked}
    cap, volume = sum(caps.values()), sum(m.volume for m in markets)
    before = sum(m.day_before * (m.coin.supply or 0) for m in markets if m.day_before)
    largest = sorted(caps, key=lambda coin_id: -caps[coin_id])[:10]
    rates = {code: per_dollar(code, now) or 1.0 for code in CURRENCIES}
    content = {
        "active_cryptocurrencies": len(coins()),
        "upcoming_icos": 0,
        "ongoing_icos": 49,
        "ended_icos": 3376,
        "markets": 1021,
        "total_market_cap": {code: cap * rate for code, rate in rates.items()},
        "total_volume": {code: volume * rate for code, rate in rates.items()},
        "market_cap_percentage": {
            coin_by_id()[coin_id].symbol: caps[coin_id] / cap * 100 for coin_id in largest
        },
        "market_cap_change_percentage_24h_usd": (
            sum(m.cap or 0.0 for m in markets if m.day_before) / before - 1
        )
        * 100,
        "updated_at": int(now),
    }
    return json_reply(200, {"data": content}, {"cache-control": "max-age=0, private"})


_PLAIN: dict[str, Callable[[Call], Reply]] = {
    "ping": _ping,
    "key": _key,
    "simple/price": _simple_price,
    "simple/supported_vs_currencies": _currencies,
    "coins/markets": _markets,
    "coins/list": _coin_list,
    "search": _search,
    "search/trending": _trending,
    "global": _global,
}


def _cached(call: Call, kind: str, content: Any) -> Reply:
    """Return a reply that bears what the caches in front of the source put on it."""
    life = _SHARED_LIFE_S[kind][call.plan is Plan.ALL]
    reply = json_reply(200, content)
    reply.headers.update(
        {
            "cache-control": f"max-age=30, public, must-revalidate, s-maxage={life}",
            "etag": weak_etag(reply.body),
            "vary": "Accept-Encoding, Origin",
        }
    )
    # One reply in four is a hit; most carry their age, as seen on the wire.
    age = spread(f"{call.path}{int(call.now)}", 4 * life)
    if age < life:
        reply.headers.update({"cf-cache-status": "HIT", "age": str(age % 30)})
    else:
        reply.headers["cf-cache-status"] = "MISS"
    return reply


def _known(coin_id: str) -> Coin:
    coin = coin_by_id().get(coin_id)
    if coin is None:
        raise _refusal(404, {"error": "coin not found"})
    return coin


def _rate(call: Call) -> float:
    rate = per_dollar(_required(call.query, "vs_currency").lower(), call.now)
    if rate is None:
        raise _refusal(422, {"error": "invalid vs_currency"})
    return rate


def _step(call: Call, automatic: int) -> int:
    """Return the step that `interval` asks for, which free plans may not choose."""
    interval = call.query.get("interval", "")
    if not interval:
        return automatic
    if call.plan is Plan.FREE and interval != "daily":
        raise _paid_only(call)
    steps = {"daily": DAY_S, "hourly": charts.HOUR_S, "5m": charts.FIVE_MINUTES_S}
    if interval not in steps:
        raise _refusal(422, {"error": "Invalid interval parameter"})
    return steps[interval]


def _check_age(call: Call, age_s: float) -> None:
    if call.plan is Plan.ALL or age_s <= _YEAR_S:
        return
    text = (
        "Your request exceeds the allowed time range. Public API users are limited to"
        " querying historical data within the past 365 days. Upgrade to a paid plan to"
        f" enjoy full historical data access: {_PRICING}. "
    )
    raise _refusal(401, {"error": {"status": _status(call, 10012, text)}})


def _paid_only(call: Call) -> _RefusedError:
    text = (
        "This request is limited to PRO API subscribers. Please visit"
        f" {_PRICING} to subscribe to our API plans."
    )
    return _refusal(401, {"status": _status(call, 10005, text)})


def _status(call: Call, code: int, text: str) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(call.now, UTC).isoformat(timespec="milliseconds")
    return {"timestamp": stamp, "error_code": code, "error_message": text}


def _refusal(status: int, content: Any) -> _RefusedError:
    return _RefusedError(json_reply(status, content))


def _missing(name: str) -> _RefusedError:
    return _refusal(422, {"error": f"Missing parameter {name}"})


def _required(query: Mapping[str, str], name: str) -> str:
    if not query.get(name):
        raise _missing(name)
    return query[name]


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 < days < 100_000:
        raise _refusal(422, {"error": "Invalid days parameter"})
    return days


def _moment(text: str) -> float:
    """Read Unix seconds or an ISO date."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise _refusal(422, {"error": "Invalid date parameter"}) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default
