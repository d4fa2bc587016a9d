"""Quotes of ticks are handed on to be recorded, and no tick waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import replace

import pytest
from django.db import OperationalError
from pytest_django import Settings
from redis import Redis

from prices.answers import QuoteAnswer
from tests.streaming.test_publisher import Market, again

WAIT_S = 10


@pytest.fixture(autouse=True)
def _interval(settings: Settings) -> None:
    settings.PUBLISH_INTERVAL_S = 3600


class Recorder:
    """Records when it is let; tells when it is done."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.failure: Exception | None = None
        self.begun = threading.Semaphore(0)

    def record(self, quotes: Collection[QuoteAnswer]) -> None:
        self.begun.release()
        self.may_go_on.wait(WAIT_S)
        self.heard.append([quote.symbol for quote in quotes])
        if self.failure:
            raise self.failure


def test_the_quotes_of_a_tick_are_recorded_once_it_is_announced(redis_client: Redis) -> None:
    market, recorder = Market("BTC", "ETH"), Recorder()
    announced: list[int] = []

    def record(quotes: Collection[QuoteAnswer]) -> None:
        announced.append(len(market.announced))
        recorder.record(quotes)

    publisher = replace(market.publisher(), record=record)

    publisher.publish()

    assert recorder.begun.acquire(timeout=WAIT_S)
    assert announced == [1]
    publisher._recording._pool.shutdown()
    assert sorted(recorder.heard[0]) == ["BTC", "ETH"]


def test_a_slow_recording_is_skipped_and_delays_no_tick(redis_client: Redis) -> None:
    market, recorder = Market("BTC"), Recorder()
    recorder.may_go_on.clear()
    publisher = replace(market.publisher(), record=recorder.record)

    for _ in range(3):
        assert publisher.publish() is not None
        again(redis_client)

    assert len(market.announced) == 3
    recorder.may_go_on.set()
    publisher._recording._pool.shutdown()
    assert recorder.heard == [["BTC"]]


def test_last_good_values_are_not_recorded_again(redis_client: Redis) -> None:
    market, recorder = Market("BTC"), Recorder()
    publisher = replace(market.publisher(), record=recorder.record)
    market.down = RuntimeError("a fault of ours")
    market.held = {"BTC"}

    publisher.publish()

    publisher._recording._pool.shutdown()
    assert recorder.heard == []


def test_a_recording_that_fails_is_logged_once_and_once_when_it_is_over(
    redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "streaming.publisher")
    market, recorder = Market("BTC"), Recorder()
    publisher = replace(market.publisher(), record=recorder.record)

    for failure in (OperationalError("gone"), OperationalError("gone"), None):
        recorder.failure = failure
        assert publisher.publish() is not None
        again(redis_client)
        done = publisher._recording._under_way
        assert done is not None
        done.exception(WAIT_S)
        publisher._recording._pool.submit(int).result(WAIT_S)

    assert [record.message for record in caplog.records] == [
        "quotes of ticks are not recorded",
        "quotes of ticks are recorded again",
    ]
