"""Current prices: from the cache, and one batch a source for what is missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings

from prices import cache, gateway, registry
from prices.answers import QuoteAnswer
from prices.budget import Purpose, spending
from prices.cache import Held
from prices.errors import NoPriceError, PricesError
from prices.providers.base import Quotes
from prices.services import symbols
from prices.services.symbols import Resolved
from prices.types import AssetKind, Capability, Quote

# `force_refresh` renews what is older than this: one call a value and 15 s at most.
FORCED_AGE_S = 15.0
# Assets that nobody follows are renewed this rarely at least.
TRACKED_AGE_S = 300.0


@dataclass(frozen=True, slots=True)
class QuoteBatch:
    """Quotes and errors by symbol, and what they cost."""

    data: dict[str, QuoteAnswer] = field(default_factory=dict)
    errors: dict[str, PricesError] = field(default_factory=dict)
    cache_hits: int = 0
    api_calls: int = 0

    @property
    def failed(self) -> dict[str, str]:
        """Error codes by symbol."""
        return {symbol: error.code for symbol, error in self.errors.items()}


def quote(resolved: Resolved, *, force: bool = False) -> Held[QuoteAnswer]:
    """Return the current quote of one asset. Raises NoPriceError, UpstreamError and their kin."""
    result = _held({resolved.symbol: resolved}, _ages(force), _purpose(force))[resolved.symbol]
    if isinstance(result, PricesError):
        raise result
    return result


def quotes(
    wanted: Collection[str], *, max_age_s: float | None = None, force: bool = False
) -> QuoteBatch:
    """Return the current quotes of `wanted` symbols, in their order.

    What is held and older than `max_age_s` is renewed; where that fails the
    older quote is given. Symbols that no catalogue knows fail as
    unknown_symbol, without asking any source.
    """
    found = symbols.resolve_many(wanted)
    ages = _ages(force) if force else dict.fromkeys(AssetKind, max_age_s)
    return _batch(found, wanted, ages, _purpose(force))


def for_tick(wanted: Collection[str], followed: Collection[str] | None = None) -> QuoteBatch:
    """Return the quotes a tick carries, renewed no more often than their source changes.

    `followed` are those of `wanted` that somebody follows (all of them by
    default); the rest is renewed as rarely as the month's budget asks for.
    """
    found = symbols.resolve_many(wanted)
    watched = set(wanted if followed is None else followed)
    eager = {text: symbol for text, symbol in found.found.items() if text in watched}
    idle = {text: symbol for text, symbol in found.found.items() if text not in watched}
    with spending(Purpose.ANSWER) as tally:
        results = _held(_assets(found, eager.values()), _tick_ages(followed=True), Purpose.ANSWER)
        results |= _held(_assets(found, idle.values()), _tick_ages(followed=False), Purpose.ANSWER)
    return _as_batch(results, found, wanted, tally.calls)


def cached(wanted: Collection[str]) -> dict[str, QuoteAnswer]:
    """Return the quotes that are held now, by symbol; no source is asked."""
    keys = {cache.price_key(symbol): symbol for symbol in wanted}
    held = cache.read_many(keys, QuoteAnswer)
    return {keys[key]: one.value for key, one in held.items()}


def tracked() -> list[str]:
    """Return the symbols that are kept current without followers."""
    return symbols.tracked()


def _ages(force: bool) -> Mapping[AssetKind, float | None]:
    return dict.fromkeys(AssetKind, FORCED_AGE_S if force else None)


def _purpose(force: bool) -> Purpose:
    return Purpose.REFRESH if force else Purpose.ANSWER


def _tick_ages(*, followed: bool) -> Mapping[AssetKind, float | None]:
    """Return how old a quote may be in a tick, by kind of asset."""
    ages: dict[AssetKind, float | None] = {}
    for kind in AssetKind:
        source = registry.source_for(kind)
        # A little less than the interval: the tick comes on time, the quote was
        # fetched some moments after the last one.
        age = max(settings.PUBLISH_INTERVAL_S * 0.9, registry.refresh_s(source))
        if not followed:
            age = max(age, _idle_age_s(kind))
        ages[kind] = age
    return ages


def _idle_age_s(kind: AssetKind) -> float:
    if (
        settings.UPSTREAM_MODE == "sandbox"
        and not registry.budget(registry.source_for(kind)).limits.per_minute
    ):
        return 0.0
    return max(TRACKED_AGE_S, registry.budget(registry.source_for(kind)).pace_s())


def _assets(found: symbols.Resolution, wanted: Collection[str]) -> dict[str, Resolved]:
    return {symbol: found.assets[symbol] for symbol in wanted}


def _batch(
    found: symbols.Resolution,
    wanted: Collection[str],
    ages: Mapping[AssetKind, float | None],
    purpose: Purpose,
) -> QuoteBatch:
    with spending(purpose) as tally:
        results = _held(found.assets, ages, purpose)
    return _as_batch(results, found, wanted, tally.calls)


def _as_batch(
    results: Mapping[str, Held[QuoteAnswer] | PricesError],
    found: symbols.Resolution,
    wanted: Collection[str],
    calls: int,
) -> QuoteBatch:
    batch = QuoteBatch(api_calls=calls)
    hits = 0
    for text in dict.fromkeys(wanted):
        symbol = found.found.get(text)
        if symbol is None:
            batch.errors[text] = symbols.rejection(text, found.rejected[text])
            continue
        result = results[symbol]
        if isinstance(result, PricesError):
            batch.errors[symbol] = result
        elif symbol not in batch.data:
            batch.data[symbol] = result.value
            hits += result.was_hit
    return QuoteBatch(batch.data, batch.errors, hits, calls)


def _held(
    wanted: Mapping[str, Resolved], ages: Mapping[AssetKind, float | None], purpose: Purpose
) -> dict[str, Held[QuoteAnswer] | PricesError]:
    """Return quotes or errors by symbol, each kind of asset in one batch of its own."""
    results: dict[str, Held[QuoteAnswer] | PricesError] = {}
    for kind in AssetKind:
        group = {s: r for s, r in wanted.items() if r.asset.kind == kind}
        by_key = {cache.price_key(symbol): r for symbol, r in group.items()}

        def load(
            keys: Sequence[str],
            kind: AssetKind = kind,
            by_key: Mapping[str, Resolved] = by_key,
        ) -> dict[str, QuoteAnswer | PricesError]:
            return _load(kind, {key: by_key[key] for key in keys}, purpose)

        if by_key:
            got = cache.fetch_many(by_key, load, QuoteAnswer, cache.QUOTE, max_age_s=ages[kind])
            results |= {by_key[key].symbol: result for key, result in got.items()}
    return results


def _load(
    kind: AssetKind, wanted: Mapping[str, Resolved], purpose: Purpose
) -> dict[str, QuoteAnswer | PricesError]:
    instruments = [one.asset.instrument for one in wanted.values()]
    got = gateway.ask(
        kind, Capability.QUOTES, lambda source: source.quotes(instruments), purpose=purpose
    )
    answers: dict[str, QuoteAnswer | PricesError] = {}
    for key, one in wanted.items():
        found = got.value.found.get(one.asset.ref)
        failed = got.value.failed.get(one.asset.ref)
        answers[key] = _answer(one, found, got) if found else failed or NoPriceError(one.symbol)
    return answers


def _answer(resolved: Resolved, quote: Quote, got: gateway.Sourced[Quotes]) -> QuoteAnswer:
    is_coin = resolved.asset.kind == AssetKind.CRYPTO
    volume_basis = "24h_currency" if is_coin else "session_shares"
    return QuoteAnswer(
        source=got.source,
        as_of=quote.as_of,
        fetched_at=got.fetched_at,
        cached=False,
        stale=False,
        symbol=resolved.symbol,
        ref=resolved.asset.ref,
        name=resolved.asset.name,
        kind=AssetKind(resolved.asset.kind),
        price=quote.price,
        change=quote.change,
        change_percent=quote.change_percent,
        high=quote.high,
        low=quote.low,
        volume=quote.volume,
        market_cap=quote.market_cap,
        last_updated=quote.as_of,
        change_basis="24h" if is_coin else "previous_close",
        volume_basis=volume_basis if quote.volume is not None else None,
        alternatives=resolved.alternatives,
    )
