"""What UDF's requests mean and its figures look like, without a market."""

from __future__ import annotations

import time

import pytest

from prices.errors import InvalidParameterError
from prices.types import AssetKind, Resolution
from prices.udf import asking
from prices.udf.instruments import decimals


@pytest.mark.parametrize(
    ("kind", "price", "shown"),
    [
        (AssetKind.CRYPTO, 87_657.0, 2),
        (AssetKind.CRYPTO, 152.98, 3),
        (AssetKind.CRYPTO, 1.0, 5),
        (AssetKind.CRYPTO, 0.0000000633, 13),
        (AssetKind.CRYPTO, 1e-30, 15),
        (AssetKind.CRYPTO, None, 8),
        (AssetKind.STOCK, 271.2, 2),
        (AssetKind.STOCK, 0.81, 6),
        (AssetKind.STOCK, None, 2),
    ],
)
def test_decimals_are_those_that_a_price_needs(
    kind: AssetKind, price: float | None, shown: int
) -> None:
    assert decimals(kind, price) == shown


@pytest.mark.parametrize(
    ("asked", "width"),
    [
        *(("D", Resolution.DAY), ("d", Resolution.DAY), ("1d", Resolution.DAY)),
        *(("1D", Resolution.DAY), ("w", Resolution.WEEK), ("1M", Resolution.MONTH)),
        *(("m", Resolution.MONTH), ("1", Resolution.M1), ("240", Resolution.H4)),
    ],
)
def test_wide_bars_may_be_named_in_any_case(asked: str, width: Resolution) -> None:
    assert asking.resolution({"resolution": asked}) is width


@pytest.mark.parametrize("asked", ["3", "1S", "", "2D", "12M", "1m1"])
def test_a_width_that_nobody_has_is_refused(asked: str) -> None:
    with pytest.raises(InvalidParameterError):
        asking.resolution({"resolution": asked})


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"from": "5", "to": "1"},
        {"to": "5"},
        {"from": "1", "to": "1e9"},
        {"from": "1", "to": "99999999999999"},
    ],
)
def test_a_span_that_cannot_be_meant_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidParameterError):
        asking.wanted(query)


def test_countback_outranks_from_and_to_is_now_where_it_is_missing() -> None:
    assert asking.wanted({"from": "9", "to": "5", "countback": "2"}).count == 2
    assert asking.wanted({"from": "-5", "to": "5.75", "countback": "0"}).since == -5
    assert asking.wanted({"countback": "2"}).until >= int(time.time())
