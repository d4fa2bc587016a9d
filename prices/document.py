"""The OpenAPI document made whole: what drf-spectacular and the views leave open.

Every parameter and header has an example, and every error one of the address that
it is described at. The sentences are those that the product says.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

# Values that can be sent as they stand. Those of paths stand in prices/schema.py.
PARAMETERS: dict[str, tuple[Any, ...]] = {
    "If-None-Match": ('"9f2c41d07b5e4a6c8d3e1f00"',),
    "X-Request-ID": ("checkout-42",),
    "Cache-Control": ("no-cache", "max-age=0", "only-if-cached"),
    "Last-Event-ID": ("9f1c2a7be004:118",),
    "last_event_id": ("9f1c2a7be004:118",),
    "force_refresh": (False, True),
    "explain": (False, True),
    "symbols": ("BTC,ETH,AAPL", "coingecko:bitcoin,stock:AAPL"),
    "period": ("1w", "1y"),
    "resolution": ("60", "D"),
    "date": ("2026-03-02",),
    "format": ("columns", "csv"),
    "from": ("2026-03-02", "1795046400"),
    "to": ("2026-03-03T12:00:00Z",),
    "fill": ("previous",),
    "gaps": (False, True),
    "sparkline": (False, True),
    "limit": (10,),
    "page": (1, 2),
    "q": ("doge", "app"),
    "kind": ("crypto", "stock"),
}
HEADERS: dict[str, Any] = {
    "ETag": '"9f2c41d07b5e4a6c8d3e1f00"',
    "Cache-Control": "public, max-age=5",
    "X-Cache": "HIT",
    "X-Request-ID": "5f0c1a6b9d3e4c7f8a2b6d1e0c9f7a35",
    "Age": 3,
    "Retry-After": 10,
    "X-Source": "sandbox",
    "X-As-Of": "2026-11-23T22:18:58Z",
    "X-Stale": "false",
}
NO_STORE = "no-store"
BODIES: dict[str, dict[str, Any]] = {
    "batch": {
        "three": {"symbols": ["BTC", "ETH", "AAPL"]},
        "renewed": {"symbols": ["coingecko:bitcoin"], "force_refresh": True},
    },
}
# For `invalid_parameter`: a value that an address refuses, and what it says. The first
# of these that an address takes is its example.
REFUSED: dict[str, tuple[str, str]] = {
    "period": ("1q", '"1q" is not a valid choice.'),
    "date": ("yesterday", "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."),
    "q": (" ", "This field may not be blank."),
    "page": ("0", "At least 1."),
    "symbols": (",", "Name 1 to 100 symbols."),
    "force_refresh": ("perhaps", "Must be a valid boolean."),
}
OF_SYMBOLS = {
    "stream": "Name 1 to 500 symbols.",  # WS_MAX_SYMBOLS, as it is by default
    "batch_history": "Name 1 to 20 symbols.",
}
# Which symbol an error is about.
ASKED = {
    "invalid_symbol": "B$C",
    "unknown_symbol": "NOPE",
    "inactive_symbol": "FB",
    "plan_restricted": "AAPL",
    "provider_not_configured": "AAPL",
}


def complete(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Fill the document in; a hook of drf-spectacular."""
    for path, operation in _operations(result):
        for parameter in operation.get("parameters", []):
            _give_examples(parameter)
        _give_bodies(operation)
        for response in operation["responses"].values():
            for name, header in response.get("headers", {}).items():
                # Of what has no tag nothing is kept: of errors and of what has no end.
                is_kept = name != "Cache-Control" or "ETag" in response["headers"]
                header["example"] = HEADERS[name] if is_kept else NO_STORE
            _place_errors(path, operation, response)
    for component in result["components"]["schemas"].values():
        _tidy(component)
    return result


def _operations(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in result["paths"].items():
        for operation in methods.values():
            yield path, operation


def _give_examples(parameter: dict[str, Any]) -> None:
    if "examples" in parameter or parameter["name"] not in PARAMETERS:
        return
    allowed = parameter["schema"].get("enum")
    values = [one for one in PARAMETERS[parameter["name"]] if allowed is None or one in allowed]
    parameter["examples"] = {str(value).lower(): {"value": value} for value in values}


def _give_bodies(operation: dict[str, Any]) -> None:
    bodies = BODIES.get(operation["operationId"], {})
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["examples"] = {name: {"value": body} for name, body in bodies.items()}


def _place_errors(path: str, operation: dict[str, Any], response: dict[str, Any]) -> None:
    """Let each error's example be one of this address."""
    for content in response.get("content", {}).values():
        for example in content.get("examples", {}).values():
            if isinstance(example["value"], dict) and "instance" in example["value"]:
                example["value"] = _placed(path, operation, example["value"])


def _placed(path: str, operation: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    code = problem["code"]
    placed = {**problem, "instance": path.replace("{symbol}", ASKED.get(code, "BTC"))}
    if code == "invalid_parameter":
        field, message = refusal(operation)
        placed["detail"] = f"{field}: {message}"
        placed["errors"] = [{"field": field, "message": message}]
    return placed


def refusal(operation: dict[str, Any]) -> tuple[str, str]:
    """Return a parameter that an address refuses, and what it says of it."""
    if "requestBody" in operation:
        return "symbols", "This field is required."
    if operation["operationId"] in OF_SYMBOLS:
        return "symbols", OF_SYMBOLS[operation["operationId"]]
    taken = {parameter["name"] for parameter in operation["parameters"]}
    name = next(name for name in REFUSED if name in taken)
    return name, REFUSED[name][1]


def _tidy(component: dict[str, Any]) -> None:
    """Take a docstring's indentation away, and say that an enumeration is of words."""
    if "description" in component:
        component["description"] = inspect.cleandoc(component["description"])
    if "enum" in component:
        component.setdefault("type", "string")
