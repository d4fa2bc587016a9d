"""What a worker's log holds of a Redis that does not answer."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from streaming import tasks


def test_a_tick_that_redis_does_not_take_is_a_line_of_the_log_and_no_stack_trace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def publish() -> None:
        raise RedisTimeoutError("Timeout reading from socket")

    monkeypatch.setattr(tasks._publisher, "publish", publish)

    with caplog.at_level(logging.INFO, "celery.app.trace"):
        done = tasks.publish_prices.apply()

    assert done.failed()
    (told,) = caplog.records
    assert (told.levelno, told.exc_info) == (logging.INFO, None)
    assert "TimeoutError" in told.getMessage()
