from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
)
from prices.providers.coingecko import CoinGecko, is_derivative
from prices.types import (
    AssetKind,
    Candle,
    Instrument,
    Listing,
    Origin,
    Point,
    Quote,
    Resolution,
    TruncatedBy,
    Window,
)

NOW = datetime(2025, 10, 6, 12, 20, tzinfo=UTC)  # a Monday
NOW_S = int(NOW.timestamp())
DAY_S = 86_400
BITCOIN = Instrument("coingecko:bitcoin", AssetKind.CRYPTO, "bitcoin")
DOGE = Instrument("coingecko:dogecoin", AssetKind.CRYPTO, "dogecoin")

MARKETS = "/coins/markets"
CHART = "/coins/bitcoin/market_chart"
RANGE = "/coins/bitcoin/market_chart/range"
OHLC = "/coins/bitcoin/ohlc"

Route = Any | Callable[[Mapping[str, str]], Any]


class Site:
    """A far end of fixed or made answers by path, and what it was asked."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.routes[request.url.path.removeprefix("/api/v3")]
        if callable(reply):
            reply = reply(dict(request.url.params))
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return reply
        return httpx.Response(200, content=json.dumps(reply).encode())

    @property
    def params(self) -> list[dict[str, str]]:
        return [dict(request.url.params) for request in self.asked]


def coingecko(site: Site | Mapping[str, Route], *, plan: str = "demo", key: str = "") -> CoinGecko:
    site = site if isinstance(site, Site) else Site(site)
    return CoinGecko(
        base_url="https://api.example/api/v3",
        api_key=key,
        plan=plan,
        transport=httpx.MockTransport(site),
    )


def row(coin_id: str = "bitcoin", **fields: Any) -> dict[str, Any]:
    return {
        "id": coin_id,
        "symbol": "btc",
        "name": "Bitcoin",
        "current_price": 67234.5,
        "last_updated": "2025-10-06T12:19:30.000Z",
    } | fields


def window(**back: float) -> Window:
    return Window(NOW - timedelta(**back), NOW)


@pytest.fixture(autouse=True)
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


# Quotes


def test_a_quote_has_what_the_source_says_and_its_time() -> None:
    site = Site(
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
    site = Site({MARKETS: lambda params: [row(one) for one in params["ids"].split(",")]})

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
    site = Site({MARKETS: lambda params: [row(one) for one in params["ids"].split(",")]})

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
    site = Site({MARKETS: []})

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
    site = Site({})

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
    site = Site({CHART: {"prices": []}})

    coingecko(site).history(BITCOIN, window(days=days), step_s)

    assert site.params[0]["days"] == asked
    assert "interval" not in site.params[0]


@pytest.mark.parametrize("start", [NOW - timedelta(days=1825), None], ids=["5y", "all"])
def test_a_free_plan_reaches_365_days_and_says_so(start: datetime | None) -> None:
    prices = [[(NOW_S - n * DAY_S) * 1000, 5.0] for n in range(366)]
    site = Site({CHART: {"prices": prices}})

    points = coingecko(site).history(BITCOIN, Window(start, NOW), DAY_S)

    assert site.params[0]["days"] == "365"
    assert points.truncated_by is TruncatedBy.PLAN
    assert points.points[0].timestamp >= NOW_S - 365 * DAY_S


def test_period_all_works_on_a_plan_that_gives_it() -> None:
    prices = [[(NOW_S - n * DAY_S) * 1000, 5.0] for n in range(3000)]
    site = Site({CHART: {"prices": prices}})

    points = coingecko(site, plan="pro").history(BITCOIN, Window(None, NOW), DAY_S)

    assert site.params[0]["days"] == "max"
    assert (len(points.points), points.truncated_by) == (3000, None)


def test_a_coin_younger_than_the_period_is_truncated_by_its_listing() -> None:
    prices = [[(NOW_S - n * DAY_S) * 1000, 5.0] for n in range(40)]
    provider = coingecko({CHART: {"prices": prices}})

    assert provider.history(BITCOIN, window(days=180), DAY_S).truncated_by is TruncatedBy.LISTING
    assert provider.history(BITCOIN, window(days=1825), DAY_S).truncated_by is TruncatedBy.LISTING
    assert provider.history(BITCOIN, Window(None, NOW), DAY_S).truncated_by is None


# Candles


def test_own_bars_bear_the_time_of_their_opening() -> None:
    four = 4 * 3600
    noon = int(datetime(2025, 10, 6, 12, tzinfo=UTC).timestamp())
    rows = [
        [(noon - four) * 1000, 1, 3, 0.5, 2],
        [noon * 1000, 2, 2, 2, 2],
        [(noon + four) * 1000, 2, 4, 1, 3],
    ]
    site = Site({OHLC: rows})

    candles = coingecko(site).candles(BITCOIN, window(days=5), Resolution.H4)

    assert site.params[0]["days"] == "7"
    assert candles.candles == [
        Candle(noon - 2 * four, 1.0, 3.0, 0.5, 2.0, None, True),
        Candle(noon - four, 2.0, 2.0, 2.0, 2.0, None, True),
        Candle(noon, 2.0, 4.0, 1.0, 3.0, None, False),
    ]
    assert (candles.origin, candles.dropped) == (Origin.PROVIDER, 0)


def test_bars_that_contradict_themselves_are_dropped_and_counted() -> None:
    half = 1800
    end = NOW_S - NOW_S % half
    good = [end * 1000, 2, 3, 1, 2]
    bad = [
        [(end - half) * 1000, 2, 1.9, 1, 2],
        [(end - 2 * half) * 1000, 2, 3, 2.1, 2],
        [(end - 3 * half) * 1000, 2, None, 1, 2],
        [(end - 4 * half) * 1000, 2, 3],
        [(end + 9 * half) * 1000, 2, 3, 1, 2],
    ]

    candles = coingecko({OHLC: [*bad, good]}).candles(BITCOIN, window(days=1), Resolution.M30)

    assert (len(candles.candles), candles.dropped) == (1, 5)


@pytest.mark.parametrize("body", [{}, [[]], [[1, 2, 3, 4, "5"]], "x", [None]])
def test_bars_of_another_shape_are_malformed(body: Any) -> None:
    with pytest.raises(UpstreamMalformedError):
        coingecko({OHLC: body}).candles(BITCOIN, window(days=1), Resolution.M30)


@pytest.mark.parametrize(
    ("start", "widths"),
    [
        (NOW - timedelta(days=1), "30 240 D W M"),
        (NOW - timedelta(days=7), "240 D W M"),
        (NOW - timedelta(days=30), "240 D W M"),
        (NOW - timedelta(days=90), "D W M"),
        (None, "D W M"),
    ],
)
def test_widths_that_can_be_had_exactly(start: datetime | None, widths: str) -> None:
    assert " ".join(coingecko({}).resolutions(Window(start, NOW))) == widths


def test_four_day_bars_are_never_used() -> None:
    site = Site({})

    with pytest.raises(ResolutionUnavailableError) as caught:
        coingecko(site).candles(BITCOIN, window(days=90), Resolution.H4)

    assert caught.value.extra["available"] == ["D", "W", "M"]
    assert site.asked == []


def ranged(first: int) -> Callable[[Mapping[str, str]], Any]:
    """/market_chart/range of a coin listed at `first`: the price is the hour of the day, plus 1."""

    def answer(params: Mapping[str, str]) -> Any:
        start, end = int(params["from"]), int(params["to"])
        assert end - start <= 90 * DAY_S
        stamps = range(max(start, first) // 3600 * 3600, end + 1, 3600)
        return {
            "prices": [
                [at * 1000 + 500, at % DAY_S // 3600 + 1]
                for at in stamps
                if at >= max(start, first)
            ]
        }

    return answer


MIDNIGHT = NOW_S - NOW_S % DAY_S


def test_daily_bars_are_made_of_hourly_points() -> None:
    site = Site({RANGE: ranged(0)})

    candles = coingecko(site).candles(BITCOIN, window(days=2), Resolution.DAY)

    assert candles.candles == [
        Candle(MIDNIGHT - 2 * DAY_S, 1.0, 24.0, 1.0, 24.0, None, True),
        Candle(MIDNIGHT - DAY_S, 1.0, 24.0, 1.0, 24.0, None, True),
        Candle(MIDNIGHT, 1.0, 13.0, 1.0, 13.0, None, False),
    ]
    assert (candles.origin, candles.truncated_by, len(site.asked)) == (Origin.DERIVED, None, 1)


def test_a_day_of_few_points_is_left_out() -> None:
    def sparse(params: Mapping[str, str]) -> Any:
        full = ranged(0)(params)["prices"]
        gap = (MIDNIGHT - DAY_S) * 1000
        return {"prices": [p for p in full if not gap + 36e6 <= p[0] < gap + DAY_S * 1000]}

    candles = coingecko({RANGE: sparse}).candles(BITCOIN, window(days=2), Resolution.DAY)

    assert [bar.timestamp for bar in candles.candles] == [MIDNIGHT - 2 * DAY_S, MIDNIGHT]


def test_known_days_are_not_asked_again_but_for_the_last() -> None:
    site = Site({RANGE: ranged(0)})
    provider = coingecko(site)
    first = provider.candles(BITCOIN, window(days=300), Resolution.DAY)
    closed = [bar for bar in first.candles if bar.closed]
    asked_first = len(site.asked)

    again = provider.candles(BITCOIN, window(days=300), Resolution.DAY, known=closed)

    assert (asked_first, len(site.asked) - asked_first) == (4, 1)
    assert site.params[-1]["from"] == str(MIDNIGHT - DAY_S)
    assert again == first


def test_older_days_than_the_known_ones_are_asked() -> None:
    site = Site({RANGE: ranged(0)})
    provider = coingecko(site)
    known = provider.candles(BITCOIN, window(days=30), Resolution.DAY).candles
    site.asked.clear()

    longer = provider.candles(BITCOIN, window(days=100), Resolution.DAY, known=known)

    assert len(longer.candles) == 101
    assert [int(params["to"]) for params in site.params] == [NOW_S, known[0].timestamp - 1]


def test_bars_of_a_free_plan_begin_with_the_first_whole_day() -> None:
    site = Site({RANGE: ranged(0)})

    year = coingecko(site).candles(BITCOIN, window(days=365), Resolution.DAY)
    longer = coingecko(site).candles(BITCOIN, window(days=1825), Resolution.DAY)

    assert year.candles[0].timestamp == MIDNIGHT - 364 * DAY_S
    assert min(int(params["from"]) for params in site.params) > NOW_S - 365 * DAY_S
    assert (year.truncated_by, longer.truncated_by) == (None, TruncatedBy.PLAN)
    assert longer.candles == year.candles


def test_a_young_coin_is_asked_no_further_than_its_first_day() -> None:
    site = Site({RANGE: ranged(MIDNIGHT - 100 * DAY_S)})

    candles = coingecko(site, plan="pro").candles(BITCOIN, window(days=1825), Resolution.DAY)

    assert (len(candles.candles), candles.truncated_by) == (101, TruncatedBy.LISTING)
    assert len(site.asked) == 2


def test_a_request_makes_at_most_24_calls_and_says_where_it_stopped() -> None:
    site = Site({RANGE: ranged(0)})

    candles = coingecko(site, plan="pro").candles(BITCOIN, Window(None, NOW), Resolution.DAY)

    assert len(site.asked) == 24
    assert candles.truncated_by is TruncatedBy.LIMIT
    assert candles.candles[0].timestamp == MIDNIGHT - (24 * 90 - 1) * DAY_S


def test_yesterday_is_open_until_its_last_points_have_come() -> None:
    just_after = datetime(2025, 10, 6, 0, 20, tzinfo=UTC)
    site = Site({RANGE: ranged(0)})
    no_today = {
        RANGE: lambda params: {
            "prices": [p for p in ranged(0)(params)["prices"] if p[0] < MIDNIGHT * 1000]
        }
    }

    with time_machine.travel(just_after, tick=False):
        span = Window(just_after - timedelta(days=2), just_after)
        late = coingecko(no_today).candles(BITCOIN, span, Resolution.DAY)
        usual = coingecko(site).candles(BITCOIN, span, Resolution.DAY)

    assert [bar.closed for bar in late.candles] == [True, False]
    assert [bar.closed for bar in usual.candles][-2:] == [True, False]


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    provider = coingecko({RANGE: ranged(0)}, plan="pro")

    weeks = provider.candles(BITCOIN, window(days=30), Resolution.WEEK)
    months = provider.candles(BITCOIN, window(days=90), Resolution.MONTH)

    assert [
        datetime.fromtimestamp(bar.timestamp, UTC).date().isoformat() for bar in weeks.candles
    ] == [
        "2025-09-01",
        "2025-09-08",
        "2025-09-15",
        "2025-09-22",
        "2025-09-29",
        "2025-10-06",
    ]
    assert [
        datetime.fromtimestamp(bar.timestamp, UTC).date().isoformat() for bar in months.candles
    ] == ["2025-07-01", "2025-08-01", "2025-09-01", "2025-10-01"]
    assert [bar.closed for bar in months.candles] == [True, True, True, False]
    assert all(bar.volume is None for bar in weeks.candles)


def test_a_week_that_the_plan_cuts_in_two_is_left_out() -> None:
    provider = coingecko({RANGE: ranged(0)})

    weeks = provider.candles(BITCOIN, window(days=1825), Resolution.WEEK)

    assert datetime.fromtimestamp(weeks.candles[0].timestamp, UTC).isoformat()[:10] == "2024-10-07"
    assert weeks.truncated_by is TruncatedBy.PLAN


# Lists and catalogue


def test_the_top_list_is_cut_and_free_of_doubles() -> None:
    def page(params: Mapping[str, str]) -> Any:
        first = (int(params["page"]) - 1) * 250
        return [row(f"c{max(0, n - (n == 250))}") for n in range(first, first + 250)]

    site = Site({MARKETS: page})

    coins = coingecko(site).top(300)

    assert [params["page"] for params in site.params] == ["1", "2"]
    assert len(coins) == 300
    assert len({coin.id for coin in coins}) == 300


def test_a_short_page_is_the_last() -> None:
    site = Site({MARKETS: [row("a"), row("b")]})

    assert [coin.id for coin in coingecko(site).top(300)] == ["a", "b"]
    assert len(site.asked) == 1


def test_a_coin_keeps_null_for_what_is_not_known() -> None:
    body = [
        row(
            "old",
            current_price=None,
            market_cap=0,
            market_cap_rank=None,
            max_supply=None,
            circulating_supply=0.0,
            image="http://assets.coingecko.com/x.png",
            ath_date="never",
        ),
        row("x", name=None),
    ]

    coins = coingecko({MARKETS: body}).coins(["old", "x"])

    assert [coin.id for coin in coins] == ["old"]
    assert coins[0].current_price is None
    assert coins[0].market_cap is None
    assert coins[0].circulating_supply is None
    assert coins[0].image is None
    assert coins[0].ath_date is None


@pytest.mark.parametrize(
    ("image", "kept"),
    [
        ("https://assets.coingecko.com/coins/images/1/large/bitcoin.png?1", True),
        ("https://coin-images.coingecko.com/coins/images/1.png", True),
        ("https://elsewhere.example/1.png", False),
        ("https://assets.coingecko.com.evil.example/1.png", False),
        ("javascript:alert(1)", False),
        ("https://[", False),
        (7, False),
    ],
)
def test_only_pictures_of_the_source_itself_are_passed_on(image: Any, kept: bool) -> None:
    coins = coingecko({MARKETS: [row(image=image)]}).coins(["bitcoin"])

    assert coins[0].image == (image if kept else None)


def test_the_catalogue_keeps_odd_tickers_and_skips_rows_without_a_name() -> None:
    rows = [
        {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"},
        {"id": "wrapped-bitcoin", "symbol": "wbtc", "name": "Wrapped Bitcoin"},
        {"id": "nameless", "symbol": "x", "name": ""},
        {"id": "", "symbol": "x", "name": "No id"},
        {"id": "japanese", "symbol": "柴犬", "name": "Shiba"},
        {"id": "empty", "symbol": "", "name": "Empty"},
    ]

    listings = coingecko({"/coins/list": rows}).listings()

    assert listings == [
        Listing(AssetKind.CRYPTO, "bitcoin", "btc", "Bitcoin"),
        Listing(AssetKind.CRYPTO, "wrapped-bitcoin", "wbtc", "Wrapped Bitcoin", is_derivative=True),
        Listing(AssetKind.CRYPTO, "japanese", "柴犬", "Shiba"),
        Listing(AssetKind.CRYPTO, "empty", "", "Empty"),
    ]


@pytest.mark.parametrize("body", [[], {}, None, [{"id": 1}], ["bitcoin"]])
def test_an_empty_or_unreadable_catalogue_is_malformed(body: Any) -> None:
    with pytest.raises(UpstreamMalformedError):
        coingecko({"/coins/list": body}).listings()


def test_a_search_finds_ids_with_their_ranks() -> None:
    coins = [
        {"id": "dogecoin", "name": "Dogecoin", "symbol": "DOGE", "market_cap_rank": 9},
        {"id": "dog", "name": "Dog", "symbol": "DOGE", "market_cap_rank": None},
    ]
    site = Site({"/search": {"coins": coins}})

    found = coingecko(site).lookup("doge & co")

    assert [(one.upstream_id, one.market_cap_rank) for one in found] == [
        ("dogecoin", 9),
        ("dog", None),
    ]
    assert site.params == [{"query": "doge & co"}]


def test_a_search_without_hits_is_an_empty_list() -> None:
    assert coingecko({"/search": {"coins": []}}).lookup("zzz") == []


@pytest.mark.parametrize(
    ("coin_id", "name", "expected"),
    [
        ("bitcoin", "Bitcoin", False),
        ("wrapped-bitcoin", "Wrapped Bitcoin", True),
        ("coinbase-wrapped-btc", "Coinbase Wrapped BTC", True),
        ("bridged-usdc-polygon-pos-bridge", "Bridged USDC (Polygon PoS Bridge)", True),
        ("binance-peg-dogecoin", "Binance-Peg Dogecoin", True),
        ("apple-xstock", "Apple xStock", True),
        ("apple-ondo-tokenized-stock", "Apple (Ondo Tokenized Stock)", True),
        ("dinari-aapl-dshares", "Dinari AAPL", True),
        ("staked-ether", "Lido Staked Ether", True),
        ("sol-wormhole", "SOL (Wormhole)", True),
        ("wormhole", "Wormhole", False),
        ("ondo-finance", "Ondo", False),
        ("pepe", "Pepe", False),
        ("tokenize-xchange", "Tokenize Xchange", False),
        ("barnbridge", "BarnBridge", False),
        ("rootstock", "Rootstock RSK", False),
    ],
)
def test_what_stands_for_another_asset_is_recognised(
    coin_id: str, name: str, expected: bool
) -> None:
    assert is_derivative(coin_id, name) is expected
