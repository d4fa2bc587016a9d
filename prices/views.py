"""The REST API. A view validates, calls one service, and sends the bytes it gets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, HttpResponse
from django.http.request import MediaType
from django.utils.http import parse_etags
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework import exceptions, serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.views import APIView

from prices import cache, schema, surrogates, tracing
from prices.answers import (
    BatchAnswer,
    CandlesAnswer,
    CoinSearchAnswer,
    HistoryAnswer,
    MappingAnswer,
    PriceAtAnswer,
    QuoteAnswer,
    SourcesAnswer,
    SymbolSearchAnswer,
    TopAnswer,
)
from prices.cache import Held
from prices.errors import InvalidParameterError, PricesError, UpstreamError
from prices.problems import CONTENT_TYPE as PROBLEM
from prices.serializers import (
    BatchBody,
    BatchQuery,
    CandlesQuery,
    CoinSearchQuery,
    HistoryQuery,
    OneQuoteQuery,
    PriceAtQuery,
    SymbolSearchQuery,
    TopQuery,
)
from prices.services import discovery, explaining, past, quotes, sources, symbols
from prices.tracing import Trace
from prices.types import AssetKind

S = TypeVar("S", bound=serializers.Serializer[Any])

# A quote is not kept by caches in front of us for the whole of its 60 s. Nor is a list
# of coins for the whole of its hour: any quote may be laid over it.
QUOTE_AGE_S = 5
MAX_BODY_BYTES = 64 * 1024
# How long a cache may keep the API's description: it changes with a release.
SCHEMA_AGE_S = 300


class Negotiation(DefaultContentNegotiation):
    """What `Accept` allows, with q=0 as a refusal; a parameter `format` is none of its business."""

    def select_renderer(
        self,
        request: Request,
        renderers: Any,
        format_suffix: str | None = None,
    ) -> Any:
        accept = request.headers.get("Accept", "")
        ranges = [MediaType(part) for part in accept.split(",") if part.strip()]
        best = max(renderers, key=lambda renderer: _liked(renderer.media_type, ranges))
        if not _liked(best.media_type, ranges):
            raise exceptions.NotAcceptable(available_renderers=renderers)
        return best, best.media_type


def _liked(media_type: str, ranges: Sequence[MediaType]) -> float:
    """Return how much a client wants a media type, from 0 to 1."""
    if not ranges:
        return 1.0
    fitting = [one for one in ranges if one.match(media_type)]
    if not fitting and media_type == "application/json":
        # Who can read our errors can read our answers.
        fitting = [one for one in ranges if one.match(PROBLEM)]
    closest = max(fitting, key=lambda one: one.specificity, default=None)
    return float(closest.quality) if closest else 0.0


class PricesView(APIView):
    """What all views below /api have in common."""

    content_negotiation_class = Negotiation


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
        query = _query(request, OneQuoteQuery)
        force = query["force_refresh"]
        with _traced(request, query) as trace:
            resolved = symbols.resolve(symbol, lookup=True)
            held: Held[Any] = quotes.quote(resolved, force=force)
        key = cache.price_key(held.value.symbol)
        if trace:
            held = explaining.explained(held, trace, symbol, resolved, key)
        return _answer(request, held, [key], at_most_s=QUOTE_AGE_S, is_forced=force or bool(trace))


class HistoryView(PricesView):
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
        with _traced(request, query) as trace:
            resolved = symbols.resolve(symbol, of_the_past=True)
            held: Held[Any] = past.history(resolved, query["period"], force=force)
        key = cache.history_key(held.value.symbol, query["period"])
        if trace:
            held = explaining.explained(held, trace, symbol, resolved, key)
        return _answer(request, held, [key], is_forced=force or bool(trace))


class CandlesView(PricesView):
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
        period, resolution = query["period"], query.get("resolution")
        with _traced(request, query) as trace:
            resolved = symbols.resolve(symbol, of_the_past=True)
            held: Held[Any] = past.candles(resolved, period, resolution, force=force)
        key = cache.candles_key(held.value.symbol, period, resolution)
        if trace:
            held = explaining.explained(held, trace, symbol, resolved, key)
        return _answer(request, held, [key], is_forced=force or bool(trace))


class PriceAtView(PricesView):
    """The price of one asset on a day gone by."""

    @schema.operation(
        "at",
        "The price of one asset on a day gone by",
        PriceAtAnswer,
        query=PriceAtQuery,
        codes=schema.OF_A_SYMBOL,
        of_symbol=True,
    )
    def get(self, request: Request, symbol: str) -> HttpResponse:
        query = _query(request, PriceAtQuery)
        with _traced(request, query) as trace:
            resolved = symbols.resolve(symbol, of_the_past=True)
            held: Held[Any] = past.price_at(resolved, query["date"])
        if trace:
            key = past.at_key(resolved, query["date"])
            held = explaining.explained(held, trace, symbol, resolved, key)
        return _answer(request, held, is_forced=bool(trace))


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
    )
    def post(self, request: Request) -> HttpResponse:
        body = _valid(BatchBody(data=request.data))
        return _batch(request, body["symbols"], force=body["force_refresh"])


class BatchQueryView(PricesView):
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


class TopView(PricesView):
    """Coins by market cap."""

    @schema.operation(
        "top", "Coins by market cap", TopAnswer, query=TopQuery, codes=["invalid_parameter"]
    )
    def get(self, request: Request) -> HttpResponse:
        query = _query(request, TopQuery)
        held, quoted = discovery.top(query["limit"], query["page"])
        key = cache.top_key(query["limit"], query["page"])
        keys = {key: held.value.fetched_at, **quoted}
        return _answer(request, held, keys, at_most_s=QUOTE_AGE_S)


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
        query = _query(request, CoinSearchQuery)
        held, quoted = discovery.search_coins(query["q"], query["limit"])
        # Hits are counted by the first: no key, and of no version.
        keys = {"search:coins": None, **quoted}
        return _answer(request, held, keys, at_most_s=QUOTE_AGE_S)


class MappingView(PricesView):
    """CoinGecko ids by ticker."""

    @schema.operation("mapping", "CoinGecko ids by ticker", MappingAnswer)
    def get(self, request: Request) -> HttpResponse:
        return _answer(request, discovery.mapping(), [cache.list_key("mapping")])


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
        query = _query(request, SymbolSearchQuery)
        kind = AssetKind(query["kind"]) if query.get("kind") else None
        return _answer(request, discovery.search_symbols(query["q"], kind, query["limit"]))


class SourcesView(PricesView):
    """Which sources there are, how they stand, and how they want to be named."""

    @schema.operation("sources", "The sources: state, plan, attribution", SourcesAnswer)
    def get(self, request: Request) -> HttpResponse:
        return _answer(request, sources.sources(), [cache.list_key("sources")])


class SchemaView(SpectacularAPIView):
    """The API's description, made once in each process."""

    content_negotiation_class = Negotiation

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer = request.accepted_renderer
        kind, charset = renderer.media_type, renderer.charset
        return _sent(
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


def _query(request: Request, query: type[S]) -> dict[str, Any]:
    return _valid(query(data=request.query_params))


@contextmanager
def _traced(request: Request, query: Mapping[str, Any]) -> Iterator[Trace | None]:
    """Note how an answer comes about, where that was asked for by who may know."""
    if not query["explain"]:
        yield None
        return
    # Our API knows no logins: only here is the admin's session looked at.
    user = None if settings.DEBUG else get_user(request._request)
    if user is not None and not (user.is_active and user.is_staff):
        raise InvalidParameterError("explain", "It is for staff, and for development.")
    with tracing.tracing() as trace:
        try:
            yield trace
        except PricesError as exc:
            raise explaining.failed(exc, trace) from exc


def _valid(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _answer(
    request: Request,
    held: Held[Any],
    keys: Collection[str] | Mapping[str, datetime | None] = (),
    *,
    at_most_s: float = 3600,
    is_forced: bool = False,
) -> HttpResponse:
    """Send ready bytes with what caches and clients need to know of them.

    `keys` are those of the cache whose contents the body holds, where that is known
    with when each was fetched.
    """
    life_s = int(min(held.life_s, at_most_s))
    response = _sent(
        request,
        held.body,
        cache_control="no-store" if is_forced else f"public, max-age={life_s}",
    )
    if held.value.stale:
        response["X-Cache"] = "STALE"
    else:
        response["X-Cache"] = "HIT" if held.was_hit else "MISS"
    fetched_at = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, held.value.fetched_at)
    surrogates.tell(request, response, fetched_at, is_for_one=not held.was_hit)
    return response


def _sent(
    request: Request, body: bytes, *, cache_control: str, content_type: str = "application/json"
) -> HttpResponse:
    """Return a body with its tag, or 304 where the client has it already."""
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    is_read = request.method in {"GET", "HEAD"}
    is_known = is_read and ("*" in wanted or etag in {tag.removeprefix("W/") for tag in wanted})
    response = (
        HttpResponse(status=304) if is_known else HttpResponse(body, content_type=content_type)
    )
    response["ETag"] = etag
    response["Cache-Control"] = cache_control
    return response


def _batch(request: Request, asked: Sequence[str], *, force: bool) -> HttpResponse:
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
    is_hit = batch.api_calls == 0
    held = Held(answer, cache.encode(answer), batch.life_s, is_hit)
    is_forced = force or request.method == "POST"
    keys = {cache.price_key(quote.symbol): quote.fetched_at for quote in found}
    return _answer(request, held, keys, at_most_s=QUOTE_AGE_S, is_forced=is_forced)


def _worst(errors: Sequence[PricesError]) -> PricesError:
    """Return the error that takes longest to pass."""
    return max(errors, key=lambda e: e.retry_after_s if isinstance(e, UpstreamError) else 0.0)
