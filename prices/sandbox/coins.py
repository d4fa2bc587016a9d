"""The sandbox's coins: the rows of the table, and what each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from prices.sandbox.coin_table import FOLLOWERS, RANKED, SMALL


@dataclass(frozen=True, slots=True)
class Coin:
    """One coin as the sandbox lists it.

    `price` is dollars about the end of 2026, None for a coin without a market;
    `supply` is None where the source does not know it. `listed` is Unix seconds.
    `follows` names the coin or stock whose price this one repeats, times `ratio`.
    """

    id: str
    symbol: str
    name: str
    price: float | None
    supply: float | None
    listed: int
    number: int
    daily_vol: float
    follows: str | None = None
    ratio: float = 1.0
    is_ranked: bool = True
    max_supply: float | None = None
    platforms: tuple[tuple[str, str], ...] = ()


_STABLE_USD = """
tether usd-coin ethena-usde dai usds paypal-usd usd1-wlfi global-dollar ripple-usd frax
first-digital-usd true-usd binance-usd usdd falcon-finance figure-heloc susds
ethena-staked-usde
"""
_FOLLOWS_RANKED = {
    "staked-ether": ("ethereum", 0.9993),
    "wrapped-steth": ("ethereum", 1.2197),
    "wrapped-eeth": ("ethereum", 1.0826),
    "weth": ("ethereum", 1.0),
    "binance-peg-weth": ("ethereum", 0.9998),
    "rocket-pool-eth": ("ethereum", 1.1497),
    "mantle-staked-ether": ("ethereum", 1.0765),
    "wrapped-bitcoin": ("bitcoin", 0.9989),
    "coinbase-wrapped-btc": ("bitcoin", 0.9998),
    "jito-staked-sol": ("solana", 1.2464),
    "pax-gold": ("tether-gold", 1.0012),
    "kinetic-finance-sflr": ("flare-networks", 1.803),
}
_MEMES = """
dogecoin shiba-inu pepe bonk floki dogwifcoin official-trump fartcoin popcat mog-coin turbo
cat-in-a-dogs-world pudgy-penguins spx6900 based-brett memecore coq-inu myro dogelon-mars
baby-doge-coin memecoin-2 notcoin
"""
_DAILY_VOL = {"bitcoin": 0.023, "ethereum": 0.031, "tether-gold": 0.009, "binancecoin": 0.027}
_MAX_SUPPLY = {
    "bitcoin": 21e6,
    "litecoin": 84e6,
    "bitcoin-cash": 21e6,
    "zcash": 21e6,
    "dash": 18.92e6,
    "ripple": 100e9,
    "cardano": 45e9,
    "stellar": 50.0e9,
    "binancecoin": 200e6,
    "chainlink": 1e9,
    "uniswap": 1e9,
    "avalanche-2": 720e6,
    "pepe": 420.69e12,
    "bittensor": 21e6,
    "aave": 16e6,
    "shiba-inu": 589.5e12,
    "worldcoin-wld": 10e9,
    "algorand": 10e9,
    "vechain": 86.7e9,
    "hedera-hashgraph": 50e9,
    "ethereum-classic": 210.7e6,
    "arbitrum": 10e9,
    "sui": 10e9,
    "yearn-finance": 36.666e3,
    "decred": 21e6,
    "ravencoin": 21e9,
}
_PLATFORMS = {
    "tether": (("ethereum", "0xdac17f958d2ee523a2206206994597c13d831ec7"),),
    "usd-coin": (("ethereum", "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"),),
    "chainlink": (("ethereum", "0x514910771af9ca656af840dff83e8264ecf986ca"),),
    "shiba-inu": (("ethereum", "0x95ad61b0a150d79219dcf64e1e6cc01f0b64c4ce"),),
    "uniswap": (("ethereum", "0x1f9840a85d5af5bf1d1762f925bdaddc4201f984"),),
}
# Images on the wire bear a number: CoinGecko's own for the best known, made up for the rest.
_IMAGE_NUMBERS = {"bitcoin": 1, "litecoin": 2, "dogecoin": 5, "ethereum": 279, "tether": 325}


@cache
def coins() -> tuple[Coin, ...]:
    """Return every coin, in the order in which the sandbox lists them."""
    number = 1000
    found: list[Coin] = []
    for table in (RANKED, SMALL):
        for row in table.strip().splitlines():
            number += 7
            found.append(_coin(row, number))
    for row in FOLLOWERS.strip().splitlines():
        number += 7
        found.append(_follower(row, number))
    return (*found, *_odd_ones(number))


@cache
def coin_by_id() -> dict[str, Coin]:
    return {coin.id: coin for coin in coins()}


def _coin(row: str, number: int) -> Coin:
    id_, symbol, price, supply, year, name = row.split(maxsplit=5)
    follows, ratio = _FOLLOWS_RANKED.get(id_, (None, 1.0))
    return Coin(
        id=id_,
        symbol=symbol,
        name=name,
        price=float(price),
        supply=float(supply),
        listed=_day_in(float(year)),
        number=_IMAGE_NUMBERS.get(id_, number),
        daily_vol=_daily_vol(id_, float(price) * float(supply)),
        follows=follows,
        ratio=ratio,
        max_supply=_MAX_SUPPLY.get(id_),
        platforms=_PLATFORMS.get(id_, ()),
    )


def _follower(row: str, number: int) -> Coin:
    id_, symbol, follows, ratio, supply, year, name = row.split(maxsplit=6)
    return Coin(
        id=id_,
        symbol=symbol,
        name=name,
        price=1.0,
        supply=float(supply),
        listed=_day_in(float(year)),
        number=number,
        daily_vol=0.03,
        follows=follows,
        ratio=float(ratio),
        is_ranked=False,
    )


def _odd_ones(number: int) -> tuple[Coin, ...]:
    """Coins that try a reader: no price, no supply, no rank, no ticker, too young."""

    def odd(id_: str, symbol: str, name: str, price: float | None, **more: object) -> Coin:
        supply, listed = more.get("supply"), more.get("listed", _day_in(2022.5))
        return Coin(
            id=id_,
            symbol=symbol,
            name=name,
            price=price,
            supply=supply if isinstance(supply, float) else None,
            listed=listed if isinstance(listed, int) else 0,
            number=number + len(id_),
            daily_vol=0.05,
            is_ranked=isinstance(supply, float) and price is not None,
        )

    june = int(datetime(2026, 6, 1, 13, 20, tzinfo=UTC).timestamp())
    return (
        odd("sandbox-newcomer", "newc", "Newcomer", 0.042, supply=2.4e9, listed=june),
        odd("01coin", "zoc", "01coin", None),
        odd("abandoned-dollar", "abusd", "Abandoned Dollar", None, supply=4e6),
        odd("supply-unknown", "supun", "Supply Unknown", 0.31),
        odd("rank-unknown-gold", "rug", "Rank Unknown Gold", 41.7),
        odd("no-ticker", "", "No Ticker", 0.0021, supply=3e6),
        odd("bi-an-ren-sheng", "币安人生", "币安人生 (Binance Life)", 0.00021, supply=1e9),
        odd("one-coin-emoji", "\u2728", "Sparkle", 0.0000071, supply=1e9),
        odd("spaces-in-ticker", "up down", "Up Down Finance", 0.0042, supply=9e6),
        odd("long-ticker", "averyverylongtickerindeed", "Long Ticker", 0.00052, supply=8e6),
    )


def _daily_vol(id_: str, market_cap: float) -> float:
    if id_ in _STABLE_USD.split():
        return 0.0004
    if id_ in _MEMES.split():
        return 0.052
    return _DAILY_VOL.get(id_, 0.036 if market_cap > 2e9 else 0.044)


def _day_in(year: float) -> int:
    """Return Unix seconds of the UTC midnight that a year with a fraction falls on."""
    start = datetime(int(year), 1, 1, tzinfo=UTC).timestamp()
    return int(start + (year % 1) * 365.25 * 86400) // 86400 * 86400
