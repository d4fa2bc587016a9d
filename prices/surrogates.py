"""What an answer tells the cache in front of us, by headers that never reach a client.

`Surrogate-Key` names what the answer holds, by the cache's own keys, each with when it
was fetched: `price:BTC=1732406400000000`. `Surrogate-Control: no-store` says that this
answer is for one request alone, though the next to the same address may be kept. Both
are sent only to a cache that says `Surrogate-Capability`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse

from prices.sidecar import microseconds


@lru_cache(maxsize=4096)
def tag(key: str) -> str:
    """Return a key as one word: coins' ids may hold spaces."""
    return quote(key, safe=":/")


def tell(
    request: HttpRequest,
    response: HttpResponse,
    fetched_at: Mapping[str, datetime | None],
    *,
    is_for_one: bool,
) -> None:
    """Add what a cache in front needs to know: which keys the body holds, fetched when."""
    if "Surrogate-Capability" not in request.headers:
        return
    words = [f"{tag(key)}={microseconds(at) if at else 0}" for key, at in fetched_at.items()]
    if words:
        response["Surrogate-Key"] = " ".join(words)
    if is_for_one:
        response["Surrogate-Control"] = "no-store"
