from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
)
from prices.providers.coingecko import CoinGecko
from prices.types import (
    AssetKind,
    Instrument,
    Point,
    Quote,
    TruncatedBy,
    Window,
)
from tests.prices.coingecko_site import (
    BITCOIN,
    CHART,
    DAY_S,
    DOGE,
    MARKETS,
    NOW,
    NOW_S,
    coingecko,
    far_end,
    row,
    window,
)


@pytest.fixture(autouse=True)
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


# Quotes


def test_a_quote_has_what_the_source_says_and_its_time() -> None:
    site = far_end(
        {
            MARKETS: [
                row(
                    price_change_24h=-12.5,
                    price_change_percentage_24h=-0.7,
                    high_24h=68000,
                    low_24h=66000.25,
                    total_volume=2.5e10,
                    market_cap=1300000000000,
                )
            ]
        }
    )

    quotes = coingecko(site).quotes([BITCOIN])

    assert quotes.failed == {}
    assert quotes.found == {
        "coingecko:bitcoin": Quote(
            price=67234.5,
            as_of=datetime(2025, 10, 6, 12, 19, 30, tzinfo=UTC),
            change=-12.5,
            change_percent=-0.7,
            high=68000.0,
            low=66000.25,
            volume=2.5e10,
            market_cap=1.3e12,
        )
    }
    assert site.params[0]["ids"] == "bitcoin"
    assert (site.params[0]["per_page"], site.params[0]["precision"]) == ("250", "full")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([], id="unknown coin"),
        pytest.param([row(current_price=None)], id="null price"),
        pytest.param([row(current_price=0)], id="zero"),
        pytest.param([row(last_updated=None)], id="no time"),
        pytest.param([row(last_updated="soon")], id="no time at all"),
        pytest.param([row(last_updated="2025-10-06T12:26:00Z")], id="from the future"),
        pytest.param([row("ethereum")], id="another coin"),
    ],
)
def test_a_coin_without_a_price_is_left_out(body: list[Any]) -> None:
    quotes = coingecko({MARKETS: body}).quotes([BITCOIN])

    assert (quotes.found, quotes.failed) == ({}, {})


@pytest.mark.parametrize(
    "price",
    [-1, "67234.5", True, 1e10, [], {}],
    ids=["negative", "text", "bool", "huge", "[]", "{}"],
)
def test_a_price_that_cannot_be_fails_alone(price: object) -> None:
    body = [row(current_price=price), row("dogecoin", current_price=1e-7)]

    quotes = coingecko({MARKETS: body}).quotes([BITCOIN, DOGE])

    assert [quote.price for quote in quotes.found.values()] == [1e-7]
    assert type(quotes.failed["coingecko:bitcoin"]) is UpstreamMalformedError


def test_one_coin_without_a_price_does_not_spoil_a_batch() -> None:
    body = [row(current_price=None), row("dogecoin", high_24h=None, total_volume="?")]

    quotes = coingecko({MARKETS: body}).quotes([BITCOIN, DOGE])

    assert list(quotes.found) == ["coingecko:dogecoin"]
    assert quotes.found["coingecko:dogecoin"].volume is None


def test_three_hundred_coins_take_two_calls() -> None:
    coins = [Instrument(f"coingecko:c{n}", AssetKind.CRYPTO, f"c{n}") for n in range(300)]
    site = far_end({MARKETS: lambda params: [row(one) for one in params["ids"].split(",")]})

    quotes = coingecko(site).quotes(coins)

    assert len(quotes.found) == 300
    assert [len(params["ids"].split(",")) for params in site.params] == [250, 50]


def test_when_one_call_of_two_fails_its_coins_are_named_as_failed() -> None:
    coins = [Instrument(f"coingecko:c{n:03}", AssetKind.CRYPTO, f"c{n:03}") for n in range(300)]

    def answer(params: Mapping[str, str]) -> Any:
        ids = params["ids"].split(",")
        return [row(one) for one in ids] if len(ids) == 250 else httpx.Response(429)

    quotes = coingecko({MARKETS: answer}).quotes(coins)

    assert (len(quotes.found), len(quotes.failed)) == (250, 50)
    assert type(quotes.failed["coingecko:c299"]) is UpstreamRateLimitedError


def test_ids_that_would_overflow_a_url_are_spread_over_calls() -> None:
    coins = [
        Instrument(f"coingecko:{n}", AssetKind.CRYPTO, f"{n:03}" + "é" * 50) for n in range(90)
    ]
    site = far_end({MARKETS: lambda params: [row(one) for one in params["ids"].split(",")]})

    quotes = coingecko(site).quotes(coins)

    assert len(quotes.found) == 90
    assert all(len(str(request.url)) < 8000 for request in site.asked)


@pytest.mark.parametrize(
    ("plan", "header"),
    [
        ("demo", "x-cg-demo-api-key"),
        ("sandbox", "x-cg-demo-api-key"),
        ("pro", "x-cg-pro-api-key"),
        ("keyless", None),
    ],
)
def test_the_key_goes_in_the_header_of_its_plan(plan: str, header: str | None) -> None:
    site = far_end({MARKETS: []})

    coingecko(site, plan=plan, key="s3cret").quotes([BITCOIN])

    sent = {name: value for name, value in site.asked[0].headers.items() if "api-key" in name}
    assert sent == ({header: "s3cret"} if header else {})
    assert "s3cret" not in str(site.asked[0].url)


# Failures


def status_body(code: int, *, nested: bool = False, top: bool = False) -> dict[str, Any]:
    told: dict[str, Any] = {"error_code": code, "error_message": "Words of theirs."}
    if top:
        return {"error_code": code, "status": {"error_message": "Words of theirs."}}
    return {"error": {"status": told}} if nested else {"status": told}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(httpx.ReadTimeout("slow"), UpstreamTimeoutError, id="slow"),
        pytest.param(httpx.ConnectError("down"), UpstreamError, id="down"),
        pytest.param(
            httpx.Response(401, json=status_body(10002)), UpstreamRefusedError, id="10002"
        ),
        pytest.param(httpx.Response(401, json=status_body(10005)), PlanRestrictedError, id="10005"),
        pytest.param(
            httpx.Response(400, json=status_body(10010, top=True)), UpstreamRefusedError, id="10010"
        ),
        pytest.param(
            httpx.Response(400, json=status_body(10011, top=True)), UpstreamRefusedError, id="10011"
        ),
        pytest.param(
            httpx.Response(401, json=status_body(10012, nested=True)),
            PlanRestrictedError,
            id="10012",
        ),
        pytest.param(httpx.Response(401), UpstreamRefusedError, id="401 empty"),
        pytest.param(httpx.Response(403, text="<html>no"), UpstreamError, id="firewall page"),
        pytest.param(
            httpx.Response(403, text="<p>error code: 1015"), UpstreamRateLimitedError, id="1015"
        ),
        pytest.param(
            httpx.Response(404, json={"error": "coin not found"}), UpstreamNotFoundError, id="404"
        ),
        pytest.param(
            httpx.Response(404, json={"error": "Incorrect path. Please check"}),
            UpstreamError,
            id="wrong address",
        ),
        pytest.param(httpx.Response(404, text="<html>"), UpstreamError, id="404 page"),
        pytest.param(
            httpx.Response(422, json={"error": "Missing parameter ids"}), UpstreamError, id="422"
        ),
        pytest.param(
            httpx.Response(500, json={"status": 500, "error": "Internal Server Error"}),
            UpstreamError,
            id="500",
        ),
        pytest.param(
            httpx.Response(429, json=status_body(429)), UpstreamRateLimitedError, id="429"
        ),
        pytest.param(
            httpx.Response(429, text="<html>1015"), UpstreamRateLimitedError, id="429 page"
        ),
        pytest.param({}, UpstreamMalformedError, id="object"),
        pytest.param([], UpstreamMalformedError, id="list"),
        pytest.param({"prices": "soon"}, UpstreamMalformedError, id="text"),
        pytest.param({"prices": None}, UpstreamMalformedError, id="null"),
        pytest.param({"prices": [[1, "2"]]}, UpstreamMalformedError, id="prices as text"),
        pytest.param({"prices": [[1.7e12, -2]]}, UpstreamMalformedError, id="below zero"),
        pytest.param({"prices": [1, 2]}, UpstreamMalformedError, id="no pairs"),
    ],
)
def test_every_failure_is_told_apart(reply: Any, error: type[PricesError]) -> None:
    with pytest.raises(PricesError) as caught:
        coingecko({CHART: reply}).history(BITCOIN, window(days=7), 3600)

    assert type(caught.value) is error
    assert "Words of theirs" not in str(caught.value)


@pytest.mark.parametrize("body", [{}, None, "soon", ["bitcoin"], [{"no": "id"}]])
def test_a_market_list_of_another_shape_is_malformed(body: Any) -> None:
    with pytest.raises(UpstreamMalformedError):
        coingecko({MARKETS: body}).quotes([BITCOIN])


@pytest.mark.parametrize("coin_id", ["..", "."])
def test_an_id_cannot_climb_out_of_its_path(coin_id: str) -> None:
    site = far_end({})

    with pytest.raises(UpstreamNotFoundError):
        coingecko(site).history(Instrument("x", AssetKind.CRYPTO, coin_id), window(days=1), 300)

    assert site.asked == []


def test_an_id_is_quoted_in_its_path() -> None:
    odd = Instrument("x", AssetKind.CRYPTO, "a/b ?c")
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200, json={"prices": []})

    provider = CoinGecko(base_url="https://a.example", transport=httpx.MockTransport(answer))
    provider.history(odd, window(days=1), 300)

    assert seen[0].startswith(b"/coins/a%2Fb%20%3Fc/market_chart?")


# History


def hourly(start: int, end: int, *, price: float = 100.0) -> list[list[float]]:
    """Points of a rising price, some minutes off the hour, the last one as of `end`."""
    stamps = [*range(start - start % 3600, end, 3600), end]
    return [
        [(at + (at // 3600 % 7 - 3) * 60) * 1000 if at != end else at * 1000, price + n]
        for n, at in enumerate(stamps)
    ]


@pytest.mark.parametrize("minute", [0, 2, 20, 40, 58])
def test_a_full_week_has_168_points_and_ends_with_the_newest(minute: int) -> None:
    now = NOW.replace(minute=minute)
    end = int(now.timestamp())
    prices = hourly(end - 7 * DAY_S - 3600, end)

    with time_machine.travel(now, tick=False):
        points = coingecko({CHART: {"prices": prices}}).history(
            BITCOIN, Window(now - timedelta(days=7), now), 3600
        )

    stamps = [point.timestamp for point in points.points]
    assert len(stamps) == 168
    assert stamps == sorted(set(stamps))
    assert (points.points[-1].timestamp, points.points[-1].price) == (end, prices[-1][1])
    assert points.truncated_by is None


def test_points_out_of_order_twice_or_null_come_out_in_order_once() -> None:
    ms = NOW_S * 1000
    body = {
        "prices": [
            [ms, 3],
            [ms - 300_000, 2],
            [ms - 600_500, 1],
            [ms - 600_499, 1.5],
            [ms - 900_000, None],
        ],
        "total_volumes": [[ms, 10], [ms - 300_000, None], [ms - 600_499, 0]],
    }

    points = coingecko({CHART: body}).history(BITCOIN, window(hours=1), 300)

    assert points.points == [
        Point(NOW_S - 601, 1.5, None),
        Point(NOW_S - 300, 2.0, None),
        Point(NOW_S, 3.0, 10.0),
    ]
    assert points.volume_basis == "rolling_24h"


@pytest.mark.parametrize(
    ("days", "step_s", "asked"),
    [
        (1, 300, "1"),
        (1, 3600, "2"),
        (7, 3600, "7"),
        (90, 3600, "90"),
        (90, DAY_S, "91"),
        (180, DAY_S, "180"),
        (365, DAY_S, "365"),
    ],
)
def test_the_days_asked_give_the_step_wanted(days: int, step_s: int, asked: str) -> None:
    site = far_end({CHART: {"prices": []}})

    coingecko(site).history(BITCOIN, window(days=days), step_s)

    assert site.params[0]["days"] == asked
    assert "interval" not in site.params[0]


@pytest.mark.parametrize("start", [NOW - timedelta(days=1825), None], ids=["5y", "all"])
def test_a_free_plan_reaches_365_days_and_says_so(start: datetime | None) -> None:
    prices = [[(NOW_S - n * DAY_S) * 1000, 5.0] for n in range(366)]
    site = far_end({CHART: {"prices": prices}})

    points = coingecko(site).history(BITCOIN, Window(start, NOW), DAY_S)

    assert site.params[0]["days"] == "365"
    assert points.truncated_by is TruncatedBy.PLAN
    assert points.points[0].timestamp >= NOW_S - 365 * DAY_S


def test_period_all_works_on_a_plan_that_gives_it() -> None:
    prices = [[(NOW_S - n * DAY_S) * 1000, 5.0] for n in range(3000)]
    site = far_end({CHART: {"prices": prices}})

    points = coingecko(site, plan="pro").history(BITCOIN, Window(None, NOW), DAY_S)

    assert site.params[0]["days"] == "max"
    assert (len(points.points), points.truncated_by) == (3000, None)


def test_a_coin_younger_than_the_period_is_truncated_by_its_listing() -> None:
    prices = [[(NOW_S - n * DAY_S) * 1000, 5.0] for n in range(40)]
    provider = coingecko({CHART: {"prices": prices}})

    assert provider.history(BITCOIN, window(days=180), DAY_S).truncated_by is TruncatedBy.LISTING
    assert provider.history(BITCOIN, window(days=1825), DAY_S).truncated_by is TruncatedBy.LISTING
    assert provider.history(BITCOIN, Window(None, NOW), DAY_S).truncated_by is None
