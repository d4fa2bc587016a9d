from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from prices.errors import (
    PlanRestrictedError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamMalformedError,
)
from prices.providers.finnhub import Finnhub
from prices.sessions import session_on
from prices.types import (
    Candle,
    Origin,
    Point,
    Resolution,
    TruncatedBy,
    Window,
)
from tests.prices.finnhub_site import (
    AAPL,
    CANDLE,
    DAY_S,
    NO_ACCESS,
    NOW,
    OPENS,
    TODAY,
    far_end,
    finnhub,
)
from tests.prices.sites import Site


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def bars(step_s: int, *, price: float = 100.0) -> Callable[[Mapping[str, str]], Any]:
    """/stock/candle around the clock; every bar is worth one share and one dollar more."""

    def answer(params: Mapping[str, str]) -> Any:
        first, last = int(params["from"]), int(params["to"])
        stamps = list(range(-(-first // step_s) * step_s, last + 1, step_s))
        if not stamps:
            return {"s": "no_data"}
        start = [price + at // step_s % 1000 for at in stamps]
        return {
            "t": stamps,
            "o": start,
            "h": [value + 2 for value in start],
            "l": [value - 1 for value in start],
            "c": [value + 1 for value in start],
            "v": [10] * len(stamps),
            "s": "ok",
        }

    return answer


def when(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%m-%d %H:%M")


def test_only_bars_of_the_regular_session_are_kept_and_the_last_is_open() -> None:
    site = far_end({CANDLE: bars(300)})
    window = Window(TODAY.start and TODAY.start - timedelta(hours=1), NOW)

    candles = finnhub(site).candles(AAPL, window, Resolution.M5)

    assert when(candles.candles[0].timestamp) == "10-08 13:30"
    assert when(candles.candles[-1].timestamp) == "10-08 15:10"
    assert len(candles.candles) == 21
    assert [bar.closed for bar in candles.candles[-2:]] == [True, False]
    assert candles.volume_basis == "bar_shares"
    assert (candles.origin, candles.dropped, candles.truncated_by) == (Origin.PROVIDER, 0, None)
    assert site.params[0]["resolution"] == "5"


def test_hours_count_from_the_start_of_the_session() -> None:
    yesterday = datetime(2025, 10, 7, 13, 30, tzinfo=UTC)
    site = far_end({CANDLE: bars(1800)})
    provider = finnhub(site)

    hours = provider.candles(AAPL, Window(yesterday, NOW), Resolution.H1)
    fours = provider.candles(AAPL, Window(yesterday, NOW), Resolution.H4)

    assert [when(bar.timestamp) for bar in hours.candles] == [
        *(f"10-07 {hour}:30" for hour in range(13, 20)),
        "10-08 13:30",
        "10-08 14:30",
    ]
    assert [when(bar.timestamp) for bar in fours.candles] == [
        "10-07 13:30",
        "10-07 17:30",
        "10-08 13:30",
    ]
    halves = bars(1800)({"from": str(OPENS - DAY_S), "to": str(OPENS - DAY_S + 1800)})
    assert hours.candles[0] == Candle(
        OPENS - DAY_S,
        halves["o"][0],
        max(halves["h"]),
        min(halves["l"]),
        halves["c"][1],
        20.0,
        True,
    )
    assert hours.candles[6].volume == 10.0, "the last hour of a session is half an hour"
    assert [bar.closed for bar in hours.candles[-2:]] == [True, False]
    assert hours.origin is Origin.DERIVED
    assert {params["resolution"] for params in site.params} == {"30"}


def test_a_half_day_ends_at_its_own_close() -> None:
    # The day after Thanksgiving: 09:30 to 13:00 in New York, winter time.
    opens = datetime(2025, 11, 28, 14, 30, tzinfo=UTC)
    with time_machine.travel(datetime(2025, 11, 29, 12, 0, tzinfo=UTC), tick=False):
        window = Window(opens, opens.replace(hour=18, minute=0))
        candles = finnhub({CANDLE: bars(1800)}).candles(AAPL, window, Resolution.H4)

    assert [(when(bar.timestamp), bar.closed) for bar in candles.candles] == [("11-28 14:30", True)]
    assert candles.candles[0].volume == 70.0


def test_a_month_of_intraday_bars_is_asked_a_call() -> None:
    site = far_end({CANDLE: bars(1800)})

    candles = finnhub(site).candles(AAPL, Window(NOW - timedelta(days=90), NOW), Resolution.M30)

    assert len(site.asked) == 4
    spans = [(int(params["from"]), int(params["to"])) for params in site.params]
    assert all(last - first < 30 * DAY_S for first, last in spans)
    assert [bar.timestamp for bar in candles.candles] == sorted(
        {bar.timestamp for bar in candles.candles}
    )


def test_intraday_bars_stop_at_the_limit_of_calls_and_say_so() -> None:
    site = far_end({CANDLE: bars(1800)})

    candles = finnhub(site).candles(AAPL, Window(NOW - timedelta(days=1825), NOW), Resolution.H4)

    assert len(site.asked) == 24
    assert candles.truncated_by is TruncatedBy.LIMIT


def daily(first: date) -> Callable[[Mapping[str, str]], Any]:
    """/stock/candle by day for a stock listed on `first`."""

    def answer(params: Mapping[str, str]) -> Any:
        days = []
        day = max(first, datetime.fromtimestamp(int(params["from"]), UTC).date())
        last = datetime.fromtimestamp(int(params["to"]), UTC).date()
        while day <= last:
            if session_on(day):
                days.append(day)
            day += timedelta(days=1)
        if not days:
            return {"s": "no_data"}
        stamps = [
            int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) for day in days
        ]
        return {
            "t": stamps,
            "o": [10] * len(days),
            "h": [12] * len(days),
            "l": [9] * len(days),
            "c": [11] * len(days),
            "v": [1000] * len(days),
            "s": "ok",
        }

    return answer


def spans(site: Site) -> list[tuple[str, str]]:
    """Return from when to when each call asked."""
    return [(when(int(one["from"])), when(int(one["to"]))) for one in site.params]


def test_known_days_are_asked_on_from_the_last_one() -> None:
    site = far_end({CANDLE: daily(date(1990, 1, 1))})
    window = Window(NOW - timedelta(days=365), NOW)
    whole = finnhub(site).candles(AAPL, window, Resolution.DAY)
    site.asked.clear()

    known = whole.candles[:-3]
    kept_on = finnhub(site).candles(AAPL, window, Resolution.DAY, known=known)

    assert kept_on == whole
    assert spans(site) == [("10-03 00:00", "10-08 15:10")]


def test_a_split_since_the_known_days_has_all_of_them_asked_anew() -> None:
    window = Window(NOW - timedelta(days=90), NOW)
    site = far_end({CANDLE: daily(date(1990, 1, 1))})
    whole = finnhub(site).candles(AAPL, window, Resolution.DAY)
    known = [replace(bar, close=4 * bar.close, high=4 * bar.high) for bar in whole.candles[:-1]]
    site.asked.clear()

    assert finnhub(site).candles(AAPL, window, Resolution.DAY, known=known) == whole
    assert spans(site) == [("10-07 00:00", "10-08 15:10"), ("07-10 00:00", "10-08 15:10")]


@pytest.mark.parametrize("width", [Resolution.M30, Resolution.H1, Resolution.H4])
def test_known_intraday_bars_are_asked_on_from_the_last_one_and_back_from_the_first(
    width: Resolution,
) -> None:
    site = far_end({CANDLE: bars(1800)})
    window = Window(NOW - timedelta(days=90), NOW)
    whole = finnhub(site).candles(AAPL, window, width)
    closed = [bar for bar in whole.candles if bar.closed]
    site.asked.clear()

    end_alone = finnhub(site).candles(AAPL, window, width, known=closed[:-1])
    calls = len(site.asked)
    both_ends = finnhub(site).candles(AAPL, window, width, known=closed[len(closed) // 2 : -1])

    assert end_alone == both_ends == whole
    assert calls == 1
    assert len(site.asked) - calls == 3
    assert int(site.params[0]["from"]) == closed[-2].timestamp


def test_known_intraday_bars_that_the_source_now_contradicts_are_not_kept_on() -> None:
    site = far_end({CANDLE: bars(1800)})
    window = Window(NOW - timedelta(days=90), NOW)
    whole = finnhub(site).candles(AAPL, window, Resolution.H1)
    known = [replace(bar, close=2 * bar.close) for bar in whole.candles if bar.closed]

    assert finnhub(site).candles(AAPL, window, Resolution.H1, known=known) == whole


def test_intraday_bars_beyond_the_limit_of_calls_come_with_the_next_request() -> None:
    site = far_end({CANDLE: bars(1800)})
    window = Window(NOW - timedelta(days=1825), NOW)
    first = finnhub(site).candles(AAPL, window, Resolution.H4)
    known = [bar for bar in first.candles if bar.closed]
    second = finnhub(site).candles(AAPL, window, Resolution.H4, known=known)

    assert len(site.asked) == 48
    assert second.truncated_by is TruncatedBy.LIMIT
    assert second.candles[-len(known) :] == first.candles[-len(known) :]
    assert first.candles[0].timestamp - second.candles[0].timestamp > 22 * 29 * DAY_S


def test_all_there_is_is_no_less_than_what_a_period_brought() -> None:
    site = far_end({CANDLE: bars(1800)})
    five_years = Window(NOW - timedelta(days=1825), NOW)
    first = finnhub(site).candles(AAPL, five_years, Resolution.H4)
    second = finnhub(site).candles(AAPL, five_years, Resolution.H4, known=first.candles[:-1])
    calls = len(site.asked)

    known = second.candles[:-1]
    whole = finnhub(site).candles(AAPL, Window(None, NOW), Resolution.H4, known=known)

    assert whole.candles == second.candles
    assert len(site.asked) == calls + 1


def test_what_came_before_a_call_failed_is_kept() -> None:
    served = iter([bars(1800), bars(1800)])

    def failing(params: Mapping[str, str]) -> Any:
        answer = next(served, None)
        return answer(params) if answer else httpx.Response(500, json={})

    with pytest.raises(UpstreamError) as caught:
        finnhub({CANDLE: failing}).candles(
            AAPL, Window(NOW - timedelta(days=90), NOW), Resolution.M30
        )

    got = caught.value.got
    assert (when(got[0].timestamp), when(got[-1].timestamp)) == ("08-11 13:30", "10-08 15:00")


def test_days_are_stamped_at_midnight_and_today_is_open_while_its_session_is_on() -> None:
    site = far_end({CANDLE: daily(date(1990, 1, 1))})
    window = Window(NOW - timedelta(days=7), NOW)

    candles = finnhub(site).candles(AAPL, window, Resolution.DAY)
    with time_machine.travel(NOW.replace(hour=20, minute=1), tick=False):
        evening = finnhub(site).candles(AAPL, window, Resolution.DAY)

    assert [when(bar.timestamp) for bar in candles.candles] == [
        "10-01 00:00",
        "10-02 00:00",
        "10-03 00:00",
        "10-06 00:00",
        "10-07 00:00",
        "10-08 00:00",
    ]
    assert [bar.closed for bar in candles.candles][-2:] == [True, False]
    assert evening.candles[-1].closed
    assert (candles.origin, candles.truncated_by) == (Origin.PROVIDER, None)


def test_weeks_and_months_are_stamped_as_days_are() -> None:
    provider = finnhub({CANDLE: daily(date(1990, 1, 1))})
    window = Window(NOW - timedelta(days=60), NOW)

    weeks = provider.candles(AAPL, window, Resolution.WEEK)
    months = provider.candles(AAPL, window, Resolution.MONTH)

    assert [when(bar.timestamp) for bar in weeks.candles][:2] == ["08-04 00:00", "08-11 00:00"]
    assert weeks.candles[-1] == Candle(
        int(datetime(2025, 10, 6, tzinfo=UTC).timestamp()), 10.0, 12.0, 9.0, 11.0, 3000.0, False
    )
    # Labour Day: four sessions, and the week begins on its Monday all the same.
    assert [bar.volume for bar in weeks.candles if when(bar.timestamp) == "09-01 00:00"] == [4000.0]
    assert [when(bar.timestamp) for bar in months.candles] == [
        "08-01 00:00",
        "09-01 00:00",
        "10-01 00:00",
    ]


def test_a_week_is_over_when_its_last_session_is() -> None:
    saturday = datetime(2025, 10, 11, 12, tzinfo=UTC)
    friday_close = datetime(2025, 10, 10, 20, tzinfo=UTC)
    with time_machine.travel(saturday, tick=False):
        weeks = finnhub({CANDLE: daily(date(1990, 1, 1))}).candles(
            AAPL, Window(friday_close - timedelta(days=7), friday_close), Resolution.WEEK
        )

    assert [bar.closed for bar in weeks.candles] == [True, True]


def test_a_young_stock_is_truncated_by_its_listing() -> None:
    provider = finnhub({CANDLE: daily(date(2025, 9, 1))})

    days = provider.candles(AAPL, Window(NOW - timedelta(days=365), NOW), Resolution.DAY)
    every = provider.candles(AAPL, Window(None, NOW), Resolution.DAY)

    assert (days.truncated_by, every.truncated_by) == (TruncatedBy.LISTING, None)
    assert days.candles == every.candles


def test_bars_that_contradict_themselves_are_dropped_and_counted() -> None:
    body = daily(date(1990, 1, 1))({"from": str(OPENS - 7 * DAY_S), "to": str(OPENS)})
    body["c"][0] = 13  # above the high
    body["l"][1] = None
    body["o"][2] = "10"
    body["v"][3] = None

    candles = finnhub({CANDLE: body}).candles(
        AAPL, Window(NOW - timedelta(days=7), NOW), Resolution.DAY
    )

    assert candles.dropped == 3
    assert candles.candles[0].volume is None


def test_no_data_is_an_empty_list() -> None:
    candles = finnhub({CANDLE: {"s": "no_data"}}).candles(AAPL, TODAY, Resolution.M5)

    assert candles.candles == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"s": "error"},
        {"s": "ok"},
        {"s": "ok", "t": [1], "o": [], "h": [1], "l": [1], "c": [1], "v": [1]},
        {"s": "ok", "t": None, "o": None, "h": None, "l": None, "c": None, "v": None},
        {"s": "ok", "t": ["x"], "o": [1], "h": [1], "l": [1], "c": [1], "v": [1]},
        {"s": "ok", "t": [OPENS], "o": ["1"], "h": ["1"], "l": ["1"], "c": ["1"], "v": [1]},
    ],
)
def test_bars_of_another_shape_are_malformed(body: Any) -> None:
    with pytest.raises(UpstreamMalformedError):
        finnhub({CANDLE: body}).candles(AAPL, TODAY, Resolution.M5)


@pytest.mark.parametrize("resolution", [Resolution.M5, Resolution.H1, Resolution.DAY])
def test_a_plan_without_candles_is_told_as_that(resolution: Resolution) -> None:
    provider = finnhub({CANDLE: httpx.Response(403, json=NO_ACCESS)})

    with pytest.raises(PlanRestrictedError) as caught:
        provider.candles(AAPL, TODAY, resolution)

    assert caught.value.extra == {
        "provider": "finnhub",
        "allowed_by": "a Finnhub plan with stock candles",
    }
    assert caught.value.of_capability


def test_who_pays_for_candles_is_refused_one_symbol_not_all() -> None:
    site = far_end({CANDLE: httpx.Response(403, json=NO_ACCESS)})
    provider = Finnhub(
        base_url="https://finnhub.example", plan="paid", transport=httpx.MockTransport(site)
    )

    with pytest.raises(PlanRestrictedError) as caught:
        provider.candles(AAPL, TODAY, Resolution.DAY)

    assert not caught.value.of_capability


def test_minutes_are_for_a_month_at_most() -> None:
    provider = finnhub({})

    assert provider.resolutions(Window(NOW - timedelta(days=30), NOW)) == list(Resolution)
    assert Resolution.M1 not in provider.resolutions(Window(NOW - timedelta(days=90), NOW))
    with pytest.raises(ResolutionUnavailableError):
        provider.candles(AAPL, Window(None, NOW), Resolution.M1)


def test_history_is_of_closing_prices_at_the_moments_they_held() -> None:
    points = finnhub({CANDLE: bars(300)}).history(AAPL, TODAY, 300)

    body = bars(300)({"from": str(OPENS), "to": str(int(NOW.timestamp()))})
    assert points.points[0] == Point(OPENS + 300, body["c"][0], 10.0)
    assert points.points[-1] == Point(int(NOW.timestamp()), body["c"][-1], 10.0)
    assert points.volume_basis == "bar_shares"


def test_a_day_of_history_bears_the_time_of_its_close() -> None:
    window = Window(NOW - timedelta(days=7), NOW)

    points = finnhub({CANDLE: daily(date(1990, 1, 1))}).history(AAPL, window, DAY_S)

    assert [when(point.timestamp) for point in points.points][-2:] == ["10-07 20:00", "10-08 15:10"]
