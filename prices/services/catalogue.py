"""Which assets exist, kept in step with the sources' own lists.

Everything is fetched before anything is written, and written in one
transaction: a source that fails midway costs nothing.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import transaction

from prices import failures, gateway, redis_clients, registry
from prices.budget import Purpose
from prices.errors import PricesError, UpstreamError
from prices.models import Asset, Catalogue
from prices.providers.coingecko_payloads import is_derivative
from prices.redis_clients import RedisAwayError
from prices.services import holdings, ranking, retirement
from prices.types import AssetKind, Capability, Coin, Listing

logger = logging.getLogger(__name__)

LOCK_S = 60
WAIT_S = 5.0
# A list this much shorter than the last is taken for a broken one: what it
# lacks is not struck off.
SHRUNK = 0.8

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"

_UPDATED = [
    "ticker", "name", "exchange", "market_cap_rank", "market_cap", "volume",
    "is_derivative", "is_active", "seen_at", "coingecko_id", "finnhub_symbol", "figi",
    "last_day", "successor",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filled:
    """What filling a catalogue came to."""

    kind: AssetKind
    rows: int
    retired: int
    is_first: bool


def ensure(kind: AssetKind) -> bool:
    """Have the catalogue of a kind, filled by whoever needs it first; return whether we did.

    Raises UpstreamError or ProviderNotConfiguredError where it is not there and cannot be had.
    """
    if Catalogue.objects.filter(kind=kind).exists():
        return False
    registry.provider(registry.source_for(kind))
    key = f"catalogue:{kind}"
    failed = failures.remembered([key]).get(key)
    if failed is not None:
        raise failed
    lock, token = f"lock:{key}", secrets.token_hex(8)
    try:
        is_mine = bool(redis_clients.ask(lambda r: r.set(lock, token, nx=True, ex=LOCK_S)))
    except RedisAwayError:
        is_mine = True
    if not is_mine:
        _wait_for(kind)
        return False
    try:
        fill(kind)
    except PricesError as exc:
        failures.remember({key: exc})
        raise
    finally:
        _release(lock, token)
    return True


def fill(kind: AssetKind) -> Filled:
    """Bring our rows of a kind in step with its source. Idempotent.

    Raises UpstreamError or another PricesError, having changed nothing.
    """
    coins = ranking.coins() if kind is AssetKind.CRYPTO else []
    listed = gateway.ask(kind, Capability.LISTINGS, lambda source: source.listings())
    assets = _assets(listed.value, coins)
    before = Catalogue.objects.filter(kind=kind).first()
    with transaction.atomic():
        seen_at = datetime.now(UTC)
        known = retirement.known(kind)
        _write(assets, seen_at)
        retirement.forget_former(known, assets)
        retired = 0
        if before is not None and len(assets) >= before.rows * SHRUNK:
            retired = retirement.retire(kind, known, before.filled_at, seen_at)
        if kind is AssetKind.STOCK:
            retirement.remember_former(seen_at)
        Catalogue.objects.update_or_create(
            kind=kind,
            defaults={"source": listed.source, "filled_at": seen_at, "rows": len(assets)},
        )
    holdings.note_names()
    return Filled(kind, len(assets), retired, is_first=before is None)


def fill_all(
    kinds: Iterable[AssetKind] = tuple(AssetKind),
) -> dict[AssetKind, Filled | PricesError]:
    """Fill several catalogues; one that cannot be filled does not keep the others."""
    outcomes: dict[AssetKind, Filled | PricesError] = {}
    for kind in kinds:
        try:
            outcomes[kind] = fill(kind)
        except PricesError as exc:
            logger.warning("the %s catalogue stays as it is: %s", kind, exc)
            outcomes[kind] = exc
    return outcomes


def look_up(kind: AssetKind, ticker: str) -> int:
    """Ask a kind's source for a ticker that no catalogue knows; return how many assets it has."""
    found = gateway.ask(
        kind, Capability.LOOKUP, lambda source: source.lookup(ticker), purpose=Purpose.LOOKUP
    )
    rows = [row for row in found.value if row.ticker.upper() == ticker]
    _write(_assets(rows, []), datetime.now(UTC))
    return len(rows)


def look_up_text(kind: AssetKind, source: str, text: str) -> int:
    """Ask a source's search for assets our catalogue lacks; return how many it named."""
    found = gateway.ask(
        kind,
        Capability.SEARCH,
        lambda provider: provider.search(text),
        purpose=Purpose.LOOKUP,
        sources=[source],
    )
    named = {asset.ref: asset for asset in _assets(found.value, [])}
    # What we know already has fuller rows than a search hit.
    known = set(Asset.objects.filter(ref__in=named).values_list("ref", flat=True))
    _write([asset for ref, asset in named.items() if ref not in known], datetime.now(UTC))
    return len(named.keys() - known)


def look_up_coin(coin_id: str) -> int:
    """Ask for a coin by an id that no catalogue knows; return 1 if there is such a coin."""
    found = gateway.ask(
        AssetKind.CRYPTO,
        Capability.COINS,
        lambda source: source.coins([coin_id]),
        purpose=Purpose.LOOKUP,
    )
    coins = [coin for coin in found.value if coin.id == coin_id]
    _write(_assets([], coins), datetime.now(UTC))
    return len(coins)


def _assets(listings: Iterable[Listing], coins: Iterable[Coin]) -> list[Asset]:
    """Return one unsaved row an asset; a coin's market data outdoes its listing."""
    assets = {}
    for row in listings:
        asset = _from_listing(row)
        if asset is not None:
            assets[asset.ref] = asset
    for coin in coins:
        ref = f"coingecko:{coin.id}"
        asset = assets.get(ref) or Asset(ref=ref, kind=AssetKind.CRYPTO, coingecko_id=coin.id)
        asset.ticker = coin.symbol.upper()[:100]
        asset.name = coin.name[:200]
        asset.is_derivative = asset.is_derivative or is_derivative(coin.id, coin.name)
        asset.market_cap_rank = coin.market_cap_rank
        asset.market_cap = coin.market_cap
        asset.volume = coin.total_volume
        assets[ref] = asset
    return list(assets.values())


def _from_listing(row: Listing) -> Asset | None:
    if row.kind is AssetKind.STOCK:
        ref, ids = f"stock:{row.ticker.upper()}", {"finnhub_symbol": row.upstream_id}
    else:
        ref, ids = f"coingecko:{row.upstream_id}", {"coingecko_id": row.upstream_id}
    if len(ref) > 120 or len(row.upstream_id) > 100:
        return None
    return Asset(
        ref=ref,
        kind=row.kind,
        ticker=row.ticker.upper()[:100],
        name=row.name[:200],
        exchange=row.exchange[:40],
        is_derivative=row.is_derivative,
        market_cap_rank=row.market_cap_rank,
        figi=row.figi[:20],
        **ids,
    )


def _write(assets: Sequence[Asset], seen_at: datetime) -> None:
    for asset in assets:
        asset.seen_at = seen_at
        asset.is_active = True
    Asset.objects.bulk_create(
        assets,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["ref"],
        update_fields=_UPDATED,
    )


def _wait_for(kind: AssetKind) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if Catalogue.objects.filter(kind=kind).exists():
            return
        time.sleep(0.1)
    raise UpstreamError(
        registry.source_for(kind), f"the {kind} catalogue is being loaded", retry_after_s=2
    )


def _release(lock: str, token: str) -> None:
    try:
        redis_clients.ask(lambda r: r.eval(_RELEASE, 1, lock, token))
    except RedisAwayError:
        logger.debug("%s is left to lapse", lock)
