"""Ticks as fast as they go, made by the product's own publisher in Celery workers of any pool.

python -m tests.chaos.burst POOL COUNT    have that pool's workers publish; prints how many were
"""

from __future__ import annotations

import sys
import time

from celery import shared_task

from lokifi.celery import app as app
from prices import redis_clients

DONE = "chaos:published:"


@shared_task(name="chaos.publish_again", ignore_result=True)
def publish_again(pool: str) -> None:
    """Publish a tick, whether or not the interval has had one."""
    from streaming.tasks import _publisher

    client = redis_clients.client()
    # Another may take the claim in between, and then this tick is that one's.
    for _ in range(50):
        for key in client.scan_iter("lokifi:tick:*"):
            client.delete(key)
        if _publisher.publish() is not None:
            client.incr(DONE + pool)
            return


def main(pool: str, count: int) -> None:
    """Hand the work out and wait until it is done."""
    import django

    django.setup()
    client = redis_clients.client()
    client.delete(DONE + pool)
    for _ in range(count):
        publish_again.apply_async((pool,), queue=f"burst-{pool}")
    deadline = time.monotonic() + 120 + count / 5
    while (done := int(client.get(DONE + pool) or 0)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    sys.stdout.write(f"{done}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
