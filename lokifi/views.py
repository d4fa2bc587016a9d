"""Whether this process is up, and whether the product around it works."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse

from lokifi import apps
from prices import redis_clients
from prices.models import Catalogue
from prices.redis_clients import RedisAwayError
from prices.types import AssetKind
from streaming import ticks

_LATE_AFTER = 3  # intervals


def livez(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as this process can answer at all."""
    return JsonResponse({"status": "ok"})


def favicon(request: HttpRequest) -> HttpResponse:
    """Answer browsers that ask for an icon: there is none, and that is no error."""
    response = HttpResponse(status=204)
    response["Cache-Control"] = "public, max-age=86400"
    return response


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 where the database and Redis answer and ticks come, else 503 and what does not.

    Whether coins are known yet is told only: whoever asks for one has the catalogue filled.
    """
    redis_state, age_s = _redis()
    ticks_state = "unknown" if redis_state != "ok" else _ticks(age_s)
    database, catalogue = _database()
    checks = {"database": database, "redis": redis_state, "ticks": ticks_state}
    ready = all(state in {"ok", "awaited"} for state in checks.values())
    status = "ok" if ready else "degraded"
    return JsonResponse(
        {"status": status, **checks, "catalogue": catalogue, "last_tick_age_s": age_s},
        status=200 if ready else 503,
    )


def _database() -> tuple[str, str]:
    """Return how the database is, and the catalogue of coins in it."""
    try:
        is_filled = Catalogue.objects.filter(kind=AssetKind.CRYPTO).exists()
    except DatabaseError:
        return "away", "unknown"
    return "ok", "ok" if is_filled else "empty"


def _redis() -> tuple[str, float | None]:
    """Return how Redis is, and how old the last tick in it."""
    try:
        at = redis_clients.ask(ticks.last_at)
    except RedisAwayError:
        return "away", None
    if at is None:
        return "ok", None
    return "ok", round(max(0.0, (datetime.now(UTC) - at).total_seconds()), 1)


def _ticks(age_s: float | None) -> str:
    # A process that has just started may have come before the first tick.
    patience_s = _LATE_AFTER * settings.PUBLISH_INTERVAL_S
    is_new = time.monotonic() - apps.STARTED < patience_s
    if age_s is not None and age_s <= patience_s:
        return "ok"
    return "awaited" if is_new else "late"
