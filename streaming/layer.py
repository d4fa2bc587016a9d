"""The channel layer that announces ticks between processes."""

from __future__ import annotations

import logging
from typing import Any

from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisSingleShardConnection
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

# Any time does: what is lost is missed by the hub, which then subscribes anew.
_LISTEN_S = 5.0


class _Listening(PubSub):
    async def get_message(
        self,
        ignore_subscribe_messages: bool = False,
        timeout: float | None = 0.0,  # noqa: ASYNC109 (the base's)
    ) -> Any:
        """Wait longer than the layer asks for, whatever `timeout`: it asks anew in any case."""
        return await super().get_message(ignore_subscribe_messages, _LISTEN_S)


class _Shard(RedisSingleShardConnection):  # type: ignore[misc]  # untyped
    def _ensure_redis(self) -> None:
        if self._redis is None:
            super()._ensure_redis()
            redis: Any = self._redis
            self._pubsub = _Listening(redis.connection_pool)


class PatientLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # untyped
    """channels-redis' layer on pub/sub, which waits for a message rather than looking for one.

    The original looks ten times a second: half of all that a server does that has nothing to do.
    """

    def _get_layer(self) -> Any:
        found = super()._get_layer()
        if not all(isinstance(shard, _Shard) for shard in found._shards):
            found._shards = [_Shard(shard.host, found) for shard in found._shards]
        return found


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
