"""Periods by resolutions of a coin over HTTP: each is what it claims, or the documented 409.

`python -m bench.matrix` asks for all of them, of three coins and on the free plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from bench.matrix import FINEST, faults
from prices.types import Period, Resolution
from tests.prices.rest import get

# What takes more bars takes many pages of Coinbase, and is left to the command.
MOST_BARS = 800
DAY = (Period.DAY, Resolution.H1)


def cells() -> Iterator[tuple[Period, Resolution]]:
    """Yield the cells that take few pages, the longest period first: it fills the store."""
    for period in reversed(Period):
        days = period.span.days if period.span else 4200
        for resolution in Resolution:
            is_short = days * 1440 <= MOST_BARS * resolution.minutes
            is_refused = resolution.minutes < FINEST[period].minutes
            if is_short or is_refused or not resolution.is_intraday or period is Period.DAY:
                yield period, resolution


@pytest.mark.django_db
@pytest.mark.usefixtures("market")
def test_what_is_offered_of_a_coin_is_what_it_claims_and_all_else_is_the_documented_409() -> None:
    wrong = []
    for period, resolution in cells():
        response = get("/DOGE/ohlcv", period=period, resolution=resolution)
        found = faults(period, resolution, response.status_code, response.json())
        wrong += [f"{period} {resolution}: {one}" for one in found]

    assert wrong == []


def day_of_hours() -> dict[str, Any]:
    """Return a right answer for a day by the hour."""
    last = int(datetime.now(UTC).timestamp()) // 3600 * 3600
    stamps = range(last - 24 * 3600, last + 1, 3600)
    prices = {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 5.0}
    bars = [{"timestamp": at, **prices, "closed": at < last} for at in stamps]
    return {
        "resolution": "60",
        "count": len(bars),
        "from": stamps[0],
        "to": stamps[-1],
        "truncated": False,
        "truncated_by": None,
        "available_from": None,
        "volume_basis": "bar_units",
        "candles": bars,
    }


def wronged(**changes: Any) -> dict[str, Any]:
    return day_of_hours() | changes


def with_bar(number: int, **changes: Any) -> dict[str, Any]:
    body = deepcopy(day_of_hours())
    body["candles"][number] |= changes
    return body


def without_bars(cut: slice, **ends: Any) -> dict[str, Any]:
    body = day_of_hours()
    del body["candles"][cut]
    stamps = [bar["timestamp"] for bar in body["candles"]]
    return body | {"count": len(stamps), "from": stamps[0], "to": stamps[-1]} | ends


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (wronged(resolution="30"), "is of width 30"),
        (wronged(count=3), "another count"),
        (wronged(candles=[]), "has no bars"),
        (wronged(volume_basis=None), "volume"),
        (with_bar(3, volume=None), "1 closed bars without volume"),
        (with_bar(3, volume=0), "1 closed bars without volume"),
        (with_bar(3, closed=False), "open bar before"),
        (with_bar(3, low=2.0), "contradict"),
        (with_bar(3, timestamp=1_795_444_201), "no openings"),
        (without_bars(slice(4, 5)), "1 steps"),
        (without_bars(slice(0, 3)), "begins late"),
        (without_bars(slice(-3, None)), "ends"),
        (wronged(truncated=True, truncated_by="mood"), "is cut"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_an_answer_that_is_not_what_it_claims_is_a_fault_of_the_table(
    body: dict[str, Any], told: str
) -> None:
    assert faults(*DAY, 200, day_of_hours()) == []
    assert any(told in one for one in faults(*DAY, 200, body))


@pytest.mark.parametrize(
    ("period", "resolution", "status", "body"),
    [
        (*DAY, 503, {"code": "upstream_unavailable"}),
        (*DAY, 409, {"code": "resolution_unavailable", "available": ["D"]}),
        (Period.MONTH, Resolution.M1, 200, {}),
        (Period.MONTH, Resolution.M1, 503, {"code": "upstream_unavailable"}),
        (Period.MONTH, Resolution.M1, 409, {"code": "resolution_unavailable", "available": ["D"]}),
    ],
)
def test_another_refusal_than_the_documented_one_is_a_fault_of_the_table(
    period: Period, resolution: Resolution, status: int, body: dict[str, Any]
) -> None:
    assert faults(period, resolution, status, body)
