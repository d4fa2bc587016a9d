"""UDF's addresses. Every error is JSON with `s: "error"`, which prices/problems.py sees to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpResponse
from msgspec import UNSET, UnsetType
from rest_framework.request import Request

from prices import cache
from prices.answers import QuoteAnswer
from prices.errors import PricesError, UpstreamError
from prices.models import Asset
from prices.rest import QUOTE_AGE_S, Negotiation, PricesView, answered, sent
from prices.services import charting, discovery, quotes
from prices.types import AssetKind, Candle
from prices.udf import asking, instruments, schema
from prices.udf.asking import COINS, RESOLUTIONS, STOCKS
from prices.udf.shapes import (
    UdfBars,
    UdfConfig,
    UdfExchange,
    UdfFigures,
    UdfFound,
    UdfNoData,
    UdfQuote,
    UdfQuotes,
    UdfType,
)

CONFIG_AGE_S = 300
# What a symbol's status says is of the moment; where something had to be guessed, even more so.
SYMBOL_AGE_S, GUESS_AGE_S = 60, 5
_MOST_FOUND = 30


class Anything(Negotiation):
    """Whatever a chart accepts, it is sent JSON: it does not look."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class UdfView(PricesView):
    """What all addresses below /api/udf have in common."""

    content_negotiation_class = Anything


class ConfigView(UdfView):
    """What this data feed can do."""

    @schema.operation("config", "What this data feed can do")
    def get(self, request: Request) -> HttpResponse:
        told = UdfConfig(
            supported_resolutions=list(RESOLUTIONS),
            exchanges=[
                UdfExchange("", "All", "Coins and stocks"),
                UdfExchange(COINS, "Coins", "Coins, as CoinGecko lists them"),
                UdfExchange(STOCKS, "US", "Stocks of the United States"),
            ],
            symbols_types=[
                UdfType("All", ""),
                *(UdfType(kind.title(), str(kind)) for kind in AssetKind),
            ],
        )
        return _sent(request, told, CONFIG_AGE_S)


class SymbolsView(UdfView):
    """What one asset is to a chart."""

    @schema.operation("symbols", "What one asset is to a chart", "symbol")
    def get(self, request: Request) -> HttpResponse:
        resolved = asking.resolve(request.query_params.get("symbol", ""))
        told, is_sure = instruments.described(resolved)
        return _sent(request, told, SYMBOL_AGE_S if is_sure else GUESS_AGE_S)


class SearchView(UdfView):
    """Coins and stocks by ticker or name."""

    @schema.operation(
        "search", "Coins and stocks by ticker or name", "query", "type", "exchange", "limit"
    )
    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        words, kinds = query.get("query", "").strip()[:100], _kinds(query)
        if not words or not kinds:
            return _sent(request, [], CONFIG_AGE_S)
        only = kinds[0] if len(kinds) == 1 else None
        held = discovery.search_symbols(words, only, discovery.MOST_FOUND)
        rows = held.value.results[: _limit(query)]
        assets = {one.ref: one for one in Asset.objects.filter(ref__in=[row.ref for row in rows])}
        found = [_found(assets[row.ref], row.symbol) for row in rows if row.ref in assets]
        return _sent(request, found, held.life_s)


class HistoryView(UdfView):
    """Bars of one asset."""

    @schema.operation(
        *("history", "Bars of one asset", "symbol", "resolution", "from", "to", "countback")
    )
    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        width, wanted = asking.resolution(query), asking.wanted(query)
        resolved = asking.resolve(query.get("symbol", ""))
        chart = charting.chart(resolved, width, wanted)
        told = _bars(chart.bars, chart.before)
        held = cache.Held(chart.held.value, cache.encode(told), chart.life_s, chart.held.was_hit)
        return answered(request, held, chart.keys, at_most_s=QUOTE_AGE_S)


class QuotesView(UdfView):
    """Current prices of several assets."""

    @schema.operation("quotes", "Current prices of several assets", "symbols")
    def get(self, request: Request) -> HttpResponse:
        names = {}
        failed: dict[str, PricesError] = {}
        for text in asking.listed(request.query_params):
            try:
                names[text] = asking.resolve(text).symbol
            except PricesError as exc:
                failed[text] = exc
        batch = quotes.quotes(list(names.values()))
        failed |= {text: e for text, name in names.items() if (e := batch.errors.get(name))}
        if not batch.data and failed and all(isinstance(e, UpstreamError) for e in failed.values()):
            raise next(iter(failed.values()))
        found = {text: batch.data[name] for text, name in names.items() if name in batch.data}
        assets = {a.ref: a for a in Asset.objects.filter(ref__in=[q.ref for q in found.values()])}
        told = [
            _quote(text, found.get(text), assets) for text in asking.listed(request.query_params)
        ]
        return _sent(request, UdfQuotes(d=told), min(batch.life_s, QUOTE_AGE_S))


class TimeView(UdfView):
    """The server's clock, in Unix seconds."""

    @schema.operation("time", "The server's clock, in Unix seconds")
    def get(self, request: Request) -> HttpResponse:
        return sent(request, b"%d" % time.time(), cache_control="no-store")


def _sent(request: Request, told: object, life_s: float) -> HttpResponse:
    control = f"public, max-age={int(life_s)}"
    return sent(request, cache.encode(told), cache_control=control)


def _bars(bars: Sequence[Candle], before: int | None) -> object:
    """Return bars by field, or where the nearest one before them is."""
    if not bars:
        return UdfNoData(next_time=UNSET if before is None else before)
    volumes = [bar.volume for bar in bars if bar.volume is not None]
    return UdfBars(
        t=[bar.timestamp for bar in bars],
        o=[bar.open for bar in bars],
        h=[bar.high for bar in bars],
        l=[bar.low for bar in bars],
        c=[bar.close for bar in bars],
        v=volumes if len(volumes) == len(bars) else UNSET,
    )


def _kinds(query: Mapping[str, str]) -> list[AssetKind]:
    """Return which assets are searched; none where a filter fits no kind."""
    by_exchange = {COINS: AssetKind.CRYPTO, STOCKS: AssetKind.STOCK}
    named, exchange = query.get("type", "").lower(), query.get("exchange", "").upper()
    kinds = [kind for kind in AssetKind if named in {"", kind}]
    return [kind for kind in kinds if not exchange or by_exchange.get(exchange) is kind]


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", "")
    asked = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else _MOST_FOUND
    return max(1, min(asked, discovery.MOST_FOUND))


def _found(asset: Asset, symbol: str) -> UdfFound:
    return UdfFound(
        symbol=asset.ticker or asset.name,
        full_name=instruments.full_name(asset, symbol),
        description=asset.name,
        exchange=COINS if asset.kind == AssetKind.CRYPTO else STOCKS,
        ticker=asset.ref,
        type=asset.kind,
    )


def _quote(text: str, quote: QuoteAnswer | None, assets: Mapping[str, Asset]) -> UdfQuote:
    if quote is None:
        return UdfQuote(s="error", n=text, v=UdfFigures())
    is_stock = quote.kind is AssetKind.STOCK
    before = round(quote.price - quote.change, 6) if is_stock and quote.change is not None else None
    asset = assets[quote.ref]
    figures = UdfFigures(
        lp=quote.price,
        ch=_known(quote.change),
        chp=_known(quote.change_percent),
        high_price=_known(quote.high),
        low_price=_known(quote.low),
        prev_close_price=_known(before),
        # A coin's is in dollars of a whole day, which no chart would take it for.
        volume=_known(quote.volume if is_stock else None),
        short_name=asset.ticker or asset.name,
        exchange=STOCKS if is_stock else COINS,
        description=quote.name,
        original_name=instruments.full_name(asset, quote.symbol),
    )
    return UdfQuote(n=text, v=figures)


def _known(figure: float | None) -> float | UnsetType:
    return UNSET if figure is None else figure
