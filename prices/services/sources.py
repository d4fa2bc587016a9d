"""Which sources there are, how they stand, and how they want to be named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

from prices import cache, failures, registry
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
    rows = [row(name, now) for name in asked_names()]
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


def asked_names() -> list[str]:
    """Return the names of the sources that some chain has."""
    named = [registry.source_for(kind) for kind in AssetKind]
    for chain in settings.PRICE_CHAINS.values():
        # A chain may name what is no source: our own catalogue.
        named += [name for name in chain if name in settings.PRICE_PROVIDERS]
    return list(dict.fromkeys(named))


@dataclass(frozen=True, slots=True)
class _State:
    """How a source stands: why it is not `ok`, and for how long yet where that is known."""

    state: str = "ok"
    reason: str | None = None
    wait_s: float = 0.0
    setting: str | None = None


def row(name: str, now: datetime) -> SourceRow:
    """Return how one source stands."""
    backend = registry.backend(name)
    left: dict[str, Allowance] | None = None
    try:
        registry.provider(name)
        left = {span: Allowance(*one) for span, one in registry.budget(name).left().items()}
        stands = _by_switch(name) or _by_budget(name, left) or _State()
    except ProviderNotConfiguredError as exc:
        setting = registry.needed_setting(name)
        stands = _State("not_configured", str(exc), setting=setting)
    except RedisAwayError:
        stands = _by_switch(name) or _State()  # Nobody can count just now.
    return SourceRow(
        name=name,
        source=registry.public_name(name),
        capabilities=sorted(backend.offers),
        plan=str(settings.PRICE_PROVIDERS[name]["OPTIONS"]["plan"]),
        state=stands.state,
        reason=stands.reason,
        retry_at=now + timedelta(seconds=stands.wait_s) if stands.wait_s else None,
        setting=stands.setting,
        left=left,
        attribution=Attribution(
            backend.attribution or f"Data provided by {name}",
            backend.link,
            backend.must_be_named,
            backend.terms,
            backend.use,
        ),
    )


def _by_switch(name: str) -> _State | None:
    """Return how a source stands that failed or refuses us; None where it does neither."""
    switch = registry.breaker(name).standing()
    if switch.refusal:
        return _State("restricted", str(failures.from_note(switch.refusal)), switch.left_s)
    why = switch.why or "it has failed several times"
    if switch.is_open:
        return _State("open", why, switch.left_s)
    return _State("trying", why, switch.left_s) if switch.is_untried else None


def _by_budget(name: str, left: Mapping[str, Allowance]) -> _State | None:
    """Return how a source stands that has no call left now; None where it has."""
    budget = registry.budget(name)
    wait_s = budget.free_in_s()
    if not wait_s:
        return None
    used_up = [span for span, one in left.items() if not one.left]
    if budget.spent().frozen_s or not used_up:
        return _State("rate_limited", "it asked for fewer calls", wait_s)
    return _State("rate_limited", f"its calls of this {used_up[-1]} are used up", wait_s)
