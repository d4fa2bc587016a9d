"""The forms of a series, as pure functions of an answer."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from prices import forms
from prices.answers import CandlesAnswer, HistoryAnswer
from prices.errors import InvalidParameterError
from prices.forms import Fill, Form, Shape
from prices.types import Adjustment, Candle, Freshness, Origin, Period, Point, Resolution

HOUR = 3600
T = 1_795_046_400  # Thursday 19 November 2026, 00:00 UTC
AS_OF = datetime(2026, 11, 20, 21, tzinfo=UTC)


def series(ref: str, resolution: Resolution) -> dict[str, Any]:
    return {
        "source": "sandbox",
        "as_of": AS_OF,
        "fetched_at": AS_OF,
        "cached": True,
        "stale": False,
        "symbol": "X",
        "ref": ref,
        "period": Period.MONTH,
        "count": 0,
        "resolution": resolution,
        "from_": None,
        "to": None,
        "truncated": False,
        "truncated_by": None,
        "available_from": None,
        "volume_basis": None,
        "freshness": Freshness.LIVE,
        "market": None,
        "session": None,
        "adjustment": Adjustment.NONE,
        "segments": [],
        "quote_currency": "USD",
        "fallback_from": [],
        "alternatives": [],
        "origin": Origin.PROVIDER,
        "coverage": None,
    }


def candles(
    *opens: int, ref: str = "coingecko:x", width: Resolution = Resolution.H1
) -> CandlesAnswer:
    bars = [Candle(at, 2.0, 4.0, 1.0, 3.0, 10.0, True) for at in opens]
    return CandlesAnswer(**series(ref, width), dropped=0, candles=bars)


def history(
    *stamps: int, ref: str = "coingecko:x", step: Resolution = Resolution.H1
) -> HistoryAnswer:
    return HistoryAnswer(**series(ref, step), data=[Point(at, 2.5, None) for at in stamps])


def made(answer: CandlesAnswer | HistoryAnswer, form: Form = Form.OBJECTS, **how: Any) -> Any:
    return msgspec.json.decode(forms.made(answer, Shape(form, **how)).body)


def stamps(told: dict[str, Any]) -> list[int]:
    return [row["timestamp"] for row in told["candles" if "candles" in told else "data"]]


def spans(told: dict[str, Any]) -> list[tuple[int, int]]:
    return [(gap["from"], gap["to"]) for gap in told["gaps"]]


def test_a_span_holds_its_first_moment_and_not_its_last() -> None:
    told = made(candles(T, T + HOUR, T + 2 * HOUR), since=T + HOUR, until=T + 2 * HOUR)

    assert stamps(told) == [T + HOUR]
    assert (told["count"], told["from"], told["to"]) == (1, T + HOUR, T + HOUR)


def test_a_span_without_items_is_an_answer_without_them() -> None:
    told = made(candles(T), since=T + 1)

    assert (told["count"], told["from"], told["to"], told["candles"]) == (0, None, None, [])


def test_a_limit_takes_the_newest() -> None:
    assert stamps(made(candles(T, T + HOUR, T + 2 * HOUR), limit=2)) == [T + HOUR, T + 2 * HOUR]


def test_a_hole_in_a_coin_s_bars_is_a_gap_up_to_the_next_bar() -> None:
    told = made(candles(T, T + 3 * HOUR, T + 4 * HOUR, T + 6 * HOUR), with_gaps=True)

    assert spans(told) == [(T + HOUR, T + 3 * HOUR), (T + 5 * HOUR, T + 6 * HOUR)]
    assert stamps(told) == [T, T + 3 * HOUR, T + 4 * HOUR, T + 6 * HOUR]


def test_gaps_are_cut_with_what_is_asked_for() -> None:
    bars = candles(T, T + 4 * HOUR, T + 6 * HOUR)

    assert spans(made(bars, with_gaps=True, since=T + 2 * HOUR, until=T + 3 * HOUR)) == [
        (T + 2 * HOUR, T + 3 * HOUR)
    ]
    assert spans(made(bars, with_gaps=True, limit=2)) == [(T + 5 * HOUR, T + 6 * HOUR)]
    assert made(bars, limit=2)["gaps"] is None


@pytest.mark.parametrize(("fill", "close"), [(Fill.NULL, None), (Fill.PREVIOUS, 3.0)])
def test_a_hole_is_filled_as_asked_and_nothing_is_said_to_have_been_traded(
    fill: Fill, close: float | None
) -> None:
    told = made(candles(T, T + 2 * HOUR), fill=fill)

    assert stamps(told) == [T, T + HOUR, T + 2 * HOUR]
    filled = told["candles"][1]
    assert {filled[name] for name in ("open", "high", "low", "close")} == {close}
    assert filled["volume"] is None


def test_months_are_missed_by_the_calendar() -> None:
    first = [int(datetime(2026, month, 1, tzinfo=UTC).timestamp()) for month in (1, 2, 4)]
    told = made(candles(*first, width=Resolution.MONTH), with_gaps=True)

    assert spans(told) == [(int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()), first[2])]


def day(month: int, date: int) -> int:
    return int(datetime(2026, month, date, tzinfo=UTC).timestamp())


def test_a_stock_misses_nothing_at_the_weekend_or_on_a_holiday() -> None:
    # Thanksgiving is the 26th, and the 28th a Saturday; of the 24th there is no bar.
    opens = [day(11, date) for date in (23, 25, 27)] + [day(11, 30)]
    told = made(candles(*opens, ref="stock:X", width=Resolution.DAY), with_gaps=True)

    assert spans(told) == [(day(11, 24), day(11, 25))]


def test_a_stock_s_bars_are_missed_within_its_sessions_alone() -> None:
    last_of_friday = int(datetime(2026, 11, 20, 20, 30, tzinfo=UTC).timestamp())
    monday = int(datetime(2026, 11, 23, 14, 30, tzinfo=UTC).timestamp())
    told = made(
        candles(last_of_friday, monday, monday + 2 * HOUR, ref="stock:X"), fill=Fill.PREVIOUS
    )

    assert stamps(told) == [last_of_friday, monday, monday + HOUR, monday + 2 * HOUR]


def test_points_off_the_grid_are_missed_where_more_than_a_step_and_a_half_lies_between() -> None:
    told = made(history(T, T + HOUR + 900, T + 4 * HOUR), with_gaps=True, fill=Fill.NULL)

    assert len(told["data"]) == 5
    assert spans(told) == [(T + 2 * HOUR + 900, T + 4 * HOUR)]
    assert [row["price"] for row in told["data"]] == [2.5, 2.5, None, None, 2.5]


def test_a_stock_s_points_stand_at_the_ends_of_its_bars() -> None:
    closes = [int(datetime(2026, 11, date, 21, tzinfo=UTC).timestamp()) for date in (19, 20, 24)]
    told = made(history(*closes, ref="stock:X", step=Resolution.DAY), with_gaps=True)

    missed = int(datetime(2026, 11, 23, 21, tzinfo=UTC).timestamp())
    assert spans(told) == [(missed, closes[2])]


def test_columns_hold_what_rows_hold() -> None:
    bars = candles(T, T + 2 * HOUR)
    rows = made(bars, fill=Fill.NULL)["candles"]
    columns = made(bars, Form.COLUMNS, fill=Fill.NULL)["candles"]

    assert columns == {name: [row[name] for row in rows] for name in rows[0]}


def test_lightweight_rows_are_what_the_chart_takes_and_empty_places_have_a_time_alone() -> None:
    assert made(candles(T, T + 2 * HOUR), Form.LIGHTWEIGHT, fill=Fill.NULL) == [
        {"time": T, "open": 2.0, "high": 4.0, "low": 1.0, "close": 3.0},
        {"time": T + HOUR},
        {"time": T + 2 * HOUR, "open": 2.0, "high": 4.0, "low": 1.0, "close": 3.0},
    ]
    assert made(history(T), Form.LIGHTWEIGHT) == [{"time": T, "value": 2.5}]


def test_csv_has_a_header_and_an_empty_cell_for_what_is_not_known() -> None:
    body = forms.made(candles(T, T + 2 * HOUR), Shape(Form.CSV, fill=Fill.NULL)).body.decode()

    assert body.startswith("timestamp,open,high,low,close,volume\n")
    assert body.endswith("\n")
    rows = list(csv.DictReader(io.StringIO(body)))
    assert rows[0] == {
        "timestamp": str(T),
        "open": "2.0",
        "high": "4.0",
        "low": "1.0",
        "close": "3.0",
        "volume": "10.0",
    }
    assert rows[1] == dict.fromkeys(rows[0], "") | {"timestamp": str(T + HOUR)}
    points = forms.made(history(T), Shape(Form.CSV)).body.decode()
    assert points == f"timestamp,price,volume\n{T},2.5,\n"


def test_ndjson_is_a_row_a_line() -> None:
    lines = forms.made(candles(T, T + HOUR), Shape(Form.NDJSON)).body.splitlines()

    assert [msgspec.json.decode(line) for line in lines] == made(candles(T, T + HOUR))["candles"]


@pytest.mark.parametrize("form", [Form.LIGHTWEIGHT, Form.CSV, Form.NDJSON])
def test_bare_rows_say_by_headers_whose_they_are(form: Form) -> None:
    stale = msgspec.structs.replace(candles(T), stale=True)

    assert forms.made(stale, Shape(form)).headers == {
        "X-Source": "sandbox",
        "X-As-Of": "2026-11-20T21:00:00Z",
        "X-Stale": "true",
    }


def test_a_series_that_would_be_made_up_of_holes_is_refused() -> None:
    with pytest.raises(InvalidParameterError):
        made(candles(0, T, width=Resolution.M1), fill=Fill.PREVIOUS)
