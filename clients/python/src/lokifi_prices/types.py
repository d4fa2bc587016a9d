"""What the product sends, as it comes: plain dictionaries with types.

docs/http-api.md and docs/websocket.md say what the fields mean. Ignore those you
do not know; new ones may be added.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, cast

Kind = Literal["crypto", "stock"]
Period = Literal["1d", "1w", "1m", "3m", "6m", "1y", "5y", "all"]
Resolution = Literal["1", "5", "15", "30", "60", "240", "D", "W", "M"]
Freshness = Literal["live", "delayed", "closed", "stale", "unknown"]


class Market(TypedDict):
    state: Literal["pre", "open", "post", "closed"]
    next_change_at: str | None


class Alternative(TypedDict):
    ref: str
    name: str
    kind: Kind


class Tick(TypedDict):
    """One symbol's price as the stream tells it."""

    symbol: str
    ref: str
    price: float
    change: float | None
    change_percent: float | None
    high: float | None
    low: float | None
    volume: float | None
    market_cap: float | None
    last_updated: str
    source: str
    stale: bool
    freshness: Freshness
    market: Market | None
    session: str | None
    disputed: bool


class Choices(TypedDict, total=False):
    """Cuts what a stream is told; see "Choosing what you get" in docs/websocket.md."""

    fields: list[str] | None
    min_change_percent: float | None
    max_rate: float | None
    mode: Literal["full", "delta"]


class Passed(TypedDict):
    source: str
    code: str


class Quote(Tick):
    name: str
    kind: Kind
    as_of: str | None
    fetched_at: str | None
    cached: bool
    currency: str
    quote_currency: str
    fallback_from: list[Passed]
    change_basis: str
    volume_basis: str | None
    alternatives: list[Alternative]


class Answer(TypedDict):
    source: str | None
    as_of: str | None
    fetched_at: str | None
    cached: bool
    stale: bool
    currency: str


class Batch(Answer):
    success: bool
    count: int
    data: dict[str, Quote]
    failed: dict[str, str]
    resolved: dict[str, str]
    cache_hits: int
    api_calls: int


class Point(TypedDict):
    timestamp: int
    price: float
    volume: float | None


class Candle(TypedDict):
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    closed: bool


_Series = TypedDict("_Series", {"from": int | None, "to": int | None})


class Series(Answer, _Series):
    success: bool
    symbol: str
    ref: str
    period: Period
    resolution: Resolution | None
    count: int
    truncated: bool
    truncated_by: str | None
    available_from: int | None
    volume_basis: str | None
    alternatives: list[Alternative]


class History(Series):
    data: list[Point]


class Candles(Series):
    candles: list[Candle]
    origin: Literal["provider", "derived", "recorded"]
    dropped: int


class PriceAt(Answer):
    symbol: str
    ref: str
    date: str
    close_date: str
    price: float


class Coin(TypedDict):
    """A coin of the top list or a search."""

    id: str
    ref: str
    symbol: str
    name: str
    image: str | None
    current_price: float | None
    market_cap: float | None
    market_cap_rank: int | None
    total_volume: float | None
    high_24h: float | None
    low_24h: float | None
    price_change_24h: float | None
    price_change_percentage_24h: float | None
    circulating_supply: float | None
    total_supply: float | None
    max_supply: float | None
    ath: float | None
    ath_change_percentage: float | None
    ath_date: str | None
    atl: float | None
    atl_change_percentage: float | None
    atl_date: str | None
    last_updated: str | None


class Top(Answer):
    success: bool
    count: int
    page: int
    limit: int
    has_more: bool
    cryptos: list[Coin]


class CoinSearch(Answer):
    success: bool
    query: str
    count: int
    results: list[Coin]


class Listed(TypedDict):
    symbol: str
    ref: str
    name: str
    kind: Kind
    exchange: str | None


class SymbolSearch(Answer):
    success: bool
    query: str
    count: int
    results: list[Listed]


class Mapping(Answer):
    success: bool
    count: int
    mapping: dict[str, str]


class FieldError(TypedDict):
    field: str
    message: str


class Problem(TypedDict):
    """The body of every failure (RFC 9457); `code` is stable. Some codes add members."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str | None
    errors: list[FieldError]


def prices(data: dict[str, Any]) -> dict[str, Tick]:
    """Leave out what is no price. Where `fields` were chosen, a price may be missing."""
    return {
        symbol: cast("Tick", tick)
        for symbol, tick in data.items()
        if isinstance(tick, dict) and tick.get("symbol") == symbol and _is_price(tick)
    }


def _is_price(tick: dict[str, Any]) -> bool:
    price = tick.get("price", 1.0)
    return isinstance(price, int | float) and not isinstance(price, bool) and price > 0
