"""What UDF's answers hold, field by field. Of a symbol no field may be called `s`."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType


class UdfExchange(msgspec.Struct, frozen=True):
    """A filter of the symbol search; an empty value stands for all."""

    value: str
    name: str
    desc: str


class UdfType(msgspec.Struct, frozen=True):
    """A kind of symbol to search among; an empty value stands for all."""

    name: str
    value: str


class UdfConfig(msgspec.Struct, kw_only=True, frozen=True):
    """GET /config: what this data feed can do."""

    supports_search: bool = True
    supports_group_request: bool = False
    supports_marks: bool = False
    supports_timescale_marks: bool = False
    supports_time: bool = True
    supported_resolutions: list[str]
    exchanges: list[UdfExchange]
    symbols_types: list[UdfType]


class UdfSymbol(msgspec.Struct, kw_only=True, frozen=True):
    """GET /symbols: what an asset is to a chart."""

    name: str
    full_name: str
    ticker: str
    description: str
    type: str
    exchange: str
    listed_exchange: str
    timezone: str
    session: str
    session_holidays: str
    corrections: str
    pricescale: int
    minmov: int = 1
    has_intraday: bool
    intraday_multipliers: list[str]
    has_daily: bool = True
    has_weekly_and_monthly: bool = True
    supported_resolutions: list[str]
    visible_plots_set: str
    volume_precision: int
    has_empty_bars: bool = False
    data_status: str
    currency_code: str
    format: str = "price"


class UdfFound(msgspec.Struct, kw_only=True, frozen=True):
    """One hit of GET /search."""

    symbol: str
    full_name: str
    description: str
    exchange: str
    ticker: str
    type: str


class UdfBars(msgspec.Struct, kw_only=True, frozen=True):
    """GET /history: bars by field, lists of one length; `v` only where every volume is known."""

    s: str = "ok"
    t: list[int]
    o: list[float]
    h: list[float]
    l: list[float]  # noqa: E741 - the protocol's name
    c: list[float]
    v: list[float] | UnsetType = UNSET


class UdfNoData(msgspec.Struct, kw_only=True, frozen=True, rename={"next_time": "nextTime"}):
    """GET /history where there are no such bars; `nextTime` opens the nearest one before them."""

    s: str = "no_data"
    next_time: int | UnsetType = UNSET


class UdfFigures(msgspec.Struct, kw_only=True, frozen=True):
    """What is known of a quote; the rest is left out, and of an error all is."""

    lp: float | UnsetType = UNSET
    ch: float | UnsetType = UNSET
    chp: float | UnsetType = UNSET
    high_price: float | UnsetType = UNSET
    low_price: float | UnsetType = UNSET
    prev_close_price: float | UnsetType = UNSET
    volume: float | UnsetType = UNSET
    short_name: str | UnsetType = UNSET
    exchange: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    original_name: str | UnsetType = UNSET


class UdfQuote(msgspec.Struct, kw_only=True, frozen=True):
    """One quote; `n` is the symbol just as it was asked for."""

    s: str = "ok"
    n: str
    v: UdfFigures


class UdfQuotes(msgspec.Struct, kw_only=True, frozen=True):
    """GET /quotes."""

    s: str = "ok"
    d: list[UdfQuote]


class UdfError(msgspec.Struct, kw_only=True, frozen=True):
    """Every error, whatever its status; `code` is the one of the REST API."""

    s: str = "error"
    errmsg: str
    code: str
    request_id: str | None
