"""What the log is told of a Redis that is away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import redis
import redis.exceptions

from prices import redis_clients


def test_an_outage_is_two_lines_the_second_of_which_says_when_it_was_first_noticed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(redis_clients, "_outage", redis_clients._Outage())
    monkeypatch.setattr(redis_clients, "time", SimpleNamespace(monotonic=lambda: now))

    def refuse(_: redis.Redis) -> None:
        raise redis.exceptions.ConnectionError

    for _ in range(3):
        with pytest.raises(redis_clients.RedisAwayError):
            redis_clients.ask(refuse)
        now += redis_clients.AWAY_S
    for _ in range(2):
        redis_clients.ask(lambda client: client.ping())

    assert [record.getMessage() for record in caplog.records] == [
        "Redis is away (ConnectionError); answering from copies",
        "Redis answers again; it first did not 3.0 s ago",
    ]
