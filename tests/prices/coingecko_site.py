"""What the tests of CoinGecko share: a provider on a far end of their own, and a fixed now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from prices.providers.coingecko import CoinGecko
from prices.types import (
    AssetKind,
    Instrument,
    Window,
)
from tests.prices.sites import Route, Site

NOW = datetime(2025, 10, 6, 12, 20, tzinfo=UTC)  # a Monday
NOW_S = int(NOW.timestamp())
DAY_S = 86_400
BITCOIN = Instrument("coingecko:bitcoin", AssetKind.CRYPTO, "bitcoin")
DOGE = Instrument("coingecko:dogecoin", AssetKind.CRYPTO, "dogecoin")

MARKETS = "/coins/markets"
CHART = "/coins/bitcoin/market_chart"
RANGE = "/coins/bitcoin/market_chart/range"
OHLC = "/coins/bitcoin/ohlc"


def far_end(routes: Mapping[str, Route]) -> Site:
    return Site("/api/v3", routes)


def coingecko(site: Site | Mapping[str, Route], *, plan: str = "demo", key: str = "") -> CoinGecko:
    site = site if isinstance(site, Site) else far_end(site)
    return CoinGecko(
        base_url="https://api.example/api/v3",
        api_key=key,
        plan=plan,
        transport=httpx.MockTransport(site),
    )


def row(coin_id: str = "bitcoin", **fields: Any) -> dict[str, Any]:
    return {
        "id": coin_id,
        "symbol": "btc",
        "name": "Bitcoin",
        "current_price": 67234.5,
        "last_updated": "2025-10-06T12:19:30.000Z",
    } | fields


def window(**back: float) -> Window:
    return Window(NOW - timedelta(**back), NOW)
