"""The AsyncAPI document against the protocol; test_live.py holds real frames against it."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
import yaml
from django.conf import settings
from django.test import Client

from streaming import asyncapi, commands, protocol
from streaming.protocol import Action, Close, Code, Notice, WireQuote
from tests.processes import ROOT
from tests.streaming.described import faults, payload

MESSAGES: dict[str, Any] = asyncapi.document()["components"]["messages"]
SENT: dict[str, Any] = {
    "welcome": protocol.Welcome,
    "subscribed": protocol.Subscribed,
    "unsubscribed": protocol.Unsubscribed,
    "subscriptions": protocol.Subscriptions,
    "pong": protocol.Pong,
    "price_update": protocol.PriceUpdate,
    "notice": protocol.NoticeFrame,
    "error": protocol.ErrorFrame,
}
EXAMPLES = [(name, one["payload"]) for name in MESSAGES for one in MESSAGES[name]["examples"]]


def fields_of(struct: Any) -> tuple[set[str], set[str]]:
    """Return all fields of a struct, and those that are always there."""
    fields = msgspec.structs.fields(struct)
    always = {field.encode_name for field in fields if field.default is not msgspec.UNSET}
    return {field.encode_name for field in fields}, always


@pytest.mark.parametrize("name", SENT)
def test_a_message_is_described_with_every_field_that_it_can_have(name: str) -> None:
    shape = payload(name)
    every, always = fields_of(SENT[name])
    marks = {"snapshot", "replay", "merged"} if name == "price_update" else set()

    assert shape["properties"].keys() == {"type", *every, *marks}
    assert set(shape["required"]) == {"type", *always}
    assert shape["properties"]["type"] == {"const": name}


def test_a_quote_and_the_limits_are_described_field_by_field() -> None:
    quote = asyncapi.document()["components"]["schemas"]["quote"]
    limits = payload("welcome")["properties"]["limits"]
    for shape, struct in ((quote, WireQuote), (limits, protocol.Limits)):
        assert list(shape["properties"]) == list(struct.__struct_fields__)
        assert set(shape["required"]) == set(struct.__struct_fields__)
    chosen = payload("subscribe")["properties"]["fields"]
    assert chosen["items"]["enum"] == list(WireQuote.__struct_fields__)


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=lambda value: str(value)[:40])
def test_every_example_is_as_described(name: str, example: dict[str, Any]) -> None:
    assert faults(name, example) == []
    if name in SENT:
        return
    if name != "heartbeat":
        command = commands.parse(json.dumps(example), settings.WS_MAX_MESSAGE_BYTES)
        assert command.action == name


def test_every_message_of_the_protocol_is_in_the_document_and_has_an_operation() -> None:
    whole = asyncapi.document()
    assert MESSAGES.keys() == {*SENT, "heartbeat", *Action}
    assert whole["channels"]["prices"]["messages"].keys() == MESSAGES.keys()
    used = json.dumps(whole["operations"])
    for name in MESSAGES:
        assert f"/messages/{name}" in used


def test_every_code_is_in_the_document() -> None:
    whole = asyncapi.document()
    of_errors = set(payload("error")["properties"]["code"]["enum"])
    of_symbols = set(
        payload("subscribed")["properties"]["rejected"]["additionalProperties"]["enum"]
    )
    closes = {one["code"] for one in whole["channels"]["prices"]["x-close-codes"]}
    page = (ROOT / "docs/websocket.md").read_text().partition("## Close codes")[2]
    page = page.partition("## Limits")[0]

    assert set(Code) <= of_errors | of_symbols
    assert of_errors <= set(Code)
    assert set(payload("notice")["properties"]["code"]["enum"]) == set(Notice)
    assert closes >= set(map(int, Close))
    assert closes == {int(code) for code in re.findall(r"\b[14]\d{3}\b", page)}


def test_every_limit_is_a_setting_with_that_default() -> None:
    channel = asyncapi.document()["channels"]["prices"]
    limits = {one["setting"]: one["default"] for one in channel["x-limits"]}

    assert limits == {name: getattr(settings, name) for name in limits}
    page = (ROOT / "docs/websocket.md").read_text().partition("## Limits")[2]
    named = set(re.findall(r"`(WS_\w+)`", page.partition("## Without")[0]))
    assert limits.keys() == named - {"WS_ALLOWED_ORIGINS"}


@pytest.mark.django_db
def test_the_document_is_served_and_may_be_kept() -> None:
    first = Client().get("/api/asyncapi.yaml")
    again = Client().get("/api/asyncapi.yaml", headers={"If-None-Match": first["ETag"]})

    assert yaml.safe_load(first.content)["asyncapi"] == "3.0.0"
    assert first["Content-Type"] == "application/yaml; charset=utf-8"
    assert first["Access-Control-Allow-Origin"] == "*"
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_shows_every_message_field_code_and_limit() -> None:
    text = Client().get("/api/docs/websocket").content.decode()

    for name in MESSAGES:
        assert f'<h2 id="{name}">' in text
        for field in payload(name)["properties"]:
            assert f"<code>{field}</code>" in text
    for field in WireQuote.__struct_fields__:
        assert f"<code>data.SYMBOL.{field}</code>" in text
    for close in Close:
        assert f'<th scope="row">{int(close)}</th>' in text
    for limit in asyncapi.page().limits:
        assert f"<code>{limit[0]}</code>" in text
    assert "`" not in text.partition("<main>")[2].replace("&#x60;", "").partition("<pre")[0]
