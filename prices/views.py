"""The REST API. A view validates, calls one service, and sends the bytes it gets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from django.http import HttpResponse
from django.utils.http import parse_etags
from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.views import APIView

from prices import cache, schema
from prices.answers import (
    BatchAnswer,
    CandlesAnswer,
    CoinSearchAnswer,
    HistoryAnswer,
    MappingAnswer,
    QuoteAnswer,
    SymbolSearchAnswer,
    TopAnswer,
)
from prices.cache import Held
from prices.errors import PricesError, UpstreamError
from prices.serializers import (
    BatchBody,
    BatchQuery,
    CandlesQuery,
    CoinSearchQuery,
    HistoryQuery,
    QuoteQuery,
    SymbolSearchQuery,
    TopQuery,
)
from prices.services import discovery, history, quotes, symbols
from prices.types import AssetKind

S = TypeVar("S", bound=serializers.Serializer[Any])

# A quote is not kept by caches in front of us for the whole of its 60 s.
QUOTE_AGE_S = 5
MAX_BODY_BYTES = 64 * 1024


class BoundedJSONParser(BaseParser):
    """JSON up to MAX_BODY_BYTES."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise exceptions.ValidationError("The body is not JSON.") from None


class TooLargeError(exceptions.APIException):
    """A body over the limit."""

    status_code = 413
    default_detail = f"A body may have {MAX_BODY_BYTES} bytes."


class QuoteView(APIView):
    """The current price of one asset."""

    @schema.operation(
        "quote",
        "The current price of one asset",
        QuoteAnswer,
        query=QuoteQuery,
        codes=schema.OF_A_SYMBOL,
        of_symbol=True,
    )
    def get(self, request: Request, symbol: str) -> HttpResponse:
        query = _query(request, QuoteQuery)
        force = query["force_refresh"]
        held = quotes.quote(symbols.resolve(symbol, lookup=True), force=force)
        return _answer(request, held, at_most_s=QUOTE_AGE_S, is_forced=force)


class HistoryView(APIView):
    """Prices of one asset over a period, oldest first."""

    @schema.operation(
        "history",
        "Prices of one asset over a period",
        HistoryAnswer,
        query=HistoryQuery,
        codes=schema.OF_A_SYMBOL,
        of_symbol=True,
    )
    def get(self, request: Request, symbol: str) -> HttpResponse:
        query = _query(request, HistoryQuery)
        force = query["force_refresh"]
        held = history.history(symbols.resolve(symbol), query["period"], force=force)
        return _answer(request, held, is_forced=force)


class CandlesView(APIView):
    """Candles of one asset over a period, oldest first."""

    @schema.operation(
        "candles",
        "Candles of one asset over a period",
        CandlesAnswer,
        query=CandlesQuery,
        codes=[*schema.OF_A_SYMBOL, "resolution_unavailable"],
        of_symbol=True,
    )
    def get(self, request: Request, symbol: str) -> HttpResponse:
        query = _query(request, CandlesQuery)
        force = query["force_refresh"]
        held = history.candles(
            symbols.resolve(symbol), query["period"], query.get("resolution"), force=force
        )
        return _answer(request, held, is_forced=force)


class BatchView(APIView):
    """Current prices of up to 100 assets, by POST."""

    parser_classes: Sequence[type[BaseParser]] = [BoundedJSONParser]

    @schema.operation(
        "batch",
        "Current prices of up to 100 assets",
        BatchAnswer,
        body=BatchBody,
        codes=["invalid_parameter", "too_large", "unsupported_media_type"],
    )
    def post(self, request: Request) -> HttpResponse:
        body = _valid(BatchBody(data=request.data))
        return _batch(request, body["symbols"], force=body["force_refresh"])


class BatchQueryView(APIView):
    """Current prices of up to 100 assets, by GET."""

    @schema.operation(
        "batch_query",
        "Current prices of up to 100 assets, by GET",
        BatchAnswer,
        query=BatchQuery,
        codes=["invalid_parameter"],
    )
    def get(self, request: Request) -> HttpResponse:
        query = _query(request, BatchQuery)
        return _batch(request, query["symbols"], force=query["force_refresh"])


class TopView(APIView):
    """Coins by market cap."""

    @schema.operation(
        "top", "Coins by market cap", TopAnswer, query=TopQuery, codes=["invalid_parameter"]
    )
    def get(self, request: Request) -> HttpResponse:
        query = _query(request, TopQuery)
        return _answer(request, discovery.top(query["limit"], query["page"]))


class CoinSearchView(APIView):
    """Coins whose ticker, name or id fits, with their market data."""

    @schema.operation(
        "coin_search",
        "Coins whose ticker, name or id fits",
        CoinSearchAnswer,
        query=CoinSearchQuery,
        codes=["invalid_parameter"],
    )
    def get(self, request: Request) -> HttpResponse:
        query = _query(request, CoinSearchQuery)
        return _answer(request, discovery.search_coins(query["q"], query["limit"]))


class MappingView(APIView):
    """CoinGecko ids by ticker."""

    @schema.operation("mapping", "CoinGecko ids by ticker", MappingAnswer)
    def get(self, request: Request) -> HttpResponse:
        return _answer(request, discovery.mapping())


class SymbolSearchView(APIView):
    """Coins and stocks whose ticker or name fits."""

    @schema.operation(
        "symbol_search",
        "Coins and stocks whose ticker or name fits",
        SymbolSearchAnswer,
        query=SymbolSearchQuery,
        codes=["invalid_parameter", "provider_not_configured"],
    )
    def get(self, request: Request) -> HttpResponse:
        query = _query(request, SymbolSearchQuery)
        kind = AssetKind(query["kind"]) if query.get("kind") else None
        return _answer(request, discovery.search_symbols(query["q"], kind, query["limit"]))


class NotFoundView(APIView):
    """Whatever else stands below /api."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise exceptions.NotFound("There is nothing at this address.")


def _query(request: Request, query: type[S]) -> dict[str, Any]:
    return _valid(query(data=request.query_params))


def _valid(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _answer(
    request: Request, held: Held[Any], *, at_most_s: float = 3600, is_forced: bool = False
) -> HttpResponse:
    """Send ready bytes with what caches and clients need to know of them."""
    etag = f'"{hashlib.blake2b(held.body, digest_size=12).hexdigest()}"'
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    is_read = request.method in {"GET", "HEAD"}
    is_known = is_read and ("*" in wanted or etag in {tag.removeprefix("W/") for tag in wanted})
    response = (
        HttpResponse(status=304)
        if is_known
        else HttpResponse(held.body, content_type="application/json")
    )
    response["ETag"] = etag
    life_s = int(min(held.life_s, at_most_s))
    response["Cache-Control"] = "no-store" if is_forced else f"public, max-age={life_s}"
    if held.value.stale:
        response["X-Cache"] = "STALE"
    else:
        response["X-Cache"] = "HIT" if held.was_hit else "MISS"
    return response


def _batch(request: Request, asked: Sequence[str], *, force: bool) -> HttpResponse:
    names = symbols.resolve_many(asked)
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
        resolved=names.resolved,
        cache_hits=batch.cache_hits,
        api_calls=batch.api_calls,
        source="+".join(sorted({quote.source for quote in found})) or None,
        as_of=min((quote.as_of for quote in found if quote.as_of), default=None),
        fetched_at=min((quote.fetched_at for quote in found), default=None),
        cached=all(quote.cached for quote in found),
        stale=any(quote.stale for quote in found),
    )
    is_hit = batch.api_calls == 0
    life_s = 0.0 if answer.stale else QUOTE_AGE_S
    held = Held(answer, cache.encode(answer), life_s, is_hit)
    return _answer(request, held, is_forced=force or request.method == "POST")


def _worst(errors: Sequence[PricesError]) -> PricesError:
    """Return the error that takes longest to pass."""
    return max(errors, key=lambda e: e.retry_after_s if isinstance(e, UpstreamError) else 0.0)
