"""An answer held against the OpenAPI document: its status, type, body and headers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from tests.generated.requests import Asked

PROBLEM = "application/problem+json"
# Of long lists a part is looked at: their items are made alike.
MOST_ITEMS = 12
# Headers of our own making: one that is sent must be described.
OURS = {"etag", "age", "cache-control", "retry-after", "x-cache", "x-request-id"}
OURS |= {"x-source", "x-as-of", "x-stale"}


@dataclass(frozen=True)
class Given:
    """An answer; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Judge:
    """Knows the document, and what of an answer is outside it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._validators: dict[str, Any] = {}

    @cached_property
    def _operations(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        return {
            operation["operationId"]: (method.upper(), operation)
            for methods in self.document["paths"].values()
            for method, operation in methods.items()
        }

    @cached_property
    def _components(self) -> dict[str, Any]:
        """The components, letting no field pass that they do not name."""
        return {
            name: {**component, "additionalProperties": False}
            if "properties" in component
            else component
            for name, component in self.document["components"]["schemas"].items()
        }

    def faults(self, asked: Asked, given: Given) -> list[str]:
        """Return what is wrong with an answer; nothing where it is as described."""
        return list(self._faults(asked, given))

    def _faults(self, asked: Asked, given: Given) -> Iterator[str]:
        method, operation = self._operations[asked.operation]
        if given.status >= 500 and given.status not in {503, 504}:
            yield f"status {given.status}"
        if asked.method not in {method, "HEAD" if method == "GET" else method}:
            yield from self._of_other_method(asked, given)
            return
        described = operation["responses"].get(str(given.status))
        if described is None:
            yield f"status {given.status} is not described"
            return
        if asked.is_allowed and given.status == 400:
            yield f"refused what the document allows: {given.body.decode()}"
        yield from self._of_headers(described, given)
        if asked.method == "HEAD" or given.status == 304:
            yield from ["a body where none may be"] if given.body else []
            return
        yield from self._of_body(described, given)

    def _of_other_method(self, asked: Asked, given: Given) -> Iterator[str]:
        if asked.method == "OPTIONS" and given.status == 200:
            return
        if asked.operation.startswith("udf_") and given.status in {405, 406, 504}:
            return  # in UDF's own words
        if given.status == 404:
            # GET alone gets past the words of the path.
            yield from self._of_problem(asked, given)
        elif given.status not in {405, 406, 504}:
            yield f"{asked.method} is answered with {given.status}"
        elif asked.method != "HEAD":
            yield from self._of_problem(asked, given)

    def _of_problem(self, asked: Asked, given: Given) -> Iterator[str]:
        shape = {"$ref": "#/components/schemas/Problem"}
        yield from self._of_body({"content": {PROBLEM: {"schema": shape}}}, given)

    def _of_headers(self, described: Mapping[str, Any], given: Given) -> Iterator[str]:
        known = {name.lower(): header for name, header in described.get("headers", {}).items()}
        for name in OURS & given.headers.keys() - known.keys():
            yield f"header {name} is not described"
        for name, header in known.items():
            value = given.headers.get(name)
            if value is None:
                yield from [f"header {name} is missing"] if header.get("required") else []
                continue
            is_whole = header["schema"].get("type") == "integer" and value.isdigit()
            read = int(value) if is_whole else value
            yield from self._broken(header["schema"], read, f"header {name}")

    def _of_body(self, described: Mapping[str, Any], given: Given) -> Iterator[str]:
        kind = given.headers.get("content-type", "")
        content = described.get("content", {}).get(kind)
        if content is None:
            yield f"type {kind!r} of status {given.status} is not described"
            return
        if "json" not in kind or "ndjson" in kind:
            yield from self._broken(content["schema"], given.body.decode(), "body")
            return
        try:
            body = json.loads(given.body)
        except ValueError:
            yield f"a body that is not JSON: {given.body[:60]!r}"
            return
        yield from self._broken(content["schema"], shortened(body), "body")

    def _broken(self, shape: Mapping[str, Any], value: Any, what: str) -> Iterator[str]:
        key = json.dumps(shape)
        if key not in self._validators:
            whole = {**shape, "components": {"schemas": self._components}}
            self._validators[key] = Draft202012Validator(whole)
        for fault in self._validators[key].iter_errors(value):
            yield f"{what} {fault.json_path}: {fault.message[:300]}"


def shortened(value: Any) -> Any:
    """Return a body with the first and last items of its lists."""
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        half = MOST_ITEMS // 2
        some = value if len(value) <= MOST_ITEMS else [*value[:half], *value[-half:]]
        return [shortened(inner) for inner in some]
    return value
