"""Requests made up from the OpenAPI document: such as it allows, and such as it does not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

SYMBOLS = ("BTC", "eth", "AAPL", "stock:STX", "crypto:STX", "coingecko:bitcoin", "BRK.B", "brk-b")
OTHERS = ("NOPE", "FB", "B$C", "stock:", "crypto:crypto:BTC", "BRK/B", ".", "..", "stream", "%00")
DAYS = ("2026-03-02", "2020-02-29", "1999-12-31", "2999-01-01", "2026-02-30", "0000-00-00")
MOST_ROWS = 300
BARE = ("lightweight", "csv", "ndjson")
MOMENTS = {
    "from": ("2026-03-02", "1590000000", "2026-11-01T10:00:00+02:00"),
    "to": ("2026-11-02", "1795046400", "2026-11-20T12:30:00Z"),
}
METHODS = ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Accept": ("*/*", "application/json", "text/html", "application/problem+json;q=0.1", "x"),
    "Accept-Encoding": ("gzip", "identity", "gzip;q=0, *"),
    "Cache-Control": ("no-cache", "max-age=0", "only-if-cached", "no-store", "max-age=x"),
    "If-None-Match": ("*", '"9f2c41d07b5e4a6c8d3e1f00"', 'W/"x"', '"', "x"),
    "Origin": ("https://example.com", "null", "x"),
    "X-Request-ID": ("checkout-42", "a b", "x" * 65, '"'),
}
# What a word of HTTP may hold; servers refuse the rest before we see it.
TEXT = st.text(max_size=40)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@dataclass(frozen=True)
class Asked:
    """A request. `is_allowed` says that all of it is as the document describes it."""

    operation: str
    method: str
    url: str
    is_allowed: bool
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.method} {self.url} {self.headers} {self.body[:200]!r}"


def requests(document: Mapping[str, Any]) -> st.SearchStrategy[Asked]:
    """Return a strategy of requests to every address whose answers have an end."""
    return st.one_of(
        *(
            request(path, method, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if "text/event-stream" not in operation["responses"]["200"].get("content", {})
        )
    )


@st.composite
def request(draw: st.DrawFn, path: str, method: str, operation: Mapping[str, Any]) -> Asked:
    # Of UDF's parameters the document says no more than that they are text.
    is_allowed = draw(st.booleans()) and not path.startswith("/api/udf/")
    query = draw(pairs(operation.get("parameters", []), is_allowed=is_allowed))
    if is_allowed:
        query = settled(query)
    junk = [] if is_allowed else draw(st.lists(st.tuples(TEXT, TEXT), max_size=2))
    if "{symbol}" in path:
        symbol = draw(st.sampled_from(SYMBOLS) if is_allowed else others())
        path = path.replace("{symbol}", quote(symbol, safe="/:$"))
    words = urlencode([*query.items(), *junk], errors="replace")
    given, body = draw(bodies(operation, is_allowed=is_allowed))
    named = method.upper()
    return Asked(
        operation=operation["operationId"],
        method=named if is_allowed else draw(st.sampled_from((*METHODS, *[named] * 9))),
        url=f"{path}?{words}" if words else path,
        is_allowed=is_allowed,
        headers={**draw(headers(is_allowed=is_allowed)), **given},
        body=body,
    )


def settled(query: Mapping[str, str]) -> dict[str, str]:
    """Leave out what the document forbids in words: it depends on another parameter."""
    left = dict(query)
    if int(query.get("page", 1)) * int(query.get("limit", 100)) > MOST_ROWS:
        left.pop("page", None)
    if query.get("format") in BARE:
        left.pop("gaps", None)
    return left


def others() -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(SYMBOLS), st.sampled_from(OTHERS), st.text(min_size=1, max_size=130)
    )


def headers(*, is_allowed: bool) -> st.SearchStrategy[dict[str, str]]:
    values = {
        name: st.sampled_from(values[:2] if is_allowed else values)
        for name, values in HEADERS.items()
    }
    return st.fixed_dictionaries({}, optional=values)


def pairs(
    parameters: Iterable[Mapping[str, Any]], *, is_allowed: bool
) -> st.SearchStrategy[dict[str, str]]:
    """Return query parameters: those that must be there, some of those that may."""
    named = [one for one in parameters if one["in"] == "query"]
    wrong = TEXT | st.sampled_from(["", "0", "-1", "1e3", "999999999999", "null", "\x00", "٣"])
    values = {
        one["name"]: right(one) if is_allowed else st.one_of(right(one), wrong) for one in named
    }
    needed = {one["name"] for one in named if one.get("required") and is_allowed}
    return st.fixed_dictionaries(
        {name: value for name, value in values.items() if name in needed},
        optional={name: value for name, value in values.items() if name not in needed},
    )


def right(parameter: Mapping[str, Any]) -> st.SearchStrategy[str]:
    """Return values that the document allows for a parameter, as they are written in a URL."""
    shape, name = parameter["schema"], parameter["name"]
    if name == "symbols":
        return st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=9).map(",".join)
    if name in MOMENTS:
        return st.sampled_from(MOMENTS[name])
    if name == "explain":
        return st.just("false")  # it is for staff
    if "enum" in shape:
        return st.sampled_from([str(value) for value in shape["enum"] if value != ""])
    if shape["type"] == "boolean":
        return st.sampled_from(["true", "false"])
    if shape["type"] == "integer":
        return st.integers(shape["minimum"], shape["maximum"]).map(str)
    if shape.get("format") == "date":
        return st.sampled_from(DAYS[:2])
    examples = [str(one["value"]) for one in parameter.get("examples", {}).values()]
    return st.sampled_from([*examples, *SYMBOLS])


def bodies(
    operation: Mapping[str, Any], *, is_allowed: bool
) -> st.SearchStrategy[tuple[dict[str, str], bytes]]:
    """Return a Content-Type with a body; nothing where the address takes none."""
    if "requestBody" not in operation:
        return st.just(({}, b""))
    good = st.fixed_dictionaries(
        {"symbols": st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=9)},
        optional={"force_refresh": st.booleans()},
    )
    right_type = {"Content-Type": "application/json"}
    if is_allowed:
        return good.map(lambda body: (right_type, json.dumps(body).encode()))
    bad = ANY_JSON | st.fixed_dictionaries({"symbols": ANY_JSON}, optional={"x": ANY_JSON})
    written = st.one_of(good, bad).map(lambda body: json.dumps(body).encode())
    types = st.sampled_from(["application/json", "application/json; charset=x", "text/plain", "x"])
    return st.tuples(
        types.map(lambda kind: {"Content-Type": kind}),
        written | st.binary(max_size=60) | st.just(b" " * 70_000) | st.just(b"[" * 3_000),
    )
