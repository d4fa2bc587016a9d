"""UDF in the OpenAPI document: its addresses, and the hook that adds its shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from prices.udf import shapes

F = TypeVar("F", bound=Callable[..., Any])

SHAPES: tuple[type[msgspec.Struct], ...] = (
    shapes.UdfConfig,
    shapes.UdfSymbol,
    shapes.UdfFound,
    shapes.UdfBars,
    shapes.UdfNoData,
    shapes.UdfQuotes,
    shapes.UdfError,
)
# Answers of the running product, shortened; docs/udf.md shows the same ones.
EXAMPLES: dict[str, Any] = msgspec.json.decode(
    Path(__file__).with_name("examples.json").read_bytes()
)
# Beside what can happen to everybody.
_STATUSES: dict[str, tuple[int, ...]] = {
    "config": (),
    "symbols": (400, 403, 404, 410),
    "search": (403,),
    "history": (400, 403, 404, 409, 410),
    "quotes": (400,),
    "time": (),
}
_EVERYWHERE = (500, 503, 504)
_NOT_MODIFIED = 304
# Whether it must be named, what it means, and examples.
_PARAMETERS: dict[str, tuple[bool, str, tuple[str, ...]]] = {
    "symbol": (
        True,
        "A `ticker` of ours, a full name, or any symbol",
        ("coingecko:bitcoin", "US:AAPL"),
    ),
    "query": (True, "Words, in any case", ("STX",)),
    "type": (False, "`crypto` or `stock`; empty for both", ("crypto",)),
    "exchange": (False, "`COINGECKO` or `US`; empty for both", ("US",)),
    "limit": (False, "How many hits at most", ("30",)),
    "resolution": (True, "Minutes, or `1D`, `1W`, `1M`, in any case", ("60", "1D")),
    "from": (False, "Unix seconds; the first moment of the span", ("1795046400",)),
    "to": (False, "Unix seconds; the first moment behind it, now by default", ("1795564800",)),
    "countback": (False, "So many bars before `to`, whatever `from` says", ("300",)),
    "symbols": (False, "Symbols with commas between; none is no error", ("stock:AAPL,BTC",)),
}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_SHAPES_OF: dict[str, dict[str, Any]] = {
    "config": _ref("UdfConfig"),
    "symbols": _ref("UdfSymbol"),
    "search": {"type": "array", "items": _ref("UdfFound")},
    "history": {"anyOf": [_ref("UdfBars"), _ref("UdfNoData")]},
    "quotes": _ref("UdfQuotes"),
    "time": {"type": "integer"},
}


def operation(name: str, summary: str, *parameters: str) -> Callable[[F], F]:
    """Describe a view's method by what it may be asked."""
    responses: dict[Any, Any] = {
        (200, "application/json"): OpenApiResponse(
            _SHAPES_OF[name],
            description=summary,
            examples=[
                OpenApiExample(of, example)
                for of, example in EXAMPLES.items()
                if of.partition(":")[0] == name
            ],
        ),
        **{
            (status, "application/json"): OpenApiResponse(
                _ref("UdfError"),
                description="`s: error`",
                examples=[OpenApiExample("error", EXAMPLES["error"])],
            )
            for status in sorted({*_STATUSES[name], *_EVERYWHERE})
        },
    }
    responses[_NOT_MODIFIED] = OpenApiResponse(
        None, description="What If-None-Match names is still so."
    )
    return extend_schema(
        operation_id=f"udf_{name}",
        summary=summary,
        parameters=[*_headers(name), *map(_parameter, parameters)],
        responses=responses,
        tags=["udf"],
    )


def _headers(name: str) -> list[OpenApiParameter]:
    errors = [str(status) for status in sorted({*_STATUSES[name], *_EVERYWHERE})]
    good = ["200", str(_NOT_MODIFIED)]
    told = {
        "ETag": ("Strong, of this body.", good),
        "Cache-Control": ("How long it may be kept; errors are `no-store`.", [*good, *errors]),
        "X-Request-ID": ("The request's own, or one made for it.", [*good, *errors]),
    }
    always = [
        OpenApiParameter(
            header, str, OpenApiParameter.HEADER, description=text, response=statuses, required=True
        )
        for header, (text, statuses) in told.items()
    ]
    return [*always, *_of_copies(good)]


def _of_copies(good: list[str]) -> list[OpenApiParameter]:
    """Return the headers of an answer that the cache in front has given."""
    age = "Seconds since Django made the body."
    return [
        OpenApiParameter(
            name, kind, OpenApiParameter.HEADER, description=text, response=good, enum=words
        )
        for name, kind, text, words in (
            ("Age", int, age, None),
            ("X-Cache", str, "Where the body came from.", ["HIT", "MISS", "STALE"]),
        )
    ]


def _parameter(name: str) -> OpenApiParameter:
    is_required, description, examples = _PARAMETERS[name]
    return OpenApiParameter(
        name,
        str,
        OpenApiParameter.QUERY,
        required=is_required,
        description=description,
        examples=[OpenApiExample(example, value=example) for example in examples],
    )


def add_shapes(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Put in the components that the operations point to; a hook of drf-spectacular."""
    _, components = msgspec.json.schema_components(
        SHAPES, ref_template="#/components/schemas/{name}"
    )
    for name, component in components.items():
        struct = getattr(shapes, name)
        component["required"] = [
            field.encode_name
            for field in msgspec.structs.fields(struct)
            if msgspec.UnsetType not in get_args(field.type)
        ]
        for described in component.get("properties", {}).values():
            described.pop("default", None)
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    return result
