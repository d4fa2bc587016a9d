"""What is left out of the log: stack traces that say no more than their last line."""

from __future__ import annotations

import logging
import math
import time
from http import HTTPStatus
from typing import Any

from celery import signals
from celery.beat import SchedulingError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

# Answers of 503 with no longer a pause between them are of one outage.
RUN_S = 300.0
# What uvicorn writes of each request that it cannot read, or that asks for h2c and the like.
_OF_STRANGERS = {"Invalid HTTP request received.", "Unsupported upgrade request."}
_AWAY = (OperationalError, RedisError, OSError)


class InOneLine(logging.Filter):
    """Makes a stranger's mistake a line of information: no error of ours, no stack trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.INFO, "INFO"
        return True


class Unavailable(logging.Filter):
    """Makes the first 503 of a run a warning, and leaves out the rest: a source is down, not we.

    Which one it is, its breaker tells. A run is over when none came for some minutes. That
    we are not ready (/readyz) is a run of its own: whoever watches asks every few seconds.
    A copy that was asked for alone and is not there (504) is no fault of anybody.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[bool, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        status = getattr(record, "status_code", None)
        if status != HTTPStatus.SERVICE_UNAVAILABLE:
            return status != HTTPStatus.GATEWAY_TIMEOUT
        path = getattr(getattr(record, "request", None), "path", "")
        is_ours, now = not path.startswith("/api/"), time.monotonic()
        is_first = now - self._last.get(is_ours, -math.inf) > RUN_S
        self._last[is_ours] = now
        record.msg = f"{record.msg} (further ones are not told)"
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return is_first


class OnceInAWhile(logging.Filter):
    """Lets a message pass once in some minutes: strangers can cause it at will."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg not in _OF_STRANGERS:
            return True
        now = time.monotonic()
        if now - self._last.get(record.msg, -math.inf) <= RUN_S:
            return False
        self._last[record.msg] = now
        record.msg = f"{record.msg} (further ones are not told)"
        return True


class BrokerOutage(logging.Filter):
    """Tells that beat cannot send once when it begins and once when it ends.

    Beat itself writes a stack trace, with the stacks of all causes, at each try.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_on = False

    def filter(self, record: logging.LogRecord) -> bool:
        exc = record.exc_info[1] if record.exc_info else None
        if not isinstance(exc, SchedulingError) or not isinstance(exc.__context__, _AWAY):
            return True
        if self._is_on:
            return False
        self._is_on = True
        record.exc_info = record.exc_text = None
        # Not the error's own words: these may hold the broker's URL.
        record.msg, record.args = "The broker is away; no task can be sent", ()
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True

    def end(self, **_: Any) -> None:
        if self._is_on:
            self._is_on = False
            logging.getLogger("celery.beat").warning("The broker is back")


def tell_outages_of_the_broker_once() -> None:
    """For the process that is beat."""
    outage = BrokerOutage()
    logging.getLogger("celery.beat").addFilter(outage)
    signals.after_task_publish.connect(outage.end, weak=False)
