"""Searches: the catalogue answers, and where it knows nothing the sources' own searches do.

Which are asked, and in which order, is a chain like any other (CHAIN_COIN_SEARCH,
CHAIN_STOCK_SEARCH). Anybody can make up words: sources are asked within
LOOKUPS_PER_MINUTE, and what they do not know either is not asked of them again
for five minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prices import cache, registry
from prices.errors import (
    BudgetSpentError,
    PlanRestrictedError,
    PricesError,
    ProviderNotConfiguredError,
    UpstreamNotFoundError,
)
from prices.services import catalogue, searching, symbols
from prices.types import AssetKind


@dataclass(frozen=True, slots=True)
class Found:
    """Assets, the likeliest first, and the sources that were looked in."""

    assets: list[symbols.Resolved]
    sources: list[str]


def find(text: str, kinds: Sequence[AssetKind], limit: int) -> Found:
    """Return the assets of some kinds whose ticker, name or id fits.

    The sources' searches are asked for the kinds whose catalogue cannot be had,
    and for all where nothing was found. Raises UpstreamError where nothing was
    found and a source failed that might have known, and what keeps the
    catalogues where none can be had and nobody can be asked either.
    """
    known: dict[AssetKind, str] = {}
    errors: list[PricesError] = []
    for kind in kinds:
        try:
            known[kind] = symbols.ensure_kinds([kind])[0]
        except PricesError as exc:
            errors.append(exc)
    only = kinds[0] if len(kinds) == 1 else None
    assets = searching.search(text, only, limit)
    asked: list[tuple[AssetKind, str]] = []
    for kind in [kind for kind in kinds if kind not in known] if assets else kinds:
        asked += _ask(kind, text, errors, is_needed=kind not in known)
    if asked:
        assets = searching.search(text, only, limit)
    if not assets:
        for kind, source in asked:
            cache.remember_unknown(_name(kind, source, text))
        failed = [e for e in errors if not isinstance(e, _NOT_ASKED)]
        if failed or not (known or asked):
            raise (failed or errors)[-1]
    return Found(assets, list(dict.fromkeys([*known.values(), *(name for _, name in asked)])))


_NOT_ASKED = (PlanRestrictedError, ProviderNotConfiguredError)


def _ask(
    kind: AssetKind, text: str, errors: list[PricesError], *, is_needed: bool
) -> list[tuple[AssetKind, str]]:
    """Ask the sources of a kind in order until one knows something; return who was asked."""
    asked: list[tuple[AssetKind, str]] = []
    for source in registry.search_chain(kind):
        if cache.is_known_unknown(_name(kind, source, text)):
            continue
        try:
            rows = catalogue.look_up_text(kind, source, text)
        except UpstreamNotFoundError:
            rows = 0
        except BudgetSpentError as exc:
            # What the catalogue says stands; it is not remembered as the source's.
            if is_needed:
                errors.append(exc)
            continue
        except PricesError as exc:
            errors.append(exc)
            continue
        asked.append((kind, source))
        if rows:
            break
    return asked


def _name(kind: AssetKind, source: str, text: str) -> str:
    return f"search:{kind}:{source}:{text}"
