"""The histories of several assets, each from its own stored series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prices import cache
from prices.answers import HistoryAnswer
from prices.cache import Held
from prices.errors import PricesError, UpstreamError
from prices.services import past, symbols
from prices.services.symbols import Resolved
from prices.types import Period


@dataclass(slots=True)
class Histories:
    """Series and errors by symbol; `keys` are those of the cache, with when each was fetched."""

    held: dict[str, Held[HistoryAnswer]] = field(default_factory=dict)
    errors: dict[str, PricesError] = field(default_factory=dict)
    resolved: dict[str, str] = field(default_factory=dict)
    keys: dict[str, datetime] = field(default_factory=dict)

    @property
    def life_s(self) -> float:
        """What is left of the life of the one that lapses first, 0 without any."""
        return min((one.life_s for one in self.held.values()), default=0.0)

    @property
    def was_hit(self) -> bool:
        return all(one.was_hit for one in self.held.values())


def histories(asked: Sequence[str], period_of: Callable[[Resolved], Period]) -> Histories:
    """Return histories in the order of `asked`, over the period that fits each.

    One that fails for reasons of its own is told of; raises UpstreamError where all
    failed because no source could be asked.
    """
    found = symbols.resolve_many(asked)
    told = Histories(resolved=found.resolved)
    for text in dict.fromkeys(asked):
        symbol = found.found.get(text)
        if symbol is None:
            told.errors[text] = symbols.rejection(text, found.rejected[text])
        elif symbol not in told.held and symbol not in told.errors:
            _add(told, found.assets[symbol], period_of)
    failed = list(told.errors.values())
    if not told.held and failed and all(isinstance(one, UpstreamError) for one in failed):
        raise failed[0]
    return told


def _add(told: Histories, resolved: Resolved, period_of: Callable[[Resolved], Period]) -> None:
    period = period_of(resolved)
    try:
        held = past.history(resolved, period)
    except PricesError as exc:
        told.errors[resolved.symbol] = exc
        return
    told.held[resolved.symbol] = held
    key = cache.history_key(held.value.symbol, period)
    told.keys[key] = held.value.fetched_at
