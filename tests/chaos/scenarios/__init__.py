"""The scenarios, by what is at fault. Importing this package fills the table."""

from __future__ import annotations

from tests.chaos.scenarios import (
    cut_clients,
    hostile,
    network,
    publishing,
    redis_away,
    restarts,
    slow_readers,
    soak,
)

__all__ = [
    "cut_clients",
    "hostile",
    "network",
    "publishing",
    "redis_away",
    "restarts",
    "slow_readers",
    "soak",
]
