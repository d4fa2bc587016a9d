from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings
from redis import Redis

from lokifi import apps
from prices import redis_clients
from prices.models import Catalogue
from streaming import ticks
from streaming.protocol import share, stamp
from streaming.ticks import UNKNOWN

pytestmark = pytest.mark.django_db


def publish(age_s: float) -> None:
    """Have a tick be the last one that was published so long ago."""
    at = stamp(datetime.now(UTC) - timedelta(seconds=age_s))
    ticks.publish(redis_clients.client(), UNKNOWN, 30, share(at, []))


@pytest.fixture
def up_for(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let this process have been up for so many seconds."""

    def be(seconds: float) -> None:
        monkeypatch.setattr(apps, "STARTED", time.monotonic() - seconds)

    return be


def ready() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/readyz")
    return answer.status_code, answer.json()


def test_probes_that_know_an_address_alone_are_answered(up_for: Any, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["prices.example"]
    up_for(0)
    by_address = Client(headers={"Host": "10.0.0.5:8000"})

    answers = {path: by_address.get(path) for path in ("/livez", "/readyz", "/")}

    assert {path: answer.status_code for path, answer in answers.items()} == {
        "/livez": 200,
        "/readyz": 200,
        "/": 400,
    }
    assert answers["/readyz"].json()["ticks"] == "awaited"
    assert answers["/livez"]["X-Content-Type-Options"] == "nosniff"


def test_readiness_tells_how_old_the_last_tick_is(up_for: Any) -> None:
    up_for(1000)
    publish(age_s=20)

    status, said = ready()

    age = said.pop("last_tick_age_s")
    assert (status, said) == (
        200,
        {"status": "ok", "database": "ok", "redis": "ok", "ticks": "ok", "catalogue": "empty"},
    )
    assert 20 <= age < 90


@pytest.mark.parametrize("interval_s", [10, 60])
def test_a_last_tick_older_than_three_intervals_is_not_ready(
    up_for: Any, settings: Settings, interval_s: int
) -> None:
    settings.PUBLISH_INTERVAL_S = interval_s
    up_for(1000)
    publish(age_s=100)

    status, said = ready()

    late = interval_s == 10
    assert (status, said["ticks"]) == ((503, "late") if late else (200, "ok"))
    assert said["status"] == ("degraded" if late else "ok")


@pytest.mark.parametrize("snapshot", [None, "", "{", '{"tick": {"timestamp": "today"}}', "null"])
def test_without_a_readable_tick_a_process_is_ready_until_it_is_up_for_three_intervals(
    up_for: Any, redis_client: Redis, snapshot: str | None
) -> None:
    if snapshot is not None:
        redis_client.set(ticks.SNAPSHOT, snapshot)
    up_for(0)
    status, said = ready()
    assert (status, said["ticks"], said["last_tick_age_s"]) == (200, "awaited", None)

    up_for(91)
    status, said = ready()
    assert (status, said["ticks"], said["last_tick_age_s"]) == (503, "late", None)


def test_a_process_that_has_just_started_waits_for_a_new_tick_first(up_for: Any) -> None:
    up_for(0)
    publish(age_s=100_000)

    status, said = ready()

    assert (status, said["ticks"]) == (200, "awaited")
    assert said["last_tick_age_s"] >= 100_000


def test_readiness_tells_whether_coins_are_known_yet(up_for: Any) -> None:
    up_for(0)
    Catalogue.objects.create(kind="stock", source="finnhub", filled_at=datetime.now(UTC), rows=1)
    assert ready()[1]["catalogue"] == "empty"

    Catalogue.objects.create(kind="crypto", source="coingecko", filled_at=datetime.now(UTC), rows=1)

    assert ready()[1]["catalogue"] == "ok"
