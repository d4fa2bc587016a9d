"""What all views below /api have in common: what is read of a request, and how bytes are sent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpResponse, QueryDict
from django.http.request import MediaType
from django.utils.http import parse_etags
from rest_framework import exceptions, serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from prices import sidecar, surrogates, tracing
from prices.cache import Held
from prices.errors import InvalidParameterError, PricesError
from prices.problems import CONTENT_TYPE as PROBLEM
from prices.services import explaining
from prices.tracing import Trace

S = TypeVar("S", bound=serializers.Serializer[Any])

# A quote is not kept by caches in front of us for the whole of its 60 s. Nor is a list
# of coins for the whole of its hour: any quote may be laid over it.
QUOTE_AGE_S = 5
SERIES_AGE_S = 3600
MAX_BODY_BYTES = 64 * 1024
# A longer query string is not remembered: anybody can make up many.
_MOST_REMEMBERED = 256


class Negotiation(DefaultContentNegotiation):
    """What `Accept` allows, with q=0 as a refusal; a parameter `format` is none of its business."""

    def select_renderer(
        self,
        request: Request,
        renderers: Any,
        format_suffix: str | None = None,
    ) -> Any:
        best = max(renderers, key=lambda renderer: liking(request, renderer.media_type))
        if not liking(request, best.media_type):
            raise exceptions.NotAcceptable(available_renderers=renderers)
        return best, best.media_type


def liking(request: Request, media_type: str) -> float:
    """Return how much a client wants a media type, from 0 to 1."""
    accept = request.headers.get("Accept", "")
    ranges = [MediaType(part) for part in accept.split(",") if part.strip()]
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

    def perform_authentication(self, request: Request) -> None:
        """Do nothing: our API knows no logins."""


class ReadyRenderer(BaseRenderer):
    """Lets an `Accept` of its media type be met; what is sent is ready, so nothing is rendered."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b""


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


def query_of(request: Request, query: type[S]) -> dict[str, Any]:
    """Return what a query string says, validated. Raises ValidationError.

    What it says does not depend on the moment: the same is validated once. A serializer
    copies each of its fields whenever it is made, which is most of what it costs.
    """
    text = request.META.get("QUERY_STRING", "")
    if len(text) > _MOST_REMEMBERED or not text.isascii() or request._request.encoding:
        return valid(query(data=request.query_params))
    return dict(_valid_query(query, text))


@lru_cache(maxsize=2048)
def _valid_query(query: type[S], text: str) -> dict[str, Any]:
    return valid(query(data=QueryDict(text)))


@contextmanager
def traced(request: Request, query: Mapping[str, Any]) -> Iterator[Trace | None]:
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


def valid(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def answered(
    request: Request,
    held: Held[Any],
    keys: Collection[str] | Mapping[str, datetime | None] = (),
    *,
    at_most_s: float = SERIES_AGE_S,
    is_forced: bool = False,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Send ready bytes with what caches and clients need to know of them.

    `keys` are those of the cache whose contents the body holds, where that is known
    with when each was fetched.
    """
    life_s = int(min(held.life_s, at_most_s))
    response = sent(
        request,
        held.body,
        cache_control="no-store" if is_forced else f"public, max-age={life_s}",
        content_type=content_type,
    )
    for name, value in (headers or {}).items():
        response[name] = value
    if held.value.stale:
        response["X-Cache"] = "STALE"
    else:
        response["X-Cache"] = "HIT" if held.was_hit else "MISS"
    fetched_at = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, held.value.fetched_at)
    surrogates.tell(request, response, fetched_at, is_for_one=not held.was_hit)
    return response


def sent(
    request: Request, body: bytes, *, cache_control: str, content_type: str = "application/json"
) -> HttpResponse:
    """Return a body with its tag, or 304 where the client has it already."""
    etag = f'"{sidecar.etag_of(body)}"'
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    is_read = request.method in {"GET", "HEAD"}
    is_known = is_read and ("*" in wanted or etag in {tag.removeprefix("W/") for tag in wanted})
    response = (
        HttpResponse(status=304) if is_known else HttpResponse(body, content_type=content_type)
    )
    response["ETag"] = etag
    response["Cache-Control"] = cache_control
    return response
