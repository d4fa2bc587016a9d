from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean, pstdev

import pytest

from prices.sandbox.bars import bars
from prices.sandbox.coins import coins
from prices.sandbox.market import DAY_S, Series, coin_series, session_table, stock_series
from prices.sandbox.stocks import stock_by_symbol, stocks

NOW = datetime(2026, 11, 23, 18, tzinfo=UTC).timestamp()


def series_of(coin_id: str) -> Series:
    series = coin_series(coin_id)
    assert series is not None
    return series


def test_the_market_says_the_same_in_another_process() -> None:
    code = (
        "from prices.sandbox.market import coin_series, stock_series\n"
        "import json\n"
        "times = [1.4e9, 1.6e9 + 7, 1795456800.25]\n"
        "found = [coin_series('bitcoin').many(times), stock_series('AAPL').many(times)]\n"
        "print(json.dumps(found))\n"
    )
    words = [sys.executable, "-c", code]
    told = subprocess.run(words, capture_output=True, check=True, text=True, timeout=30)
    times = [1.4e9, 1.6e9 + 7, 1795456800.25]
    ours = [series_of("bitcoin").many(times), stock_series("AAPL").many(times)]
    assert json.loads(told.stdout) == ours


def test_the_sandbox_needs_no_django() -> None:
    code = "import prices.sandbox.server, sys; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_prices_asked_alone_and_in_a_row_agree() -> None:
    bitcoin = series_of("bitcoin")
    times = [NOW - 977 * step for step in range(500)]
    assert bitcoin.many(reversed(times)) == [bitcoin.at(when) for when in reversed(times)]


@pytest.mark.parametrize("span", [7, 45, 301, 3600, 90_000, 400_000])
@pytest.mark.parametrize("name", ["bitcoin", "dogelon-mars", "AAPL"])
def test_no_moment_lies_outside_the_extremes_of_its_span(name: str, span: int) -> None:
    series = stock_series(name) if name.isupper() else series_of(name)
    start = NOW - 3_000_123 - span
    moments = [start, start + span]
    moments += [tick * 15 for tick in range(math.ceil(start / 15), int((start + span) // 15) + 1)]
    prices = series.many(sorted(moments))
    high, low = series.extremes(start, start + span)
    assert high == pytest.approx(max(prices), rel=1e-12)
    assert low == pytest.approx(min(prices), rel=1e-12)


def test_every_priced_coin_moves_within_a_minute_by_little() -> None:
    for coin in coins():
        series = coin_series(coin.id)
        if series is None or coin.follows is not None:
            continue
        before, after = series.at(NOW), series.at(NOW + 60)
        assert before != after
        assert after == pytest.approx(before, rel=0.03)


def test_scales_reach_from_a_billionth_to_a_hundred_thousand_dollars() -> None:
    prices = [series.at(NOW) for coin in coins() if (series := coin_series(coin.id))]
    assert min(prices) < 1e-9
    assert 50_000 < max(prices) < 200_000
    assert all(math.isfinite(price) and price > 0 for price in prices)


def test_volatility_comes_in_clusters() -> None:
    bitcoin = series_of("bitcoin")
    prices = bitcoin.many(NOW - DAY_S * day for day in range(3000, -1, -1))
    sizes = [abs(math.log(b / a)) for a, b in pairwise(prices)]
    mean, spread = fmean(sizes), pstdev(sizes)
    neighbours = fmean((a - mean) * (b - mean) for a, b in pairwise(sizes))
    assert neighbours / spread**2 > 0.1
    assert 0.015 < fmean(sizes) * 1.25 < 0.05


def test_a_stable_coin_stays_near_a_dollar() -> None:
    tether = series_of("tether")
    assert all(
        0.985 < price < 1.015 for price in tether.many(NOW - day * DAY_S for day in range(2000))
    )


def test_stocks_stand_still_while_the_exchange_is_closed() -> None:
    apple = stock_series("AAPL")
    saturday = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
    close = datetime(2026, 11, 20, 21, tzinfo=UTC).timestamp()
    assert apple.at(saturday) == apple.at(close)
    thanksgiving = datetime(2026, 11, 26, 18, tzinfo=UTC).timestamp()
    assert apple.extremes(thanksgiving, thanksgiving + 3600) == pytest.approx(
        (apple.at(thanksgiving), apple.at(thanksgiving))
    )


def test_a_half_day_ends_at_one_in_new_york() -> None:
    apple = stock_series("AAPL")
    early = datetime(2026, 11, 27, 18, tzinfo=UTC).timestamp()
    assert apple.at(early + 7200) == apple.at(early)
    assert apple.at(early - 60) != apple.at(early)


def test_a_wrapped_coin_follows_its_original() -> None:
    bitcoin, wrapped = series_of("bitcoin"), series_of("wrapped-bitcoin")
    for day in range(0, 1000, 50):
        ratio = wrapped.at(NOW - day * DAY_S) / bitcoin.at(NOW - day * DAY_S)
        assert ratio == pytest.approx(0.9989, rel=1e-9)


def test_there_are_three_hundred_coins_and_a_hundred_stocks_with_names_of_their_own() -> None:
    assert len({coin.id for coin in coins()}) == len(coins()) > 330
    assert len({stock.symbol for stock in stocks()}) == len(stocks()) > 110
    assert len(session_table().opens) > 11_000


def test_a_day_of_minutes_adds_up_to_the_daily_bar() -> None:
    apple = stock_by_symbol()["AAPL"]
    day = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    (daily,) = bars(apple, "D", day, day, NOW)
    minutes = bars(apple, "1", day, day + DAY_S, NOW)
    assert len(minutes) == 390
    assert daily.open == minutes[0].open
    assert daily.close == minutes[-1].close
    assert daily.high == max(bar.high for bar in minutes)
    assert daily.low == min(bar.low for bar in minutes)
    assert daily.volume == sum(bar.volume for bar in minutes)
    assert all(bar.low <= min(bar.open, bar.close) for bar in minutes)
    assert all(bar.high >= max(bar.open, bar.close) for bar in minutes)


def test_a_split_moves_intraday_bars_and_leaves_daily_ones_smooth() -> None:
    booking = stock_by_symbol()["BKNG"]
    before, after = (datetime(2026, 4, day, tzinfo=UTC).timestamp() for day in (2, 6))
    daily = bars(booking, "D", before, after, NOW)
    old, new = bars(booking, "30", before, after + DAY_S, NOW)[::13][:2]
    assert [bar.stamp for bar in daily] == [before, after]
    assert daily[1].open == pytest.approx(daily[0].close, rel=0.2)
    assert old.open / new.open == pytest.approx(25, rel=0.2)
    assert old.open == pytest.approx(daily[0].open * 25, rel=1e-3)


def test_before_its_split_a_stock_is_quoted_at_its_old_price() -> None:
    booking = stock_by_symbol()["BKNG"]
    eve = datetime(2026, 4, 2, 20, 30, tzinfo=UTC).timestamp()
    (then,) = bars(booking, "D", eve - DAY_S, eve, eve)
    (now,) = bars(booking, "D", eve - DAY_S, eve, NOW)
    assert then.close == pytest.approx(now.close * 25, rel=1e-3)
    assert then.volume == pytest.approx(now.volume / 25, rel=1e-3)


def test_weeks_and_months_hold_the_days_they_are_made_of() -> None:
    tesla = stock_by_symbol()["TSLA"]
    start, end = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (9, 11))
    months = bars(tesla, "M", start, end - 1, NOW)
    days = bars(tesla, "D", start, end - 1, NOW)
    assert [datetime.fromtimestamp(bar.stamp, UTC).month for bar in months] == [9, 10]
    assert max(bar.high for bar in days) == max(bar.high for bar in months)
    assert sum(bar.volume for bar in days) == sum(bar.volume for bar in months)
    weeks = bars(tesla, "W", start, end, NOW)
    assert all(datetime.fromtimestamp(bar.stamp, UTC).weekday() == 0 for bar in weeks)
