"""Which sources there are, how they stand, and how they want to be named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings

from prices import cache, registry
from prices.answers import Allowance, Attribution, SourceRow, SourcesAnswer
from prices.cache import Held
from prices.errors import ProviderNotConfiguredError
from prices.redis_clients import RedisAwayError
from prices.types import AssetKind

LIFE = cache.Lifetime("list", 5, good_s=0)


def sources() -> Held[SourcesAnswer]:
    """Return every source that some chain names, and the chains."""
    return cache.fetch(cache.list_key("sources"), _sources, SourcesAnswer, LIFE)


def _sources() -> SourcesAnswer:
    now = datetime.now(UTC)
    chains = {name: list(chain) for name, chain in settings.PRICE_CHAINS.items()}
    named = [registry.source_for(kind) for kind in AssetKind]
    named += [name for chain in chains.values() for name in chain if name in _known()]
    rows = [_row(name, now) for name in dict.fromkeys(named)]
    return SourcesAnswer(
        source="lokifi",
        as_of=now,
        fetched_at=now,
        cached=False,
        stale=False,
        count=len(rows),
        sources=rows,
        chains=chains,
    )


def _known() -> set[str]:
    # A chain may name what is no source: our own catalogue.
    return set(settings.PRICE_PROVIDERS)


def _row(name: str, now: datetime) -> SourceRow:
    backend = registry.backend(name)
    state, wait_s, setting = "ok", 0.0, None
    left: dict[str, Allowance] | None = None
    budget = registry.budget(name)
    try:
        registry.provider(name)
        left = {span: Allowance(*one) for span, one in budget.left().items()}
        wait_s = budget.spent().frozen_s
    except ProviderNotConfiguredError:
        state, setting = "not_configured", registry.needed_setting(name)
    except RedisAwayError:
        left = None  # Nobody can count just now.
    if state == "ok" and registry.breaker(name).is_open():
        state, wait_s = "open", max(wait_s, registry.breaker(name).open_s())
    elif state == "ok" and (wait_s or any(not one.left for one in (left or {}).values())):
        state = "rate_limited"
    return SourceRow(
        name=name,
        source=registry.public_name(name),
        capabilities=sorted(backend.offers),
        plan=str(settings.PRICE_PROVIDERS[name]["OPTIONS"]["plan"]),
        state=state,
        retry_at=now + timedelta(seconds=wait_s) if wait_s else None,
        setting=setting,
        left=left,
        attribution=Attribution(
            backend.attribution or f"Data provided by {name}",
            backend.link,
            backend.must_be_named,
        ),
    )
