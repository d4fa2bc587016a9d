"""Assets as rows and in the cache, and the admin's pages as text, for its tests."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

from django.test import Client

from prices import cache
from prices.answers import HistoryAnswer, QuoteAnswer
from prices.models import Asset
from prices.types import Adjustment, AssetKind, Freshness, Origin, Period, Point, Resolution

LIST = "/admin/prices/asset/"
STATUS = "/admin/prices/asset/status/"


def coin(coin_id: str, ticker: str, rank: int | None = None, **fields: Any) -> Asset:
    return Asset.objects.create(
        **{
            "ref": f"coingecko:{coin_id}",
            "ticker": ticker,
            "name": coin_id.title(),
            "kind": "crypto",
            "coingecko_id": coin_id,
            "market_cap_rank": rank,
            **fields,
        }
    )


def stock(ticker: str, **fields: Any) -> Asset:
    return Asset.objects.create(
        **{
            "ref": f"stock:{ticker}",
            "ticker": ticker,
            "name": ticker.title(),
            "kind": "stock",
            "finnhub_symbol": ticker,
            "exchange": "XNAS",
            **fields,
        }
    )


def told(asset: Asset, symbol: str, price: float, *, age_s: float = 0, name: str = "") -> None:
    """Put a quote into the cache as if it had been fetched `age_s` ago."""
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    quote = QuoteAnswer(
        source="sandbox",
        as_of=at,
        fetched_at=at,
        cached=False,
        stale=False,
        symbol=symbol,
        ref=asset.ref,
        name=name or asset.name,
        kind=AssetKind(asset.kind),
        price=price,
        change=None,
        change_percent=1.5,
        high=None,
        low=None,
        volume=None,
        market_cap=None,
        last_updated=at,
        freshness=Freshness.LIVE,
        market=None,
        session=None,
        disputed=False,
        quote_currency="USD",
        fallback_from=[],
        change_basis="24h",
        volume_basis=None,
        alternatives=[],
    )
    cache.store(cache.price_key(symbol), quote, 60, good_s=86_400)


def charted(asset: Asset, symbol: str, prices: list[float], period: Period = Period.WEEK) -> None:
    """Put a history into the cache, a point an hour up to now."""
    now = datetime.now(UTC)
    first = int(now.timestamp()) - 3600 * len(prices)
    points = [Point(first + 3600 * n, price, None) for n, price in enumerate(prices)]
    series = HistoryAnswer(
        source="sandbox",
        as_of=now,
        fetched_at=now,
        cached=False,
        stale=False,
        symbol=symbol,
        ref=asset.ref,
        period=period,
        resolution=Resolution.H1,
        count=len(points),
        from_=points[0].timestamp,
        to=points[-1].timestamp,
        truncated=False,
        truncated_by=None,
        available_from=None,
        volume_basis=None,
        freshness=Freshness.LIVE,
        market=None,
        session=None,
        adjustment=Adjustment.NONE,
        segments=[],
        quote_currency="USD",
        fallback_from=[],
        alternatives=[],
        origin=Origin.PROVIDER,
        coverage=None,
        data=points,
    )
    cache.store(cache.history_key(symbol, period), series, 1800, good_s=86_400)


def page(client: Client, path: str, **query: Any) -> str:
    response = client.get(path, query)
    assert response.status_code == 200, response
    return response.content.decode()


def plain(html: str) -> str:
    """Return a page's text alone, with single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def detail(asset: Asset) -> str:
    return f"{LIST}{asset.pk}/change/"


def act(client: Client, name: str, *assets: Asset) -> list[str]:
    """Choose an action of the list for some assets; return the messages it leaves."""
    data = {"action": name, "_selected_action": [asset.pk for asset in assets]}
    return messages(client.post(LIST, data, follow=True))


def press(client: Client, name: str, asset: Asset) -> list[str]:
    """Press a button of an asset's page; return the messages it leaves."""
    response = client.post(f"{LIST}{asset.pk}/act/", {"operation": name}, follow=True)
    assert response.redirect_chain == [(detail(asset), 302)]
    return messages(response)


def messages(response: Any) -> list[str]:
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]
