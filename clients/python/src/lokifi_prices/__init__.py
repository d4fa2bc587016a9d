"""A typed asyncio client of Lokifi prices: REST, and a stream that comes back by itself."""

from __future__ import annotations

from lokifi_prices.rest import PriceClient, PriceError
from lokifi_prices.stream import PriceStream, State
from lokifi_prices.subscription import (
    StreamClosedError,
    StreamFailedError,
    Subscription,
    Update,
)
from lokifi_prices.types import (
    Batch,
    Candle,
    Candles,
    Choices,
    Coin,
    CoinSearch,
    History,
    Mapping,
    Point,
    PriceAt,
    Problem,
    Quote,
    SymbolSearch,
    Tick,
    Top,
)

__all__ = [
    "Batch",
    "Candle",
    "Candles",
    "Choices",
    "Coin",
    "CoinSearch",
    "History",
    "Mapping",
    "Point",
    "PriceAt",
    "PriceClient",
    "PriceError",
    "PriceStream",
    "Problem",
    "Quote",
    "State",
    "StreamClosedError",
    "StreamFailedError",
    "Subscription",
    "SymbolSearch",
    "Tick",
    "Top",
    "Update",
]
