"""What the admin shows: how one asset, a page of them, or the whole system stands.

Looking loads nothing, asks no source and settles no ticker.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings

from prices import cache, hit_counts, registry
from prices.answers import HistoryAnswer, QuoteAnswer, TopAnswer
from prices.budget import Limits, Spent, lookups_last_minute
from prices.models import Asset, Catalogue
from prices.redis_clients import RedisAwayError
from prices.services import holdings, quotes, ranking, settling, sources, symbols
from prices.services.holdings import KeyState, Server
from prices.types import AssetKind, Period

# What share of reads the cache is expected to answer, in percent.
BANDS = {"price": (75, 85), "history": (85, 95), "ohlcv": (85, 95), "list": (90, 95)}
# Fewer reads than this say nothing about a share.
ENOUGH_READS = 50

# A ticker that hundreds of coins bear is not listed whole.
MOST_BEARERS = 50


# --- A page of assets ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a row of the list tells of an asset beside what the database holds."""

    symbol: str
    quote: QuoteAnswer | None
    followers: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Glimpses by ref. `is_redis_away` tells "nothing held" from "could not look"."""

    glimpses: dict[str, Glimpse]
    is_redis_away: bool


def glimpses(assets: Collection[Asset]) -> Page:
    """Return what is held of some assets: one query and one MGET, however many they are."""
    names = symbols.names(assets)
    is_away = False
    try:
        held = holdings.quotes(names.values())
    except RedisAwayError:
        held, is_away = quotes.cached(names.values()), True
    return Page({ref: Glimpse(name, held.get(name)) for ref, name in names.items()}, is_away)


# --- One asset ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A price of the asset that is held, and who said it when."""

    where: str
    source: str
    price: float | None
    as_of: datetime | None
    fetched_at: datetime
    stale: bool
    change_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Bearer:
    """One of the assets that bear a ticker."""

    asset: Asset
    symbol: str
    holds: str


@dataclass(frozen=True, slots=True)
class Portrait:
    """All that is known of one asset without asking anybody."""

    symbol: str
    source: str
    said: list[Said]
    keys: list[KeyState]
    histories: Mapping[Period, HistoryAnswer]
    bearers: list[Bearer]
    more_bearers: int
    ticker_means: str
    is_redis_away: bool


def portrait(asset: Asset) -> Portrait:
    """Return how an asset stands; three queries, and no call to any source."""
    name = symbols.names([asset])[asset.ref]
    said: list[Said] = []
    keys: list[KeyState] = []
    histories: dict[Period, HistoryAnswer] = {}
    is_away = False
    try:
        histories = holdings.histories(name)
        said = _said(asset, name, histories)
        keys = holdings.states(name)
    except RedisAwayError:
        is_away = True
    bearers = symbols.bearers(asset.ticker)
    names = symbols.names(bearers[:MOST_BEARERS])
    return Portrait(
        symbol=name,
        source=registry.source_for(AssetKind(asset.kind)),
        said=said,
        keys=keys,
        histories=histories,
        bearers=[Bearer(a, names[a.ref], _holds(a)) for a in bearers[:MOST_BEARERS]],
        more_bearers=max(0, len(bearers) - MOST_BEARERS),
        ticker_means=_ticker_means(asset.ticker, bearers),
        is_redis_away=is_away,
    )


def _said(asset: Asset, name: str, histories: Mapping[Period, HistoryAnswer]) -> list[Said]:
    said = []
    quote = holdings.quotes([name]).get(name)
    if quote is not None:
        said.append(
            Said(
                where="quote",
                source=quote.source,
                price=quote.price,
                as_of=quote.as_of,
                fetched_at=quote.fetched_at,
                stale=quote.stale,
                change_percent=quote.change_percent,
            )
        )
    whole = cache.read(ranking.KEY, TopAnswer) if asset.coingecko_id else None
    for row in whole.value.cryptos if whole else []:
        if whole is not None and row.id == asset.coingecko_id:
            said.append(
                Said(
                    where="list of coins",
                    source=whole.value.source,
                    price=row.current_price,
                    as_of=row.last_updated,
                    fetched_at=whole.value.fetched_at,
                    stale=whole.value.stale,
                    change_percent=row.price_change_percentage_24h,
                )
            )
    for period, series in histories.items():
        if series.data:
            said.append(
                Said(
                    where=f"last point of history {period}",
                    source=series.source,
                    price=series.data[-1].price,
                    as_of=series.as_of,
                    fetched_at=series.fetched_at,
                    stale=series.stale,
                )
            )
    return said


def _holds(asset: Asset) -> str:
    words = {
        "pinned": asset.pinned,
        "settled": asset.settled,
        "leading": asset.leading,
        "derivative": asset.is_derivative,
    }
    return ", ".join(word for word, is_so in words.items() if is_so)


def _ticker_means(ticker: str, bearers: Sequence[Asset]) -> str:
    """Return in a sentence who has a ticker, and why."""
    owner = symbols.holder(bearers)
    if owner is None:
        return f"Nobody has {ticker} as a bare ticker now."
    if owner.pinned:
        why = "it is pinned"
    elif owner.settled:
        why = "it settled on it, and stays so until another is pinned"
    else:
        return (
            f"{ticker} is settled on nobody yet; {owner.ref} would get it, "
            f"since {_claim(owner, bearers)}."
        )
    return f"{ticker} means {owner.ref}: {why}."


def _claim(owner: Asset, bearers: Sequence[Asset]) -> str:
    if len(bearers) == 1:
        return "nothing else bears it"
    if owner.kind == AssetKind.STOCK:
        return f"it is a stock, and no original coin among the top {settling.TOP_RANK} bears it"
    rank = owner.market_cap_rank
    if rank is not None and rank <= settling.TOP_RANK and not owner.is_derivative:
        return f"it is the largest original coin (rank {rank})"
    return "it is the coin with the best rank, and no stock bears it"


# --- The system ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often the cache had the answer today, for one kind of key."""

    kind: str
    hits: int
    misses: int

    @property
    def percent(self) -> float | None:
        reads = self.hits + self.misses
        return self.hits / reads * 100 if reads else None

    @property
    def band(self) -> tuple[int, int] | None:
        return BANDS.get(self.kind)

    @property
    def verdict(self) -> str:
        if self.band is None or self.percent is None:
            return ""
        if self.hits + self.misses < ENOUGH_READS:
            return "too few reads to tell"
        low, high = self.band
        if self.percent < low:
            return "below the band"
        return "above the band" if self.percent > high else "within the band"


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A source's calls and what is left of them. `spent` is None where Redis could not tell.

    `state` and `reason` are those of GET /sources, `unused` where no chain has the source.
    """

    source: str
    plan: str
    state: str
    reason: str
    limits: Limits
    spent: Spent | None

    @property
    def left_this_minute(self) -> int | None:
        """None where the plan sets no limit, or nobody knows."""
        if self.limits.per_minute is None or self.spent is None:
            return None
        return max(0, self.limits.per_minute - self.spent.last_minute)

    @property
    def left_this_month(self) -> int | None:
        """None where the plan sets no limit, or nobody knows."""
        if self.limits.per_month is None or self.spent is None:
            return None
        return max(0, self.limits.per_month - self.spent.this_month)


@dataclass(frozen=True, slots=True)
class System:
    """How all of it stands. Without Redis only budgets' limits and catalogues are known."""

    mode: str
    rates: list[HitRate]
    budgets: list[BudgetState]
    lookups: int | None
    lookups_per_minute: int
    catalogues: list[Catalogue]
    assets: int
    tracked: int
    server: Server | None

    @property
    def is_redis_away(self) -> bool:
        return self.server is None


def system() -> System:
    """Return how the system stands; quick with Redis away too."""
    counts: dict[str, tuple[int, int]] = {}
    server, lookups = None, None
    try:
        counts = hit_counts.hit_rates()
        lookups = lookups_last_minute()
        server = holdings.server()
    except RedisAwayError:
        server = None
    kinds = dict.fromkeys([*BANDS, *sorted(counts)])
    return System(
        mode=settings.UPSTREAM_MODE,
        rates=[HitRate(kind, *counts.get(kind, (0, 0))) for kind in kinds],
        budgets=_budgets(),
        lookups=lookups,
        lookups_per_minute=settings.LOOKUPS_PER_MINUTE,
        catalogues=list(Catalogue.objects.order_by("kind")),
        assets=Asset.objects.filter(is_active=True).count(),
        tracked=Asset.objects.filter(is_active=True, tracked=True).count(),
        server=server,
    )


def _budgets() -> list[BudgetState]:
    now, asked = datetime.now(UTC), sources.asked_names()
    return [_budget(name, now, is_asked=name in asked) for name in settings.PRICE_PROVIDERS]


def _budget(name: str, now: datetime, *, is_asked: bool) -> BudgetState:
    row, budget = sources.row(name, now), registry.budget(name)
    try:
        spent = budget.spent()
    except RedisAwayError:
        spent = None
    reason = row.reason or ""
    if row.retry_at is not None:
        reason += f", {math.ceil((row.retry_at - now).total_seconds())} s yet"
    return BudgetState(
        source=name,
        plan=row.plan,
        state=row.state if is_asked else "unused",
        reason=reason if is_asked else "no chain has it",
        limits=budget.limits,
        spent=spent,
    )
