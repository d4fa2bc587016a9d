"""Requests that nobody thought of: no answer is outside the OpenAPI document, and none a 500."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from django.test import Client

from tests.generated import asking
from tests.generated.judging import Given, Judge
from tests.generated.requests import Asked
from tests.market import Sandbox

CASES = 120


@functools.cache
def judge() -> Judge:
    from drf_spectacular.generators import SchemaGenerator

    generator: Any = SchemaGenerator
    return Judge(generator().get_schema(request=None, public=True))


def answer(client: Client, asked: Asked) -> Given:
    kind = asked.headers.get("Content-Type", "application/octet-stream")
    response = client.generic(
        asked.method, asked.url, asked.body, content_type=kind, headers=asked.headers
    )
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Given(response.status_code, headers, response.content)


@pytest.mark.django_db
@pytest.mark.timeout(180)
def test_whatever_is_asked_the_answer_is_one_of_the_document(market: Sandbox) -> None:
    client = Client(raise_request_exception=False)
    found = asking.faults(judge(), lambda asked: answer(client, asked), CASES)
    assert not found, "\n".join(found)


def test_the_judge_sees_what_is_outside_the_document() -> None:
    asked = Asked("quote", "GET", "/api/v1/prices/BTC", is_allowed=True)
    fine = {"content-type": "application/problem+json", "cache-control": "no-store"}
    fine["x-request-id"] = "x"
    for given_, fault in (
        (Given(500, fine, b"{}"), "status 500"),
        (Given(418, fine, b"{}"), "not described"),
        (Given(200, {**fine, "age": "x"}, b"{}"), "missing"),
        (Given(404, {"content-type": "text/html"}, b""), "missing"),
        (Given(404, {**fine, "x-cache": "HIT"}, b"{}"), "not described"),
        (Given(404, fine, b'{"code": "x", "more": 1}'), "body $"),
    ):
        assert any(fault in one for one in judge().faults(asked, given_)), given_
