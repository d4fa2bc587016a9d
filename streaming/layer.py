"""The channel layer that announces ticks between processes."""

from __future__ import annotations

import logging
from typing import Any

from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError


def layer() -> Any:
    """Return the default channel layer."""
    found = get_channel_layer()
    if found is None:
        raise ImproperlyConfigured("CHANNEL_LAYERS must have a default.")
    return found


class OutageFilter(logging.Filter):
    """Drops the stack trace that the layer writes each second while Redis is away.

    The hub says so once when it begins and once when it ends.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        exc = record.exc_info[1] if record.exc_info else None
        return not isinstance(exc, RedisError | OSError)


def log_outages_once() -> None:
    logging.getLogger("channels_redis.pubsub").addFilter(OutageFilter())
