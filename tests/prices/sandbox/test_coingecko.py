from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.prices.sandbox.conftest import TRADING

DAY_S = 86_400
MARKET_FIELDS = (
    "id symbol name image current_price market_cap market_cap_rank fully_diluted_valuation"
    " total_volume high_24h low_24h price_change_24h price_change_percentage_24h"
    " market_cap_change_24h market_cap_change_percentage_24h circulating_supply total_supply"
    " max_supply ath ath_change_percentage ath_date atl atl_change_percentage atl_date roi"
    " last_updated"
)


def get(client: httpx.Client, path: str, **query: Any) -> Any:
    response = client.get(path, params={name.rstrip("_"): value for name, value in query.items()})
    assert response.status_code == 200, response.text
    return response.json()


def markets(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    rows = get(client, "coins/markets", vs_currency="usd", **query)
    assert isinstance(rows, list)
    return rows


def freeze(market: httpx.Client) -> None:
    """Stop the market, so that answers of different seconds can be compared."""
    market.post("/_sandbox/faults", json={"kind": "frozen"}).raise_for_status()


def test_ping_is_answered_as_ever(gecko: httpx.Client) -> None:
    assert get(gecko, "ping") == {"gecko_says": "(V3) To the Moon!"}


def test_a_market_row_has_every_field_of_the_source(gecko: httpx.Client) -> None:
    for row in markets(gecko, per_page=250):
        assert list(row) == MARKET_FIELDS.split()


def test_three_hundred_coins_are_two_pages_in_order_of_market_cap(gecko: httpx.Client) -> None:
    first, second = (markets(gecko, per_page=250, page=page) for page in (1, 2))
    assert len(first) == 250
    assert len(second) >= 50
    ranked = [row for row in first + second if row["market_cap_rank"] is not None]
    assert [row["market_cap_rank"] for row in ranked] == list(range(1, len(ranked) + 1))
    assert [row["id"] for row in ranked[:2]] == ["bitcoin", "ethereum"]
    assert len(ranked) >= 300


def test_ids_do_not_lift_the_page_size(gecko: httpx.Client) -> None:
    ids = ",".join(row["id"] for row in markets(gecko, per_page=250))
    assert len(markets(gecko, ids=ids)) == 100
    assert len(markets(gecko, ids="bitcoin,ethereum", per_page=1)) == 1
    assert markets(gecko, ids="bitcoin,ethereum", per_page=1, page=2)[0]["id"] == "ethereum"


def test_more_than_250_rows_a_page_are_not_given(gecko: httpx.Client) -> None:
    assert len(markets(gecko, per_page=1000)) == 250


def test_the_market_price_is_the_last_point_of_the_chart(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    freeze(market)
    (row,) = markets(gecko, ids="ethereum")
    chart = get(gecko, "coins/ethereum/market_chart", vs_currency="usd", days=1)
    stamp, price = max(chart["prices"])
    assert row["current_price"] == pytest.approx(price, rel=1e-5)
    seen = datetime.fromisoformat(row["last_updated"]).timestamp()
    assert stamp == seen * 1000
    simple = get(gecko, "simple/price", ids="ethereum", vs_currencies="usd", precision="full")
    assert simple["ethereum"]["usd"] == price


def test_the_days_high_and_low_hold_every_point_of_the_day(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    freeze(market)
    (row,) = markets(gecko, ids="solana")
    points = get(gecko, "coins/solana/market_chart", vs_currency="usd", days=1)["prices"]
    prices = [price for _, price in points]
    assert row["low_24h"] <= min(prices) * 1.0001
    assert row["high_24h"] >= max(prices) * 0.9999
    change = row["current_price"] - row["price_change_24h"]
    assert sorted(points)[0][1] == pytest.approx(change, rel=0.01)


@pytest.mark.parametrize(
    ("days", "count", "step_s"),
    [(1, 288, 300), (7, 168, 3600), (30, 720, 3600), (90, 2160, 3600), (91, 91, 86_400)],
)
def test_a_chart_is_as_fine_as_its_span_allows(
    gecko: httpx.Client, days: int, count: int, step_s: int
) -> None:
    chart = get(gecko, "coins/bitcoin/market_chart", vs_currency="usd", days=days)
    stamps = sorted({stamp for stamp, _ in chart["prices"]})
    assert count - 3 <= len(stamps) <= count + 3
    assert abs((stamps[-2] - stamps[1]) / (len(stamps) - 3) / 1000 / step_s - 1) < 0.02
    assert {len(points) for points in chart.values()} == {len(chart["prices"])}
    assert list(chart) == ["prices", "market_caps", "total_volumes"]


def test_chart_points_lie_off_the_grid_and_daily_ones_on_midnight(gecko: httpx.Client) -> None:
    hourly = get(gecko, "coins/bitcoin/market_chart", vs_currency="usd", days=30)["prices"]
    steps = {b[0] - a[0] for a, b in pairwise(hourly)}
    assert len(steps) > 100
    assert max(steps) > 1.2 * 3_600_000
    daily = get(gecko, "coins/bitcoin/market_chart", vs_currency="usd", days=365)["prices"]
    stamps = sorted({stamp for stamp, _ in daily})
    assert all(stamp % (DAY_S * 1000) == 0 for stamp in stamps[:-1])
    assert abs(stamps[-1] / 1000 - TRADING) < 60


def test_now_and_then_a_chart_ends_out_of_order_or_twice(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    seen = set()
    for minute in range(7):
        market.post("/_sandbox/clock", json={"now": TRADING + 60 * minute + 5})
        points = get(gecko, "coins/bitcoin/market_chart", vs_currency="usd", days=1)["prices"]
        seen.add(
            "swapped"
            if points[-2][0] > points[-1][0]
            else "told twice"
            if points[-2] == points[-1]
            else "in order"
        )
    assert seen == {"swapped", "told twice", "in order"}


def test_neighbouring_windows_tell_the_same_points(gecko: httpx.Client) -> None:
    end = int(TRADING) - 200 * DAY_S
    whole, half = (
        get(gecko, "coins/bitcoin/market_chart/range", vs_currency="usd", from_=end - span, to=end)
        for span in (60 * DAY_S, 30 * DAY_S)
    )
    assert whole["prices"][-len(half["prices"]) :] == half["prices"]
    assert whole["prices"][-1][0] <= end * 1000


@pytest.mark.parametrize(
    ("days", "ends_ago_days", "step_s"),
    [(1, 0, 300), (1, 10, 3600), (90, 400, 3600), (91, 400, 86_400)],
)
def test_a_range_is_as_fine_as_its_span_and_age_allow(
    gecko: httpx.Client, days: int, ends_ago_days: int, step_s: int
) -> None:
    end = int(TRADING) + 30 - ends_ago_days * DAY_S
    query = {"vs_currency": "usd", "from_": end - days * DAY_S, "to": end}
    stamps = [s for s, _ in get(gecko, "coins/ripple/market_chart/range", **query)["prices"]]
    assert (max(stamps) - min(stamps)) / (len(stamps) - 1) / 1000 == pytest.approx(step_s, rel=0.1)


def test_history_begins_with_the_listing(gecko: httpx.Client) -> None:
    young = get(gecko, "coins/sandbox-newcomer/market_chart", vs_currency="usd", days="max")
    listed = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    assert abs(young["prices"][0][0] / 1000 - listed) <= DAY_S
    query = {"vs_currency": "usd", "from_": 0, "to": int(TRADING)}
    old = get(gecko, "coins/bitcoin/market_chart/range", **query)["prices"]
    assert datetime.fromtimestamp(old[0][0] / 1000, UTC).year == 2013
    assert len(old) > 4800


@pytest.mark.parametrize(
    ("days", "rows", "step_s"),
    [("1", 49, 1800), ("7", 42, 14_400), ("30", 180, 14_400), ("365", 92, 345_600)],
)
def test_candles_are_stamped_with_their_close_and_the_last_with_the_future(
    gecko: httpx.Client, days: str, rows: int, step_s: int
) -> None:
    candles = get(gecko, "coins/bitcoin/ohlc", vs_currency="usd", days=days)
    assert abs(len(candles) - rows) <= 1
    assert all(stamp % (step_s * 1000) == 0 for stamp, *_ in candles)
    assert candles[-1][0] / 1000 >= TRADING
    for _, opened, high, low, closed in candles:
        assert low <= min(opened, closed) <= max(opened, closed) <= high


def test_a_candle_is_the_extremes_of_the_points_within_it(gecko: httpx.Client) -> None:
    candles = get(gecko, "coins/bitcoin/ohlc", vs_currency="usd", days="1")
    points = get(gecko, "coins/bitcoin/market_chart", vs_currency="usd", days=1)["prices"]
    for close_ms, opened, high, low, closed in candles[1:-1]:
        inside = [price for stamp, price in points if close_ms - 1_800_000 <= stamp <= close_ms]
        assert low * 0.9999 <= min(inside) <= max(inside) <= high * 1.0001
        assert inside[0] == pytest.approx(opened, rel=0.01)
        assert inside[-1] == pytest.approx(closed, rel=0.01)


def test_unknown_ids_and_currencies_are_left_out_in_silence(gecko: httpx.Client) -> None:
    answer = get(gecko, "simple/price", ids="nope,ethereum,bitcoin", vs_currencies="usd,zzz")
    assert list(answer) == ["bitcoin", "ethereum"]
    assert list(answer["bitcoin"]) == ["usd"]
    assert get(gecko, "simple/price", ids="bitcoin", vs_currencies="zzz") == {"bitcoin": {}}
    assert get(gecko, "simple/price", ids="nope", vs_currencies="usd") == {}
    assert list(get(gecko, "simple/price", ids="bitcoin, ethereum", vs_currencies="usd")) == [
        "bitcoin"
    ]


def test_numbers_are_whole_or_not_and_small_ones_have_an_exponent(gecko: httpx.Client) -> None:
    text = gecko.get(
        "simple/price", params={"ids": "bitcoin,dogelon-mars", "vs_currencies": "usd"}
    ).text
    answer = httpx.Response(200, text=text).json()
    assert isinstance(answer["bitcoin"]["usd"], int)
    assert "e-08" in text or "e-07" in text
    assert answer["dogelon-mars"]["usd"] < 1e-6


def test_coins_without_a_market_have_nothing_or_null(gecko: httpx.Client) -> None:
    answer = get(gecko, "simple/price", ids="01coin,abandoned-dollar", vs_currencies="usd")
    assert answer == {"01coin": {}, "abandoned-dollar": {"usd": None}}
    (row,) = markets(gecko, ids="abandoned-dollar")
    assert row["current_price"] is None
    assert row["last_updated"] is None


def test_a_coin_nobody_trades_keeps_its_old_time(gecko: httpx.Client) -> None:
    (row,) = markets(gecko, ids="stox")
    assert row["price_change_percentage_24h"] is None
    assert TRADING - datetime.fromisoformat(row["last_updated"]).timestamp() > DAY_S


def test_a_young_coin_has_no_change_over_a_year(gecko: httpx.Client) -> None:
    (row,) = markets(
        gecko, ids="sandbox-newcomer", price_change_percentage="7d,1y", sparkline="true"
    )
    assert row["price_change_percentage_1y_in_currency"] is None
    assert row["price_change_percentage_7d_in_currency"] is not None
    assert len(row["sparkline_in_7d"]["price"]) == 168


def test_one_ticker_is_borne_by_several_coins_and_the_list_has_odd_ones(
    gecko: httpx.Client,
) -> None:
    rows = get(gecko, "coins/list")
    symbols = [row["symbol"] for row in rows]
    for symbol in ("btc", "eth", "pepe", "doge", "stx", "usdt"):
        assert symbols.count(symbol) > 1
    assert "" in symbols
    assert any(not symbol.isascii() for symbol in symbols)
    assert {"stream", "aapl", "batch"} <= set(symbols)
    assert list(rows[0]) == ["id", "symbol", "name"]
    assert "platforms" in get(gecko, "coins/list", include_platform="true")[0]


def test_stacks_is_among_the_first_three_hundred_and_bridged_coins_have_no_rank(
    gecko: httpx.Client,
) -> None:
    (stacks,) = markets(gecko, ids="blockstack")
    (bridged,) = markets(gecko, ids="bridged-wrapped-ether-starkgate")
    assert stacks["symbol"] == "stx"
    assert stacks["market_cap_rank"] < 300
    assert bridged["symbol"] == "eth"
    assert bridged["market_cap_rank"] is None


def test_search_finds_coins_by_name_best_rank_first(gecko: httpx.Client) -> None:
    found = get(gecko, "search", query="doge")["coins"]
    assert found[0]["id"] == "dogecoin"
    assert found[0]["symbol"] == "DOGE"
    assert {"dogelon-mars", "baby-doge-coin"} <= {coin["id"] for coin in found}
    assert len(get(gecko, "search", query="a")["coins"]) == 25
    assert get(gecko, "search", query="zzzzzz")["coins"] == []


def test_trending_has_display_strings_and_global_has_sums(gecko: httpx.Client) -> None:
    item = get(gecko, "search/trending")["coins"][0]["item"]
    assert item["data"]["market_cap"].startswith("$")
    world = get(gecko, "global")["data"]
    assert len(world["total_market_cap"]) == 62
    assert world["market_cap_percentage"]["btc"] > 20
    assert len(get(gecko, "simple/supported_vs_currencies")) == 62


def test_a_coin_page_has_prices_in_every_currency(gecko: httpx.Client) -> None:
    page = get(gecko, "coins/bitcoin", localization="false", tickers="false")
    data = page["market_data"]
    assert data["current_price"]["usd"] > data["current_price"]["btc"]
    assert page["market_cap_rank"] == 1
    assert "market_data" not in get(gecko, "coins/bitcoin", market_data="false")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("coins/nope", 404, {"error": "coin not found"}),
        ("coins/nope/ohlc?vs_currency=usd&days=7", 404, {"error": "coin not found"}),
        ("simple/price", 422, {"error": "Missing parameter ids"}),
        ("simple/price?ids=bitcoin", 422, {"error": "Missing parameter vs_currencies"}),
        ("coins/markets", 422, {"error": "Missing parameter vs_currency"}),
        ("coins/bitcoin/market_chart?vs_currency=usd", 422, {"error": "Missing parameter days"}),
        ("coins/bitcoin/ohlc", 500, {"status": 500, "error": "Internal Server Error"}),
        (
            "nowhere",
            404,
            {"error": "Incorrect path. Please check https://www.coingecko.com/api/"},
        ),
    ],
)
def test_mistakes_are_answered_in_the_sources_words(
    gecko: httpx.Client, path: str, status: int, body: dict[str, Any]
) -> None:
    response = gecko.get(path)
    assert (response.status_code, response.json()) == (status, body)


def test_days_that_have_no_candles_are_refused(gecko: httpx.Client) -> None:
    response = gecko.get("coins/bitcoin/ohlc", params={"vs_currency": "usd", "days": "4"})
    assert response.status_code == 422


def test_a_key_that_calls_itself_invalid_is_unknown(gecko: httpx.Client) -> None:
    response = gecko.get("ping", headers={"x-cg-demo-api-key": "CG-invalid"})
    assert response.status_code == 401
    assert response.json()["status"]["error_code"] == 10002


def test_replies_bear_what_caches_in_front_put_on_them(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    freeze(market)
    response = gecko.get("coins/list")
    etag = response.headers["etag"]
    assert etag.startswith('W/"')
    assert "s-maxage=300" in response.headers["cache-control"]
    assert response.headers["cf-cache-status"] in ("HIT", "MISS")
    again = gecko.get("coins/list", headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")


def test_the_free_plan_reaches_back_a_year_and_no_further(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    market.post("/_sandbox/plan", json={"plan": "free"})
    usd: dict[str, Any] = {"vs_currency": "usd"}
    start = {"from": int(TRADING) - 400 * DAY_S, "to": int(TRADING)}
    refused = [
        gecko.get("coins/bitcoin/market_chart", params={**usd, "days": "max"}),
        gecko.get("coins/bitcoin/market_chart", params={**usd, "days": 366}),
        gecko.get("coins/bitcoin/market_chart/range", params={**usd, **start}),
        gecko.get("coins/bitcoin/ohlc", params={**usd, "days": "max"}),
    ]
    for response in refused:
        assert response.status_code == 401
        assert response.json()["error"]["status"]["error_code"] == 10012
    allowed = gecko.get("coins/bitcoin/market_chart", params={**usd, "days": 365})
    assert allowed.status_code == 200


def test_the_free_plan_keeps_what_is_paid_to_itself(
    market: httpx.Client, gecko: httpx.Client
) -> None:
    market.post("/_sandbox/plan", json={"plan": "free"})
    usd: dict[str, Any] = {"vs_currency": "usd", "days": 7}
    hourly = gecko.get("coins/bitcoin/market_chart", params={**usd, "interval": "hourly"})
    assert (hourly.status_code, hourly.json()["status"]["error_code"]) == (401, 10005)
    assert gecko.get("key").json()["status"]["error_code"] == 10005
    wrong_host = gecko.get("ping", headers={"x-cg-pro-api-key": "CG-any"})
    assert (wrong_host.status_code, wrong_host.json()["error_code"]) == (400, 10010)
