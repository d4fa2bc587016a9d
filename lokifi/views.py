"""Whether this process is up, and whether the product around it works."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from lokifi import apps
from prices import redis_clients
from prices.redis_clients import RedisAwayError
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
    """Answer 200 where the database and Redis answer and ticks come, else 503 and what does not."""
    redis_state, age_s = _redis()
    ticks_state = "unknown" if redis_state != "ok" else _ticks(age_s)
    checks = {"database": _database(), "redis": redis_state, "ticks": ticks_state}
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse(
        {"status": "ok" if ready else "degraded", **checks, "last_tick_age_s": age_s},
        status=200 if ready else 503,
    )


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "away"
    return "ok"


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
    return "ok" if is_new or (age_s is not None and age_s <= patience_s) else "late"
