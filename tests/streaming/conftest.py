from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import uvloop

if TYPE_CHECKING:
    from streaming.hub import Hub


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[Hub]:
    """This event loop's hub."""
    # Not at the top: it loads settings, which tests/conftest.py makes first.
    from tests.streaming.sockets import running_hub

    async with running_hub() as running:
        yield running


@pytest_asyncio.fixture(params=["asyncio", "uvloop"])
async def any_loop(request: pytest.FixtureRequest) -> Any:
    """Return how to run something: on the loop of tests, or on another."""
    if request.param == "asyncio":
        return lambda work: work
    return lambda work: asyncio.to_thread(uvloop.run, work)


@pytest.fixture
def no_line_for_each_connection() -> Iterator[None]:
    """Have uvicorn log none, as the product's own command has it."""
    logger = logging.getLogger("uvicorn.error")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)
