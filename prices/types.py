"""The nouns of the domain. Nothing here imports Django, httpx or our own code.

Units, everywhere in this project:
    price, open, high, low, close   US dollars per unit of the asset (float)
    change_percent                  percent; 1.87 means up 1.87 %
    volume                          dollars for a coin's 24 hours, shares for stocks,
                                    what was traded within the bar for candles
    every datetime                  timezone-aware, UTC
    every timestamp                 whole Unix seconds
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum


class AssetKind(StrEnum):
    CRYPTO = "crypto"
    STOCK = "stock"


class Capability(StrEnum):
    """What a source can be asked for."""

    QUOTES = "quotes"
    HISTORY = "history"
    CANDLES = "candles"
    COINS = "coins"  # ranked lists with market data
    LISTINGS = "listings"  # the whole catalogue
    LOOKUP = "lookup"  # one symbol no catalogue knows
    SEARCH = "search"  # assets by words
    PAIRS = "pairs"  # what an exchange trades against what


class Origin(StrEnum):
    """Where candles come from: the source's own bars, made from its points, or recorded by us."""

    PROVIDER = "provider"
    DERIVED = "derived"
    RECORDED = "recorded"


class TruncatedBy(StrEnum):
    """Why a series begins later than its period.

    The plan, our own limit, the asset's age, or a split that could not be adjusted for.
    """

    PLAN = "plan"
    LIMIT = "limit"
    LISTING = "listing"
    SPLIT = "split"


class Freshness(StrEnum):
    """How far a price can be taken for the present one, by its source's own time.

    live      the source's time moves as it should
    delayed   it moves, behind the market by what that source is known to lag
    closed    the market is closed, and this is what it closed at
    stale     the source's time stands still, or lies before the last close
    unknown   the source does not tell when its price held
    """

    LIVE = "live"
    DELAYED = "delayed"
    CLOSED = "closed"
    STALE = "stale"
    UNKNOWN = "unknown"


class MarketState(StrEnum):
    """What New York does: the regular session is `open`; `pre` and `post` are its edges."""

    PRE = "pre"
    OPEN = "open"
    POST = "post"
    CLOSED = "closed"


class TradingSession(StrEnum):
    """Which part of its day a stock's price is of."""

    PRE = "pre"
    REGULAR = "regular"
    POST = "post"


class Adjustment(StrEnum):
    """Whether a series is adjusted for splits; coins have none to adjust for."""

    SPLITS = "splits"
    NONE = "none"


class Period(StrEnum):
    """How far back a series reaches. "1m" is one month, never one minute."""

    DAY = "1d"
    WEEK = "1w"
    MONTH = "1m"
    QUARTER = "3m"
    HALF_YEAR = "6m"
    YEAR = "1y"
    FIVE_YEARS = "5y"
    ALL = "all"

    @property
    def span(self) -> timedelta | None:
        """How long the period is; None for all there is."""
        days = _DAYS[self]
        return timedelta(days=days) if days else None


_DAYS: dict[Period, int | None] = {
    Period.DAY: 1,
    Period.WEEK: 7,
    Period.MONTH: 30,
    Period.QUARTER: 90,
    Period.HALF_YEAR: 180,
    Period.YEAR: 365,
    Period.FIVE_YEARS: 5 * 365,
    Period.ALL: None,
}


class Resolution(StrEnum):
    """How wide a bar is: minutes, or a day, week or month."""

    M1 = "1"
    M5 = "5"
    M15 = "15"
    M30 = "30"
    H1 = "60"
    H4 = "240"
    DAY = "D"
    WEEK = "W"
    MONTH = "M"

    @property
    def minutes(self) -> int:
        """Nominal width; a month counts as 30 days, so this only orders and estimates."""
        return {"D": 1440, "W": 7 * 1440, "M": 30 * 1440}.get(self.value) or int(self.value)

    @property
    def is_intraday(self) -> bool:
        return self.value.isdecimal()


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time that is asked for. `start` is None for all there is."""

    start: datetime | None
    end: datetime


@dataclass(frozen=True, slots=True)
class Instrument:
    """One asset as we name it and as a source names it.

    CoinGecko knows BTC as "bitcoin"; `upstream_id` carries that, so a provider
    never has to look anything up in our database.
    """

    ref: str
    kind: AssetKind
    upstream_id: str


@dataclass(frozen=True, slots=True)
class Quote:
    """A current price. What the source does not give is None, never 0.

    Coins: change, high and low over 24 hours, volume in dollars over 24 hours.
    Stocks: change against the previous close, high and low of the session.
    """

    price: float
    as_of: datetime
    change: float | None = None
    change_percent: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    market_cap: float | None = None
    is_timed: bool = True  # False where the source tells no time of its own


@dataclass(frozen=True, slots=True)
class Split:
    """`ratio` new shares for one old, from the session of `day` (New York) on."""

    day: date
    ratio: float


@dataclass(frozen=True, slots=True)
class Point:
    """A price at a moment. A coin's volume is the rolling 24 h figure; a stock's is the bar's."""

    timestamp: int
    price: float
    volume: float | None


@dataclass(frozen=True, slots=True)
class Candle:
    """A bar. `timestamp` is its opening; only the newest of a series may be open."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    closed: bool


@dataclass(frozen=True, slots=True)
class Points:
    """A price series, oldest first, strictly increasing."""

    points: list[Point]
    truncated_by: TruncatedBy | None = None
    volume_basis: str | None = None
    adjustment: Adjustment = Adjustment.NONE
    origin: Origin = Origin.PROVIDER


@dataclass(frozen=True, slots=True)
class Candles:
    """Bars, oldest first, strictly increasing; `dropped` were left out as contradictory."""

    candles: list[Candle]
    origin: Origin
    dropped: int = 0
    truncated_by: TruncatedBy | None = None
    volume_basis: str | None = None
    adjustment: Adjustment = Adjustment.NONE
    splits: tuple[Split, ...] = ()  # those within the series that its source tells of


@dataclass(frozen=True, slots=True)
class Coin:
    """A coin with its market data, field by field as lists of coins answer it."""

    id: str
    symbol: str
    name: str
    image: str | None = None
    current_price: float | None = None
    market_cap: float | None = None
    market_cap_rank: int | None = None
    total_volume: float | None = None
    high_24h: float | None = None
    low_24h: float | None = None
    price_change_24h: float | None = None
    price_change_percentage_24h: float | None = None
    circulating_supply: float | None = None
    total_supply: float | None = None
    max_supply: float | None = None
    ath: float | None = None
    ath_change_percentage: float | None = None
    ath_date: datetime | None = None
    atl: float | None = None
    atl_change_percentage: float | None = None
    atl_date: datetime | None = None
    last_updated: datetime | None = None


# Before a FIGI that is a stock's at all exchanges of a country, not its share class's.
COMPOSITE = "comp:"


@dataclass(frozen=True, slots=True)
class Trend:
    """How a coin has moved: its price by the hour over seven days, and changes in percent."""

    as_of: datetime | None
    sparkline: list[float] | None = None
    change_percent_1h: float | None = None
    change_percent_7d: float | None = None
    change_percent_30d: float | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """One row of a source's catalogue: that an asset exists, under which names."""

    kind: AssetKind
    upstream_id: str
    ticker: str  # as the source writes it; may be empty or not ASCII
    name: str
    exchange: str = ""
    is_derivative: bool = False  # tokenised stock, wrapped or bridged coin
    market_cap_rank: int | None = None
    figi: str = ""  # of a share class, else COMPOSITE and that of the stock; outlives tickers


@dataclass(frozen=True, slots=True)
class Pair:
    """What an exchange trades against what. Its prices are in `quote`, its volumes in `base`."""

    symbol: str  # as the exchange names it: what `Instrument.upstream_id` holds
    base: str  # the coin's usual ticker: BTC, where the exchange may say XBT
    quote: str  # USD, USDT, USDC, EUR ...
    is_trading: bool
