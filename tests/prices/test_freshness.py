"""How fresh a number is, at fixed moments: November 2026 has Thanksgiving on the 26th."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from prices.freshness import (
    Cadence,
    of_points,
    of_quote,
    of_series,
    quote_holds_until,
    series_holds_until,
    session_of,
)
from prices.types import AssetKind, Freshness, Resolution, TradingSession

COIN, STOCK = AssetKind.CRYPTO, AssetKind.STOCK
USUAL, LAGGING = Cadence(60), Cadence(60, delay_s=900)
LIVE, DELAYED, CLOSED = Freshness.LIVE, Freshness.DELAYED, Freshness.CLOSED
STALE, UNKNOWN = Freshness.STALE, Freshness.UNKNOWN


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    """Return a moment of November 2026 in UTC; New York is five hours behind."""
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC)


FRIDAY_CLOSE = at(20, 21)


def stock(as_of: datetime, now: datetime, cadence: Cadence = USUAL) -> Freshness:
    return of_quote(STOCK, as_of, now, cadence).freshness


def coin(as_of: datetime, now: datetime, cadence: Cadence = USUAL) -> Freshness:
    return of_quote(COIN, as_of, now, cadence).freshness


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(at(20, 21, 1), CLOSED, id="a minute after it"),
        pytest.param(at(22, 17), CLOSED, id="on Sunday"),
        pytest.param(at(23, 13), CLOSED, id="before Monday's open, with trade before the session"),
        pytest.param(at(23, 14, 29, 59), CLOSED, id="a second before Monday's open"),
        pytest.param(at(23, 14, 32), DELAYED, id="in the first minutes of Monday's session"),
        pytest.param(at(23, 14, 36), STALE, id="when Monday's first price is overdue"),
        pytest.param(at(23, 17), STALE, id="on Monday at noon"),
        pytest.param(at(23, 21, 1), STALE, id="after Monday's close"),
        pytest.param(at(24, 3), STALE, id="in the night to Tuesday"),
    ],
)
def test_a_close_of_friday_is_told_as_what_it_is(now: datetime, expected: Freshness) -> None:
    assert stock(FRIDAY_CLOSE, now) is expected


@pytest.mark.parametrize(
    ("as_of", "now", "expected"),
    [
        pytest.param(at(25, 21), at(26, 17), CLOSED, id="the day before, on the holiday"),
        pytest.param(at(25, 21), at(27, 13), CLOSED, id="the day before, early on the half day"),
        pytest.param(at(25, 21), at(27, 16), STALE, id="the day before, during the half day"),
        pytest.param(at(27, 17, 59), at(27, 17, 59, 30), LIVE, id="at the half day's end"),
        pytest.param(at(27, 18), at(27, 20), CLOSED, id="the half day's close two hours later"),
        pytest.param(at(27, 17), at(27, 20), STALE, id="an hour before the half day's close"),
    ],
)
def test_holidays_and_half_days_count_as_the_exchange_keeps_them(
    as_of: datetime, now: datetime, expected: Freshness
) -> None:
    assert stock(as_of, now) is expected


def test_a_price_of_weeks_ago_is_stale_in_the_first_minutes_too() -> None:
    assert stock(at(2, 21), at(23, 14, 31)) is STALE


def test_a_feed_whose_time_stands_still_is_stale_after_five_of_its_steps() -> None:
    assert stock(at(23, 16), at(23, 16, 5)) is LIVE
    assert stock(at(23, 16), at(23, 16, 5, 1)) is STALE
    assert coin(at(22, 3), at(22, 3, 5)) is LIVE
    assert coin(at(22, 3), at(22, 3, 5, 1)) is STALE


def test_a_source_that_changes_rarely_is_given_longer() -> None:
    assert coin(at(22, 3), at(22, 4), Cadence(3600)) is LIVE
    assert coin(at(22, 3), at(22, 8, 1), Cadence(3600)) is STALE


def test_a_source_known_to_lag_is_delayed_and_no_longer_than_it_lags() -> None:
    assert stock(at(23, 16), at(23, 16, 2), LAGGING) is LIVE
    assert stock(at(23, 16), at(23, 16, 18), LAGGING) is DELAYED
    assert stock(at(23, 16), at(23, 16, 21), LAGGING) is STALE
    assert stock(at(23, 20, 40), at(23, 21, 10), LAGGING) is DELAYED
    assert stock(at(23, 20, 40), at(23, 21, 25), LAGGING) is STALE


def test_a_source_without_a_time_of_its_own_claims_nothing() -> None:
    assert of_quote(COIN, at(22, 3), at(22, 3), USUAL, is_timed=False).freshness is UNKNOWN


def test_trade_outside_the_session_is_live_while_its_time_moves() -> None:
    assert stock(at(23, 22), at(23, 22, 1)) is LIVE
    assert stock(at(23, 22), at(23, 23)) is CLOSED
    assert stock(at(24, 13), at(24, 13, 1)) is LIVE


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(at(22, 17), id="on Sunday"),
        pytest.param(at(26, 16), id="on Thanksgiving"),
        pytest.param(at(24, 3), id="in the night"),
    ],
)
def test_a_time_that_moves_while_there_is_no_trade_is_closed(now: datetime) -> None:
    assert stock(now - timedelta(seconds=20), now) is CLOSED


def test_a_last_trade_some_minutes_before_the_close_is_the_close() -> None:
    assert stock(at(23, 20, 50), at(24, 3)) is CLOSED
    assert stock(at(23, 20, 30), at(24, 3)) is STALE


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        (at(23, 14, 30), TradingSession.REGULAR),
        (at(23, 21, 0, 20), TradingSession.REGULAR),
        (at(23, 21, 5), TradingSession.POST),
        (at(24, 0, 59), TradingSession.POST),
        (at(24, 9, 1), TradingSession.PRE),
        (at(24, 14, 29), TradingSession.PRE),
        (at(27, 18, 0, 20), TradingSession.REGULAR),
        (at(27, 18, 10), TradingSession.POST),
    ],
)
def test_a_stock_s_price_says_which_part_of_its_day_it_is_of(
    as_of: datetime, expected: TradingSession
) -> None:
    assert session_of(as_of) is expected


def test_what_is_said_of_a_quote_holds_until_the_market_or_its_own_age_changes_it() -> None:
    assert quote_holds_until(COIN, at(22, 3), at(22, 3, 1), USUAL) == at(22, 3, 5)
    assert quote_holds_until(COIN, at(22, 3), at(22, 4), USUAL) is None
    assert quote_holds_until(STOCK, at(23, 20, 59), at(23, 20, 59, 30), USUAL) == at(23, 21)
    assert quote_holds_until(STOCK, FRIDAY_CLOSE, at(22, 17), USUAL) == at(23, 9)


def test_the_first_minutes_of_a_session_end_what_is_said_of_a_quote_too() -> None:
    assert quote_holds_until(STOCK, FRIDAY_CLOSE, at(23, 14, 32), USUAL) == at(23, 14, 35)
    # Of a source that lags, after the close: its last price of the session is awaited so long.
    assert quote_holds_until(STOCK, at(23, 15), at(23, 21, 1), LAGGING) == at(23, 21, 20)


M1, M5, H1, DAY, WEEK, MONTH = (
    Resolution.M1,
    Resolution.M5,
    Resolution.H1,
    Resolution.DAY,
    Resolution.WEEK,
    Resolution.MONTH,
)


@pytest.mark.parametrize(
    ("last", "step", "now", "expected"),
    [
        pytest.param(at(23, 20, 55), M5, at(24, 3), CLOSED, id="the session's last bar at night"),
        pytest.param(at(23, 16), M5, at(23, 16, 7), LIVE, id="the bar under way"),
        pytest.param(at(23, 16), M5, at(23, 17), STALE, id="bars that stopped an hour ago"),
        pytest.param(at(20, 20, 55), M5, at(23, 14, 33), DELAYED, id="Friday's at Monday's open"),
        pytest.param(at(20, 20, 55), M5, at(23, 17), STALE, id="Friday's on Monday at noon"),
        pytest.param(at(20, 20, 30), H1, at(22, 17), CLOSED, id="Friday's on Sunday"),
        pytest.param(at(23, 0), DAY, at(23, 17), LIVE, id="today's bar in the session"),
        pytest.param(at(20, 0), DAY, at(22, 17), CLOSED, id="Friday's day on Sunday"),
        pytest.param(at(20, 0), DAY, at(23, 17), DELAYED, id="Friday's day on Monday at noon"),
        pytest.param(at(19, 0), DAY, at(23, 17), STALE, id="Thursday's day on Monday at noon"),
        pytest.param(at(23, 0), WEEK, at(27, 20), CLOSED, id="this week's bar"),
        pytest.param(at(1, 0), MONTH, at(30, 17), LIVE, id="this month's bar on its last day"),
    ],
)
def test_a_stock_s_series_is_judged_by_its_newest_bar(
    last: datetime, step: Resolution, now: datetime, expected: Freshness
) -> None:
    assert of_series(STOCK, last, step, now, USUAL).freshness is expected


def test_a_month_of_31_days_is_under_way_on_its_last_day() -> None:
    first, last = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 31, 17, tzinfo=UTC)
    for kind in AssetKind:
        assert of_series(kind, first, MONTH, last, USUAL).freshness is LIVE


def test_a_coin_s_series_is_stale_where_bars_are_missing_at_its_end() -> None:
    assert of_series(COIN, at(22, 3), H1, at(22, 3, 30), USUAL).freshness is LIVE
    assert of_series(COIN, at(22, 3), H1, at(22, 4, 30), USUAL).freshness is LIVE
    assert of_series(COIN, at(22, 3), H1, at(22, 5), USUAL).freshness is STALE


def test_points_are_judged_by_when_their_prices_held() -> None:
    now = at(22, 4)
    assert of_points(COIN, now - timedelta(minutes=5), M5, now, USUAL).freshness is LIVE
    assert of_points(COIN, now - timedelta(minutes=40), M5, now, USUAL).freshness is STALE
    assert of_points(STOCK, FRIDAY_CLOSE, DAY, at(22, 17), USUAL).freshness is CLOSED


@pytest.mark.parametrize(
    ("kind", "last", "step", "now", "cadence", "expected"),
    [
        pytest.param(COIN, at(22, 12), M1, at(22, 12), USUAL, at(22, 12, 12), id="live minutes"),
        pytest.param(COIN, at(22, 12), H1, at(22, 12), USUAL, at(22, 13, 40), id="live hours"),
        pytest.param(COIN, at(22, 12), M1, at(22, 12), LAGGING, at(22, 12, 12), id="then delayed"),
        pytest.param(COIN, at(22, 12), M1, at(22, 12, 13), LAGGING, at(22, 12, 27), id="delayed"),
        pytest.param(COIN, at(22, 12), M1, at(22, 13), USUAL, None, id="stale already"),
        pytest.param(STOCK, at(23, 16), M5, at(23, 16, 7), USUAL, at(23, 16, 20), id="a session's"),
        pytest.param(
            *(STOCK, at(20, 20, 55), M5, at(23, 14, 33), USUAL, at(23, 14, 45)),
            id="Friday's at Monday's open",
        ),
        pytest.param(STOCK, at(23, 0), DAY, at(23, 17), USUAL, at(23, 21), id="today's bar"),
        pytest.param(
            STOCK, at(20, 0), DAY, at(23, 14), USUAL, at(23, 14, 30), id="before the open"
        ),
    ],
)
def test_what_is_said_of_a_series_holds_until_its_newest_bar_is_overdue(
    kind: AssetKind,
    last: datetime,
    step: Resolution,
    now: datetime,
    cadence: Cadence,
    expected: datetime | None,
) -> None:
    assert series_holds_until(of_series, kind, last, step, now, cadence) == expected
