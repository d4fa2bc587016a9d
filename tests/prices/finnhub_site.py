"""What the tests of Finnhub share: a provider on a far end of their own, and a fixed now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from prices.providers.base import Gate
from prices.providers.finnhub import Finnhub
from prices.types import (
    AssetKind,
    Instrument,
    Window,
)
from tests.prices.sites import Route, Site

# A Wednesday in summer time: the session is 13:30 to 20:00 UTC.
NOW = datetime(2025, 10, 8, 15, 10, tzinfo=UTC)
OPENS = int(datetime(2025, 10, 8, 13, 30, tzinfo=UTC).timestamp())
DAY_S = 86_400
AAPL = Instrument("stock:AAPL", AssetKind.STOCK, "AAPL")
TODAY = Window(datetime(2025, 10, 8, 13, 30, tzinfo=UTC), NOW)

QUOTE, CANDLE, SYMBOLS, PROFILE = "/quote", "/stock/candle", "/stock/symbol", "/stock/profile2"


def far_end(routes: Mapping[str, Route]) -> Site:
    return Site("/api/v1", routes)


def finnhub(site: Site | Mapping[str, Route], *, gate: Gate | None = None) -> Finnhub:
    site = site if isinstance(site, Site) else far_end(site)
    return Finnhub(
        base_url="https://finnhub.example/api/v1",
        api_key="s3cret",
        gate=gate,
        transport=httpx.MockTransport(site),
    )


def stock(ticker: str) -> Instrument:
    return Instrument(f"stock:{ticker}", AssetKind.STOCK, ticker)


def told(**fields: Any) -> dict[str, Any]:
    return {
        "c": 308.82,
        "d": 3.83,
        "dp": 1.2558,
        "h": 311.4,
        "l": 305.84,
        "o": 306.12,
        "pc": 304.99,
        "t": int(NOW.timestamp()) - 5,
    } | fields


ZEROS = {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}
NO_ACCESS = {"error": "You don't have access to this resource."}
