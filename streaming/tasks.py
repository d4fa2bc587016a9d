"""Celery's door into the publisher. No logic here."""

from __future__ import annotations

from celery import shared_task

from streaming.publisher import Publisher

_publisher = Publisher()


# The beat schedule lets it expire before the next tick: after a pause, a backlog
# of old ticks is dropped.
@shared_task(ignore_result=True)
def publish_prices() -> None:
    """Publish the tick that is due, unless another worker has."""
    _publisher.publish()
