"""The AsyncAPI document of the WebSocket, as it is served and as a page shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEXT = Path(__file__).with_name("asyncapi.yaml").read_bytes()

# A sentence in pieces: what is in backticks is code.
Words = list[tuple[str, bool]]


@dataclass(frozen=True)
class Field:
    name: str
    kind: str
    is_required: bool
    words: Words


@dataclass(frozen=True)
class Message:
    name: str
    is_yours: bool  # sent by the client
    words: Words
    fields: list[Field]
    examples: list[str]


@dataclass(frozen=True)
class Page:
    """What a person reads of the document."""

    title: str
    address: str
    words: list[Words]
    messages: list[Message]
    closes: list[tuple[int, Words, Words]]
    limits: list[tuple[str, int, Words, Words]]


@cache
def document() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(TEXT)
    return read


@cache
def page() -> Page:
    whole = document()
    channel = whole["channels"]["prices"]
    return Page(
        title=whole["info"]["title"],
        address=channel["address"],
        words=[words(whole["info"]["description"]), words(channel["description"])],
        messages=[_message(name, one) for name, one in whole["components"]["messages"].items()],
        closes=[
            (one["code"], words(one["meaning"]), words(one["come_back"]))
            for one in channel["x-close-codes"]
        ],
        limits=[
            (one["setting"], one["default"], words(one["meaning"]), words(one["over"]))
            for one in channel["x-limits"]
        ],
    )


def words(text: str) -> Words:
    return [(part, bool(at % 2)) for at, part in enumerate(text.split("`")) if part]


def _message(name: str, message: Mapping[str, Any]) -> Message:
    payload = message["payload"]
    return Message(
        name=name,
        is_yours="action" in payload["properties"],
        words=words(message["summary"]),
        fields=list(_fields(payload)),
        examples=[json.dumps(one["payload"], indent=1) for one in message["examples"]],
    )


def _fields(shape: Mapping[str, Any], before: str = "") -> Iterator[Field]:
    """Yield the fields of an object, and of those within it under a path."""
    for name, written in shape["properties"].items():
        inner = _followed(written)
        path = f"{before}{name}"
        is_required = name in shape.get("required", ())
        yield Field(path, _kind(inner), is_required, words(inner.get("description", "")))
        each = inner.get("additionalProperties")
        if "properties" in inner:
            yield from _fields(inner, f"{path}.")
        elif isinstance(each, dict) and "anyOf" in each:
            # Of the forms that a value may have the first is the whole.
            yield from _fields(_followed(each["anyOf"][0]), f"{path}.SYMBOL.")


def _followed(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in shape:
        return shape
    found: Any = document()
    for step in shape["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _kind(shape: Mapping[str, Any]) -> str:
    if "const" in shape:
        return json.dumps(shape["const"])
    if "enum" in shape:
        return " or ".join(json.dumps(value) for value in shape["enum"])
    if "oneOf" in shape:
        return " or ".join(_kind(one) for one in shape["oneOf"])
    kinds = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
    return " or ".join(kinds)
