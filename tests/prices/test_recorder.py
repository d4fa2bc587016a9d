from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis import Redis

from prices.answers import QuoteAnswer
from prices.models import Asset, Bar, Series
from prices.services import quotes, recorder
from prices.sessions import Session, session_on, sessions_between
from prices.types import (
    Adjustment,
    AssetKind,
    Freshness,
    Origin,
    Resolution,
    TradingSession,
    TruncatedBy,
    Window,
)
from tests.market import Sandbox
from tests.prices.rest import ok

pytestmark = [pytest.mark.django_db]

_SESSION = session_on(datetime(2026, 11, 18, tzinfo=UTC).date())
assert _SESSION is not None
SESSION: Session = _SESSION
OPENS = int(SESSION.opens.timestamp())


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    recorder.forget()


@pytest.fixture
def aapl(db: None) -> Asset:
    asset = Asset(ref="stock:AAPL", ticker="AAPL", name="Apple Inc", kind="stock")
    asset.finnhub_symbol = "AAPL"
    asset.save()
    return asset


def at(minute: float) -> datetime:
    """Return a moment of the session, so many minutes after its opening."""
    return SESSION.opens + timedelta(minutes=minute)


def quote(minute: float, price: float, **fields: Any) -> QuoteAnswer:
    as_of = at(minute)
    answer = QuoteAnswer(
        source="finnhub",
        as_of=as_of,
        fetched_at=as_of,
        cached=False,
        stale=False,
        symbol="AAPL",
        ref="stock:AAPL",
        name="Apple Inc",
        kind=AssetKind.STOCK,
        price=price,
        change=None,
        change_percent=None,
        high=None,
        low=None,
        volume=None,
        market_cap=None,
        last_updated=as_of,
        freshness=Freshness.LIVE,
        market=None,
        session=TradingSession.REGULAR,
        disputed=False,
        quote_currency="USD",
        fallback_from=[],
        change_basis="previous_close",
        volume_basis=None,
        alternatives=[],
    )
    return msgspec.structs.replace(answer, **fields)


def window(until: float = 390) -> Window:
    return Window(SESSION.opens, at(until))


def bars(asset: Asset, resolution: Resolution, until: float = 390) -> list[tuple[float, ...]]:
    got = recorder.candles(asset, window(until), resolution, at(until))
    assert got is not None
    return [
        ((one.timestamp - OPENS) // 60, one.open, one.high, one.low, one.close)
        for one in got[0].candles
    ]


def record_session(minutes: int = 390) -> None:
    for minute in range(minutes):
        recorder.record([quote(minute + 0.5, 100 + minute)])


def test_quotes_of_a_minute_make_its_bar(aapl: Asset) -> None:
    for second, price in ((1, 10.0), (20, 12.0), (40, 9.0), (59, 11.0), (60, 11.5)):
        assert recorder.record([quote(second / 60, price)]) == 1

    assert bars(aapl, Resolution.M1) == [(0, 10, 12, 9, 11), (1, 11.5, 11.5, 11.5, 11.5)]
    got = recorder.candles(aapl, window(), Resolution.M1, at(1.5))
    assert got is not None
    assert [one.closed for one in got[0].candles] == [True, False]
    assert {one.volume for one in got[0].candles} == {None}
    assert (got[0].origin, got[0].adjustment) == (Origin.RECORDED, Adjustment.NONE)


def test_a_quote_whose_time_has_not_moved_changes_nothing(aapl: Asset) -> None:
    recorder.record([quote(3, 10.0)])

    assert recorder.record([quote(3, 12.0)]) == 0
    assert recorder.record([quote(2, 8.0)]) == 0, "nor one that is older"
    assert bars(aapl, Resolution.M1) == [(3, 10, 10, 10, 10)]


def test_after_a_restart_the_minute_s_bar_goes_on(aapl: Asset) -> None:
    recorder.record([quote(3.1, 10.0)])
    recorder.forget()

    recorder.record([quote(3.1, 10.0)])
    recorder.record([quote(3.5, 9.0)])

    assert bars(aapl, Resolution.M1) == [(3, 10, 10, 9, 9)]


@pytest.mark.parametrize(
    "fields",
    [
        {"stale": True},
        {"disputed": True},
        {"quote_currency": "USDT"},
        {"session": TradingSession.PRE},
        {"session": TradingSession.POST},
        {"session": None, "kind": AssetKind.CRYPTO},
        {"freshness": Freshness.STALE},
        {"freshness": Freshness.UNKNOWN},
        {"as_of": None},
        {"as_of": SESSION.closes + timedelta(minutes=20)},
    ],
    ids=str,
)
def test_what_may_not_be_true_is_not_recorded(aapl: Asset, fields: dict[str, Any]) -> None:
    assert recorder.record([quote(3, 10.0, **fields)]) == 0
    assert not Series.objects.exists()
    assert recorder.widths(aapl, window()) == []
    assert recorder.candles(aapl, window(), Resolution.M5, at(5)) is None


def test_the_closing_price_belongs_to_the_last_minute(aapl: Asset) -> None:
    recorder.record([quote(389.5, 10.0)])
    recorder.record([quote(390.2, 10.5, freshness=Freshness.CLOSED)])

    assert bars(aapl, Resolution.M1) == [(389, 10, 10.5, 10, 10.5)]


def test_a_tick_is_one_read_and_one_write_of_bars_however_many_stocks(db: None) -> None:
    for number in range(50):
        Asset.objects.create(ref=f"stock:S{number}", ticker=f"S{number}", kind="stock")
    tick = [quote(1, 10.0, ref=f"stock:S{number}") for number in range(50)]
    recorder.record(tick)

    with CaptureQueriesContext(
        connection,
    ) as said:
        recorder.record([msgspec.structs.replace(one, as_of=at(1.5), price=11.0) for one in tick])

    about_bars = [one["sql"] for one in said if "prices_bar" in one["sql"]]
    assert [sql.split()[0] for sql in about_bars] == ["SELECT", "INSERT"]
    assert len(said) <= 5, "with the transaction around them"
    assert set(Bar.objects.values_list("open", "high", "low", "close")) == {(10, 11, 10, 11)}


def test_a_stock_that_is_gone_keeps_no_other_from_being_recorded(aapl: Asset) -> None:
    assert recorder.record([quote(1, 10.0, ref="stock:GONE"), quote(1, 11.0)]) == 1


@pytest.mark.parametrize(
    ("resolution", "count"),
    [("1", 390), ("5", 78), ("15", 26), ("30", 13), ("60", 7), ("240", 2), ("D", 1)],
)
def test_a_whole_session_gives_every_width_in_full(
    aapl: Asset, resolution: str, count: int
) -> None:
    record_session()

    got = recorder.candles(aapl, window(), Resolution(resolution), at(391))

    assert got is not None
    series, coverage = got
    assert (len(series.candles), coverage) == (count, 1.0)
    assert all(one.closed for one in series.candles)
    assert (series.candles[0].open, series.candles[-1].close) == (100, 489)
    assert series.truncated_by is None
    if resolution == "D":
        assert series.candles[0].timestamp == OPENS - OPENS % 86_400
    else:
        assert series.candles[0].timestamp == OPENS
    assert Resolution(resolution) in recorder.widths(aapl, window())


def test_coverage_is_the_share_of_the_minutes_that_could_be_there(aapl: Asset) -> None:
    for minute in range(0, 60, 2):
        recorder.record([quote(minute, 10.0)])

    def coverage(resolution: Resolution, until: float) -> float:
        got = recorder.candles(aapl, window(until), resolution, at(until))
        assert got is not None
        return got[1]

    assert coverage(Resolution.M1, 60) == 0.5
    assert coverage(Resolution.M5, 60) == 0.5
    assert coverage(Resolution.M5, 120) == 0.25
    assert coverage(Resolution.DAY, 390) == pytest.approx(30 / 390)


@pytest.mark.parametrize(("last", "closed"), [(12, False), (374, False), (375, True)])
def test_a_day_is_closed_only_where_its_last_minutes_were_recorded(
    aapl: Asset, last: int, closed: bool
) -> None:
    for minute in [*range(12), last]:
        recorder.record([quote(minute + 0.5, 10.0)])

    got = recorder.candles(aapl, window(), Resolution.DAY, at(1000))

    assert got is not None
    assert [one.closed for one in got[0].candles] == [closed]
    assert got[1] == pytest.approx(13 / 390)


def test_a_wide_bar_of_a_few_minutes_is_not_made(aapl: Asset) -> None:
    for minute in range(11):
        recorder.record([quote(minute, 10.0)])
    assert recorder.candles(aapl, window(), Resolution.DAY, at(11)) is None

    recorder.record([quote(11, 10.0)])

    assert [bar[1:] for bar in bars(aapl, Resolution.DAY)] == [(10, 10, 10, 10)]
    assert [bar[0] for bar in bars(aapl, Resolution.H4, 12)] == [0]


def test_widths_are_those_that_can_be_given(aapl: Asset) -> None:
    everything = Window(None, at(390))

    def widths(minutes: int) -> str:
        record_session(minutes)
        found = recorder.widths(aapl, everything)
        for width in found:
            assert recorder.candles(aapl, everything, width, at(390)) is not None, width
        return " ".join(found)

    assert widths(11) == "1 5 15 30 60"
    assert widths(12) == "1 5 15 30 60 D"
    assert widths(24) == "1 5 15 30 60 240 D"
    # A week or a month that was not recorded from its beginning is not made.
    series = Series.objects.get()
    for session in sessions_between(SESSION.opens - timedelta(days=60), SESSION.opens):
        opens = int(session.opens.timestamp())
        Bar.objects.bulk_create(
            Bar(series=series, opens=opens + n * 60, open=100, high=100, low=100, close=100)
            for n in range(12)
        )
    assert widths(24) == "1 5 15 30 60 240 D W M"


def test_a_window_that_begins_before_the_recording_says_so(aapl: Asset) -> None:
    record_session(30)
    week = Window(at(30) - timedelta(days=7), at(30))

    got = recorder.candles(aapl, week, Resolution.M15, at(30))

    assert got is not None
    assert got[0].truncated_by is TruncatedBy.LIMIT
    # Of a part of the first session, four whole ones and half an hour of today: 30 minutes.
    assert got[1] == pytest.approx(30 / (360 + 4 * 390 + 30))
    everything = recorder.candles(aapl, Window(None, at(30)), Resolution.M15, at(30))
    assert everything is not None
    assert (everything[0].truncated_by, everything[1]) == (TruncatedBy.LIMIT, 1.0)


@pytest.fixture
def shifted(market: Sandbox) -> Iterator[time_machine.Traveller]:
    """The product and the sandbox at the session's opening; both move on together."""
    with time_machine.travel(SESSION.opens, tick=False) as traveller:
        yield traveller


def test_aapl_has_intraday_bars_from_a_session_of_quotes_alone(
    shifted: time_machine.Traveller, sandbox: Sandbox
) -> None:
    heard = []
    for minute in range(60):
        shifted.move_to(at(minute + 0.5))
        sandbox.control("POST", "clock", {"now": at(minute + 0.5).timestamp()})
        batch = quotes.quotes(["AAPL"], max_age_s=0)
        heard.append(batch.data["AAPL"].price)
        assert recorder.record(batch.data.values()) == 1

    aapl = Asset.objects.get(ref="stock:AAPL")
    got = recorder.candles(aapl, window(60), Resolution.M15, at(59.6))

    assert got is not None
    series, coverage = got
    assert (len(series.candles), coverage, series.origin) == (4, 1.0, Origin.RECORDED)
    assert [one.closed for one in series.candles] == [True, True, True, False]
    quarters = [heard[start : start + 15] for start in range(0, 60, 15)]
    assert [(one.open, one.high, one.low, one.close) for one in series.candles] == [
        (part[0], max(part), min(part), part[-1]) for part in quarters
    ]


def test_a_plan_without_bars_is_answered_with_recorded_ones(
    shifted: time_machine.Traveller, sandbox: Sandbox, settings: Any, redis_client: Redis
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"stock_candles": ["finnhub"]}
    for minute in range(60):
        shifted.move_to(at(minute + 0.5))
        sandbox.control("POST", "clock", {"now": at(minute + 0.5).timestamp()})
        recorder.record(quotes.quotes(["AAPL"], max_age_s=0).data.values())
    sandbox.control("POST", "plan", {"plan": "free"})

    for resolution, count in (("1", 60), ("5", 12), ("15", 4), ("60", 1), ("D", 1)):
        answer = ok("/AAPL/ohlcv", period="1d", resolution=resolution)

        assert (answer["origin"], answer["count"], answer["coverage"]) == ("recorded", count, 1.0)
        assert answer["resolution"] == resolution
        assert {bar["volume"] for bar in answer["candles"]} == {None}
        assert [bar["closed"] for bar in answer["candles"]] == [True] * (count - 1) + [False]
        assert answer["volume_basis"] is None
        assert answer["fallback_from"][0]["code"] == "plan_restricted"
    usual = ok("/AAPL/ohlcv", period="1w")
    assert (usual["resolution"], usual["truncated_by"]) == ("15", "limit")
    assert 0 < usual["coverage"] < 0.05

    # The next source is merely busy: for a minute what was recorded says more than nothing.
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"stock_candles": ["finnhub", "twelvedata"]}
    sandbox.fault("status", status=429, source="twelvedata")
    busy = ok("/AAPL/ohlcv", period="1d", resolution="30")
    assert (busy["origin"], busy["count"]) == ("recorded", 2)
    assert busy["fallback_from"][-1]["code"] == "upstream_rate_limited"
    assert redis_client.ttl("ohlcv:AAPL:1d:30") <= 60
