"""How symbols are written: tickers, forced kinds and refs, before anyone knows what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from prices.errors import InvalidSymbolError
from prices.types import AssetKind

TICKER = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,19}")
COIN_ID = re.compile(r"[A-Za-z0-9._ \-]{1,100}")
# What a US stock's ticker looks like; only such a one is worth a stock source's key.
STOCK_TICKER = re.compile(r"[A-Z]{1,5}(\.[A-Z])?")

_MEMORABLE = 120

# BRK/B is BRK.B.
SHARE_CLASS = re.compile(r"/(?=[A-Z]$)")

# What a symbol may begin with, and the kind it then is.
FORCED = {"coingecko": AssetKind.CRYPTO, **{kind.value: kind for kind in AssetKind}}


@dataclass(frozen=True, slots=True)
class Asked:
    """A symbol as asked, folded: a coin's id, or a ticker of one kind or of any."""

    text: str
    kind: AssetKind | None = None
    ticker: str = ""
    coin_id: str = ""

    @property
    def name(self) -> str:
        """One text for all spellings of the same symbol."""
        return self.ref if self.coin_id else f"{self.kind or 'any'}:{self.ticker}"

    @property
    def ref(self) -> str:
        """The ref it names outright, or ""."""
        if self.coin_id:
            return f"coingecko:{self.coin_id}"
        return f"stock:{self.ticker}" if self.kind is AssetKind.STOCK else ""


def parse(asked: str) -> Asked:
    """Return a symbol as it was meant. Raises InvalidSymbolError."""
    # What clients make up is not remembered at any length.
    return _parsed(asked) if len(asked) <= _MEMORABLE else _parse(asked)


def _parse(asked: str) -> Asked:
    text = asked.strip()
    if not text.isascii():
        raise InvalidSymbolError(asked)
    prefix, colon, rest = text.partition(":")
    prefix = prefix.lower()
    if colon and prefix == "coingecko" and COIN_ID.fullmatch(rest):
        return Asked(text, AssetKind.CRYPTO, coin_id=rest)
    kind = AssetKind(prefix) if colon and prefix in set(AssetKind) else None
    ticker = SHARE_CLASS.sub(".", (rest if kind else text).upper())
    if not TICKER.fullmatch(ticker):
        raise InvalidSymbolError(asked)
    return Asked(text, kind, ticker)


_parsed = lru_cache(maxsize=8192)(_parse)


def spellings(ticker: str) -> list[str]:
    """Return what a ticker may stand for: BRK-B means BRK.B, unless something is called BRK-B."""
    dotted = ticker.replace("-", ".")
    return [ticker] if dotted == ticker else [ticker, dotted]
