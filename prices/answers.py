"""What the REST API answers and Redis holds, field by field in the order of the wire.

The JSON of these is the contract: `docs/http-api.md` shows each with an
example, the OpenAPI document is made from them, and a body read back from
Redis is decoded by them, so bytes of any other shape count as a miss.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Self

import msgspec

from prices import freshness
from prices.freshness import Cadence, SeriesJudge
from prices.sessions import phase
from prices.types import (
    Adjustment,
    AssetKind,
    Candle,
    Freshness,
    MarketState,
    Origin,
    Pair,
    Period,
    Point,
    Resolution,
    TradingSession,
    TruncatedBy,
)

LAST_SECOND = 4_102_444_800  # the year 2100

# Aware, as every time here; a body with a naive one is not ours.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Day = date
Dollars = Annotated[float, msgspec.Meta(gt=0, lt=1e12)]


class Alternative(msgspec.Struct, frozen=True):
    """Another asset that bears the same ticker."""

    ref: str
    name: str
    kind: AssetKind


class Skipped(msgspec.Struct, frozen=True):
    """A source that would have come first, and the code of why it did not answer."""

    source: str
    code: str


class Market(msgspec.Struct, frozen=True):
    """What New York does, and when that changes next."""

    state: MarketState
    next_change_at: Moment


def market_at(now: datetime) -> Market:
    """Return what New York does at that moment."""
    return Market(*phase(now))


def session_at(kind: AssetKind, as_of: datetime) -> TradingSession | None:
    """Return which part of its day a stock's price is of that held at that moment."""
    return freshness.session_of(as_of) if kind is AssetKind.STOCK else None


class Segment(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The part of a series that came from one source, by its first and last stamp."""

    from_: int
    to: int
    source: str


class Answer(msgspec.Struct, kw_only=True, frozen=True):
    """What every answer says of itself.

    source      which provider
    as_of       when the source says the data held; null where it does not say
    fetched_at  when we got it
    cached      not fetched for the request that made this body
    stale       past its life and not renewed, because no source, or no Redis, could be asked
    """

    source: str
    as_of: Moment | None
    fetched_at: Moment
    cached: bool
    stale: bool
    currency: str = "USD"

    def is_sane(self) -> bool:
        """Whether the values can be true; types alone do not tell."""
        return True

    def is_second_best(self) -> bool:
        """Whether a better answer may be had in a moment."""
        return False

    def as_of_now(self, now: datetime, cadence: Cadence) -> Self:
        """Return the answer with what depends on the present judged anew."""
        return self

    def holds_until(self, now: datetime, cadence: Cadence) -> datetime | None:
        """Return when what it says of the present ceases to be true by time alone."""
        return None

    def fresh_until(self, cadence: Cadence) -> datetime | None:
        """Return until when it is the newest there is to tell, as far as time alone decides."""
        return None


class QuoteAnswer(Answer, kw_only=True, frozen=True):
    """GET /{symbol}, and each value of a batch's `data`.

    quote_currency is what the source's price was in: a stand-in for the dollar
    (USDT, USDC) was converted by its own price. fallback_from are the sources
    that would have come first, and why they did not answer. disputed says that
    two fresh sources differ, or that the price jumped and awaits a second look;
    market and session are null for coins.
    """

    symbol: str
    ref: str
    name: str
    kind: AssetKind
    price: Dollars
    change: float | None
    change_percent: float | None
    high: float | None
    low: float | None
    volume: float | None
    market_cap: float | None
    last_updated: Moment
    freshness: Freshness
    market: Market | None
    session: TradingSession | None
    disputed: bool
    quote_currency: str
    fallback_from: list[Skipped]
    change_basis: str
    volume_basis: str | None
    alternatives: list[Alternative]

    def as_of_now(self, now: datetime, cadence: Cadence) -> Self:
        verdict = freshness.of_quote(
            self.kind, self.last_updated, now, cadence, is_timed=self._is_timed
        )
        market = self.market and market_at(now)
        if verdict.freshness is self.freshness and market == self.market:
            return self
        return msgspec.structs.replace(self, freshness=verdict.freshness, market=market)

    def holds_until(self, now: datetime, cadence: Cadence) -> datetime | None:
        return freshness.quote_holds_until(
            self.kind, self.last_updated, now, cadence, is_timed=self._is_timed
        )

    @property
    def _is_timed(self) -> bool:
        return self.freshness is not Freshness.UNKNOWN


class BatchAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """POST /batch and GET ?symbols=. Times are those of the oldest quote; null without any."""

    success: bool
    count: int
    data: dict[str, QuoteAnswer]
    failed: dict[str, str]
    resolved: dict[str, str]
    cache_hits: int
    api_calls: int
    source: str | None
    as_of: Moment | None
    fetched_at: Moment | None
    cached: bool
    stale: bool
    currency: str = "USD"


class SeriesAnswer(Answer, kw_only=True, frozen=True, rename={"from_": "from"}):
    """What history and candles have in common. `from_` and `to` are the ends of what is here.

    A series comes from one source and is never converted: `currency` and
    `quote_currency` both name a stand-in for the dollar where it is in one.
    segments is empty but where a seam between two sources could not be avoided.
    coverage is the share of the minutes to be expected that are here, 0 to 1, for
    recorded bars; null for others, whose source leaves out what had no trade. session
    is which part of its day a stock's newest price is of, by `as_of`; null for coins.
    """

    success: bool = True
    symbol: str
    ref: str
    period: Period
    resolution: Resolution
    count: int
    from_: int | None
    to: int | None
    truncated: bool
    truncated_by: TruncatedBy | None
    available_from: int | None
    volume_basis: str | None
    freshness: Freshness
    market: Market | None
    session: TradingSession | None
    adjustment: Adjustment
    segments: list[Segment]
    quote_currency: str
    fallback_from: list[Skipped]
    alternatives: list[Alternative]
    origin: Origin
    coverage: float | None

    def is_second_best(self) -> bool:
        """A source failed, or erred, that would have come first, or calls were left for less."""
        has_failed = any(
            one.code.startswith("upstream") or one.code == "jump" for one in self.fallback_from
        )
        # Only what has no volume grows: days made call by call of points, and what we record.
        is_growing = self.truncated_by is TruncatedBy.LIMIT and self.volume_basis is None
        return has_failed or is_growing

    def as_of_now(self, now: datetime, cadence: Cadence) -> Self:
        if self.to is None:
            return self
        verdict = self._judge(self._kind, self._last, self.resolution, now, cadence)
        return msgspec.structs.replace(
            self, freshness=verdict.freshness, market=self.market and market_at(now)
        )

    def holds_until(self, now: datetime, cadence: Cadence) -> datetime | None:
        return market_at(now).next_change_at if self.market else None

    def fresh_until(self, cadence: Cadence) -> datetime | None:
        if self.to is None:
            return None
        of_what = (self._kind, self._last, self.resolution, self.fetched_at)
        ends = [freshness.series_holds_until(self._judge, *of_what, cadence)]
        if self.freshness is not Freshness.STALE:
            ends.append(freshness.worth_renewing_at(*of_what))
        return min((at for at in ends if at is not None), default=None)

    @property
    def _judge(self) -> SeriesJudge:
        return freshness.of_points if isinstance(self, HistoryAnswer) else freshness.of_series

    @property
    def _kind(self) -> AssetKind:
        return AssetKind.STOCK if self.market else AssetKind.CRYPTO

    @property
    def _last(self) -> datetime:
        return datetime.fromtimestamp(self.to or 0, UTC)


class HistoryAnswer(SeriesAnswer, kw_only=True, frozen=True, rename={"from_": "from"}):
    """GET /{symbol}/history; oldest first, strictly increasing."""

    data: list[Point]

    def is_sane(self) -> bool:
        return all(p.price > 0 and 0 <= p.timestamp < LAST_SECOND for p in self.data)


class CandlesAnswer(SeriesAnswer, kw_only=True, frozen=True, rename={"from_": "from"}):
    """GET /{symbol}/ohlcv; oldest first, strictly increasing."""

    dropped: int
    candles: list[Candle]

    def is_sane(self) -> bool:
        return all(bar.low > 0 and 0 <= bar.timestamp < LAST_SECOND for bar in self.candles)


class PriceAtAnswer(Answer, kw_only=True, frozen=True):
    """GET /{symbol}/at: the close of a day, or the nearest one before it.

    date is the day that was asked for, close_date the one that the close is of,
    and as_of when it was made.
    """

    symbol: str
    ref: str
    name: str
    kind: AssetKind
    date: Day
    close_date: Day
    price: Dollars
    adjustment: Adjustment
    origin: Origin
    quote_currency: str
    fallback_from: list[Skipped]
    alternatives: list[Alternative]

    def holds_until(self, now: datetime, cadence: Cadence) -> datetime | None:
        # A split comes into force with a session: the close is then in other shares.
        return market_at(now).next_change_at if self.kind is AssetKind.STOCK else None


class CoinRow(msgspec.Struct, kw_only=True, frozen=True):
    """`asset` of the contract: a coin with its market data.

    last_updated is when its source says that the row's figures held, all of one moment;
    freshness is judged by it when the row is given, and null where the list is only kept.
    """

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
    ath_date: Moment | None
    atl: float | None
    atl_change_percentage: float | None
    atl_date: Moment | None
    last_updated: Moment | None
    freshness: Freshness | None = None


class TopAnswer(Answer, kw_only=True, frozen=True):
    """GET /crypto/top."""

    success: bool = True
    count: int
    page: int
    limit: int
    has_more: bool
    cryptos: list[CoinRow]


class TrendAnswer(Answer, kw_only=True, frozen=True):
    """How one coin has moved; no endpoint of ours, but a part of rows and quotes."""

    sparkline: list[float] | None
    change_percent_1h: float | None
    change_percent_7d: float | None
    change_percent_30d: float | None

    def is_sane(self) -> bool:
        return all(price > 0 for price in self.sparkline or ())


class TrendedRow(CoinRow, kw_only=True, frozen=True):
    """A coin with its last seven days by the hour; `trend_as_of` is of what is told of them."""

    sparkline: list[float] | None
    price_change_percentage_1h: float | None
    price_change_percentage_7d: float | None
    price_change_percentage_30d: float | None
    trend_as_of: Moment | None


class TrendedTopAnswer(Answer, kw_only=True, frozen=True):
    """GET /crypto/top?sparkline=true."""

    success: bool = True
    count: int
    page: int
    limit: int
    has_more: bool
    cryptos: list[TrendedRow]


class TrendedQuote(QuoteAnswer, kw_only=True, frozen=True):
    """A quote with its coin's last seven days by the hour; all null for stocks."""

    sparkline: list[float] | None
    change_percent_1h: float | None
    change_percent_7d: float | None
    change_percent_30d: float | None
    trend_as_of: Moment | None


class TrendedBatchAnswer(BatchAnswer, kw_only=True, frozen=True):
    """A batch with `sparkline`."""

    data: dict[str, TrendedQuote]  # type: ignore[assignment]  # a quote is one, and more


class CoinSearchAnswer(Answer, kw_only=True, frozen=True):
    """GET /crypto/search."""

    success: bool = True
    query: str
    count: int
    results: list[CoinRow]


class Attribution(msgspec.Struct, frozen=True):
    """How a source is to be named near its data, and what is known of its terms.

    required  whether its terms ask for that; null where nobody read them
    terms     where that is written; null where nobody read it
    use       what else is known of what its data may be used for, and how surely
    """

    text: str
    link: str
    required: bool | None
    terms: str | None
    use: str | None


class Allowance(msgspec.Struct, frozen=True):
    """A limit of a source's plan, and what is left of it just now."""

    limit: int
    left: int


class SourceRow(msgspec.Struct, kw_only=True, frozen=True):
    """One source: what it can be asked, how it is to be named, how it stands.

    state    ok; open (left alone after failures, by everyone); trying (it was, and
             one call at a time tries it); restricted (it refuses us as a whole);
             rate_limited; not_configured (`setting` is missing)
    reason   why it is not ok; null where it is
    left     by minute, hour, day and month, as far as its plan has limits; null
             while nobody can count
    """

    name: str
    source: str
    capabilities: list[str]
    plan: str
    state: Annotated[
        str, msgspec.Meta(pattern="^(ok|open|trying|restricted|rate_limited|not_configured)$")
    ]
    reason: str | None
    retry_at: Moment | None
    setting: str | None
    left: dict[str, Allowance] | None
    attribution: Attribution


class SourcesAnswer(Answer, kw_only=True, frozen=True):
    """GET /sources: which sources there are, and in which order they are asked for what."""

    success: bool = True
    count: int
    sources: list[SourceRow]
    chains: dict[str, list[str]]


class PairsAnswer(Answer, kw_only=True, frozen=True):
    """An exchange's own product list, as far as it is against dollars; no endpoint of ours."""

    pairs: list[Pair]


class MappingAnswer(Answer, kw_only=True, frozen=True):
    """GET /crypto/mapping: what `crypto:SYMBOL` gives."""

    success: bool = True
    count: int
    mapping: dict[str, str]


class SymbolRow(msgspec.Struct, kw_only=True, frozen=True):
    """One hit of the symbol search. `symbol` is how maps and subscriptions name the asset."""

    symbol: str
    ref: str
    name: str
    kind: AssetKind
    exchange: str


class SymbolSearchAnswer(Answer, kw_only=True, frozen=True):
    """GET /symbols/search."""

    success: bool = True
    query: str
    count: int
    results: list[SymbolRow]
