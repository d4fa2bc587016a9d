"""A sandbox of this process's own, on a real socket, with its clock in the tests' hands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from prices.sandbox.server import Running, running

# A Monday, 13:00 in New York: stocks trade.
TRADING = datetime(2026, 11, 23, 18, tzinfo=UTC).timestamp()


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    with running() as server:
        yield server


@pytest.fixture
def market(server: Running) -> Iterator[httpx.Client]:
    """A client of a sandbox that is as new: no faults, no counts, all allowed, a Monday."""
    with httpx.Client(base_url=server.url, timeout=10) as client:
        client.post("/_sandbox/plan", json={"plan": "all"}).raise_for_status()
        client.post("/_sandbox/reset").raise_for_status()
        client.post("/_sandbox/clock", json={"now": TRADING}).raise_for_status()
        yield client


@pytest.fixture
def gecko(server: Running, market: httpx.Client) -> Iterator[httpx.Client]:
    """A client of the sandbox's CoinGecko."""
    with httpx.Client(base_url=server.coingecko_url, timeout=10) as client:
        yield client


@pytest.fixture
def finn(server: Running, market: httpx.Client) -> Iterator[httpx.Client]:
    """A client of the sandbox's Finnhub."""
    with httpx.Client(base_url=server.finnhub_url, timeout=10) as client:
        yield client
