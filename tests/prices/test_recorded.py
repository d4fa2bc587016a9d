"""Both providers on bodies that the services really sent, replayed on loopback.

The bodies are not ours to publish. LOKIFI_RECORDED names the folder that holds
them; without it these tests are skipped. Charts are moved to end now, since the
provider counts periods back from now; everything else is replayed byte by byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
)
from prices.providers.coingecko import CoinGecko
from prices.providers.finnhub import Finnhub
from prices.types import AssetKind, Instrument, Resolution, Window
from tests.prices.loopback import Asked, Replay, Reply, replay

FOLDER = Path(os.environ.get("LOKIFI_RECORDED", ""))

pytestmark = pytest.mark.skipif(
    not os.environ.get("LOKIFI_RECORDED") or not (FOLDER / "coingecko").is_dir(),
    reason="LOKIFI_RECORDED names no folder with recorded answers of the sources.",
)

BITCOIN = Instrument("coingecko:bitcoin", AssetKind.CRYPTO, "bitcoin")
AAPL = Instrument("stock:AAPL", AssetKind.STOCK, "AAPL")
# The minute in which each body with a time of its own was sent.
MARKETS_SENT = datetime(2024, 1, 15, 8, 54, 33, tzinfo=UTC)
OHLC_SENT = datetime(2021, 5, 15, 15, 34, 27, tzinfo=UTC)

Answers = Callable[[Asked], Reply]


def body(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def content(name: str) -> Any:
    return json.loads(body(name))


def always(name: str, status: int = 200, **headers: str) -> Answers:
    """Answer every request with that body."""
    return lambda asked: Reply(status, body(name), headers)


def moved_to_now(name: str) -> Callable[[], dict[str, list[list[float]]]]:
    """Return a chart whose newest point is of now."""
    chart: dict[str, list[list[float]]] = content(name)

    def moved() -> dict[str, list[list[float]]]:
        newest = max(at for at, _ in chart["prices"])
        shift = int(datetime.now(UTC).timestamp() * 1000) - int(newest)
        return {key: [[at + shift, value] for at, value in rows] for key, rows in chart.items()}

    return moved


@contextmanager
def coingecko(answers: Answers, *, plan: str = "keyless") -> Iterator[tuple[CoinGecko, Replay]]:
    with replay(answers) as site:
        provider = CoinGecko(base_url=f"{site.url}/api/v3", plan=plan)
        yield provider, site
        provider.close()


@contextmanager
def finnhub(answers: Answers) -> Iterator[tuple[Finnhub, Replay]]:
    with replay(answers) as site:
        provider = Finnhub(base_url=f"{site.url}/api/v1", api_key="key")
        yield provider, site
        provider.close()


def stamp(text: str) -> datetime:
    return datetime.fromisoformat(text)


# CoinGecko


def test_the_top_list_is_the_recorded_one_field_by_field() -> None:
    rows = content("coingecko/coins_markets_usd_100rows_2024.json")
    with coingecko(always("coingecko/coins_markets_usd_100rows_2024.json")) as (provider, _):
        coins = provider.top(100)

    assert [coin.id for coin in coins] == [row["id"] for row in rows]
    for coin, row in zip(coins, rows, strict=True):
        for name in (
            *("symbol", "name", "image", "current_price", "market_cap", "market_cap_rank"),
            *("total_volume", "high_24h", "low_24h", "price_change_24h"),
            *("price_change_percentage_24h", "circulating_supply", "total_supply", "max_supply"),
            *("ath", "ath_change_percentage", "atl", "atl_change_percentage"),
        ):
            assert getattr(coin, name) == row[name], (coin.id, name)
        for name in ("ath_date", "atl_date", "last_updated"):
            assert getattr(coin, name) == stamp(row[name])


def test_quotes_of_a_hundred_coins_are_the_recorded_ones() -> None:
    rows = content("coingecko/coins_markets_usd_100rows_2024.json")
    wanted = [Instrument(f"coingecko:{row['id']}", AssetKind.CRYPTO, row["id"]) for row in rows]
    with coingecko(always("coingecko/coins_markets_usd_100rows_2024.json")) as (provider, site):
        quotes = provider.quotes(wanted)

    assert quotes.failed == {}
    assert len(site.asked) == 1
    assert {
        ref: (one.price, one.as_of, one.change, one.change_percent, one.high, one.low)
        for ref, one in quotes.found.items()
    } == {
        f"coingecko:{row['id']}": (
            row["current_price"],
            stamp(row["last_updated"]),
            row["price_change_24h"],
            row["price_change_percentage_24h"],
            row["high_24h"],
            row["low_24h"],
        )
        for row in rows
    }
    bitcoin = quotes.found["coingecko:bitcoin"]
    assert (bitcoin.volume, bitcoin.market_cap) == (20645890250.0, 837025489900.0)


def test_the_catalogue_is_the_recorded_one_odd_tickers_and_all() -> None:
    rows = content("coingecko/coins_list_2024.json")
    with coingecko(always("coingecko/coins_list_2024.json")) as (provider, _):
        listings = provider.listings()

    assert {(one.upstream_id, one.ticker, one.name) for one in listings} == {
        (row["id"], " ".join(row["symbol"].split()), " ".join(row["name"].split()))
        for row in rows
        if row["id"] and row["name"]
    }
    assert (
        sum(one.ticker == "btc" for one in listings)
        == sum(row["symbol"] == "btc" for row in rows)
        > 1
    )
    derivatives = {one.upstream_id for one in listings if one.is_derivative}
    assert {"wrapped-bitcoin", "staked-ether", "binance-peg-dogecoin"} <= derivatives
    assert derivatives.isdisjoint({"bitcoin", "ethereum", "dogecoin", "pepe", "uniswap"})


def chart_answers(name: str) -> Answers:
    moved = moved_to_now(name)
    return lambda asked: Reply(200, json.dumps(moved()).encode())


@pytest.mark.parametrize(
    ("name", "days", "step_s", "least"),
    [
        ("coingecko/market_chart_bitcoin_usd_days1_2024.json", 1, 300, 287),
        # The recorded month has seven holes of more than an hour and a half.
        ("coingecko/market_chart_bitcoin_usd_days30_2021.json", 30, 3600, 713),
        ("coingecko/market_chart_bitcoin_usd_days30_2021.json", 7, 3600, 166),
        ("coingecko/market_chart_bitcoin_usd_days90_daily_2021.json", 90, 86_400, 89),
    ],
    ids=["1d", "30d", "7d", "90d"],
)
def test_a_chart_is_in_order_in_seconds_and_ends_with_the_newest_point(
    name: str, days: int, step_s: int, least: int
) -> None:
    moved = moved_to_now(name)
    with time_machine.travel(datetime.now(UTC), tick=False):
        now = datetime.now(UTC)
        with coingecko(chart_answers(name)) as (provider, _):
            points = provider.history(BITCOIN, Window(now - timedelta(days=days), now), step_s)
        sent = moved()

    price_at = {int(at // 1000): value for at, value in sent["prices"]}
    volume_at = {int(at // 1000): value for at, value in sent["total_volumes"]}
    stamps = [point.timestamp for point in points.points]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] == max(price_at) == int(now.timestamp())
    assert stamps[0] >= int((now - timedelta(days=days)).timestamp())
    assert least <= len(stamps) <= days * 86_400 // step_s
    assert all(point.price == price_at[point.timestamp] for point in points.points)
    assert all(point.volume == volume_at[point.timestamp] for point in points.points)
    assert (points.truncated_by, points.volume_basis) == (None, "rolling_24h")


def test_bars_of_a_week_bear_the_time_of_their_opening() -> None:
    rows = content("coingecko/ohlc_bitcoin_usd_days7_2021.json")
    window = Window(OHLC_SENT - timedelta(days=7), OHLC_SENT)
    with (
        time_machine.travel(OHLC_SENT, tick=False),
        coingecko(always("coingecko/ohlc_bitcoin_usd_days7_2021.json")) as (provider, site),
    ):
        bars = provider.candles(BITCOIN, window, Resolution.H4)

    assert site.asked[0].params["days"] == "7"
    assert [
        (bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars.candles
    ] == [(row[0] // 1000 - 4 * 3600, *row[1:5], None) for row in rows]
    assert [bar.closed for bar in bars.candles] == [True] * 41 + [False]
    assert (bars.dropped, bars.origin) == (0, "provider")
    # Sent at 15:34, the last row is the bar of 12:00, still open.
    assert datetime.fromtimestamp(bars.candles[-1].timestamp, UTC).hour == 12


def test_days_made_of_recorded_hours_span_their_points() -> None:
    name = "coingecko/market_chart_bitcoin_usd_days30_2021.json"
    with time_machine.travel(datetime.now(UTC), tick=False):
        now = datetime.now(UTC)
        with coingecko(chart_answers(name)) as (provider, site):
            days = provider.candles(BITCOIN, Window(now - timedelta(days=20), now), Resolution.DAY)
        sent = moved_to_now(name)()

    assert len(site.asked) == 1
    assert len(days.candles) == 21
    for bar in days.candles:
        prices = [
            value
            for at, value in sorted(sent["prices"])
            if bar.timestamp <= at / 1000 < bar.timestamp + 86_400
        ]
        assert (bar.open, bar.high, bar.low, bar.close) == (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
        )


def test_a_search_finds_the_recorded_coins_in_their_order() -> None:
    rows = content("coingecko/search_bitcoin_2024.json")["coins"]
    with coingecko(always("coingecko/search_bitcoin_2024.json")) as (provider, site):
        found = provider.lookup("bitcoin")

    assert site.asked[0].params == {"query": "bitcoin"}
    assert [(one.upstream_id, one.ticker, one.name, one.market_cap_rank) for one in found] == [
        (row["id"], row["symbol"], row["name"], row["market_cap_rank"]) for row in rows
    ]


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("coingecko/error_401_10012_days_max_keyless_2024.json", 401, PlanRestrictedError),
        ("coingecko/error_404_coin_not_found_2026.json", 404, UpstreamNotFoundError),
        ("coingecko/error_422_missing_ids.json", 422, UpstreamError),
        ("coingecko/error_429_keyless_2022.json", 429, UpstreamRateLimitedError),
    ],
)
def test_each_recorded_refusal_of_coingecko_is_told_apart(
    name: str, status: int, error: type[PricesError]
) -> None:
    now = datetime.now(UTC)
    with (
        coingecko(always(name, status), plan="pro") as (provider, _),
        pytest.raises(PricesError) as caught,
    ):
        provider.history(BITCOIN, Window(None, now), 86_400)

    assert type(caught.value) is error
    assert "http" not in str(caught.value).replace("HTTP 422", "")


def test_the_recorded_rate_limit_says_how_long_to_wait() -> None:
    answers = always("coingecko/error_429_keyless_2022.json", 429, **{"Retry-After": "119"})
    with coingecko(answers) as (provider, _), pytest.raises(UpstreamRateLimitedError) as caught:
        provider.quotes([BITCOIN])

    assert caught.value.retry_after_s == 119


# Finnhub


def test_a_recorded_quote_has_the_time_of_its_session_end() -> None:
    with (
        time_machine.travel(datetime(2026, 5, 23, 12, tzinfo=UTC), tick=False),
        finnhub(always("finnhub/quote_aapl_2026.json")) as (provider, site),
    ):
        quote = provider.quotes([AAPL]).found["stock:AAPL"]

    assert (site.asked[0].params, site.asked[0].headers["x-finnhub-token"]) == (
        {"symbol": "AAPL"},
        "key",
    )
    assert (quote.price, quote.change, quote.change_percent) == (308.82, 3.83, 1.2558)
    assert (quote.high, quote.low) == (311.4, 305.84)
    assert (quote.volume, quote.market_cap) == (None, None)
    assert quote.as_of == datetime(2026, 5, 22, 20, 0, tzinfo=UTC)


def test_recorded_zeros_are_no_price_and_no_stock() -> None:
    with finnhub(always("finnhub/quote_unknown_symbol_zeros_2026.json")) as (provider, _):
        quotes = provider.quotes([AAPL])
        found = provider.lookup("NOPE")

    assert (quotes.found, quotes.failed, found) == ({}, {}, [])


def test_the_recorded_refusal_of_candles_names_the_plan() -> None:
    now = datetime.now(UTC)
    answers = always("finnhub/error_403_stock_candle_free_key_2026.json", 403)
    with finnhub(answers) as (provider, _), pytest.raises(PlanRestrictedError) as caught:
        provider.candles(AAPL, Window(now - timedelta(days=30), now), Resolution.DAY)

    assert caught.value.extra["allowed_by"] == "a Finnhub plan with stock candles"


def test_the_recorded_limit_of_finnhub_without_a_time_is_a_minute() -> None:
    with (
        finnhub(always("finnhub/error_429_limit_reached.json", 429)) as (provider, _),
        pytest.raises(UpstreamRateLimitedError) as caught,
    ):
        provider.quotes([AAPL])

    assert caught.value.retry_after_s == 60


def test_the_recorded_profile_names_the_stock() -> None:
    def answers(asked: Asked) -> Reply:
        name = "quote_aapl_2026" if asked.path.endswith("/quote") else "stock_profile2_aapl_2026"
        return Reply(200, body(f"finnhub/{name}.json"))

    with (
        time_machine.travel(datetime(2026, 5, 23, 12, tzinfo=UTC), tick=False),
        finnhub(answers) as (provider, _),
    ):
        found = provider.lookup("aapl")

    assert [(one.upstream_id, one.ticker, one.name, one.exchange) for one in found] == [
        ("AAPL", "AAPL", "Apple Inc", "NASDAQ")
    ]


def test_the_recorded_symbols_are_read_through_the_redirect_without_our_key() -> None:
    rows = content("finnhub/stock_symbol_us_trimmed_2026.json")

    def answers(asked: Asked) -> Reply:
        if asked.path.endswith("/stock/symbol"):
            return Reply(302, b"<html>", {"Location": "/files/us.json?signature=a%2Fb"})
        return Reply(200, body("finnhub/stock_symbol_us_trimmed_2026.json"))

    with finnhub(answers) as (provider, site):
        listings = provider.listings()

    kept = [row for row in rows if row["type"] in {"Common Stock", "ETP", "ADR", "REIT"}]
    assert [(one.upstream_id, one.ticker, one.name) for one in listings] == [
        (row["symbol"], row["displaySymbol"], row["description"]) for row in kept
    ]
    assert {one.exchange for one in listings if one.ticker in {"RSHO", "GDXD"}} == {"NYSE Arca"}
    assert [(asked.path, "x-finnhub-token" in asked.headers) for asked in site.asked] == [
        ("/api/v1/stock/symbol", True),
        ("/files/us.json", False),
    ]
    assert site.asked[1].params == {"signature": "a/b"}


def test_bars_in_the_documented_form_are_read_column_by_column() -> None:
    example = content("finnhub/forex_candle_ok_doc_example.json")
    last = datetime.fromtimestamp(example["t"][-1], UTC)
    window = Window(last - timedelta(days=30), last + timedelta(days=1))
    with finnhub(always("finnhub/forex_candle_ok_doc_example.json")) as (provider, _):
        days = provider.candles(AAPL, window, Resolution.DAY)

    # Currencies trade on days on which New York does not; their stamps are of the evening before.
    assert {(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in days.candles} <= set(
        zip(example["o"], example["h"], example["l"], example["c"], example["v"], strict=True)
    )
    assert len(days.candles) >= 15
