"""When sources were last asked about what is held, where that was later than it was fetched.

What was held may be of a later time than what a source then said, and stays: it was
fetched when it was, and is not to be asked for again at once all the same. `asked:KEY`
in Redis says when that was, in Unix seconds, and is read only where something looks too
old. It is no part of an answer.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from prices import redis_clients
from prices.answers import Answer
from prices.redis_clients import RedisAwayError

KEPT_S = 86_400  # as long as a last-known-good copy


def note(keys: Collection[str]) -> None:
    """Let what is held under keys count as asked for now."""
    if not keys:
        return
    now = datetime.now(UTC).timestamp()

    def write(r: Any) -> None:
        pipe = r.pipeline(transaction=False)
        for key in keys:
            pipe.set(f"asked:{key}", repr(now), ex=KEPT_S)
        pipe.execute()

    try:
        redis_clients.ask(write)
    except RedisAwayError:
        return  # It is asked for again sooner.


def too_old(held: Mapping[str, Answer], most_s: Mapping[str, float | None]) -> dict[str, float]:
    """Return how long ago sources were asked, in seconds, by key, where that is too long.

    `most_s` says how long it may be; where that is None, however long.
    """
    now = time.time()
    old = {
        key: most
        for key, value in held.items()
        if (most := most_s.get(key)) is not None and now - value.fetched_at.timestamp() > most
    }
    notes = _noted(list(old))
    ages = {key: now - max(notes.get(key, 0.0), held[key].fetched_at.timestamp()) for key in old}
    return {key: age_s for key, age_s in ages.items() if age_s > old[key]}


def _noted(keys: list[str]) -> dict[str, float]:
    if not keys:
        return {}
    try:
        notes: list[Any] = redis_clients.ask(lambda r: r.mget([f"asked:{key}" for key in keys]))
    except RedisAwayError:
        return {}
    return {key: float(note) for key, note in zip(keys, notes, strict=True) if note}
