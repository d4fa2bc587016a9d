"""Which mode's data a database of Redis holds; a process of the other mode keeps out.

    lokifi:mode   "live" or "sandbox", set by whoever comes first

Made-up prices must never be read as real ones, and both modes use the same keys.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from urllib.parse import urlsplit

from django.conf import settings

from prices import redis_clients
from prices.redis_clients import RedisAwayError

logger = logging.getLogger(__name__)

STAMP = "lokifi:mode"
_ASK_AGAIN_S = 1.0


class OtherModeError(Exception):
    """This database belongs to the other mode; the message is one clear sentence."""


def claim() -> None:
    """Stamp the database with our mode. Raises OtherModeError, RedisAwayError."""
    ours = settings.UPSTREAM_MODE

    redis_clients.ask(lambda redis: redis.set(STAMP, ours, nx=True))
    held = redis_clients.ask(lambda redis: redis.get(STAMP))
    # None where it was flushed in between: the next to start stamps it.
    if isinstance(held, bytes) and held != ours.encode():
        # Not the URL itself, which may hold a password.
        url = urlsplit(settings.REDIS_URL)
        where = f"{url.hostname or url.path}:{url.port or 6379}{url.path}"
        raise OtherModeError(
            f"REDIS_URL: {where} holds {held.decode(errors='replace')} data, and this process runs "
            f"in {ours} mode; give each mode a database of its own (the key {STAMP} says whose "
            "one is)."
        )


def claim_or_exit() -> None:
    """Claim at the start of a process; where Redis is away, as soon as it answers."""
    try:
        claim()
    except OtherModeError as exc:
        sys.exit(str(exc))
    except RedisAwayError:
        threading.Thread(target=_claim_later, name="mode", daemon=True).start()


def _claim_later() -> None:
    while True:
        time.sleep(_ASK_AGAIN_S)
        try:
            claim()
        except RedisAwayError:
            continue
        except OtherModeError as exc:
            logger.critical("%s", exc)
            # As an operator would: servers and workers end what they are at.
            os.kill(os.getpid(), signal.SIGTERM)
        return
