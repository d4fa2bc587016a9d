"""The price on a day gone by."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db.models import F
from redis import Redis

from prices.models import Bar, Series
from prices.schema import EXAMPLES
from prices.services import store
from tests.market import Sandbox
from tests.prices.rest import ENVELOPE, get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

FIELDS = ENVELOPE | {
    *("symbol", "ref", "name", "kind", "date", "close_date", "price", "adjustment"),
    *("origin", "quote_currency", "fallback_from", "alternatives"),
}


def daily(symbol: str, day: str) -> float:
    """Return a day's close as the candles have it."""
    bars = ok(f"/{symbol}/ohlcv", period="1y", resolution="D")["candles"]
    at = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    return float(next(bar["close"] for bar in bars if bar["timestamp"] == at))


@pytest.mark.parametrize(
    ("day", "close_date"),
    [
        ("2026-09-16", "2026-09-16"),
        ("2026-09-13", "2026-09-11"),  # a Sunday
        ("2026-09-07", "2026-09-04"),  # Labor Day
    ],
)
def test_a_stock_s_close_is_of_that_day_or_the_session_before(day: str, close_date: str) -> None:
    answer = ok("/AAPL/at", date=day)

    assert answer.keys() == FIELDS
    assert (answer["date"], answer["close_date"]) == (day, close_date)
    assert answer["as_of"] == f"{close_date}T20:00:00Z"
    assert answer["price"] == daily("AAPL", close_date)


def test_the_example_in_the_documents_is_what_the_sandbox_tells() -> None:
    example = EXAMPLES["at"]

    answer = ok(f"/{example['symbol']}/at", date=example["date"])

    same = ("close_date", "as_of", "price", "adjustment", "currency")
    assert {name: answer[name] for name in same} == {name: example[name] for name in same}


def test_a_coin_s_close_is_of_the_day_itself() -> None:
    answer = ok("/BTC/at", date="2026-09-13")

    assert (answer["close_date"], answer["as_of"]) == ("2026-09-13", "2026-09-14T00:00:00Z")
    assert answer["price"] == daily("BTC", "2026-09-13")
    assert answer["currency"] == "USD"


def test_of_today_the_close_before_is_told(sandbox: Sandbox) -> None:
    today = datetime.now(UTC).date()

    answer = ok("/BTC/at", date=today.isoformat())

    assert answer["close_date"] == (today - timedelta(days=1)).isoformat()


def test_a_day_that_was_part_of_a_series_costs_no_call(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/AAPL/ohlcv", period="1y", resolution="D")
    redis_client.flushall()
    calls = sandbox.count()

    answer = ok("/AAPL/at", date="2026-09-12")

    assert (answer["close_date"], answer["cached"]) == ("2026-09-11", True)
    assert answer["adjustment"] == "splits"
    assert sandbox.count() == calls


def passed(answer: Any) -> list[tuple[str, str]]:
    return [(one["source"].split(":")[-1], one["code"]) for one in answer["fallback_from"]]


def test_a_stored_close_tells_whose_are_not_stored_that_would_have_come_first(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    chain = ["twelvedata", "coinbase", "binance"]  # The first has no key, and is not there.
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": chain}
    settings.PRICE_PROVIDERS = deepcopy(settings.PRICE_PROVIDERS)
    settings.PRICE_PROVIDERS["twelvedata"]["OPTIONS"]["api_key"] = ""
    ok("/SOL/ohlcv", period="1d")  # The pairs are settled while all is well.
    sandbox.fault("status", status=500, path="/coinbase/products/SOL-USD/candles")
    asked = ok("/SOL/at", date="2026-08-01")
    redis_client.flushall()
    calls = sandbox.count()

    stored = ok("/SOL/at", date="2026-08-01")

    assert sandbox.count() == calls
    assert passed(asked) == [("coinbase", "upstream_unavailable")]
    assert passed(stored) == [("coinbase", "not_kept")]
    same = ("source", "price", "quote_currency", "currency")
    assert [asked[name] for name in same] == [stored[name] for name in same]
    sandbox.heal()
    ok("/SOL/ohlcv", period="1y", resolution="D")
    redis_client.flushall()
    assert passed(ok("/SOL/at", date="2026-08-01")) == []


def test_a_stored_close_tells_whose_is_not_known_to_be_in_today_s_shares(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    for chain in (["finnhub"], ["tiingo"], ["finnhub", "tiingo"]):
        settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"stock_candles": chain}
        redis_client.flushall()
        answer = ok("/AAPL/at", date="2026-09-11")
        if chain == ["finnhub"]:
            series = Series.objects.get(asset__ref="stock:AAPL", source="finnhub")
            series.spans = [[since, until, 0] for since, until, _ in series.spans]
            series.save()

    assert answer["cached"]
    assert passed(answer) == [("finnhub", "unconfirmed")]


def test_a_stored_close_was_got_when_its_source_last_told_it_and_not_with_other_days() -> None:
    series = ok("/BTC/ohlcv", period="1y", resolution="D")
    Series.objects.update(renewed_at=datetime(2030, 1, 1, tzinfo=UTC))  # by bars of other days

    answer = ok("/BTC/at", date="2026-09-13")

    assert answer["cached"]
    apart = datetime.fromisoformat(answer["fetched_at"]) - datetime.fromisoformat(
        series["fetched_at"]
    )
    assert abs(apart) < timedelta(seconds=60)


def test_a_day_is_asked_for_once(sandbox: Sandbox) -> None:
    first = ok("/ETH/at", date="2026-08-01")
    calls = sandbox.count()
    second = ok("/ETH/at", date="2026-08-01")

    assert (first["cached"], second["cached"]) == (False, True)
    assert first["price"] == second["price"]
    assert sandbox.count() == calls


def test_across_a_split_that_nobody_told_of_the_close_is_in_today_s_shares(
    redis_client: Redis,
) -> None:
    close = daily("AAPL", "2026-09-11")
    redis_client.flushall()
    series = Series.objects.get(asset__ref="stock:AAPL", resolution="D")
    # What the store has is of before it, and was confirmed then.
    Bar.objects.filter(series=series).update(close=F("close") * 4, high=F("high") * 4)
    long_ago = int((datetime.now(UTC) - timedelta(days=7)).timestamp())
    series.spans = [[since, until, long_ago] for since, until, _ in series.spans]
    series.save()

    assert ok("/AAPL/at", date="2026-09-12")["price"] == close


def test_a_run_that_was_not_compared_with_its_source_is_no_surer_for_another_one(
    redis_client: Redis,
) -> None:
    ok("/AAPL/ohlcv", period="1y", resolution="D")
    series = Series.objects.get(asset__ref="stock:AAPL", resolution="D")
    at = int(datetime(2026, 9, 11, tzinfo=UTC).timestamp())
    assert store.confirmed_at(series, at) is not None
    (since, until, _), now = series.spans[-1], series.spans[-1][2]
    series.spans = [[since, at, 0], [at + 30 * 86_400, until, now]]
    series.save()

    assert store.confirmed_at(series, at) is None


def test_before_a_split_the_close_is_in_today_s_shares() -> None:
    before = ok("/BKNG/at", date="2026-04-02")["price"]
    after = ok("/BKNG/at", date="2026-04-06")["price"]

    assert 0.8 < before / after < 1.25


@pytest.mark.parametrize(
    "day", ["", "yesterday", "2026-13-01", "2026-2-3", "20260203", "\u0662026-01-02", "0001-01-01"]
)
def test_what_is_no_day_is_refused(day: str) -> None:
    assert problem(get("/BTC/at", date=day), 400, "invalid_parameter")["errors"][0]["field"] == (
        "date"
    )


@pytest.mark.parametrize(
    ("now", "symbol", "today"),
    [
        ("2026-11-19T02:00:00Z", "AAPL", "2026-11-18"),  # the evening before in New York
        ("2026-11-19T02:00:00Z", "BTC", "2026-11-19"),
        ("2026-11-18T23:30:00Z", "AAPL", "2026-11-18"),
        ("2026-11-18T23:30:00Z", "BTC", "2026-11-18"),
    ],
)
def test_a_stock_s_day_is_new_york_s_and_a_coin_s_is_utc_s(
    now: str, symbol: str, today: str
) -> None:
    tomorrow = date.fromisoformat(today) + timedelta(days=1)
    with time_machine.travel(datetime.fromisoformat(now), tick=False):
        answer = ok(f"/{symbol}/at", date=today)
        problem(get(f"/{symbol}/at", date=tomorrow.isoformat()), 400, "invalid_parameter")

    # The stock's session is over; the coin's day is not.
    newest = date.fromisoformat(today) - timedelta(days=symbol == "BTC")
    assert (answer["date"], answer["close_date"]) == (today, newest.isoformat())


def test_a_day_before_one_source_s_first_bar_is_asked_of_the_next(
    sandbox: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase", "binance"]}

    answer = ok("/HBAR/at", date="2019-11-01")  # listed there 23 days earlier

    assert (answer["close_date"], answer["quote_currency"]) == ("2019-11-01", "USDT")
    assert [one["code"] for one in answer["fallback_from"]] == ["not_found"]


def test_a_source_that_cannot_be_asked_may_have_an_earlier_day(
    sandbox: Sandbox, settings: Any
) -> None:
    chain = ["coinbase", "coingecko", "binance"]
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": chain}
    settings.PRICE_PROVIDERS = deepcopy(settings.PRICE_PROVIDERS)
    settings.PRICE_PROVIDERS["coingecko"]["OPTIONS"]["plan"] = "demo"  # Its refusal is for good.
    sandbox.fault("status", status=500, path="/binance/api/v3/klines")

    problem(get("/HBAR/at", date="2019-11-01"), 503, "upstream_unavailable")


def test_an_answer_is_a_hit_only_where_no_source_was_asked(redis_client: Redis) -> None:
    first = get("/ETH/at", date="2026-08-01")
    again = get("/ETH/at", date="2026-08-01")
    redis_client.flushall()
    from_store = get("/ETH/at", date="2026-08-02")

    assert [one["X-Cache"] for one in (first, again, from_store)] == ["MISS", "HIT", "HIT"]
    assert [one.json()["cached"] for one in (first, again, from_store)] == [False, True, True]


def test_a_day_to_come_is_refused() -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)

    body = problem(get("/BTC/at", date=tomorrow.isoformat()), 400, "invalid_parameter")

    assert "yet to come" in body["detail"]
    problem(get("/BTC/at"), 400, "invalid_parameter")


def test_a_day_before_the_listing_tells_the_first_close() -> None:
    body = problem(get("/coingecko:sandbox-newcomer/at", date="2026-03-01"), 404, "not_found")

    assert date.fromisoformat(body["available_from"]) >= date(2026, 6, 1)


def test_a_day_before_the_first_close_tells_the_first_that_any_source_has(
    sandbox: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase", "coingecko"]}

    first = problem(get("/BTC/at", date="1990-01-01"), 404, "not_found")["available_from"]

    assert first < "2015-07-20"  # where the chain's first source begins
    assert ok("/BTC/at", date=first)["close_date"] == first
    before = date.fromisoformat(first) - timedelta(days=1)
    body = problem(get("/BTC/at", date=before.isoformat()), 404, "not_found")
    assert body["available_from"] == first


@pytest.mark.parametrize("symbol", ["BTC", "HBAR"])
def test_a_day_that_a_later_source_s_plan_refuses_is_not_said_to_have_no_close(
    symbol: str, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase", "coingecko"]}
    settings.PRICE_PROVIDERS = deepcopy(settings.PRICE_PROVIDERS)
    settings.PRICE_PROVIDERS["coingecko"]["OPTIONS"]["plan"] = "demo"

    body = problem(get(f"/{symbol}/at", date="2014-01-01"), 403, "plan_restricted")

    assert body["provider"] == "coingecko"
    problem(get(f"/{symbol}/at", date="2013-04-01"), 404, "not_found")  # CoinGecko began later


def test_a_stock_before_its_first_close_has_none_whatever_plans_refuse(
    sandbox: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"stock_candles": ["finnhub", "tiingo"]}
    sandbox.control("POST", "plan", {"plan": "free"})

    body = problem(get("/COIN/at", date="2019-01-02"), 404, "not_found")

    assert body["available_from"] == "2021-04-14"


def test_a_day_before_the_first_close_costs_calls_once_and_the_days_before_it_none(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["binance"]}
    problem(get("/HBAR/at", date="2015-03-01"), 404, "not_found")
    calls = sandbox.count()

    problem(get("/HBAR/at", date="2015-03-01"), 404, "not_found")
    problem(get("/HBAR/at", date="2014-11-05"), 404, "not_found")

    assert sandbox.count() == calls


def test_no_copy_of_a_day_is_kept_for_outages(redis_client: Redis) -> None:
    ok("/ETH/at", date="2026-08-01")

    assert list(redis_client.scan_iter("good:list:at:*")) == []


def test_what_is_gone_has_its_closes_by_ref(sandbox: Sandbox) -> None:
    from prices.models import Asset

    Asset.objects.filter(ref="stock:TWTR").update(last_day=date(2022, 11, 1))

    assert ok("/stock:TWTR/at", date="2022-06-12")["close_date"] == "2022-06-10"
    assert ok("/stock:TWTR/at", date="2025-01-01")["close_date"] == "2022-10-27"
    problem(get("/TWTR/at", date="2022-06-12"), 410, "inactive_symbol")
