"""Which source serves which kind of asset: settings in, provider objects out."""

from __future__ import annotations

import functools
import hashlib
from threading import Lock
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from prices import cadences
from prices.breaker import Breaker
from prices.budget import Budget, BudgetGate, Limits
from prices.errors import ProviderNotConfiguredError
from prices.freshness import Cadence
from prices.providers.base import HttpProvider
from prices.types import AssetKind, Capability

_providers: dict[str, HttpProvider] = {}
_lock = Lock()


def provider(source: str) -> HttpProvider:
    """Return this process's provider of that name.

    Built at first use rather than at import, so that a forked worker makes its
    own connection pool. Raises ProviderNotConfiguredError where it needs a key
    and has none.
    """
    with _lock:
        if source not in _providers:
            _providers[source] = _built(source)
        return _providers[source]


def _built(source: str) -> HttpProvider:
    config = settings.PRICE_PROVIDERS[source]
    options = dict(config["OPTIONS"])
    if not has_its_key(source):
        raise ProviderNotConfiguredError(source, needed_setting(source))
    return backend(source)(gate=BudgetGate(budget(source)), **options)


@functools.cache
def budget(source: str) -> Budget:
    """Return the budget of a source; all processes share what is behind it."""
    config = settings.PRICE_PROVIDERS[source]
    return Budget(
        source,
        Limits(**config["LIMITS"]),
        lookups_per_minute=settings.LOOKUPS_PER_MINUTE,
        api_key=config["OPTIONS"].get("api_key", ""),
    )


@functools.cache
def breaker(source: str) -> Breaker:
    """Return the switch of a source; all processes share what is behind it."""
    return Breaker(source)


def source_for(kind: AssetKind) -> str:
    """Return the source whose catalogue says which assets of that kind there are."""
    name: str = settings.PRICE_SOURCES[kind.value]
    return name


def chain(kind: AssetKind, capability: Capability) -> list[str]:
    """Return the sources to try for a capability, in order."""
    name = f"{'coin' if kind is AssetKind.CRYPTO else 'stock'}_{capability}"
    chains: dict[str, list[str]] = settings.PRICE_CHAINS
    return chains.get(name) or [source_for(kind)]


def search_chain(kind: AssetKind) -> list[str]:
    """Return whose searches are asked, in order, where our own catalogue knows nothing."""
    return [name for name in chain(kind, Capability.SEARCH) if name in settings.PRICE_PROVIDERS]


def backend(source: str) -> type[HttpProvider]:
    """Return the class of a source, which needs no key."""
    found: type[HttpProvider] = import_string(settings.PRICE_PROVIDERS[source]["BACKEND"])
    return found


def public_name(source: str) -> str:
    """Return what answers call the source: "sandbox" where the sandbox speaks for it."""
    return "sandbox" if settings.UPSTREAM_MODE == "sandbox" else source


def needed_setting(source: str) -> str:
    """Return the setting that holds a source's key, or ""."""
    return str(settings.PRICE_PROVIDERS[source].get("KEY_SETTING") or "")


def has_its_key(source: str) -> bool:
    """Return whether a source needs no key, or has it; one without is not there at all."""
    given = settings.PRICE_PROVIDERS[source]["OPTIONS"].get("api_key")
    return not needed_setting(source) or bool(given)


def account(source: str) -> str:
    """Return what stands for a source's key and plan in names of notes about them."""
    options = settings.PRICE_PROVIDERS[source]["OPTIONS"]
    told = f"{options.get('api_key', '')}\n{options.get('plan', '')}"
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def symbols_a_call(source: str) -> int:
    """Return how many quotes one call of a source gives."""
    return int(settings.PRICE_PROVIDERS[source].get("SYMBOLS_A_CALL", 1))


def skipped_name(source: str) -> str:
    """Return what `fallback_from` calls a source that was passed over."""
    return f"sandbox:{source}" if settings.UPSTREAM_MODE == "sandbox" else source


def refresh_s(source: str) -> float:
    """Return how old a quote of that source must be before asking again makes sense."""
    return float(settings.PRICE_PROVIDERS[source]["REFRESH_S"])


def cadence(source: str) -> Cadence:
    """Return how a source's own time moves."""
    return cadences.of(source)


def forget() -> None:
    """Let providers and budgets be made anew from the settings at their next use."""
    with _lock:
        for one in _providers.values():
            one.close()
        _providers.clear()
    budget.cache_clear()
    breaker.cache_clear()


def _on_change(*, setting: str, **kwargs: Any) -> None:
    if setting in {"PRICE_CHAINS", "PRICE_PROVIDERS", "LOOKUPS_PER_MINUTE"}:
        forget()


setting_changed.connect(_on_change)
