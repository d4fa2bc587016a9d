"""The REST API. A view validates, calls one service, and sends the bytes it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from prices import cache, schema
from prices.answers import (
    BatchAnswer,
    CoinSearchAnswer,
    MappingAnswer,
    QuoteAnswer,
    SourcesAnswer,
    SymbolSearchAnswer,
    TopAnswer,
    TrendedBatchAnswer,
    TrendedTopAnswer,
)
from prices.cache import Held
from prices.errors import PricesError, UpstreamError
from prices.rest import (
    MAX_BODY_BYTES,
    QUOTE_AGE_S,
    BoundedJSONParser,
    Negotiation,
    PricesView,
    answered,
    query_of,
    sent,
    traced,
    valid,
)
from prices.serializers import (
    BatchBody,
    BatchQuery,
    CoinSearchQuery,
    OneQuoteQuery,
    SymbolSearchQuery,
    TopQuery,
)
from prices.services import discovery, explaining, quotes, sources, symbols, trends
from prices.types import AssetKind

# How long a cache may keep the API's description: it changes with a release.
SCHEMA_AGE_S = 300


class QuoteView(PricesView):
    """The current price of one asset."""

    @schema.operation(
        "quote",
        "The current price of one asset",
        QuoteAnswer,
        query=OneQuoteQuery,
        codes=schema.OF_A_SYMBOL,
        of_symbol=True,
    )
    def get(self, request: Request, symbol: str) -> HttpResponse:
        query = query_of(request, OneQuoteQuery)
        force = query["force_refresh"]
        with traced(request, query) as trace:
            resolved = symbols.resolve(symbol, lookup=True)
            held: Held[Any] = quotes.quote(resolved, force=force)
        key = cache.price_key(held.value.symbol)
        if trace:
            held = explaining.explained(held, trace, symbol, resolved, key)
        return answered(request, held, [key], at_most_s=QUOTE_AGE_S, is_forced=force or bool(trace))


class BatchView(PricesView):
    """Current prices of up to 100 assets, by POST."""

    parser_classes: Sequence[type[BaseParser]] = [BoundedJSONParser]

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # DRF takes a body whose length nobody announced, as one sent in chunks, for
        # none. Any length but 0 makes it look; the parser reads no more than it may.
        request.META.setdefault("CONTENT_LENGTH", str(MAX_BODY_BYTES))
        return super().initialize_request(request, *args, **kwargs)

    @schema.operation(
        "batch",
        "Current prices of up to 100 assets",
        BatchAnswer,
        body=BatchBody,
        codes=["invalid_parameter", "too_large", "unsupported_media_type"],
        also=[TrendedBatchAnswer],
    )
    def post(self, request: Request) -> HttpResponse:
        body = valid(BatchBody(data=request.data))
        return _batch(request, body["symbols"], body)


class BatchQueryView(PricesView):
    """Current prices of up to 100 assets, by GET."""

    @schema.operation(
        "batch_query",
        "Current prices of up to 100 assets, by GET",
        BatchAnswer,
        query=BatchQuery,
        codes=["invalid_parameter"],
        also=[TrendedBatchAnswer],
    )
    def get(self, request: Request) -> HttpResponse:
        query = query_of(request, BatchQuery)
        return _batch(request, query["symbols"], query)


class TopView(PricesView):
    """Coins by market cap."""

    @schema.operation(
        "top",
        "Coins by market cap",
        TopAnswer,
        query=TopQuery,
        codes=["invalid_parameter"],
        also=[TrendedTopAnswer],
    )
    def get(self, request: Request) -> HttpResponse:
        query = query_of(request, TopQuery)
        held, quoted = discovery.top(query["limit"], query["page"])
        key = cache.top_key(query["limit"], query["page"])
        keys = {key: held.value.fetched_at, **quoted}
        told: Held[Any] = trends.of_top(held) if query["sparkline"] else held
        return answered(request, told, keys, at_most_s=QUOTE_AGE_S)


class CoinSearchView(PricesView):
    """Coins whose ticker, name or id fits, with their market data."""

    @schema.operation(
        "coin_search",
        "Coins whose ticker, name or id fits",
        CoinSearchAnswer,
        query=CoinSearchQuery,
        codes=["invalid_parameter"],
    )
    def get(self, request: Request) -> HttpResponse:
        query = query_of(request, CoinSearchQuery)
        held, quoted = discovery.search_coins(query["q"], query["limit"])
        # Hits are counted by the first: no key, and of no version.
        keys = {"search:coins": None, **quoted}
        return answered(request, held, keys, at_most_s=QUOTE_AGE_S)


class MappingView(PricesView):
    """CoinGecko ids by ticker."""

    @schema.operation("mapping", "CoinGecko ids by ticker", MappingAnswer)
    def get(self, request: Request) -> HttpResponse:
        return answered(request, discovery.mapping(), [cache.list_key("mapping")])


class SymbolSearchView(PricesView):
    """Coins and stocks whose ticker or name fits."""

    @schema.operation(
        "symbol_search",
        "Coins and stocks whose ticker or name fits",
        SymbolSearchAnswer,
        query=SymbolSearchQuery,
        codes=["invalid_parameter", "provider_not_configured"],
    )
    def get(self, request: Request) -> HttpResponse:
        query = query_of(request, SymbolSearchQuery)
        kind = AssetKind(query["kind"]) if query.get("kind") else None
        return answered(request, discovery.search_symbols(query["q"], kind, query["limit"]))


class SourcesView(PricesView):
    """Which sources there are, how they stand, and how they want to be named."""

    @schema.operation("sources", "The sources: state, plan, attribution", SourcesAnswer)
    def get(self, request: Request) -> HttpResponse:
        return answered(request, sources.sources(), [cache.list_key("sources")])


class SchemaView(SpectacularAPIView):
    """The API's description, made once in each process."""

    content_negotiation_class = Negotiation

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer = request.accepted_renderer
        kind, charset = renderer.media_type, renderer.charset
        return sent(
            request,
            _description(kind, renderer.render),
            content_type=f"{kind}; charset={charset}" if charset else kind,
            cache_control=f"public, max-age={SCHEMA_AGE_S}",
        )


def _description(kind: str, render: Callable[[Any], str | bytes]) -> bytes:
    if kind not in _descriptions:
        generator: Any = SchemaGenerator
        rendered = render(generator().get_schema(request=None, public=True))
        _descriptions[kind] = rendered.encode() if isinstance(rendered, str) else rendered
    return _descriptions[kind]


# By media type; it changes with the code alone.
_descriptions: dict[str, bytes] = {}


class NotFoundView(PricesView):
    """Whatever else stands below /api."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise exceptions.NotFound("There is nothing at this address.")


def _batch(request: Request, asked: Sequence[str], how: Mapping[str, Any]) -> HttpResponse:
    force = how["force_refresh"]
    batch = quotes.quotes(asked, force=force)
    errors = list(batch.errors.values())
    if not batch.data and errors and all(isinstance(e, UpstreamError) for e in errors):
        raise _worst(errors)
    found = list(batch.data.values())
    answer = BatchAnswer(
        success=True,
        count=len(found),
        data=batch.data,
        failed=batch.failed,
        resolved=batch.resolved,
        cache_hits=batch.cache_hits,
        api_calls=batch.api_calls,
        source="+".join(sorted({quote.source for quote in found})) or None,
        as_of=min((quote.as_of for quote in found if quote.as_of), default=None),
        fetched_at=min((quote.fetched_at for quote in found), default=None),
        cached=bool(found) and all(quote.cached for quote in found),
        stale=any(quote.stale for quote in found),
    )
    if how["sparkline"]:
        answer = trends.of_batch(answer)
    is_hit = answer.api_calls == 0
    held = Held(answer, cache.encode(answer), batch.life_s, is_hit)
    is_forced = force or request.method == "POST"
    keys = {cache.price_key(quote.symbol): quote.fetched_at for quote in found}
    return answered(request, held, keys, at_most_s=QUOTE_AGE_S, is_forced=is_forced)


def _worst(errors: Sequence[PricesError]) -> PricesError:
    """Return the error that takes longest to pass."""
    return max(errors, key=lambda e: e.retry_after_s if isinstance(e, UpstreamError) else 0.0)
