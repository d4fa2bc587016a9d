"""Every upstream call passes here: which source, for what reason, at what cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from prices import registry
from prices.budget import Purpose, spending
from prices.errors import PlanRestrictedError
from prices.types import AssetKind, Capability

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """A value and where it came from. `calls` counts the HTTP calls it took."""

    value: T
    source: str
    fetched_at: datetime
    calls: int


def ask(
    kind: AssetKind,
    capability: Capability,
    question: Callable[[Any], T],
    *,
    purpose: Purpose = Purpose.ANSWER,
) -> Sourced[T]:
    """Ask the source of that kind of asset.

    Raises ProviderNotConfiguredError, PlanRestrictedError or UpstreamError.
    """
    name = registry.source_for(kind)
    provider = registry.provider(name)
    if capability not in provider.offers:
        raise PlanRestrictedError(
            name, f"it gives no {capability} for a {kind}", allowed_by="another source"
        )
    with spending(purpose) as tally:
        value = question(provider)
    return Sourced(value, registry.public_name(name), datetime.now(UTC), tally.calls)
