"""Whether this process is up, and whether the product around it works."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from prices import redis_clients
from prices.redis_clients import RedisAwayError


def livez(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as this process can answer at all."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 where the database and Redis answer, else 503 and what does not."""
    checks = {"database": _database(), "redis": _redis()}
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse(
        {"status": "ok" if ready else "degraded", **checks}, status=200 if ready else 503
    )


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "away"
    return "ok"


def _redis() -> str:
    try:
        redis_clients.ask(lambda r: r.ping())
    except RedisAwayError:
        return "away"
    return "ok"
