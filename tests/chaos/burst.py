"""Ticks as fast as they go, made by the product's own publisher in Celery workers of any pool."""

from __future__ import annotations

from celery import shared_task

from lokifi.celery import app as app
from prices import redis_clients

# Named on the command line; a pool in the settings would win over `--pool prefork`.
app.conf.worker_pool = ""

TASK = "chaos.publish_again"
DONE = "chaos:published:"
_TRIES = 50


@shared_task(name=TASK, ignore_result=True)
def publish_again(pool: str) -> None:
    """Publish a tick, whether or not the interval has had one."""
    from streaming.tasks import _publisher

    client = redis_clients.client()
    # Another may take the claim in between, and then this tick is that one's.
    for _ in range(_TRIES):
        for key in client.scan_iter("lokifi:tick:*"):
            client.delete(key)
        if _publisher.publish() is not None:
            client.incr(DONE + pool)
            return
