"""Frames against the AsyncAPI document: what is in them must be in it."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # it ships no types

from streaming import asyncapi


def payload(name: str) -> dict[str, Any]:
    found: dict[str, Any] = asyncapi.document()["components"]["messages"][name]["payload"]
    return found


def faults(name: str, message: object) -> list[str]:
    """Return what of a message is not as described; a field that is not named is a fault."""
    found = validator(name).iter_errors(message)
    return [f"{name} {fault.json_path}: {fault.message[:300]}" for fault in found]


@cache
def validator(name: str) -> Any:
    schemas = asyncapi.document()["components"]["schemas"]
    return Draft7Validator({**closed(payload(name)), "components": {"schemas": closed(schemas)}})


def closed(shape: Any) -> Any:
    """Return a schema that lets no field pass that it does not name."""
    if isinstance(shape, list):
        return [closed(one) for one in shape]
    if not isinstance(shape, dict):
        return shape
    inner = {key: closed(value) for key, value in shape.items()}
    if isinstance(shape.get("properties"), dict) and "type" in shape:
        inner.setdefault("additionalProperties", False)
    return inner
