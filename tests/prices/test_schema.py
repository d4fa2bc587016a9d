"""The OpenAPI document against what the views really answer."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from types import GenericAlias
from typing import Any

import msgspec
import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from prices import errors, problems, schema, urls
from prices.document import REFUSED, refusal
from prices.udf import schema as udf
from prices.udf import urls as udf_urls
from tests.generated.judging import Given, Judge
from tests.generated.requests import Asked
from tests.market import Sandbox

ROOT = "/api/v1/prices"
NAMED: tuple[type[msgspec.Struct], ...] = (*schema.ANSWERS, *schema.ROWS)
STRUCTS: dict[str, Any] = {struct.__name__: struct for struct in NAMED}
GOOD = [
    ("/api/v1/prices", "?symbols=btc,stock:STX,NOPE"),
    ("/api/v1/prices/{symbol}", "BTC"),
    ("/api/v1/prices/{symbol}", "AAPL"),
    ("/api/v1/prices/{symbol}/history", "BTC/history?period=1w"),
    ("/api/v1/prices/{symbol}/history", "AAPL/history?period=5y"),
    ("/api/v1/prices/{symbol}/ohlcv", "ETH/ohlcv?period=1d"),
    ("/api/v1/prices/{symbol}/ohlcv", "TSLA/ohlcv?period=1m&resolution=D"),
    ("/api/v1/prices/{symbol}/ohlcv", "BTC/ohlcv?period=1d&format=lightweight&fill=null"),
    ("/api/v1/prices/{symbol}/ohlcv", "BTC/ohlcv?period=1d&format=columns&gaps=true"),
    ("/api/v1/prices/{symbol}/ohlcv", "BTC/ohlcv?period=1d&limit=2&fill=null"),
    ("/api/v1/prices/{symbol}/history", "BTC/history?period=1d&format=lightweight"),
    ("/api/v1/prices/{symbol}/history", "BTC/history?period=1d&limit=5&gaps=true"),
    ("/api/v1/prices/{symbol}/history", "BTC/history?period=1d&format=columns"),
    ("/api/v1/prices/{symbol}/at", "AAPL/at?date=2026-09-13"),
    ("/api/v1/prices/crypto/top", "crypto/top?limit=300"),
    ("/api/v1/prices/crypto/search", "crypto/search?q=doge"),
    ("/api/v1/prices/crypto/mapping", "crypto/mapping"),
    ("/api/v1/prices/symbols/search", "symbols/search?q=app"),
]
BAD = [
    ("/api/v1/prices", "?symbols="),
    ("/api/v1/prices/{symbol}", "B$C"),
    ("/api/v1/prices/{symbol}", "NOPE?force_refresh=perhaps"),
    ("/api/v1/prices/{symbol}/history", "NOPE/history"),
    ("/api/v1/prices/{symbol}/history", "BTC/history?period=1q"),
    ("/api/v1/prices/{symbol}/ohlcv", "BTC/ohlcv?period=1y&resolution=1"),
    ("/api/v1/prices/{symbol}/at", "coingecko:sandbox-newcomer/at?date=2026-03-01"),
    ("/api/v1/prices/crypto/top", "crypto/top?limit=301"),
]


@functools.cache
def document() -> dict[str, Any]:
    """Return what `manage.py spectacular` writes; a warning ends it."""
    written = io.StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=written)
    read: dict[str, Any] = yaml.safe_load(written.getvalue())
    return read


def operations() -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path in document()["paths"].values()
        for method, operation in path.items()
        if method in {"get", "post"}
    }


@functools.cache
def judge() -> Judge:
    return Judge(document())


def assert_as_described(response: Any, operation: str, method: str = "GET") -> None:
    """A body and headers as the document says, and no field that it does not know."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    given = Given(response.status_code, headers, response.content)
    asked = Asked(operation, method, response.request["PATH_INFO"], is_allowed=False)
    assert judge().faults(asked, given) == []


def test_the_document_is_valid_and_no_view_is_described_by_guessing() -> None:
    assert document()["openapi"].startswith("3.1")


def test_every_address_is_in_the_document() -> None:
    patterns = [*urls.urlpatterns, *udf_urls.urlpatterns]
    named = {pattern.name.replace("-", "_") for pattern in patterns if pattern.name}
    same = {"crypto_top": "top", "crypto_search": "coin_search", "crypto_mapping": "mapping"}
    same |= {"symbols_search": "symbol_search", "ohlcv": "candles"}
    # The stream's address is the project's, since it takes both packages.
    assert {same.get(name, name) for name in named} | {"stream"} == operations().keys()


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "asked"), [*GOOD, *BAD], ids=lambda value: value[-40:])
def test_an_answer_is_as_its_description(market: Sandbox, path: str, asked: str) -> None:
    response = Client().get(f"{ROOT}{'' if asked.startswith('?') else '/'}{asked}")

    assert response.status_code == 200 if (path, asked) in GOOD else response.status_code >= 400
    assert_as_described(response, document()["paths"][path]["get"]["operationId"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ('{"symbols": ["BTC", "NOPE"]}', "application/json", 200),
        ('{"symbols": []}', "application/json", 400),
        (" " * 70_000, "application/json", 413),
        ("BTC", "text/plain", 415),
    ],
)
def test_a_posted_batch_is_as_its_description(
    market: Sandbox, body: str, kind: str, status: int
) -> None:
    response = Client().post(f"{ROOT}/batch", body, content_type=kind)

    assert response.status_code == status
    assert_as_described(response, "batch", "POST")


@pytest.mark.django_db
def test_a_source_that_is_down_is_as_its_description(market: Sandbox) -> None:
    market.fault("status", status=500)

    response = Client().get(f"{ROOT}/SOL/history")

    assert response.status_code == 503
    assert_as_described(response, "history")


def shape_of(described: dict[str, Any]) -> Draft202012Validator:
    """Return what checks a value against a schema of the document, unknown fields forbidden."""
    components = {
        name: {**component, "additionalProperties": False}
        for name, component in document()["components"]["schemas"].items()
    }
    return Draft202012Validator({**described, "components": {"schemas": components}})


@pytest.mark.parametrize("name", udf.EXAMPLES)
def test_an_example_of_udf_is_as_its_description(name: str) -> None:
    operation, status = name.partition(":")[0], "200"
    if operation == "error":
        operation, status = "symbols", "404"
    described = operations()[f"udf_{operation}"]["responses"][status]["content"]["application/json"]

    assert udf.EXAMPLES[name] in [one["value"] for one in described["examples"].values()]
    assert list(shape_of(described["schema"]).iter_errors(udf.EXAMPLES[name])) == []


@pytest.mark.django_db
def test_an_answer_of_udf_is_as_its_description(market: Sandbox) -> None:
    for name, query, status in (
        ("config", "", 200),
        ("symbols", "symbol=AAPL", 200),
        ("symbols", "symbol=NOPE", 404),
        ("search", "query=STX", 200),
        ("history", "symbol=BTC&resolution=1D&countback=2", 200),
        ("history", "symbol=BTC&resolution=1D&from=0&to=9", 200),
        ("history", "symbol=BTC&resolution=7", 400),
        ("quotes", "symbols=BTC,AAPL,NOPE", 200),
        ("time", "", 200),
    ):
        response = Client().get(f"/api/udf/{name}?{query}")
        assert response.status_code == status
        described = operations()[f"udf_{name}"]["responses"][str(status)]["content"]
        shape = described[response["Content-Type"]]["schema"]
        assert [fault.message for fault in shape_of(shape).iter_errors(response.json())] == []


@pytest.mark.parametrize("name", schema.EXAMPLES)
def test_an_example_has_every_field_and_the_right_types(name: str) -> None:
    operation = name.partition(":")[0]
    content = operations()[operation]["responses"]["200"]["content"]["application/json"]
    example = schema.EXAMPLES[name]

    assert example in [item["value"] for item in content["examples"].values()]
    assert any(fits(example, struct) for struct in named_in(content["schema"]))


def named_in(described: dict[str, Any]) -> list[Any]:
    """Return the structs that a schema names; of rows alone the type of a list of them."""
    found: list[Any] = []
    for one in described.get("anyOf", [described]):
        name = one.get("items", one)["$ref"].rpartition("/")[2]
        struct = STRUCTS[name]
        found.append(GenericAlias(list, struct) if "items" in one else struct)
    return found


def fits(example: list[Any] | dict[str, Any], struct: Any) -> bool:
    """Whether an example has every field of an answer, no other, and the right types."""
    try:
        msgspec.json.decode(msgspec.json.encode(example), type=struct)
    except msgspec.ValidationError:
        return False
    if isinstance(example, list):
        return True
    return example.keys() == {field.encode_name for field in msgspec.structs.fields(struct)}


def test_every_error_that_a_request_can_end_in_is_described_with_its_status() -> None:
    ours = {cls.code: cls.http_status for cls in subclasses(errors.PricesError)}
    rest = {code: status for status, code in problems._CODES.items()}
    # Of no request as it is described: another method, a login.
    for code in ("method_not_allowed", "forbidden"):
        del rest[code]

    assert {code: f.status for code, f in schema.FAILURES.items()} == {**rest, **ours}


def subclasses(cls: type[errors.PricesError]) -> set[type[errors.PricesError]]:
    return {below for one in cls.__subclasses__() for below in {one, *subclasses(one)}}


def test_an_error_s_example_is_a_problem_of_its_own_kind() -> None:
    for code, failure in schema.FAILURES.items():
        example = msgspec.json.encode(failure.example(code))
        assert msgspec.json.decode(example, type=schema.Problem).code == code


def test_every_explained_field_is_a_field_of_some_answer() -> None:
    components = document()["components"]["schemas"].values()
    fields = {name for component in components for name in component.get("properties", {})}
    assert schema.MEANINGS.keys() <= fields


@pytest.mark.django_db
def test_the_document_is_served_as_yaml_and_as_json() -> None:
    for accept, kind in (("*/*", "vnd.oai.openapi"), ("application/json", "application/json")):
        response = Client().get("/api/schema", headers={"accept": accept})
        assert kind in response["Content-Type"]
        assert yaml.safe_load(response.content)["info"]["title"] == "Lokifi prices"


@pytest.mark.django_db
def test_the_document_may_be_kept_and_asked_for_again_by_its_tag() -> None:
    first = Client().get("/api/schema")
    again = Client().get("/api/schema", headers={"If-None-Match": first["ETag"]})

    assert first["Cache-Control"].startswith("public, max-age=")
    assert (again.status_code, again.content) == (304, b"")


def parameters() -> list[tuple[str, dict[str, Any]]]:
    return [(name, one) for name, of in operations().items() for one in of.get("parameters", [])]


def test_every_parameter_is_explained_and_has_examples_that_it_allows() -> None:
    for operation, parameter in parameters():
        name = f"{operation} {parameter['name']}"
        assert parameter.get("description"), name
        assert parameter.get("examples"), name
        for example in parameter["examples"].values():
            Draft202012Validator(parameter["schema"]).validate(example["value"])


def test_every_header_is_explained_and_has_an_example_that_it_allows() -> None:
    for operation in operations().values():
        for response in operation["responses"].values():
            for name, header in response["headers"].items():
                assert header["description"], name
                Draft202012Validator(header["schema"]).validate(header["example"])


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield everything of the document that has a type of its own, by where it stands."""
    for name, operation in operations().items():
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} asked as {kind}", content
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                yield f"{name} {status}", content


def test_every_example_of_a_body_is_as_its_own_schema() -> None:
    for where, content in contents():
        shape = {**content["schema"], "components": document()["components"]}
        assert content["examples"], where
        for example in content["examples"].values():
            faults = [
                fault.message for fault in Draft202012Validator(shape).iter_errors(example["value"])
            ]
            assert faults == [], where


@pytest.mark.django_db
def test_the_example_of_a_refused_parameter_is_what_is_really_said(market: Sandbox) -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            content = (
                operation["responses"].get("400", {}).get("content", {}).get(problems.CONTENT_TYPE)
            )
            if content is None:
                continue
            field, _ = refusal(operation)
            url = path.replace("{symbol}", "BTC")
            if method == "get":
                response = Client().get(url, {field: REFUSED[field][0]})
            else:
                response = Client().post(url, "{}", content_type="application/json")
            example = content["examples"]["InvalidParameter"]["value"]
            body = response.json()
            assert {**body, "request_id": ""} == {**example, "request_id": ""}, url
