"""What Django answers of streams: how one of events begins, what describes the WebSocket."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request

from prices import schema
from prices.errors import InactiveSymbolError
from prices.rest import PricesView, ReadyRenderer, sent
from prices.serializers import ListedField
from prices.services import symbols
from prices.views import SCHEMA_AGE_S
from streaming import asyncapi, events

MEDIA_TYPE = "text/event-stream"


class StreamQuery(serializers.Serializer[Any]):
    symbols = ListedField(help_text="Symbols with commas between, WS_MAX_SYMBOLS (500) at most")
    last_event_id = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="As the header of that name, for clients that cannot set one",
    )

    def validate_symbols(self, value: str) -> list[str]:
        named = {part.strip() for part in value.split(",") if part.strip()}
        if not 1 <= len(named) <= settings.WS_MAX_SYMBOLS:
            raise serializers.ValidationError(f"Name 1 to {settings.WS_MAX_SYMBOLS} symbols.")
        return sorted(named)


class EventStreamRenderer(ReadyRenderer):
    """Server-sent events, which are written as ticks come."""

    media_type = MEDIA_TYPE
    format = "event-stream"


class PriceStreamView(PricesView):
    """Ticks of some assets, as server-sent events."""

    renderer_classes = (EventStreamRenderer,)

    @schema.streamed(
        "stream",
        "Ticks as server-sent events",
        media_type=MEDIA_TYPE,
        query=StreamQuery,
        codes=[
            "invalid_parameter",
            "invalid_symbol",
            "provider_not_configured",
            "unknown_symbol",
            "inactive_symbol",
            "rate_limited",
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        StreamQuery(data=request.query_params).is_valid(raise_exception=True)
        scope = getattr(request._request, "scope", {})
        if events.TROUBLE not in scope:
            raise exceptions.NotAcceptable("A stream needs the ASGI application of this project.")
        if trouble := scope.get(events.TROUBLE):
            if isinstance(trouble, InactiveSymbolError):
                symbols.resolve(trouble.asked)  # raises it with who bears the symbol now
            raise trouble
        response = HttpResponse(content_type=f"{MEDIA_TYPE}; charset=utf-8")
        # no-transform: a proxy that compresses would hold events back, nginx even without.
        response["Cache-Control"] = "no-store, no-transform"
        response["X-Accel-Buffering"] = "no"
        return response


class YamlRenderer(ReadyRenderer):
    """YAML; the document is text already."""

    media_type = "application/yaml"
    format = "yaml"


class AsyncApiView(PricesView):
    """The WebSocket's description."""

    renderer_classes = (YamlRenderer,)

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        return sent(
            request,
            asyncapi.TEXT,
            content_type="application/yaml; charset=utf-8",
            cache_control=f"public, max-age={SCHEMA_AGE_S}",
        )
