"""What was: history, candles, and the price on a day gone by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from django.http import HttpResponse
from rest_framework import exceptions
from rest_framework.request import Request

from prices import cache, forms, schema
from prices.answers import CandlesAnswer, HistoryAnswer, PriceAtAnswer
from prices.cache import Held
from prices.forms import Form, SeveralColumns, SeveralHistories, Shape
from prices.rest import Negotiation, PricesView, answered, liking, query_of, traced
from prices.serializers import (
    CandlesQuery,
    HistoryQuery,
    PriceAtQuery,
    SeveralQuery,
    shape_of,
)
from prices.services import closes, explaining, past, several, spans, symbols
from prices.services.symbols import Resolved
from prices.types import Period


class FormNegotiation(Negotiation):
    """`format` says what is sent; `Accept` may only refuse it."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        form = request.query_params.get("format", "")
        media_type = Form(form).media_type if form in set(Form) else forms.JSON
        if not liking(request, media_type):
            raise exceptions.NotAcceptable(available_renderers=renderers)
        return renderers[0], media_type


class SeriesView(PricesView):
    """What history and candles have in common."""

    content_negotiation_class = FormNegotiation


class HistoryView(SeriesView):
    """Prices of one asset over a period, oldest first."""

    @schema.operation(
        "history",
        "Prices of one asset over a period",
        HistoryAnswer,
        query=HistoryQuery,
        codes=schema.OF_A_SYMBOL,
        of_symbol=True,
        forms=schema.HISTORY_FORMS,
    )
    def get(self, request: Request, symbol: str) -> HttpResponse:
        query = query_of(request, HistoryQuery)
        force = query["force_refresh"]
        with traced(request, query) as trace:
            resolved = symbols.resolve(symbol, of_the_past=True)
            period = _period(query, resolved)
            held: Held[Any] = past.history(resolved, period, force=force)
        key = cache.history_key(held.value.symbol, period)
        if trace:
            held = explaining.explained(held, trace, symbol, resolved, key)
        return shaped(request, held, shape_of(query), [key], is_forced=force or bool(trace))


class SeveralView(PricesView):
    """Histories of several assets, each as it would be given alone."""

    @schema.operation(
        "batch_history",
        "Prices of several assets over a period",
        SeveralHistories,
        query=SeveralQuery,
        codes=["invalid_parameter"],
        also=[SeveralColumns],
    )
    def get(self, request: Request) -> HttpResponse:
        query = query_of(request, SeveralQuery)
        found = several.histories(query["symbols"], partial(_period, query))
        told = forms.several(
            {symbol: held.value for symbol, held in found.held.items()},
            {symbol: error.code for symbol, error in found.errors.items()},
            found.resolved,
            shape_of(query),
        )
        held: Held[Any] = Held(told, cache.encode(told), found.life_s, found.was_hit)
        return answered(request, held, found.keys)


class CandlesView(SeriesView):
    """Candles of one asset over a period, oldest first."""

    @schema.operation(
        "candles",
        "Candles of one asset over a period",
        CandlesAnswer,
        query=CandlesQuery,
        codes=[*schema.OF_A_SYMBOL, "resolution_unavailable"],
        of_symbol=True,
        forms=schema.CANDLES_FORMS,
    )
    def get(self, request: Request, symbol: str) -> HttpResponse:
        query = query_of(request, CandlesQuery)
        force, resolution = query["force_refresh"], query.get("resolution")
        with traced(request, query) as trace:
            resolved = symbols.resolve(symbol, of_the_past=True)
            period = _period(query, resolved)
            held: Held[Any] = past.candles(resolved, period, resolution, force=force)
        key = cache.candles_key(held.value.symbol, period, resolution)
        if trace:
            held = explaining.explained(held, trace, symbol, resolved, key)
        return shaped(request, held, shape_of(query), [key], is_forced=force or bool(trace))


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
        query = query_of(request, PriceAtQuery)
        with traced(request, query) as trace:
            resolved = symbols.resolve(symbol, of_the_past=True)
            held: Held[Any] = closes.price_at(resolved, query["date"])
        if trace:
            key = closes.at_key(resolved, query["date"])
            held = explaining.explained(held, trace, symbol, resolved, key)
        return answered(request, held, is_forced=bool(trace))


def shaped(
    request: Request, held: Held[Any], shape: Shape, keys: Collection[str], *, is_forced: bool
) -> HttpResponse:
    """Send a series as it is wanted: whole as it is held, else made of that."""
    if shape == Shape():
        return answered(request, held, keys, is_forced=is_forced)
    made = forms.made(held.value, shape)
    held = Held(held.value, made.body, held.life_s, held.was_hit)
    return answered(
        *(request, held, keys),
        is_forced=is_forced,
        content_type=made.media_type,
        headers=made.headers,
    )


def _period(query: Mapping[str, Any], resolved: Resolved) -> Period:
    named: Period | None = query.get("period")
    return named or spans.period_of(resolved, query.get("from"), query.get("to"))
