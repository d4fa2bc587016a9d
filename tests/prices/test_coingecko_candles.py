from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from prices.errors import (
    ResolutionUnavailableError,
    UpstreamMalformedError,
)
from prices.providers.bars import roll_up
from prices.types import (
    AssetKind,
    Candle,
    Candles,
    Origin,
    Resolution,
    TruncatedBy,
    Window,
)
from tests.prices.coingecko_site import (
    BITCOIN,
    DAY_S,
    NOW,
    NOW_S,
    OHLC,
    RANGE,
    coingecko,
    far_end,
    window,
)


@pytest.fixture(autouse=True)
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def test_own_bars_bear_the_time_of_their_opening() -> None:
    four = 4 * 3600
    noon = int(datetime(2025, 10, 6, 12, tzinfo=UTC).timestamp())
    rows = [
        [(noon - four) * 1000, 1, 3, 0.5, 2],
        [noon * 1000, 2, 2, 2, 2],
        [(noon + four) * 1000, 2, 4, 1, 3],
    ]
    site = far_end({OHLC: rows})

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
    site = far_end({})

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
    site = far_end({RANGE: ranged(0)})

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
    site = far_end({RANGE: ranged(0)})
    provider = coingecko(site)
    first = provider.candles(BITCOIN, window(days=300), Resolution.DAY)
    closed = [bar for bar in first.candles if bar.closed]
    asked_first = len(site.asked)

    again = provider.candles(BITCOIN, window(days=300), Resolution.DAY, known=closed)

    assert (asked_first, len(site.asked) - asked_first) == (4, 1)
    assert site.params[-1]["from"] == str(MIDNIGHT - DAY_S)
    assert again == first


def test_older_days_than_the_known_ones_are_asked() -> None:
    site = far_end({RANGE: ranged(0)})
    provider = coingecko(site)
    known = provider.candles(BITCOIN, window(days=30), Resolution.DAY).candles
    site.asked.clear()

    longer = provider.candles(BITCOIN, window(days=100), Resolution.DAY, known=known)

    assert len(longer.candles) == 101
    assert [int(params["to"]) for params in site.params] == [NOW_S, known[0].timestamp - 1]


def test_bars_of_a_free_plan_begin_with_the_first_whole_day() -> None:
    site = far_end({RANGE: ranged(0)})

    year = coingecko(site).candles(BITCOIN, window(days=365), Resolution.DAY)
    longer = coingecko(site).candles(BITCOIN, window(days=1825), Resolution.DAY)

    assert year.candles[0].timestamp == MIDNIGHT - 364 * DAY_S
    assert min(int(params["from"]) for params in site.params) > NOW_S - 365 * DAY_S
    assert (year.truncated_by, longer.truncated_by) == (None, TruncatedBy.PLAN)
    assert longer.candles == year.candles


def test_a_young_coin_is_asked_no_further_than_its_first_day() -> None:
    site = far_end({RANGE: ranged(MIDNIGHT - 100 * DAY_S)})

    candles = coingecko(site, plan="pro").candles(BITCOIN, window(days=1825), Resolution.DAY)

    assert (len(candles.candles), candles.truncated_by) == (101, TruncatedBy.LISTING)
    assert len(site.asked) == 2


def test_a_request_makes_at_most_24_calls_and_says_where_it_stopped() -> None:
    site = far_end({RANGE: ranged(0)})

    candles = coingecko(site, plan="pro").candles(BITCOIN, Window(None, NOW), Resolution.DAY)

    assert len(site.asked) == 24
    assert candles.truncated_by is TruncatedBy.LIMIT
    assert candles.candles[0].timestamp == MIDNIGHT - (24 * 90 - 1) * DAY_S


def test_yesterday_is_open_until_its_last_points_have_come() -> None:
    just_after = datetime(2025, 10, 6, 0, 20, tzinfo=UTC)
    site = far_end({RANGE: ranged(0)})
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


def test_months_whose_first_one_a_plan_withholds_say_so() -> None:
    first = datetime(2025, 1, 10, tzinfo=UTC)
    stamps = [int((first + timedelta(days=n)).timestamp()) for n in range(80)]
    days = [Candle(at, 1, 1, 1, 1, None, True) for at in stamps]
    series = Candles(days, Origin.PROVIDER, truncated_by=TruncatedBy.PLAN)
    span = Window(first, first + timedelta(days=80))

    months = roll_up(
        series, Resolution.MONTH, span, kind=AssetKind.CRYPTO, now=first + timedelta(days=90)
    )

    assert [datetime.fromtimestamp(bar.timestamp, UTC).month for bar in months.candles] == [2, 3]
    assert months.truncated_by is TruncatedBy.PLAN
