"""The channel layer that announces ticks between processes."""

from __future__ import annotations

from typing import Any

from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured


def layer() -> Any:
    """Return the default channel layer."""
    found = get_channel_layer()
    if found is None:
        raise ImproperlyConfigured("CHANNEL_LAYERS must have a default.")
    return found
