from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import pytest
import time_machine

from prices import registry
from prices.errors import UpstreamTimeoutError
from prices.models import Asset, Bar, Series, StockSplit
from prices.providers.bars import midnight
from prices.services import recorder, splits
from prices.sessions import session_on, sessions_between
from prices.types import (
    Adjustment,
    Candle,
    Candles,
    Origin,
    Resolution,
    Split,
    TruncatedBy,
    Window,
)
from tests.market import Sandbox
from tests.prices.rest import ok

pytestmark = [pytest.mark.django_db]

DAYS = [
    session.day
    for session in sessions_between(
        datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 21, tzinfo=UTC)
    )
]
SPLIT_DAY = DAYS[7]


@pytest.fixture
def stock(db: None) -> Asset:
    return Asset.objects.create(ref="stock:XYZ", ticker="XYZ", name="Xyz", kind="stock")


def hourly(price_of: Callable[[date], float]) -> Candles:
    """Return bars as traded: two a session, with a little life in them."""
    bars = []
    for day in DAYS:
        session = session_on(day)
        assert session is not None
        opens, price = int(session.opens.timestamp()), price_of(day)
        for number in range(2):
            bars.append(
                Candle(
                    opens + number * 3600,
                    price,
                    price * 1.02,
                    price * 0.99,
                    price * (1 + 0.01 * number),
                    1000.0,
                    closed=True,
                )
            )
    return Candles(bars, Origin.PROVIDER, volume_basis="bar_shares")


def daily(price_of: Callable[[date], float]) -> Candles:
    """Return days of a series adjusted for splits."""
    bars = []
    for day in DAYS:
        opening, high, low, close = (price_of(day) * one for one in (1, 1.03, 0.98, 1.01))
        bars.append(Candle(midnight(day), opening, high, low, close, None, closed=True))
    return Candles(bars, Origin.PROVIDER, adjustment=Adjustment.SPLITS)


def stepped(factor: float, on: date = SPLIT_DAY) -> Callable[[date], float]:
    """Return prices around 100 that are so many times higher before a day."""
    return lambda day: (100.0 + DAYS.index(day)) * (factor if day < on else 1.0)


def flat(day: date) -> float:
    return stepped(1.0)(day)


def never() -> Candles:
    raise AssertionError("no day was to be asked for")


def steps(series: Candles) -> list[float]:
    """Return how far each night's step is from none, as a factor."""
    days = groupby(series.candles, key=lambda one: one.timestamp // 86_400)
    sessions = [list(bars) for _, bars in days]
    ratios = [one[-1].close / other[0].open for one, other in pairwise(sessions)]
    return [max(ratio, 1 / ratio) for ratio in ratios]


def test_what_a_split_divides_has_no_more_digits_than_a_price_has(stock: Asset) -> None:
    splits.learn(stock, [Split(SPLIT_DAY, 25.0)], "tiingo")
    traded = hourly(lambda day: 2125.01 if day < SPLIT_DAY else 85.0)

    got = splits.adjusted(stock, traded, days=never).candles[0]

    assert got.open == 85.0004


@pytest.mark.parametrize("ratio", [25.0, 2.0, 1.5, 0.1, 1.05])
def test_a_split_that_is_told_of_is_adjusted_for(stock: Asset, ratio: float) -> None:
    splits.learn(stock, [Split(SPLIT_DAY, ratio)], "tiingo")

    got = splits.adjusted(stock, hourly(stepped(ratio)), days=never)

    assert max(steps(got)) < 1.03
    assert (got.adjustment, got.splits) == (Adjustment.SPLITS, (Split(SPLIT_DAY, ratio),))
    assert got.truncated_by is None
    volumes = [bar.volume for bar in got.candles]
    assert volumes == [pytest.approx(1000 * ratio)] * 14 + [1000.0] * 16
    plain = hourly(flat).candles
    assert [bar.high for bar in got.candles] == pytest.approx([bar.high for bar in plain])


def test_a_split_that_an_answer_tells_is_kept_for_others(stock: Asset) -> None:
    told = replace(daily(flat), splits=(Split(SPLIT_DAY, 4.0),))

    assert splits.adjusted(stock, told, source="yahoo") == told

    (kept,) = StockSplit.objects.all()
    assert (kept.day, kept.ratio, kept.source) == (SPLIT_DAY, 4.0, "yahoo")
    assert max(steps(splits.adjusted(stock, hourly(stepped(4)), days=never))) < 1.03


def test_the_first_word_on_a_split_stands(stock: Asset) -> None:
    splits.learn(stock, [Split(SPLIT_DAY, 4.0)], "tiingo")
    splits.learn(stock, [Split(SPLIT_DAY, 40.0), Split(DAYS[1], 1.0)], "yahoo")

    assert list(StockSplit.objects.values_list("ratio", "source")) == [(4.0, "tiingo")]


def test_a_series_without_the_step_is_not_adjusted_twice(stock: Asset) -> None:
    splits.learn(stock, [Split(SPLIT_DAY, 25.0)], "tiingo")

    assert splits.adjusted(stock, hourly(flat), days=never) == hourly(flat)


@pytest.mark.parametrize("ratio", [25.0, 2.0, 1.5, 1 / 8])
def test_a_split_is_found_by_closes_as_traded_beside_adjusted_ones(
    stock: Asset, ratio: float
) -> None:
    got = splits.adjusted(stock, hourly(stepped(ratio)), source="finnhub", days=lambda: daily(flat))

    assert max(steps(got)) < 1.03
    assert (got.adjustment, got.splits) == (Adjustment.SPLITS, (Split(SPLIT_DAY, ratio),))
    (kept,) = StockSplit.objects.all()
    assert (kept.day, kept.ratio, kept.source) == (SPLIT_DAY, ratio, "found: finnhub")


def test_two_splits_within_one_series_are_both_adjusted_for(stock: Asset) -> None:
    def twice(day: date) -> float:
        return stepped(3, DAYS[3])(day) * stepped(2, DAYS[11])(day) / flat(day)

    got = splits.adjusted(stock, hourly(twice), days=lambda: daily(flat))

    assert got.splits == (Split(DAYS[3], 3.0), Split(DAYS[11], 2.0))
    assert max(steps(got)) < 1.03


@pytest.mark.parametrize("factor", [2.0, 1.5, 0.5])
def test_a_price_that_really_halves_is_left_as_it_was(stock: Asset, factor: float) -> None:
    crash = hourly(stepped(factor))

    got = splits.adjusted(stock, crash, days=lambda: daily(stepped(factor)))

    assert got == crash
    assert not StockSplit.objects.exists()


@pytest.mark.parametrize(("factor", "is_cut"), [(25.0, True), (2.0, True), (1.4, False)])
def test_on_the_day_itself_days_may_not_be_adjusted_yet(
    stock: Asset, factor: float, is_cut: bool
) -> None:
    yesterday = stepped(factor, DAYS[-2])

    got = splits.adjusted(stock, hourly(yesterday), days=lambda: daily(yesterday))

    assert (got.truncated_by is TruncatedBy.SPLIT) == is_cut
    assert got.candles == hourly(yesterday).candles[-4 if is_cut else 0 :]


def test_without_confirmation_the_series_begins_after_the_step(stock: Asset) -> None:
    def late() -> Candles:
        raise UpstreamTimeoutError("finnhub", "no answer in time")

    for days in (None, late, lambda: Candles([], Origin.PROVIDER)):
        got = splits.adjusted(stock, hourly(stepped(2)), days=days)

        assert got.truncated_by is TruncatedBy.SPLIT
        assert got.candles == hourly(flat).candles[14:]
        assert got.adjustment is Adjustment.NONE
    assert not StockSplit.objects.exists()


def test_days_that_contradict_themselves_confirm_nothing(stock: Asset) -> None:
    def wild(day: date) -> float:
        return flat(day) * (1 + DAYS.index(day) % 2)

    got = splits.adjusted(stock, hourly(stepped(2)), days=lambda: daily(wild))

    assert got.truncated_by is TruncatedBy.SPLIT
    assert not StockSplit.objects.exists()


def test_days_up_to_the_split_alone_confirm_nothing(stock: Asset) -> None:
    def without_today() -> Candles:
        days = daily(stepped(2))
        return replace(days, candles=[b for b in days.candles if b.timestamp < midnight(SPLIT_DAY)])

    assert (
        splits.adjusted(stock, hourly(stepped(2)), days=without_today).truncated_by
        is TruncatedBy.SPLIT
    )


def test_kept_days_confirm_a_split_where_no_source_can_be_asked(stock: Asset) -> None:
    series = Series.objects.create(
        asset=stock,
        source="yahoo",
        resolution=Resolution.DAY,
        adjustment=Adjustment.SPLITS,
        renewed_at=datetime.now(UTC),
    )
    Bar.objects.bulk_create(
        Bar(series=series, opens=b.timestamp, open=b.open, high=b.high, low=b.low, close=b.close)
        for b in daily(flat).candles
    )

    got = splits.adjusted(stock, hourly(stepped(25)))

    assert got.splits == (Split(SPLIT_DAY, 25.0),)


def test_a_step_that_no_split_makes_is_no_question(stock: Asset) -> None:
    for factor in (1.2, 1.72, 0.58):
        series = hourly(stepped(factor))
        assert splits.adjusted(stock, series, days=never) == series


def test_what_is_adjusted_or_no_stock_s_is_left_alone(stock: Asset) -> None:
    splits.learn(stock, [Split(SPLIT_DAY, 2.0)], "tiingo")
    series = replace(hourly(stepped(2)), adjustment=Adjustment.SPLITS)
    assert splits.adjusted(stock, series, days=never) == series

    coin = Asset.objects.create(ref="coingecko:x", ticker="X", name="X", kind="crypto")
    assert splits.adjusted(coin, hourly(stepped(2)), days=never) == hourly(stepped(2))


# --- The sandbox's own split: BKNG, 25 for 1 on 6 April 2026 -----------------------

NOW = datetime(2026, 6, 17, 18, 0, tzinfo=UTC)
MADE_UP = Split(date(2026, 4, 6), 25.0)


@pytest.fixture
def booking(market: Sandbox, db: None) -> Iterator[Asset]:
    market.control("POST", "clock", {"now": NOW.timestamp()})
    with time_machine.travel(NOW, tick=False):
        yield Asset.objects.get(ref="stock:BKNG")


SPANS: Mapping[str, tuple[int, Resolution]] = {
    "a year of days": (365, Resolution.DAY),
    "a year of weeks": (365, Resolution.WEEK),
    "three months of hours": (90, Resolution.H1),
}


@pytest.mark.parametrize("span", list(SPANS))
@pytest.mark.parametrize("source", ["finnhub", "twelvedata", "tiingo", "yahoo"])
def test_a_split_within_a_chart_is_no_cliff(booking: Asset, source: str, span: str) -> None:
    days, resolution = SPANS[span]
    provider = registry.provider(source)
    window = Window(NOW - timedelta(days=days), NOW)

    series = provider.candles(booking.instrument, window, resolution)
    got = splits.adjusted(
        booking,
        series,
        source=source,
        days=lambda: provider.candles(booking.instrument, window, Resolution.DAY),
    )

    assert len(got.candles) == len(series.candles) > 50
    assert got.candles[0].timestamp < midnight(MADE_UP.day) - 10 * 86_400
    assert got.adjustment is Adjustment.SPLITS
    assert max(one.high for one in got.candles) < 1.8 * min(one.low for one in got.candles)
    assert max(steps(got)) < 1.15
    is_as_traded = series.adjustment is Adjustment.NONE
    assert is_as_traded == (resolution.is_intraday and source in ("finnhub", "tiingo"))
    assert not is_as_traded or got.splits == (MADE_UP,)


@pytest.mark.parametrize("source", ["finnhub", "twelvedata", "tiingo", "yahoo"])
def test_a_client_s_year_chart_over_a_split_has_no_cliff(
    booking: Asset, source: str, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {
        "stock_candles": [source],
        "stock_history": [source],
    }

    for query in ({"period": "3m", "resolution": "60"}, {"period": "1y"}, {"period": "1y"}):
        answer = ok("/BKNG/ohlcv", **query)
        lows = [bar["low"] for bar in answer["candles"]]
        assert max(bar["high"] for bar in answer["candles"]) < 1.8 * min(lows)
        assert (answer["adjustment"], answer["truncated"]) == ("splits", False)
    points = ok("/BKNG/history", period="3m")
    prices = [point["price"] for point in points["data"]]
    assert max(prices) < 1.8 * min(prices)
    assert points["adjustment"] == "splits"


def test_every_source_s_bars_are_in_the_same_shares(booking: Asset) -> None:
    window = Window(NOW - timedelta(days=90), NOW)
    closes: dict[str, dict[int, float]] = {}
    for source in ("finnhub", "twelvedata", "tiingo", "yahoo"):
        provider = registry.provider(source)
        series = provider.candles(booking.instrument, window, Resolution.H1)
        days = provider.candles(booking.instrument, window, Resolution.DAY)
        got = splits.adjusted(booking, series, source=source, days=partial(replace, days))
        closes[source] = {bar.timestamp: bar.close for bar in got.candles if bar.closed}

    first = closes.pop("finnhub")
    for others in closes.values():
        both = first.keys() & others.keys()
        assert len(both) > 300
        assert all(abs(first[at] / others[at] - 1) < 0.03 for at in both)


def test_recorded_bars_are_adjusted_too(booking: Asset) -> None:
    splits.learn(booking, [MADE_UP], "tiingo")
    series = Series.objects.create(
        asset=booking, source="recorded", resolution="1", renewed_at=datetime.now(UTC)
    )
    before, after = (session_on(date(2026, 4, day)) for day in (2, 6))
    assert before is not None
    assert after is not None
    for session, price in ((before, 5000.0), (after, 200.0)):
        opens = int(session.opens.timestamp())
        Bar.objects.bulk_create(
            Bar(series=series, opens=opens + n * 60, open=price, high=price, low=price, close=price)
            for n in range(20)
        )

    window = Window(before.opens, after.closes)
    for resolution in (Resolution.M5, Resolution.DAY):
        got = recorder.candles(booking, window, resolution, after.closes)

        assert got is not None
        assert {bar.close for bar in got[0].candles} == {200.0}
        assert (got[0].adjustment, got[0].splits) == (Adjustment.SPLITS, (MADE_UP,))
