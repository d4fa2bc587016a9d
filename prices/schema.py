"""The OpenAPI document: each operation in a few words, its shapes taken from prices/answers.py.

`operation` decorates a view's method. The components that it points to are put
into the document at the end, by the hook `add_answers`, as msgspec describes the
very structs that are rendered: there is no second description that could differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.serializers import Serializer

from prices import answers
from prices import forms as series_forms
from prices.problems import CONTENT_TYPE

F = TypeVar("F", bound=Callable[..., Any])

ANSWERS: tuple[type[msgspec.Struct], ...] = (
    answers.QuoteAnswer,
    answers.BatchAnswer,
    answers.HistoryAnswer,
    answers.CandlesAnswer,
    answers.PriceAtAnswer,
    answers.TopAnswer,
    answers.CoinSearchAnswer,
    answers.MappingAnswer,
    answers.SymbolSearchAnswer,
    answers.SourcesAnswer,
    series_forms.HistoryCut,
    series_forms.HistoryColumns,
    series_forms.CandlesCut,
    series_forms.CandlesColumns,
    series_forms.SeveralHistories,
    series_forms.SeveralColumns,
    answers.TrendedTopAnswer,
    answers.TrendedBatchAnswer,
)
# Answers of the running product, shortened; docs/http-api.md shows the same ones.
EXAMPLES: dict[str, Any] = msgspec.json.decode(
    Path(__file__).with_name("schema_examples.json").read_bytes()
)
# A stream's beginning; docs/events.md shows the same one.
EVENTS = Path(__file__).with_name("schema_events.txt").read_text()


@dataclass(frozen=True)
class Forms:
    """What a series can be given as beside its answer: other envelopes, rows alone, and texts."""

    answers: tuple[type[msgspec.Struct], ...]
    row: type[msgspec.Struct]
    texts: Mapping[str, str]


HISTORY_FORMS = Forms(
    (series_forms.HistoryCut, series_forms.HistoryColumns),
    series_forms.LightweightPoint,
    {
        "text/csv": "timestamp,price,volume\n1794870030,93599.37474174747,140108749300.9956\n",
        "application/x-ndjson": (
            '{"timestamp":1794870030,"price":93599.37474174747,"volume":140108749300.9956}\n'
        ),
    },
)
CANDLES_FORMS = Forms(
    (series_forms.CandlesCut, series_forms.CandlesColumns),
    series_forms.LightweightCandle,
    {
        "text/csv": (
            "timestamp,open,high,low,close,volume\n"
            "1795473000,271.02,271.27,270.88,271.17,423150.0\n"
        ),
        "application/x-ndjson": (
            '{"timestamp":1795473000,"open":271.02,"high":271.27,"low":270.88,"close":271.17,'
            '"volume":423150.0,"closed":true}\n'
        ),
    },
)
ROWS = (series_forms.LightweightPoint, series_forms.LightweightCandle)


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field; `field` is empty where it is the whole."""

    field: str
    message: str


class Successor(msgspec.Struct, frozen=True):
    """What an asset trades as now."""

    ref: str
    symbol: str


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """Every error under /api (RFC 9457). `code` is stable, `detail` is for a person."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str | None
    errors: list[FieldError]
    provider: str | msgspec.UnsetType = msgspec.UNSET
    allowed_by: str | msgspec.UnsetType = msgspec.UNSET
    setting: str | msgspec.UnsetType = msgspec.UNSET
    available: list[str] | msgspec.UnsetType = msgspec.UNSET
    successor: Successor | msgspec.UnsetType | None = msgspec.UNSET
    last_day: date | msgspec.UnsetType | None = msgspec.UNSET
    available_from: date | msgspec.UnsetType | None = msgspec.UNSET


@dataclass(frozen=True)
class Failure:
    """One error code: its status, an example of its sentence, and the members it adds."""

    status: int
    detail: str
    members: dict[str, Any] = field(default_factory=dict)

    def example(self, code: str) -> dict[str, Any]:
        return {
            "type": f"urn:lokifi:problem:{code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": "/api/v1/prices/BTC/ohlcv",
            "code": code,
            "request_id": "5f0c1a6b9d3e4c7f8a2b6d1e0c9f7a35",
            "errors": [],
            **self.members,
        }


_BAD_PERIOD = '"1q" is not a valid choice.'
FAILURES: dict[str, Failure] = {
    "invalid_parameter": Failure(
        400, f"period: {_BAD_PERIOD}", {"errors": [{"field": "period", "message": _BAD_PERIOD}]}
    ),
    "invalid_symbol": Failure(400, "'B$C' is not a symbol."),
    "plan_restricted": Failure(
        403,
        "finnhub: /stock/candle is not part of this plan",
        {"provider": "finnhub", "allowed_by": "a Finnhub plan with stock candles"},
    ),
    "provider_not_configured": Failure(
        403,
        "finnhub needs FINNHUB_KEY to be set.",
        {"provider": "finnhub", "setting": "FINNHUB_KEY"},
    ),
    "unknown_symbol": Failure(404, "No asset is listed under 'NOPE'."),
    "not_found": Failure(404, "No source gives a price for 'BTC' now."),
    "inactive_symbol": Failure(
        410,
        "'FB' trades as 'META' now.",
        {"successor": {"ref": "stock:META", "symbol": "META"}, "last_day": "2022-06-08"},
    ),
    "not_acceptable": Failure(406, "Could not satisfy the request Accept header."),
    "resolution_unavailable": Failure(
        409,
        "Bars of 1 cannot be had over this period.",
        {"available": ["30", "60", "240", "D", "W", "M"]},
    ),
    "too_large": Failure(413, "A body may have 65536 bytes."),
    "unsupported_media_type": Failure(415, 'Unsupported media type "text/plain" in request.'),
    "rate_limited": Failure(
        429,
        "Your address has many connections (WS_MAX_CONNECTIONS_PER_ADDRESS); come back later.",
    ),
    "internal_error": Failure(500, "Something broke on our side."),
    "upstream_unavailable": Failure(503, "coingecko: /coins/markets answered HTTP 500"),
    "upstream_rate_limited": Failure(503, "coingecko: our budget of calls is used up"),
    "not_stored": Failure(504, "No stored answer is at hand for this."),
}
_PASSING = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
EVERYWHERE = (
    "not_acceptable",
    "internal_error",
    "upstream_unavailable",
    "upstream_rate_limited",
    "not_stored",
)
OF_A_SYMBOL = (
    "invalid_parameter",
    "invalid_symbol",
    "plan_restricted",
    "provider_not_configured",
    "unknown_symbol",
    "not_found",
    "inactive_symbol",
)

# What a field means, where its name does not say it; the same in every answer.
MEANINGS = {
    "source": "Which provider; `sandbox` where the sandbox market speaks for it.",
    "as_of": "When the source says the data held.",
    "fetched_at": "When we got it.",
    "cached": "Not fetched for the request that made this body.",
    "stale": "Past its life and not renewed, because no source, or no Redis, could be asked.",
    "currency": "What prices are in.",
    "symbol": "How maps, subscriptions and Redis keys name the asset.",
    "ref": "Unique and always accepted; what clients should store.",
    "change_basis": "`24h` for coins, `previous_close` for stocks.",
    "volume_basis": "What `volume` counts, e.g. `24h_currency`, `session_shares`, `rolling_24h`.",
    "alternatives": "Other assets that bear the same ticker.",
    "last_updated": "The same as `as_of`.",
    "failed": "Error codes by symbol.",
    "resolved": "Symbol by what was asked, where the two differ.",
    "cache_hits": "Quotes that were in the cache.",
    "api_calls": "Upstream calls made for this request.",
    "from": "Timestamp of the first item; Unix seconds.",
    "to": "Timestamp of the last item; Unix seconds.",
    "freshness": (
        "How far it can be taken for the present, by the source's own time: `live`; `delayed` by "
        "what that source lags; `closed`, the market's last price; `stale`, the source stands "
        "still; `unknown`, it tells no time."
    ),
    "market": "What New York does, and when that changes next; null for coins.",
    "session": "The part of its day a stock's (newest) price is of; null for coins.",
    "disputed": "Two fresh sources differ, or the price jumped and awaits a second look.",
    "adjustment": "`splits` where the series is adjusted for them.",
    "segments": "Which part came from which source; empty where all came from one.",
    "coverage": "Of recorded bars, the share of the minutes to be expected; else null.",
    "truncated": "The series begins later than its period.",
    "available_from": "Where a truncated series begins; Unix seconds.",
    "origin": "The source's own bars, made from its points, or recorded by us.",
    "dropped": "Bars of the source that contradicted themselves and were left out.",
    "timestamp": "Unix seconds; of a bar, its opening.",
    "sparkline": "Prices of the last 7 days by the hour, oldest first; null where none are known.",
    "trend_as_of": "When the sparkline and the changes over 1 h, 7 d and 30 d held.",
    "gaps": "Stretches without items, `to` excluded; null where they were not asked for.",
    "closed": "Only the newest bar may be open.",
    "mapping": "CoinGecko ids by ticker: what `crypto:TICKER` gives.",
    "query": "`q` as it was sent.",
    "code": "Stable; see docs/http-api.md.",
    "request_id": "The same as the header X-Request-ID.",
    "allowed_by": "What would allow it.",
    "setting": "Which setting is missing.",
    "successor": "What the asset trades as now; null where nothing does, or it is not known.",
    "last_day": "The last day it was listed, as far as it is known.",
    "date": "The day that was asked for.",
    "close_date": "The day whose close this is: that day, or the nearest before it.",
    "state": (
        "Of a source: `ok`; `open`, left alone by everyone after failures; `trying`, tried by one "
        "call at a time after that; `restricted`, refuses us; `rate_limited`; `not_configured`. "
        "Of New York: `pre`, `open`, `post`, `closed`."
    ),
    "reason": "Why a source's state is not `ok`; null where it is.",
    "retry_at": "When a source that is not asked now may be, where that is known; else null.",
    "left": "What is left of the plan's limits, by minute, hour, day and month.",
    "attribution": "How the source is to be named near its data.",
    "required": "Whether its terms ask for that; null where they were not read.",
    "terms": "Where that is written; null where it was not read.",
    "use": "What else is known of what its data may be used for; null where nothing is.",
    "chains": "In which order sources are asked, by what they are asked for.",
    "available": "Resolutions that can be had over the period.",
}

_SYMBOL = OpenApiParameter(
    "symbol",
    str,
    OpenApiParameter.PATH,
    description=(
        "A ticker in any case (`BTC`, `brk.b`), a forced kind (`crypto:BTC`, `stock:AAPL`) or a "
        "coin's CoinGecko id (`coingecko:bitcoin`)."
    ),
    examples=[
        OpenApiExample(s, value=s) for s in ("BTC", "AAPL", "stock:STX", "coingecko:bitcoin")
    ],
)
_LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID",
    str,
    OpenApiParameter.HEADER,
    description="The id of the last event a client has; those it missed come first.",
)
_IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="An ETag; 304 where it is still the one.",
)
_OF_EVERY_REQUEST = (
    OpenApiParameter(
        "X-Request-ID",
        str,
        OpenApiParameter.HEADER,
        description="A name for this request, 1 to 64 of `A-Za-z0-9._-`; it comes back.",
    ),
    OpenApiParameter(
        "Cache-Control",
        str,
        OpenApiParameter.HEADER,
        description=(
            "`no-cache` and `max-age=0` ask behind the copies of this server process; "
            "`only-if-cached` asks for a copy alone, else 504."
        ),
    ),
)


def operation(
    name: str,
    summary: str,
    answer: type[msgspec.Struct],
    *,
    codes: Collection[str] = (),
    query: type[Serializer[Any]] | None = None,
    body: type[Serializer[Any]] | None = None,
    of_symbol: bool = False,
    forms: Forms | None = None,
    also: Collection[type[msgspec.Struct]] = (),
) -> Callable[[F], F]:
    """Describe a view's method. `codes` are the errors it can give beside those of all."""
    given = sorted({*codes, *EVERYWHERE}, key=list(FAILURES).index)
    statuses = sorted({FAILURES[code].status for code in given})
    good = [200, 304] if body is None else [200]
    parameters: list[Any] = [*_headers(statuses, good), *_OF_EVERY_REQUEST]
    if forms is not None:
        parameters += _headers_of_rows()
    if of_symbol:
        parameters.append(_SYMBOL)
    if query is not None:
        parameters.append(query)
    responses: dict[Any, Any] = {
        (200, "application/json"): OpenApiResponse(
            _shape_of([answer, *also], forms),
            description=_first_line(answer),
            examples=[
                OpenApiExample(form or "sandbox", example)
                for of, _, form, example in _examples()
                if of == name
            ],
        ),
        **{
            (200, media_type): OpenApiResponse(
                {"type": "string"},
                description="Rows alone",
                examples=[OpenApiExample(media_type, text)],
            )
            for media_type, text in (forms.texts if forms else {}).items()
        },
        **{(status, CONTENT_TYPE): _failures(status, given) for status in statuses},
    }
    if body is None:
        parameters.append(_IF_NONE_MATCH)
        responses[304] = OpenApiResponse(None, description="What If-None-Match names is still so.")
    return extend_schema(
        operation_id=name,
        summary=summary,
        parameters=parameters,
        request=body,
        responses=responses,
        tags=["prices"],
    )


def _examples() -> list[tuple[str, str, str, Any]]:
    """Return each example with its operation and, behind a colon, its form."""
    return [(*name.partition(":"), example) for name, example in EXAMPLES.items()]


def _ref(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def _shape_of(answers: Sequence[type[msgspec.Struct]], forms: Forms | None) -> dict[str, Any]:
    if forms is None and len(answers) == 1:
        return _ref(answers[0])
    shapes = [_ref(struct) for struct in (*answers, *(forms.answers if forms else ()))]
    return {"anyOf": shapes + ([{"type": "array", "items": _ref(forms.row)}] if forms else [])}


def _headers_of_rows() -> list[OpenApiParameter]:
    """Return the headers of rows without an envelope, which tell what that would."""
    told = {"X-Source": "source", "X-As-Of": "as_of", "X-Stale": "stale"}
    return [
        OpenApiParameter(
            header,
            str,
            OpenApiParameter.HEADER,
            description=f"Of rows alone (`lightweight`, `csv`, `ndjson`). {MEANINGS[name]}",
            response=["200", "304"],
        )
        for header, name in told.items()
    ]


def streamed(
    name: str,
    summary: str,
    *,
    media_type: str,
    codes: Collection[str],
    query: type[Serializer[Any]],
) -> Callable[[F], F]:
    """Describe a view whose answer has no end. `name` is its example, too."""
    given = sorted({*codes, *EVERYWHERE}, key=list(FAILURES).index)
    statuses = sorted({FAILURES[code].status for code in given})
    return extend_schema(
        operation_id=name,
        summary=summary,
        parameters=[
            *_headers(statuses, [200], is_kept=False),
            *_OF_EVERY_REQUEST,
            _LAST_EVENT_ID,
            query,
        ],
        responses={
            (200, media_type): OpenApiResponse(
                OpenApiTypes.STR,
                description="Events until either side ends it; docs/events.md.",
                examples=[OpenApiExample("sandbox", EVENTS)],
            ),
            **{(status, CONTENT_TYPE): _failures(status, given) for status in statuses},
        },
        tags=["prices"],
    )


def add_answers(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Put the components in that the operations point to; a hook of drf-spectacular."""
    _, components = msgspec.json.schema_components(
        (*ANSWERS, *ROWS, Problem), ref_template="#/components/schemas/{name}"
    )
    for name, component in components.items():
        properties = component.get("properties", {})
        for member, described in properties.items():
            if member in MEANINGS:
                described["description"] = MEANINGS[member]
            # A default is for us who build an answer; those who read one always find the field.
            described.pop("default", None)
        if properties and name not in {Problem.__name__, *(row.__name__ for row in ROWS)}:
            component["required"] = list(properties)
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    return result


def _failures(status: int, codes: Collection[str]) -> OpenApiResponse:
    of_status = [code for code in codes if FAILURES[code].status == status]
    return OpenApiResponse(
        {"$ref": f"#/components/schemas/{Problem.__name__}"},
        description=", ".join(f"`{code}`" for code in of_status),
        examples=[OpenApiExample(code, FAILURES[code].example(code)) for code in of_status],
    )


def _headers(
    statuses: Collection[int], good: Collection[int], *, is_kept: bool = True
) -> list[OpenApiParameter]:

    def header(name: str, description: str, codes: Collection[int], **more: Any) -> Any:
        return OpenApiParameter(
            name,
            more.pop("type", str),
            OpenApiParameter.HEADER,
            description=description,
            response=[str(code) for code in codes],
            required=more.pop("required", True),
            **more,
        )

    age = header(
        "Age",
        "Seconds since Django made the body, where a copy of this server process is given.",
        good,
        type=OpenApiTypes.INT,
        required=False,
    )
    of_kept = [
        header("ETag", "Strong, of this body.", good),
        header("X-Cache", "Where the body came from.", good, enum=["HIT", "MISS", "STALE"]),
    ]
    return [
        *(of_kept if is_kept else ()),
        header(
            "Cache-Control",
            "`public, max-age=N` with what is left of the life (quotes: 5 s at most); `no-store` "
            "where the source was to be asked, and on errors.",
            [*good, *statuses],
        ),
        *([age] if 304 in good else []),
        header("X-Request-ID", "The request's own, or one made for it.", [*good, *statuses]),
        header(
            "Retry-After",
            "Seconds after which it makes sense to ask again.",
            [status for status in statuses if status in _PASSING],
            type=OpenApiTypes.INT,
        ),
    ]


def _first_line(answer: type[msgspec.Struct]) -> str:
    return (answer.__doc__ or "").strip().splitlines()[0]
