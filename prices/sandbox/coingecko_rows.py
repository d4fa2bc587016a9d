"""CoinGecko's rows: what one coin looks like in each of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prices.sandbox.charts import HOUR_S
from prices.sandbox.coins import Coin, coin_by_id, coins
from prices.sandbox.market import DAY_S
from prices.sandbox.quotes import Market, by_symbol, ranks, shown, tidy
from prices.sandbox.wire import iso, spread

_FRAMES_S = {
    "1h": HOUR_S,
    "24h": DAY_S,
    "7d": 7 * DAY_S,
    "14d": 14 * DAY_S,
    "30d": 30 * DAY_S,
    "200d": 200 * DAY_S,
    "1y": 365 * DAY_S,
}


def chosen(query: Mapping[str, str], now: float) -> list[Coin]:
    """Return the coins a query names by `ids`, else `names`, else `symbols`.

    What is not known is left out, and so is an id with a space before it: the
    source does not trim.
    """
    if query.get("ids"):
        known = coin_by_id()
        return [known[text] for text in dict.fromkeys(query["ids"].split(",")) if text in known]
    if query.get("names"):
        names = set(query["names"].lower().split(","))
        return [coin for coin in coins() if coin.name.lower() in names]
    rank = ranks(now)
    found: list[Coin] = []
    for symbol in dict.fromkeys(query.get("symbols", "").lower().split(",")):
        same = by_symbol().get(symbol, [])
        if query.get("include_tokens", "top") == "top":
            same = sorted(same, key=lambda coin: rank.get(coin.id, len(rank) + 1))[:1]
        found.extend(same)
    return found[:50] if query.get("include_tokens") == "all" else found


def price_row(
    market: Market | None, coin: Coin, rates: Mapping[str, float], query: Mapping[str, str]
) -> dict[str, Any]:
    """Return a coin's part of /simple/price; empty, or null, where it has no market."""
    if market is None:
        return {} if coin.supply is None else dict.fromkeys(rates)
    row: dict[str, Any] = {}
    for code, rate in rates.items():
        row[code] = _precise(market.price * rate, query.get("precision"))
        if _flag(query, "include_market_cap"):
            row[f"{code}_market_cap"] = None if market.cap is None else tidy(market.cap * rate)
        if _flag(query, "include_24hr_vol"):
            row[f"{code}_24h_vol"] = market.volume * rate
        if _flag(query, "include_24hr_change"):
            row[f"{code}_24h_change"] = _percent(market.price, market.day_before)
    if rates and _flag(query, "include_last_updated_at"):
        row["last_updated_at"] = int(market.seen)
    return row


def market_row(
    coin: Coin, market: Market | None, rank: int | None, rate: float, query: Mapping[str, str]
) -> dict[str, Any]:
    """Return a row of /coins/markets; everything but names may be null."""
    row = {
        "id": coin.id,
        "symbol": coin.symbol,
        "name": coin.name,
        "image": picture(coin, "large"),
        **_figures(coin, market, rank, rate),
    }
    if _flag(query, "sparkline"):
        row["sparkline_in_7d"] = {"price": _sparkline(market, rate)}
    for frame in query.get("price_change_percentage", "").split(","):
        if frame in _FRAMES_S:
            row[f"price_change_percentage_{frame}_in_currency"] = _change_over(
                market, _FRAMES_S[frame]
            )
    return row


def _figures(coin: Coin, market: Market | None, rank: int | None, rate: float) -> dict[str, Any]:
    names = (
        *("current_price", "market_cap", "market_cap_rank", "fully_diluted_valuation"),
        *("total_volume", "high_24h", "low_24h", "price_change_24h"),
        *("price_change_percentage_24h", "market_cap_change_24h"),
        *("market_cap_change_percentage_24h", "circulating_supply", "total_supply"),
        *("max_supply", "ath", "ath_change_percentage", "ath_date", "atl"),
        *("atl_change_percentage", "atl_date", "roi", "last_updated"),
    )
    row: dict[str, Any] = dict.fromkeys(names)
    row["circulating_supply"] = coin.supply
    row["total_supply"] = _total_supply(coin)
    row["max_supply"] = coin.max_supply
    if market is None:
        return row
    price, cap = market.price * rate, market.cap
    row["current_price"] = shown(price)
    row["market_cap_rank"] = rank
    row["total_volume"] = _large(market.volume * rate)
    row["last_updated"] = iso(market.seen)
    if cap is not None:
        row["market_cap"] = _large(cap * rate)
        most = coin.max_supply or _total_supply(coin)
        row["fully_diluted_valuation"] = most and _large(price * most)
    day = market.series.extremes(market.seen - DAY_S, market.seen)
    row |= _day_figures(market, day, rate) | _records(market, day, rate)
    if coin.id == "ethereum":
        times = price / (0.000333 * 91500 * rate)
        row["roi"] = {"times": times, "currency": "btc", "percentage": times * 100}
    return row


def _day_figures(market: Market, day: tuple[float, float], rate: float) -> dict[str, Any]:
    if market.is_stale:
        return {}
    high, low = day
    row: dict[str, Any] = {"high_24h": shown(high * rate), "low_24h": shown(low * rate)}
    if market.day_before is None:
        return row
    percent = _percent(market.price, market.day_before)
    row["price_change_24h"] = (market.price - market.day_before) * rate
    row["price_change_percentage_24h"] = percent and round(percent, 5)
    if market.cap is not None:
        change = (market.price - market.day_before) * (market.coin.supply or 0.0)
        row["market_cap_change_24h"] = change * rate
        row["market_cap_change_percentage_24h"] = percent and round(percent, 5)
    return row


def _records(market: Market, day: tuple[float, float], rate: float) -> dict[str, Any]:
    (ath, ath_at), (atl, atl_at) = market.series.records(market.seen, day)
    return {
        "ath": shown(ath * rate),
        "ath_change_percentage": round((market.price / ath - 1) * 100, 5),
        "ath_date": iso(ath_at),
        "atl": shown(atl * rate),
        "atl_change_percentage": round((market.price / atl - 1) * 100, 5),
        "atl_date": iso(atl_at),
    }


def coin_page(
    coin: Coin,
    market: Market | None,
    rank: int | None,
    rates: Mapping[str, float],
    query: Mapping[str, str],
) -> dict[str, Any]:
    """Return /coins/{id}: the parts a price service reads, in every currency."""
    page: dict[str, Any] = {
        "id": coin.id,
        "symbol": coin.symbol,
        "name": coin.name,
        "web_slug": coin.id,
        "asset_platform_id": coin.platforms[0][0] if coin.platforms else None,
        "platforms": dict(coin.platforms),
        "block_time_in_minutes": 10 if coin.id == "bitcoin" else 0,
        "hashing_algorithm": None,
        "categories": [],
        "public_notice": None,
        "description": {"en": ""},
        "links": {"homepage": [f"https://www.coingecko.com/en/coins/{coin.id}"]},
        "image": {size: picture(coin, size) for size in ("thumb", "small", "large")},
        "country_origin": "",
        "genesis_date": None,
        "market_cap_rank": rank,
    }
    if query.get("market_data", "true").lower() != "false":
        page["market_data"] = _market_data(coin, market, rank, rates)
    page["last_updated"] = iso(market.seen) if market else None
    return page


def _market_data(
    coin: Coin, market: Market | None, rank: int | None, rates: Mapping[str, float]
) -> dict[str, Any]:
    rows = {code: _figures(coin, market, rank, rate) for code, rate in rates.items()}
    dollars = rows["usd"]
    data: dict[str, Any] = {
        name: {code: row[name] for code, row in rows.items() if row[name] is not None}
        for name in (
            *("current_price", "market_cap", "fully_diluted_valuation", "total_volume"),
            *("high_24h", "low_24h", "ath", "ath_change_percentage", "ath_date"),
            *("atl", "atl_change_percentage", "atl_date"),
        )
    }
    for name in (
        *("market_cap_rank", "price_change_24h", "price_change_percentage_24h", "roi"),
        *("market_cap_change_24h", "market_cap_change_percentage_24h", "circulating_supply"),
        *("total_supply", "max_supply", "last_updated"),
    ):
        data[name] = dollars[name]
    return data


def picture(coin: Coin, size: str) -> str:
    return f"https://assets.coingecko.com/coins/images/{coin.number}/{size}/{coin.id}.png"


def _sparkline(market: Market | None, rate: float) -> list[float]:
    if market is None:
        return []
    start = max(market.seen - 7 * DAY_S, market.series.listed)
    hours = range(int(start // HOUR_S) + 1, int(market.seen // HOUR_S) + 1)
    return [price * rate for price in market.series.many(hour * HOUR_S for hour in hours)]


def _change_over(market: Market | None, span_s: float) -> float | None:
    if market is None or market.is_stale or market.seen - span_s < market.series.listed:
        return None
    return _percent(market.price, market.series.at(market.seen - span_s))


def _total_supply(coin: Coin) -> float | None:
    if coin.supply is None or spread(coin.id, 33) == 0:
        return None
    return coin.supply if coin.max_supply is None else max(coin.supply, coin.max_supply)


def _percent(price: float, before: float | None) -> float | None:
    return None if before is None else (price / before - 1) * 100


def _precise(price: float, precision: str | None) -> float | int:
    if precision == "full":
        return tidy(price)
    if precision and precision.isdigit() and int(precision) <= 18:
        return tidy(round(price, int(precision)))
    return shown(price)


def _large(value: float) -> float | int:
    return round(value) if value >= 100 else value


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() == "true"
