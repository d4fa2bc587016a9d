"""Which coins and stocks there are: top lists, searches and the ticker mapping."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from prices import cache, gateway, hit_counts, registry
from prices.answers import (
    CoinRow,
    CoinSearchAnswer,
    MappingAnswer,
    SymbolRow,
    SymbolSearchAnswer,
    TopAnswer,
)
from prices.budget import Purpose
from prices.cache import Held
from prices.errors import InvalidParameterError, UpstreamError
from prices.models import Asset, Catalogue
from prices.services import catalogue, finding, overlay, ranking, symbols
from prices.types import AssetKind, Capability, Coin

TOP_DEPTH = 300
# One answer of this length is stored a query, and cut.
MOST_FOUND = 100
# How long a search is kept that lacks figures.
PARTIAL_S = 60.0
# What quotes an answer may change with: their keys, and when each was fetched.
QuoteKeys = Mapping[str, datetime]


def top(limit: int, page: int = 1) -> tuple[Held[TopAnswer], QuoteKeys]:
    """Return a page of the coins with the largest market caps, and which quotes it looked at.

    Newer quotes are laid over what is stored, and how fresh each row is, is judged now.

    Raises InvalidParameterError where `page` x `limit` goes beyond 300, and UpstreamError.
    """
    if page * limit > TOP_DEPTH:
        raise InvalidParameterError("page", f"page x limit may be {TOP_DEPTH} at most")
    key = cache.top_key(limit, page)
    held = cache.read(key, TopAnswer)
    hit_counts.count(cache.LIST.kind, hits=int(held is not None), misses=int(held is None))
    return _with_quotes(held or _cut(key, limit, page))


def _cut(key: str, limit: int, page: int) -> Held[TopAnswer]:
    """Return a page of the stored list, and keep it as it is there."""
    whole = ranking.held()
    part = ranking.cut(whole, limit, page, TOP_DEPTH)
    if whole.value.stale:
        return Held(part, cache.encode(part), 0.0, was_hit=True)
    body = cache.store(key, part, whole.life_s)
    return Held(part, cache.encode(part) if not part.cached else body, whole.life_s, whole.was_hit)


def _with_quotes(held: Held[TopAnswer]) -> tuple[Held[TopAnswer], QuoteKeys]:
    laid = overlay.laid_over(held.value.cryptos)
    rows = ranking.judged(laid.rows, datetime.now(UTC))
    value = msgspec.structs.replace(held.value, cryptos=rows, as_of=ranking.newest(rows))
    return Held(value, cache.encode(value), held.life_s, held.was_hit), laid.keys


def search_coins(query: str, limit: int) -> tuple[Held[CoinSearchAnswer], QuoteKeys]:
    """Return coins whose ticker, name or id fits, and which quotes were looked at for them.

    The catalogue says which; figures come from the stored list, and from one
    call for those that are not on it. Without that call, because look-ups are
    spent or the source is down, those rows have no figures. Raises UpstreamError.
    """
    folded = _folded(query)
    key = cache.list_key(f"search:coins:{folded}")
    failures: list[UpstreamError] = []
    held = cache.fetch(
        key, lambda: _search_coins(folded, failures), CoinSearchAnswer, cache.COIN_SEARCH
    )
    life_s = held.life_s
    if failures and not held.value.stale:
        life_s = min(life_s, PARTIAL_S)
        cache.store(key, held.value, life_s)
    # The stored answer serves every limit and spelling of the query; each gets its own back.
    laid = overlay.laid_over(held.value.results[:limit])
    rows = ranking.judged(laid.rows, datetime.now(UTC))
    value = msgspec.structs.replace(
        held.value, query=query, count=len(rows), results=rows, as_of=ranking.newest(rows)
    )
    return Held(value, cache.encode(value), life_s, held.was_hit), laid.keys


def mapping() -> Held[MappingAnswer]:
    """Return what `crypto:TICKER` gives, by ticker. Raises UpstreamError without a catalogue."""
    return cache.fetch(cache.list_key("mapping"), _mapping, MappingAnswer, cache.LIST)


def search_symbols(query: str, kind: AssetKind | None, limit: int) -> Held[SymbolSearchAnswer]:
    """Return coins and stocks whose ticker or name fits."""
    folded = _folded(query)
    key = cache.list_key(f"search:symbols:{kind or 'any'}:{folded}")
    held = cache.fetch(
        key, lambda: _search_symbols(folded, kind), SymbolSearchAnswer, cache.SYMBOL_SEARCH
    )
    rows = held.value.results[:limit]
    value = msgspec.structs.replace(held.value, query=query, count=len(rows), results=rows)
    return Held(value, cache.encode(value), held.life_s, held.was_hit)


def _folded(query: str) -> str:
    return " ".join(query.casefold().split())


def _search_coins(text: str, failures: list[UpstreamError]) -> CoinSearchAnswer:
    """Return all that can be asked of a search; what kept rows from their figures is added."""
    found = finding.find(text, [AssetKind.CRYPTO], MOST_FOUND).assets
    ids = [one.asset.coingecko_id for one in found]
    whole = ranking.held().value
    known = {row.id: row for row in whole.cryptos}
    rest = [coin_id for coin_id in ids if coin_id not in known]
    source, fetched_at = whole.source, whole.fetched_at
    if rest:
        try:
            got = _coins(rest)
            known |= {coin.id: ranking.row_of(coin) for coin in got.value}
            source, fetched_at = got.source, got.fetched_at
        except UpstreamError as exc:
            failures.append(exc)
    # A coin that has no market at all is in the catalogue and in no market list.
    rows = [known.get(one.asset.coingecko_id) or _bare_row(one.asset) for one in found]
    return CoinSearchAnswer(
        source=source,
        as_of=ranking.newest(rows),
        fetched_at=fetched_at,
        cached=False,
        stale=whole.stale,
        query=text,
        count=len(rows),
        results=rows,
    )


def _coins(ids: list[str]) -> gateway.Sourced[list[Coin]]:
    """Ask for coins off the stored list, from the look-ups' share: anybody can make up queries."""
    return gateway.ask(
        AssetKind.CRYPTO,
        Capability.COINS,
        lambda source: source.coins(ids),
        purpose=Purpose.LOOKUP,
    )


def _bare_row(asset: Asset) -> CoinRow:
    return ranking.row_of(Coin(id=asset.coingecko_id, symbol=asset.ticker, name=asset.name))


def _mapping() -> MappingAnswer:
    catalogue.ensure(AssetKind.CRYPTO)
    found = symbols.coin_mapping()
    return MappingAnswer(
        source=registry.public_name(registry.source_for(AssetKind.CRYPTO)),
        as_of=_filled_at(AssetKind.CRYPTO),
        fetched_at=datetime.now(UTC),
        cached=False,
        stale=False,
        count=len(found),
        mapping=found,
    )


def _search_symbols(text: str, kind: AssetKind | None) -> SymbolSearchAnswer:
    looked = finding.find(text, [kind] if kind else list(AssetKind), MOST_FOUND)
    found = looked.assets
    return SymbolSearchAnswer(
        source="+".join(dict.fromkeys(registry.public_name(source) for source in looked.sources)),
        as_of=_filled_at(kind),
        fetched_at=datetime.now(UTC),
        cached=False,
        stale=False,
        query=text,
        count=len(found),
        results=[
            SymbolRow(
                symbol=one.symbol,
                ref=one.asset.ref,
                name=one.asset.name,
                kind=AssetKind(one.asset.kind),
                exchange=one.asset.exchange,
            )
            for one in found
        ],
    )


def _filled_at(kind: AssetKind | None) -> datetime | None:
    """Return when the catalogue of a kind, or the oldest of all, was filled."""
    rows = Catalogue.objects.filter(kind=kind) if kind else Catalogue.objects.all()
    return min((row.filled_at for row in rows), default=None)
