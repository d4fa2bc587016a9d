from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from streaming.hub import Hub


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[Hub]:
    """This event loop's hub."""
    # Not at the top: it loads settings, which tests/conftest.py makes first.
    from tests.streaming.sockets import running_hub

    async with running_hub() as running:
        yield running
