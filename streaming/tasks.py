"""Celery's door into what depends on who follows what. No logic here."""

from __future__ import annotations

from celery import shared_task
from redis.exceptions import RedisError

from prices import redis_clients
from prices.services import disputes, quotes
from streaming import demand
from streaming.publisher import Publisher

_publisher = Publisher()
# A line of the worker's log, without a stack trace: the next tick tries anew.
_AWAY = (RedisError,)


# The beat schedule lets it expire before the next tick: after a pause, a backlog
# of old ticks is dropped.
@shared_task(ignore_result=True, throws=_AWAY)
def publish_prices() -> None:
    """Publish the tick that is due, unless another worker has."""
    _publisher.publish()


@shared_task(ignore_result=True, throws=_AWAY)
def compare_sources() -> None:
    """Ask second sources about what is followed or tracked."""
    disputes.check([*demand.wanted(redis_clients.client()), *quotes.tracked()])
