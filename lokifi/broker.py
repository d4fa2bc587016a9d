"""How long a worker or a beat waits for a broker that went away.

kombu tries again after 2, 4, 6 and so on up to 30 s: the longer an outage was, the later the
first tick after it. Here it is tried every second, and told of once an outage instead of each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from celery.app.amqp import AMQP
from kombu import Connection

_EVERY_S = 1

Errback = Callable[[Exception, float], None]


class PatientConnection(Connection):
    """Waits as a worker and a beat should; a message that is sent keeps its own few tries."""

    def ensure_connection(self, errback: Errback | None = None, *rest: Any, **more: Any) -> Self:
        more = {"interval_start": _EVERY_S, "interval_step": 0, "interval_max": _EVERY_S, **more}
        return super().ensure_connection(errback and _once(errback), *rest, **more)


class Broker(AMQP):
    """Makes the connections of this project's Celery app."""

    Connection = PatientConnection
    BrokerConnection = PatientConnection


def _once(tell: Errback) -> Errback:
    has_told = False

    def tell_once(exc: Exception, interval_s: float) -> None:
        nonlocal has_told
        if not has_told:
            has_told = True
            tell(exc, interval_s)

    return tell_once
