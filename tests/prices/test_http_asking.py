"""How the REST API may be asked: what is accepted, ignored and refused, and searches."""

from __future__ import annotations

import pytest
from django.conf import settings
from redis import Redis

from prices import registry
from prices.budget import Purpose
from tests.market import Sandbox
from tests.prices.rest import ROOT, client, get, max_age, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/problem+json", 200),
        ("", 200),
        ("application/json; charset=utf-8", 200),
        ("text/html, application/*;q=0.5", 200),
        ("application/json;q=0", 406),
        ("application/json;q=0, */*", 406),
        ("text/csv", 406),
    ],
)
def test_what_a_client_accepts_decides_and_a_quality_of_zero_is_a_refusal(
    accept: str, status: int
) -> None:
    assert client().get(f"{ROOT}/BTC", headers={"Accept": accept}).status_code == status


@pytest.mark.parametrize("path", ["/BTC", "/crypto/top", ""])
def test_a_parameter_that_no_address_knows_is_ignored(path: str) -> None:
    ok(path, symbols="BTC", format="csv", whatever="1")


@pytest.mark.parametrize("limit", ["\uff15", "\u0665", "1_0", "+5", "5.0", "9" * 5000])
def test_a_number_is_written_in_plain_digits(limit: str) -> None:
    problem(get("/crypto/top", limit=limit), 400, "invalid_parameter")


@pytest.mark.parametrize(
    ("limit", "said"),
    [("-5", "At least 1."), ("301", "At most 300."), ("x", "A whole number is wanted")],
)
def test_a_number_that_does_not_fit_is_told_what_would(limit: str, said: str) -> None:
    answer = problem(get("/crypto/top", limit=limit), 400, "invalid_parameter")

    assert said in answer["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "The body is to be a JSON object."),
        ({"symbols": "BTC"}, 'A list is wanted, like ["BTC", "AAPL"].'),
        ({"symbols": []}, "At least 1 symbol."),
        ({"symbols": ["BTC"] * 101}, "At most 100 symbols."),
    ],
)
def test_a_batch_that_is_refused_is_told_in_words_of_http(body: object, said: str) -> None:
    response = client().post(f"{ROOT}/batch", body, content_type="application/json")

    assert said in problem(response, 400, "invalid_parameter")["detail"]


def test_a_list_of_symbols_may_be_given_in_several_parameters() -> None:
    batch = client().get(f"{ROOT}?symbols=BTC&symbols=ETH,SOL").json()

    assert list(batch["data"]) == ["BTC", "ETH", "SOL"]


def test_a_batch_lives_no_longer_than_the_quote_that_lapses_first(redis_client: Redis) -> None:
    ok("", symbols="BTC,ETH")
    redis_client.pexpire("price:ETH", 1900)

    assert max_age(get("", symbols="BTC,ETH")) <= 1


def test_a_batch_without_data_is_not_cached() -> None:
    batch = ok("", symbols="NOPE")

    assert (batch["data"], batch["cached"]) == ({}, False)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", f"{ROOT}/batch", {"POST", "OPTIONS"}),
        ("POST", f"{ROOT}/BTC", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_is_refused_is_told_which_are_not(
    method: str, path: str, allowed: set[str]
) -> None:
    response = client().generic(method, path)

    assert response.status_code == 405
    assert set(response["Allow"].split(", ")) == allowed


def test_a_host_that_is_not_served_is_what_the_problem_names() -> None:
    response = client().get(f"{ROOT}/BTC", headers={"Host": "elsewhere.example"})

    assert "This host is not served here" in problem(response, 400, "invalid_parameter")["detail"]


def search_keys(redis_client: Redis) -> list[str]:
    return sorted(key for key in map(str, redis_client.keys("*")) if "search:" in key)


def test_a_search_is_kept_once_for_all_limits_and_no_copy_of_it_for_a_day(
    redis_client: Redis,
) -> None:
    for limit in (1, 5, 100):
        assert ok("/symbols/search", q="App", limit=limit)["count"] <= limit
        assert ok("/crypto/search", q="doge", limit=limit)["count"] <= limit

    assert search_keys(redis_client) == ["list:search:coins:doge", "list:search:symbols:any:app"]
    assert redis_client.ttl("list:search:symbols:any:app") <= 60


def test_made_up_searches_spend_the_look_ups_and_nothing_of_the_answers(sandbox: Sandbox) -> None:
    ok("/crypto/top", limit=1)
    calls = sandbox.count()
    for _ in range(settings.LOOKUPS_PER_MINUTE - 1):
        registry.budget("coingecko").take(Purpose.LOOKUP)
    first = ok("/crypto/search", q="01coin")
    assert sandbox.count() == calls + 1

    found = ok("/crypto/search", q="coin")

    assert sandbox.count() == calls + 1
    assert [row["id"] for row in first["results"]] == ["01coin"]
    assert any(row["current_price"] is None for row in found["results"])
    listed = [row for row in found["results"] if row["market_cap_rank"]]
    assert listed
    assert all(row["current_price"] for row in listed)
    assert max_age(get("/crypto/search", q="coin")) <= 60


@pytest.mark.parametrize(
    ("asked", "ref"),
    [
        ("brk-b", "stock:BRK.B"),
        ("BRK/b", "stock:BRK.B"),
        ("brk.b", "stock:BRK.B"),
        ("stock:AAPL", "stock:AAPL"),
        ("stock:brk-b", "stock:BRK.B"),
        ("coingecko:bitcoin", "coingecko:bitcoin"),
        ("crypto:btc", "coingecko:bitcoin"),
        ("coingecko:01coin", "coingecko:01coin"),
    ],
)
def test_a_search_finds_an_asset_by_every_form_of_its_symbol_first(asked: str, ref: str) -> None:
    assert ok("/symbols/search", q=asked)["results"][0]["ref"] == ref


def test_a_forced_kind_narrows_a_search_to_it() -> None:
    found = ok("/symbols/search", q="stock:app")["results"]

    assert {row["kind"] for row in found} == {"stock"}
    assert ok("/symbols/search", q="stock:app", kind="crypto")["results"] == []
