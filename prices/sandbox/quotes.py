"""What a coin is worth now, with the figures that CoinGecko puts beside a price."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

from prices.sandbox.coins import Coin, coin_by_id, coins
from prices.sandbox.market import DAY_S, Series, coin_series, rolling_volume
from prices.sandbox.wire import Plan, spread

# Coins that nobody trades any more: their last price is up to a month old.
_STALE = frozenset({"stox", "doge-1-mission-to-the-moon", "vertcoin"})
_STALE_S = 30 * DAY_S

# Units of a currency for a dollar; coins and metals are priced by the market itself.
_RATES = """
usd=1.0 aed=3.673 ars=1452.0 aud=1.548 bdt=122.1 bhd=0.3769 bmd=1.0 brl=5.39 cad=1.41 chf=0.808
clp=938.0 cny=7.1 czk=21.0 dkk=6.48 eur=0.868 gbp=0.764 gel=2.71 hkd=7.78 huf=332.0 idr=16710.0
ils=3.27 inr=89.4 jpy=156.6 krw=1473.0 kwd=0.307 lkr=308.0 mmk=2099.0 mxn=18.5 myr=4.15
ngn=1457.0 nok=10.25 nzd=1.782 php=58.9 pkr=281.0 pln=3.68 rub=79.2 sar=3.75 sek=9.56 sgd=1.307
thb=32.5 try=42.4 twd=31.4 uah=42.2 vef=0.1001 vnd=26355.0 zar=17.4 xdr=0.733
"""
_COINS = """
btc=bitcoin eth=ethereum ltc=litecoin bch=bitcoin-cash bnb=binancecoin eos=eos xrp=ripple
xlm=stellar link=chainlink dot=polkadot yfi=yearn-finance
"""
_PER_DOLLAR = {code: float(rate) for code, _, rate in (p.partition("=") for p in _RATES.split())}
_COIN_CURRENCIES = {code: coin for code, _, coin in (p.partition("=") for p in _COINS.split())}
CURRENCIES = (
    *_COIN_CURRENCIES,
    *_PER_DOLLAR,
    *("xag", "xau", "bits", "sats"),
)


@dataclass(frozen=True, slots=True)
class Market:
    """A coin at the moment its price was last seen, in dollars; None where unknown."""

    coin: Coin
    series: Series
    seen: float
    price: float
    day_before: float | None
    volume: float

    @property
    def cap(self) -> float | None:
        return None if self.coin.supply is None else self.price * self.coin.supply

    @property
    def is_stale(self) -> bool:
        return self.coin.id in _STALE


def market_of(coin: Coin, now: float, plan: Plan) -> Market | None:
    """Return the coin's market, or None for a coin that is not traded or not listed yet."""
    series = coin_series(coin.id)
    seen = last_seen(coin, now, plan)
    if series is None or seen < series.listed:
        return None
    price = series.at(seen)
    is_old_enough = seen - DAY_S >= series.listed and coin.id not in _STALE
    return Market(
        coin=coin,
        series=series,
        seen=seen,
        price=price,
        day_before=series.at(seen - DAY_S) if is_old_enough else None,
        volume=rolling_volume(coin, price, seen),
    )


def last_seen(coin: Coin, now: float, plan: Plan) -> float:
    """Return when the source last looked: this second, or this minute on the free plan."""
    if coin.id in _STALE:
        return float(now // _STALE_S * _STALE_S)
    if plan is Plan.ALL:
        return float(math.floor(now))
    offset = spread(coin.id, 60)
    return float((now + offset) // 60 * 60 - offset)


def per_dollar(currency: str, now: float) -> float | None:
    """Return how many units of `currency` a dollar buys, or None for an unknown one."""
    if currency in _PER_DOLLAR:
        return _PER_DOLLAR[currency]
    if currency in ("bits", "sats"):
        return (1e6 if currency == "bits" else 1e8) / _dollars("bitcoin", now)
    if currency in ("xau", "xag"):
        return (1.0 if currency == "xau" else 81.0) / _dollars("tether-gold", now)
    coin_id = _COIN_CURRENCIES.get(currency)
    return 1 / _dollars(coin_id, now) if coin_id else None


def _dollars(coin_id: str, now: float) -> float:
    coin = coin_by_id()[coin_id]
    market = market_of(coin, now, Plan.ALL)
    return market.price if market else coin.price or 1.0


def ranks(now: float) -> dict[str, int]:
    """Return coin id to market-cap rank, best first, as of the full minute."""
    return _ranks(int(now // 60))


@lru_cache(maxsize=8)
def _ranks(minute: int) -> dict[str, int]:
    caps = []
    for coin in coins():
        series = coin_series(coin.id)
        if coin.is_ranked and series and coin.supply and minute * 60 >= series.listed:
            caps.append((series.at(minute * 60) * coin.supply, coin.id))
    return {id_: rank for rank, (_, id_) in enumerate(sorted(caps, reverse=True), 1)}


@cache
def by_symbol() -> dict[str, list[Coin]]:
    found: dict[str, list[Coin]] = {}
    for coin in coins():
        found.setdefault(coin.symbol.lower(), []).append(coin)
    return found


def shown(price: float) -> float | int:
    """Return a price as CoinGecko rounds it: whole above 10,000, six digits below one."""
    if price >= 10_000:
        return round(price)
    if price >= 10:
        return tidy(round(price, 2))
    if price >= 1:
        return tidy(round(price, 3))
    return float(f"{price:.6g}")


def tidy(value: float) -> float | int:
    """Return an int where nothing follows the point: the source mixes both."""
    return int(value) if value == int(value) else value
