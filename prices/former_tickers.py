"""Stocks that were renamed or delisted before a catalogue of ours could notice, as data.

No source of a free plan tells former tickers. What is listed under one today, and what
our own catalogue saw go, comes before this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Former:
    """A ticker of the past, the last day it was traded, and the ticker it has now, if any."""

    ticker: str
    name: str
    last_day: date
    successor: str | None = None


FORMER = (
    Former("ANTM", "Anthem Inc", date(2022, 6, 27), "ELV"),
    Former("FB", "Meta Platforms Inc", date(2022, 6, 8), "META"),
    Former("GPS", "Gap Inc", date(2024, 8, 21), "GAP"),
    Former("SQ", "Block Inc", date(2025, 1, 17), "XYZ"),
    Former("TWTR", "Twitter Inc", date(2022, 10, 27)),
)
