"""How each source's own time moves, from the settings."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings

from prices.freshness import Cadence

_USUAL = Cadence(60.0)


def of(source: str) -> Cadence:
    """Return a source's cadence, by its name; the usual one where an answer names none of ours."""
    config = settings.PRICE_PROVIDERS.get(source)
    if config is None:
        return _USUAL
    return _cadence(
        config.get("CHANGES_S", _USUAL.changes_s), config.get("DELAY_S", _USUAL.delay_s)
    )


@lru_cache(maxsize=64)
def _cadence(changes_s: float, delay_s: float) -> Cadence:
    return Cadence(float(changes_s), float(delay_s))
