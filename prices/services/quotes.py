"""Current prices: from the cache, and one batch a source for what is missing."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from django.conf import settings

from prices import asked, cache, cadences, registry
from prices.answers import QuoteAnswer
from prices.budget import Purpose, spending
from prices.cache import Held
from prices.errors import BudgetSpentError, PricesError, UpstreamError
from prices.freshness import Cadence
from prices.services import ends, holdings, listed, sourcing, symbols
from prices.services.symbols import Resolved
from prices.types import AssetKind

# Assets that nobody follows are renewed this rarely at least.
TRACKED_AGE_S = 300.0
# Of a source's minute, ticks take so much at most.
READERS_LEAVE = 0.8


@dataclass(frozen=True, slots=True)
class QuoteBatch:
    """Quotes and errors by symbol, and what they cost.

    resolved names symbols by what was asked, where the two differ; life_s is what
    is left of the life of the quote that lapses first, 0 where there is none.
    """

    data: dict[str, QuoteAnswer] = field(default_factory=dict)
    errors: dict[str, PricesError] = field(default_factory=dict)
    cache_hits: int = 0
    api_calls: int = 0
    resolved: dict[str, str] = field(default_factory=dict)
    life_s: float = 0.0

    @property
    def failed(self) -> dict[str, str]:
        """Error codes by symbol."""
        return {symbol: error.code for symbol, error in self.errors.items()}


def quote(resolved: Resolved, *, force: bool = False) -> Held[QuoteAnswer]:
    """Return the current quote of one asset. Raises NoPriceError, UpstreamError and their kin."""
    wanted = {resolved.symbol: resolved}
    age_s = cache.FORCED_AGE_S if force else None
    result = _held(wanted, {resolved.symbol: age_s}, Purpose.of(force))[resolved.symbol]
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
    ages = dict.fromkeys(found.assets, cache.FORCED_AGE_S if force else max_age_s)
    with spending(Purpose.of(force)) as tally:
        results = _held(found.assets, ages, Purpose.of(force))
    return _as_batch(results, found, wanted, tally.calls)


def for_tick(
    wanted: Collection[str],
    followed: Collection[str] | None = None,
    found: symbols.Resolution | None = None,
) -> QuoteBatch:
    """Return the quotes a tick carries, renewed no more often than their source changes.

    `followed` are those of `wanted` that somebody follows (all of them by
    default); the rest is renewed as rarely as the month's budget asks for.
    `found` says what they all mean, where the caller has learnt that already.
    """
    found = found or symbols.resolve_many(wanted)
    watched = set(wanted if followed is None else followed)
    eager = {symbol for text, symbol in found.found.items() if text in watched}
    ages = _tick_ages(found, eager)
    kept = _kept(found)
    due = _due(found, kept, ages)
    renewed = {symbol: one for symbol, one in found.assets.items() if symbol in due}
    with spending(Purpose.TICK) as tally:
        results = _held(renewed, ages, Purpose.TICK)
    copies = _as_kept({symbol: one for symbol, one in kept.items() if symbol not in results})
    # What there was no call left for, and no copy either, comes with a later tick.
    results |= {
        symbol: BudgetSpentError("quotes", f"no call is left for {symbol} in this tick")
        for symbol in found.assets
        if symbol not in results and symbol not in copies
    }
    return _as_batch(results, found, wanted, tally.calls, copies)


def cached(wanted: Collection[str]) -> dict[str, QuoteAnswer]:
    """Return the quotes that are held now, by symbol; no source is asked."""
    keys = {cache.price_key(symbol): symbol for symbol in wanted}
    held = cache.read_many(keys, QuoteAnswer)
    return {keys[key]: one.value for key, one in held.items()}


def tracked() -> list[str]:
    """Return the symbols that are kept current without followers."""
    return symbols.tracked()


def _tick_ages(found: symbols.Resolution, eager: Collection[str]) -> dict[str, float | None]:
    """Return how old each quote may be in a tick: followed ones in one way, the rest in another."""
    # A little less than the interval: the tick comes on time, the quote was
    # fetched some moments after the last one.
    slack_s = settings.PUBLISH_INTERVAL_S * 0.1
    ages: dict[str, float | None] = {}
    for kind in AssetKind:
        refresh_s = registry.refresh_s(registry.source_for(kind))
        eager_s = max(settings.PUBLISH_INTERVAL_S, refresh_s) - slack_s
        idle_s = max(eager_s, _idle_age_s(kind))
        for symbol, one in found.assets.items():
            if one.asset.kind == kind:
                ages[symbol] = eager_s if symbol in eager else idle_s
    return ages


def _idle_age_s(kind: AssetKind) -> float:
    budget = registry.budget(registry.source_for(kind))
    if not budget.limits.per_minute:
        return 0.0  # The sandbox's calls cost nothing.
    return max(TRACKED_AGE_S, budget.pace_s())


def _kept(found: symbols.Resolution) -> dict[str, QuoteAnswer]:
    """Return the newest copy of each quote, also past its life, by symbol."""
    by_key = {cache.price_key(symbol): one for symbol, one in found.assets.items()}
    newest = cache.newest(by_key, QuoteAnswer)
    return {
        by_key[key].symbol: value
        for key, value in newest.items()
        if value.ref == by_key[key].asset.ref
    }


def _due(
    found: symbols.Resolution,
    kept: Mapping[str, QuoteAnswer],
    ages: Mapping[str, float | None],
) -> set[str]:
    """Return which quotes to renew now: the oldest first, as many as a tick's share of calls."""
    old = dict.fromkeys(found.assets.keys() - kept.keys(), math.inf)
    old |= _too_old(kept, {symbol: ages[symbol] or 0.0 for symbol in kept})
    due: set[str] = set()
    for kind in AssetKind:
        of_kind = [(-age_s, s) for s, age_s in old.items() if found.assets[s].asset.kind == kind]
        due |= {symbol for _, symbol in sorted(of_kind)[: _share(kind)]}
    return due


def _too_old(
    kept: Mapping[str, QuoteAnswer], most_s: Mapping[str, float | None]
) -> dict[str, float]:
    """Return how long ago sources were asked, by symbol, where that is too long."""
    by_key = {cache.price_key(symbol): symbol for symbol in kept}
    ages = asked.too_old(
        {key: kept[symbol] for key, symbol in by_key.items()},
        {key: most_s[symbol] for key, symbol in by_key.items()},
    )
    return {by_key[key]: age_s for key, age_s in ages.items()}


def _share(kind: AssetKind) -> int | None:
    """Return how many quotes a tick may ask a source for; readers keep a fifth of its minute."""
    source = registry.source_for(kind)
    per_minute = registry.budget(source).limits.per_minute
    if per_minute is None:
        return None
    calls = per_minute * READERS_LEAVE * min(1.0, settings.PUBLISH_INTERVAL_S / 60)
    return max(1, int(calls)) * registry.symbols_a_call(source)


class _Carried(NamedTuple):
    """A quote as a tick carried it, and until when it may be said again."""

    of: QuoteAnswer
    cadence: Cadence
    is_stale: bool
    told: QuoteAnswer
    until: datetime | None

    def holds(self, of: QuoteAnswer, cadence: Cadence, is_stale: bool, now: datetime) -> bool:
        is_same = of is self.of and cadence is self.cadence and is_stale is self.is_stale
        return is_same and (self.until is None or now < self.until)


# By symbol, what the last tick carried: at a cadence of a second most of it is said again. Its
# quotes are the same objects then, of which the cache has each decoded once.
_carried: dict[str, _Carried] = {}


def _as_kept(kept: Mapping[str, QuoteAnswer]) -> dict[str, QuoteAnswer]:
    """Return copies as a tick may carry them: past their life they are marked stale."""
    global _carried
    past = _too_old(kept, dict.fromkeys(kept, float(cache.QUOTE.fresh_s)))
    now, before, carried = datetime.now(UTC), _carried, {}
    cadence_of = {source: cadences.of(source) for source in {one.source for one in kept.values()}}
    for symbol, one in kept.items():
        cadence, is_stale = cadence_of[one.source], symbol in past
        last = before.get(symbol)
        if last is None or not last.holds(one, cadence, is_stale, now):
            told = cache.as_copy(one, is_stale=is_stale)
            last = _Carried(one, cadence, is_stale, told, told.holds_until(now, cadence))
        carried[symbol] = last
    _carried = carried
    return {symbol: one.told for symbol, one in carried.items()}


def _as_batch(
    results: Mapping[str, Held[QuoteAnswer] | PricesError],
    found: symbols.Resolution,
    wanted: Collection[str],
    calls: int,
    copies: Mapping[str, QuoteAnswer] | None = None,
) -> QuoteBatch:
    """Return what became of `wanted`; `copies` are given where there is no result."""
    batch = QuoteBatch()
    copies = copies or {}
    hits = 0
    lives: list[float] = []
    for text in dict.fromkeys(wanted):
        symbol = found.found.get(text)
        if symbol is None:
            batch.errors[text] = symbols.rejection(text, found.rejected[text])
            continue
        result = results.get(symbol)
        if result is None:
            hits += symbol not in batch.data
            batch.data[symbol] = copies[symbol]
            lives.append(0.0)
        elif isinstance(result, PricesError):
            batch.errors[symbol] = result
        elif symbol not in batch.data:
            batch.data[symbol] = result.value
            hits += result.was_hit
            lives.append(result.life_s)
    return QuoteBatch(
        batch.data, batch.errors, hits, calls, found.resolved, min(lives, default=0.0)
    )


def _held(
    wanted: Mapping[str, Resolved],
    ages: Mapping[str, float | None],
    purpose: Purpose,
) -> dict[str, Held[QuoteAnswer] | PricesError]:
    """Return quotes or errors by symbol, each kind of asset in one batch of its own.

    A tick is no reader: its renewals say nothing about the cache. And it tries again
    what failed a moment ago: as soon as sources are whole, so is the next tick.
    """
    is_tick = purpose is Purpose.TICK
    results: dict[str, Held[QuoteAnswer] | PricesError] = {}
    noted: dict[str, bytes | None] = {}
    for kind in AssetKind:
        group = [one for one in wanted.values() if one.asset.kind == kind]
        by_key = {cache.price_key(one.symbol): one for one in group}
        if not by_key:
            continue
        got = cache.fetch_many(
            by_key,
            partial(sourcing.load, kind, by_key, purpose),
            QuoteAnswer,
            cache.QUOTE,
            max_age_s={key: ages[one.symbol] for key, one in by_key.items()},
            fits=partial(_is_about, by_key),
            is_counted=not is_tick,
            heeds_failures=not is_tick,
            ahead=partial(sourcing.ahead, kind, by_key),
            behind=cache.Behind(partial(_ends_names, by_key), noted),
        )
        results |= {by_key[key].symbol: result for key, result in got.items()}
    results |= _as_listed(results, wanted)
    # As read behind their storing: a series that is loaded meanwhile has seen them, or is seen.
    ends.compare([(wanted[symbol], quote) for symbol, quote in _new(results)], noted)
    return results


def _ends_names(by_key: Mapping[str, Resolved], stored: Sequence[str]) -> list[str]:
    return [holdings.ends_name(by_key[key].symbol) for key in stored]


def _as_listed(
    results: Mapping[str, Held[QuoteAnswer] | PricesError], wanted: Mapping[str, Resolved]
) -> dict[str, Held[QuoteAnswer]]:
    """Return what the list of coins says of those that were never quoted, while sources fail."""
    failed = {
        symbol: wanted[symbol]
        for symbol, result in results.items()
        if isinstance(result, UpstreamError) and wanted[symbol].asset.kind == AssetKind.CRYPTO
    }
    told = listed.instead(failed)
    return {symbol: Held(one, cache.encode(one), 0.0, was_hit=True) for symbol, one in told.items()}


def _new(
    results: Mapping[str, Held[QuoteAnswer] | PricesError],
) -> Iterator[tuple[str, QuoteAnswer]]:
    """Yield the quotes that came of this load, by symbol."""
    for symbol, result in results.items():
        if isinstance(result, Held) and not result.was_hit and not result.value.stale:
            yield symbol, result.value


def _is_about(by_key: Mapping[str, Resolved], key: str, value: QuoteAnswer) -> bool:
    """Whether a held quote is of the asset that its key stands for now."""
    return value.ref == by_key[key].asset.ref
