"""A market that stands still: what Redis holds lives on, and nothing of it is renewed."""

from __future__ import annotations

import time

import msgspec
from redis import Redis

from prices import sidecar


def let_live(store: Redis, key: str, life_s: int) -> None:
    """Let a key, and what lies beside it, live as long as if it had been written now."""
    store.pexpire(key, life_s * 1000)
    text = store.get(sidecar.name(key))
    beside = sidecar.read(text if isinstance(text, bytes) else None)
    if beside is not None:
        beside = msgspec.structs.replace(beside, until=time.time() + life_s)
        store.set(sidecar.name(key), msgspec.json.encode(beside), ex=life_s)
