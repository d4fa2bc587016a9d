"""The pairs of the three exchanges: what each lists, under which names, since when.

Every exchange lists a part of the ranked coins, which part follows from names alone.
Three pairs are traps: their ticker is that of a well-known coin, what is traded there
is a namesake at another price. docs/sandbox.md names them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Literal

from prices.sandbox.coins import Coin, coin_by_id, coins
from prices.sandbox.market import DAY_S, Series, coin_series
from prices.sandbox.wire import spread

Venue = Literal["coinbase", "kraken", "binance"]

_TICKER = re.compile(r"[a-z0-9]{1,10}\Z")
# Exchanges' own coins, and what is no coin to trade: no other exchange lists them.
_NOWHERE = """
whitebit figure-heloc leo-token bitget-token kucoin-shares gatechain-token okb susds
ethena-staked-usde kinetic-finance-sflr mantle-staked-ether wrapped-eeth canton-network
binance-peg-weth weth vertcoin staked-ether
"""
_EVERYWHERE = """
bitcoin ethereum ripple solana dogecoin cardano chainlink litecoin stellar polkadot
bitcoin-cash avalanche-2 shiba-inu pepe uniswap aave cosmos algorand dogelon-mars
"""
# The namesake that is traded under a ticker where everybody expects another coin.
TRAPS: dict[Venue, dict[str, str]] = {
    "coinbase": {"TON": "tokamak-network"},
    "kraken": {"APE": "ape-2"},
    "binance": {"UNI": "unicorn-token"},
}
# Listed still, traded no more.
_HALTED: dict[Venue, frozenset[str]] = {
    "coinbase": frozenset({"augur", "loom-network-new"}),
    "kraken": frozenset({"bitcoin-gold"}),
    "binance": frozenset({"bitcoin-cash-sv", "waves"}),
}


@dataclass(frozen=True, slots=True)
class _House:
    """An exchange: the part of the coins it lists, its part of the trade, its first day."""

    lists_pct: int
    trade: float
    opened: datetime
    dollar: str
    crosses: tuple[tuple[str, str], ...]


_HOUSES: dict[Venue, _House] = {
    "coinbase": _House(
        44,
        0.06,
        datetime(2015, 7, 20, tzinfo=UTC),
        "USD",
        (("bitcoin", "EUR"), ("ethereum", "EUR"), ("ethereum", "BTC"), ("bitcoin", "USDT")),
    ),
    "kraken": _House(
        68,
        0.02,
        datetime(2013, 10, 6, tzinfo=UTC),
        "USD",
        (("bitcoin", "EUR"), ("ethereum", "EUR"), ("ethereum", "BTC"), ("bitcoin", "USDT")),
    ),
    "binance": _House(
        88,
        0.3,
        datetime(2017, 8, 17, tzinfo=UTC),
        "USDT",
        (("bitcoin", "EUR"), ("ethereum", "BTC"), ("binancecoin", "BTC"), ("bitcoin", "FDUSD")),
    ),
}
_BIG_PAIRS_IN_USDC = 40
_EURO_USD = 1 / 0.868
_QUOTES = {
    "USDT": "tether",
    "USDC": "usd-coin",
    "FDUSD": "first-digital-usd",
    "BTC": "bitcoin",
}
# Tickers that Binance writes with a number of coins in front.
_BUNDLES = {"sats-ordinals": ("1000SATS", 1e3), "baby-doge-coin": ("1MBABYDOGE", 1e6)}


@dataclass(frozen=True, slots=True)
class Pair:
    """One market: `bundle` of `coin` for a number of `quote`; listed since, in Unix seconds.

    `stray` is how far its prices are from the market's; `decimals` what they are rounded
    to; `trade` this market's part of all trade in the coin.
    """

    venue: Venue
    base: str
    quote: str
    coin: Coin
    series: Series
    listed: int
    trade: float
    stray: float
    decimals: int
    bundle: float
    is_trading: bool

    def rate(self, when: float) -> float:
        """Return what a dollar of the market's own price is in `quote`, here and then."""
        return self.bundle * self.stray / dollars(self.quote, when)

    def at(self, when: float) -> float:
        return self.series.at(when) * self.rate(when)


def dollars(quote: str, when: float) -> float:
    """Return what one unit of a quote currency costs in dollars."""
    coin_id = _QUOTES.get(quote)
    series = coin_series(coin_id) if coin_id else None
    if series is not None:
        return series.at(when)
    return _EURO_USD if quote == "EUR" else 1.0


def pairs(venue: Venue, now: float) -> list[Pair]:
    """Return what an exchange lists at a time, in its own order."""
    return [pair for pair in _pairs(venue) if pair.listed <= now]


@cache
def _pairs(venue: Venue) -> tuple[Pair, ...]:
    house, taken = _HOUSES[venue], set[str]()
    found: list[Pair] = []
    for coin in coins():
        base = _base(venue, coin)
        if base is None or base in taken:
            continue
        taken.add(base)  # listed or not: namesakes come later and are smaller
        if not _is_listed(venue, coin):
            continue
        traded = coin_by_id()[TRAPS[venue].get(base, coin.id)]
        found.append(_pair(venue, base, house.dollar, traded))
        if venue == "binance" and len(found) <= _BIG_PAIRS_IN_USDC and base != "USDC":
            found.append(_pair(venue, base, "USDC", traded, 0.2))
    for coin_id, quote in house.crosses:
        coin = coin_by_id()[coin_id]
        found.append(_pair(venue, coin.symbol.upper(), quote, coin, 0.1))
    return tuple(found)


def _base(venue: Venue, coin: Coin) -> str | None:
    """Return the ticker an exchange gives a coin, or None for one it cannot list."""
    if venue == "binance" and coin.id in _BUNDLES:
        return _BUNDLES[coin.id][0]
    is_fit = coin.is_ranked and coin.price is not None and coin.id not in _NOWHERE.split()
    return coin.symbol.upper() if is_fit and _TICKER.match(coin.symbol) else None


def _is_listed(venue: Venue, coin: Coin) -> bool:
    house = _HOUSES[venue]
    if coin.symbol.upper() == house.dollar:
        return False
    if coin.symbol.upper() in TRAPS[venue] or coin.id in (*_HALTED[venue], *_EVERYWHERE.split()):
        return True
    if venue == "coinbase" and coin.id == "usd-coin":
        return False
    if (coin.price or 0) * (coin.supply or 0) < 1.2e7:  # too small for an exchange
        return False
    return coin.id in _BUNDLES or spread(f"{venue} lists {coin.id}", 100) < house.lists_pct


def _pair(venue: Venue, base: str, quote: str, coin: Coin, part: float = 1.0) -> Pair:
    house, series = _HOUSES[venue], coin_series(coin.id)
    if series is None:
        raise ValueError(f"{coin.id} has no market")
    # All but the oldest come to an exchange some time after they came to the market.
    wait = 0 if coin.id in _EVERYWHERE.split() else spread(f"{venue} waits {coin.id}", 120)
    listed = max(int(house.opened.timestamp()), int(series.listed) + wait * DAY_S)
    bundle = _BUNDLES[coin.id][1] if base in ("1000SATS", "1MBABYDOGE") else 1.0
    level = (coin.price or 1.0) * bundle / _quote_level(quote)
    return Pair(
        venue=venue,
        base=base,
        quote=quote,
        coin=coin,
        series=series,
        listed=listed,
        trade=house.trade * part,
        stray=1 + (spread(f"{venue} {coin.id}", 801) - 400) / 1e6,
        decimals=max(2, 5 - math.floor(math.log10(level))),
        bundle=bundle,
        is_trading=coin.id not in _HALTED[venue],
    )


def _quote_level(quote: str) -> float:
    coin_id = _QUOTES.get(quote)
    level = coin_by_id()[coin_id].price if coin_id else None
    return level or 1.0
