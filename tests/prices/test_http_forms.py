"""Forms and spans of a series as a client of the REST API asks for them."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from tests.market import Sandbox
from tests.prices.rest import client, get, max_age, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

CANDLES = "/BTC/ohlcv"
NOW = int(time.time())


def stored(redis_client: Redis) -> set[str]:
    return {key for key in redis_client.scan_iter() if key.startswith(("ohlcv:", "history:"))}


def test_every_form_is_made_of_one_stored_series(sandbox: Sandbox, redis_client: Redis) -> None:
    whole = ok(CANDLES, period="1w")
    calls, keys = sandbox.count(), stored(redis_client)

    told = {form: get(CANDLES, period="1w", format=form) for form in ("columns", "lightweight")}
    texts = {form: get(CANDLES, period="1w", format=form) for form in ("csv", "ndjson")}

    assert told["columns"].json()["candles"]["close"] == [b["close"] for b in whole["candles"]]
    light = told["lightweight"].json()
    assert [bar["time"] for bar in light] == [bar["timestamp"] for bar in whole["candles"]]
    assert set(light[0]) == {"time", "open", "high", "low", "close"}
    rows = list(csv.DictReader(io.StringIO(texts["csv"].content.decode())))
    assert [float(row["high"]) for row in rows] == [bar["high"] for bar in whole["candles"]]
    lines = texts["ndjson"].content.splitlines()
    assert [json.loads(line) for line in lines] == whole["candles"]
    assert (sandbox.count(), stored(redis_client)) == (calls, keys)


def test_rows_alone_say_by_headers_whose_they_are_and_pages_may_read_those() -> None:
    whole = ok("/AAPL/history", period="1w")
    for form, kind in (
        ("lightweight", "application/json"),
        ("csv", "text/csv"),
        ("ndjson", "application/x-ndjson"),
    ):
        response = get("/AAPL/history", period="1w", format=form)
        assert response["Content-Type"] == kind
        assert (response["X-Source"], response["X-Stale"]) == ("sandbox", "false")
        assert response["X-As-Of"] == whole["as_of"]
        exposed = response["Access-Control-Expose-Headers"].split(", ")
        assert {"X-Source", "X-As-Of", "X-Stale"} <= set(exposed)
        assert 0 < max_age(response) <= 1800


def test_each_form_has_a_tag_of_its_own_that_is_answered_with_304() -> None:
    tags = set()
    for form in ("objects", "columns", "lightweight", "csv", "ndjson"):
        get(CANDLES, period="1d", format=form)
        tag = get(CANDLES, period="1d", format=form)["ETag"]
        query = {"period": "1d", "format": form}
        again = client().get(f"/api/v1/prices{CANDLES}", query, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        tags.add(tag)
    assert len(tags) == 5


def test_from_alone_reaches_back_as_far_as_it_says_and_stores_the_period_s_series(
    redis_client: Redis,
) -> None:
    since = datetime.now(UTC) - timedelta(days=75)

    told = ok("/ETH/ohlcv", **{"from": since.date().isoformat(), "resolution": "D"})

    assert (told["period"], told["from"]) == ("3m", midnight(since))
    assert stored(redis_client) == {"ohlcv:ETH:3m:D"}


def midnight(at: datetime) -> int:
    return int(at.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())


def test_a_span_may_be_named_in_seconds_days_and_times() -> None:
    day = (datetime.now(UTC) - timedelta(days=3)).date()
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    spans: list[dict[str, Any]] = [
        {"from": start, "to": start + 7200},
        {"from": str(day), "to": f"{day}T02:00:00Z"},
        {"from": f"{day}T01:00:00+01:00", "to": f"{day}T02:00"},
    ]

    answers = [ok(CANDLES, resolution="60", format="lightweight", **span) for span in spans]

    assert [[bar["time"] for bar in bars] for bars in answers] == [[start, start + 3600]] * 3


def test_to_and_limit_give_the_newest_before_a_moment() -> None:
    day = datetime.now(UTC) - timedelta(days=100)

    told = ok(CANDLES, to=str(day.date()), limit=3, resolution="D")

    ends = midnight(day)
    assert [bar["timestamp"] for bar in told["candles"]] == [ends - n * 86_400 for n in (3, 2, 1)]
    assert told["count"] == 3


def test_a_whole_year_of_a_stock_has_no_gaps_and_no_filled_bars() -> None:
    told = ok("/AAPL/ohlcv", period="1y", gaps="true", fill="null")

    assert told["gaps"] == []
    assert None not in [bar["close"] for bar in told["candles"]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "xml"}, "format"),
        ({"fill": "zero"}, "fill"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-13-01"}, "from"),
        ({"from": "-5"}, "from"),
        ({"to": "99999999999"}, "to"),
        ({"from": NOW, "to": NOW}, "to"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"gaps": "true", "format": "csv"}, "gaps"),
        ({"explain": "1", "limit": "5"}, "explain"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_name_of_its_field(
    query: dict[str, Any], field: str
) -> None:
    body = problem(get(CANDLES, **query), 400, "invalid_parameter")

    assert [error["field"] for error in body["errors"]] == [field]


@pytest.mark.parametrize(
    ("accept", "form", "status"),
    [
        ("text/csv", "csv", 200),
        ("text/csv", "objects", 406),
        ("application/json", "csv", 406),
        ("text/html,*/*;q=0.8", "csv", 200),
        ("application/x-ndjson", "ndjson", 200),
    ],
)
def test_accept_may_refuse_a_form_and_does_not_choose_it(
    accept: str, form: str, status: int
) -> None:
    response = client().get(
        f"/api/v1/prices{CANDLES}", {"period": "1d", "format": form}, headers={"Accept": accept}
    )

    assert response.status_code == status


def test_bare_rows_of_a_stale_copy_say_so(sandbox: Sandbox, redis_client: Redis) -> None:
    ok(CANDLES, period="1w")
    redis_client.delete("ohlcv:BTC:1w")
    sandbox.fault("status", status=500)

    response = get(CANDLES, period="1w", format="csv")

    assert (response.status_code, response["X-Stale"], response["X-Cache"]) == (
        *(200, "true"),
        "STALE",
    )


def test_an_error_is_a_problem_in_every_form(sandbox: Sandbox) -> None:
    problem(get("/NOPE/ohlcv", format="lightweight"), 404, "unknown_symbol")
    sandbox.fault("status", status=500)

    problem(get("/SOL/history", format="csv"), 503, "upstream_unavailable")
