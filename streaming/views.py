"""How the answer to GET /api/v1/prices/stream begins; streaming/events.py sends the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from rest_framework import exceptions, serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from prices import schema
from prices.rest import PricesView
from prices.serializers import ListedField
from streaming import events

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


class EventStreamRenderer(BaseRenderer):
    """Lets `Accept: text/event-stream` be met; nothing is rendered."""

    media_type = MEDIA_TYPE
    format = "event-stream"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b""


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
            raise trouble
        response = HttpResponse(content_type=f"{MEDIA_TYPE}; charset=utf-8")
        # no-transform: a proxy that compresses would hold events back, nginx even without.
        response["Cache-Control"] = "no-store, no-transform"
        response["X-Accel-Buffering"] = "no"
        return response
