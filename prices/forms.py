"""The forms a series is given in: cut, filled, and as rows, columns, CSV or a chart's own.

All are made of the one stored answer, by `made`. A span is `since` to `until`, the first
included and the second not; gaps are told the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from prices.answers import CandlesAnswer, HistoryAnswer, Moment, SeriesAnswer
from prices.errors import InvalidParameterError
from prices.grid import missing_bars, missing_points
from prices.types import AssetKind, Candle, Point

JSON = "application/json"
# No series that is asked for has more places than these; one that had would be made up of holes.
MOST_MISSING = 100_000


class Form(StrEnum):
    """What a series is written as."""

    OBJECTS = "objects"
    COLUMNS = "columns"
    LIGHTWEIGHT = "lightweight"
    CSV = "csv"
    NDJSON = "ndjson"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES.get(self, JSON)

    @property
    def is_bare(self) -> bool:
        """Whether it holds rows alone, so that headers have to say whose they are."""
        return self in {Form.LIGHTWEIGHT, Form.CSV, Form.NDJSON}


_MEDIA_TYPES = {Form.CSV: "text/csv", Form.NDJSON: "application/x-ndjson"}


class Fill(StrEnum):
    """What stands where an item is missing: nothing, nulls, or the close before it."""

    NONE = "none"
    NULL = "null"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a series is wanted, and how. `limit` takes the newest."""

    form: Form = Form.OBJECTS
    since: int | None = None
    until: int | None = None
    limit: int | None = None
    fill: Fill = Fill.NONE
    with_gaps: bool = False


class Gap(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A stretch without items: from the first that is missing to the next there is, excluded."""

    from_: int
    to: int


class PlacedPoint(msgspec.Struct, frozen=True):
    """A point, or the place of one that is missing."""

    timestamp: int
    price: float | None
    volume: float | None


class PlacedCandle(msgspec.Struct, frozen=True):
    """A bar, or the place of one that is missing."""

    timestamp: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    closed: bool


class PointColumns(msgspec.Struct, frozen=True):
    """Points by field, all lists of one length."""

    timestamp: list[int]
    price: list[float | None]
    volume: list[float | None]


class CandleColumns(msgspec.Struct, frozen=True):
    """Bars by field, all lists of one length."""

    timestamp: list[int]
    open: list[float | None]
    high: list[float | None]
    low: list[float | None]
    close: list[float | None]
    volume: list[float | None]
    closed: list[bool]


class HistoryCut(SeriesAnswer, kw_only=True, frozen=True, rename={"from_": "from"}):
    """GET /{symbol}/history where some of it was asked for, filled, or with its gaps."""

    data: list[PlacedPoint]
    gaps: list[Gap] | None


class HistoryColumns(SeriesAnswer, kw_only=True, frozen=True, rename={"from_": "from"}):
    """GET /{symbol}/history?format=columns."""

    data: PointColumns
    gaps: list[Gap] | None


class CandlesCut(SeriesAnswer, kw_only=True, frozen=True, rename={"from_": "from"}):
    """GET /{symbol}/ohlcv where some of it was asked for, filled, or with its gaps."""

    dropped: int
    candles: list[PlacedCandle]
    gaps: list[Gap] | None


class CandlesColumns(SeriesAnswer, kw_only=True, frozen=True, rename={"from_": "from"}):
    """GET /{symbol}/ohlcv?format=columns."""

    dropped: int
    candles: CandleColumns
    gaps: list[Gap] | None


class Several(msgspec.Struct, kw_only=True, frozen=True):
    """What answers of several series have in common: times are those of the oldest."""

    success: bool = True
    count: int
    failed: dict[str, str]
    resolved: dict[str, str]
    source: str | None
    as_of: Moment | None
    fetched_at: Moment | None
    cached: bool
    stale: bool


class SeveralHistories(Several, kw_only=True, frozen=True):
    """GET /batch/history."""

    data: dict[str, HistoryCut]


class SeveralColumns(Several, kw_only=True, frozen=True):
    """GET /batch/history?format=columns."""

    data: dict[str, HistoryColumns]


class LightweightPoint(msgspec.Struct, frozen=True):
    """A point as lightweight-charts takes it; without a value it is an empty place."""

    time: int
    value: float | UnsetType = UNSET


class LightweightCandle(msgspec.Struct, frozen=True):
    """A bar as lightweight-charts takes it; without prices it is an empty place."""

    time: int
    open: float | UnsetType = UNSET
    high: float | UnsetType = UNSET
    low: float | UnsetType = UNSET
    close: float | UnsetType = UNSET


Placed = PlacedPoint | PlacedCandle


@dataclass(frozen=True, slots=True)
class Made:
    """A series in its form: the answer where it is JSON with an envelope, and its bytes."""

    body: bytes
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: SeriesAnswer | None = None


def made(answer: HistoryAnswer | CandlesAnswer, shape: Shape) -> Made:
    """Return a series cut, filled and written as wanted."""
    rows, gaps = _placed(answer, shape)
    if shape.form.is_bare:
        body = _WRITERS[shape.form](answer, rows)
        return Made(body, shape.form.media_type, _told(answer))
    formed = _enveloped(answer, rows, gaps if shape.with_gaps else None, shape.form)
    return Made(msgspec.json.encode(formed), answer=formed)


def several(
    answers: Mapping[str, HistoryAnswer],
    failed: Mapping[str, str],
    resolved: Mapping[str, str],
    shape: Shape,
) -> SeveralHistories | SeveralColumns:
    """Return histories by symbol, each cut, filled and written as wanted."""
    found = list(answers.values())
    told = {symbol: made(answer, shape).answer for symbol, answer in answers.items()}
    whole: type[Any] = SeveralColumns if shape.form is Form.COLUMNS else SeveralHistories
    answer: SeveralHistories | SeveralColumns = whole(
        count=len(told),
        data=told,
        failed=dict(failed),
        resolved=dict(resolved),
        source="+".join(sorted({one.source for one in found})) or None,
        as_of=min((one.as_of for one in found if one.as_of), default=None),
        fetched_at=min((one.fetched_at for one in found), default=None),
        cached=bool(found) and all(one.cached for one in found),
        stale=any(one.stale for one in found),
    )
    return answer


# --- Which rows ---------------------------------------------------------------------


def _placed(answer: HistoryAnswer | CandlesAnswer, shape: Shape) -> tuple[list[Placed], list[Gap]]:
    items: Sequence[Point] | Sequence[Candle] = _items(answer)
    looks = shape.with_gaps or shape.fill is not Fill.NONE
    holes = _holes(answer, [item.timestamp for item in items]) if looks else []
    rows: list[Placed] = [_row(item) for item in items]
    if shape.fill is not Fill.NONE:
        rows = list(_filled(rows, holes, shape.fill))
    rows = [row for row in rows if _is_within(row.timestamp, shape)]
    if shape.limit is not None:
        rows = rows[-shape.limit :]
    if not shape.with_gaps:
        return rows, []
    first = rows[0].timestamp if rows and shape.limit is not None else 0
    stamps = [item.timestamp for item in items]
    return rows, [gap for hole in _runs(holes, stamps) if (gap := _cut(hole, shape, first))]


def _items(answer: HistoryAnswer | CandlesAnswer) -> Sequence[Point] | Sequence[Candle]:
    return answer.data if isinstance(answer, HistoryAnswer) else answer.candles


def _holes(answer: HistoryAnswer | CandlesAnswer, stamps: Sequence[int]) -> list[int]:
    look = missing_points if isinstance(answer, HistoryAnswer) else missing_bars
    kind = AssetKind.STOCK if answer.ref.startswith("stock:") else AssetKind.CRYPTO
    found = list(islice(look(kind, answer.resolution, stamps), MOST_MISSING + 1))
    if len(found) > MOST_MISSING:
        raise InvalidParameterError("fill", f"More than {MOST_MISSING} items are missing.")
    return found


def _row(item: Point | Candle) -> Placed:
    if isinstance(item, Point):
        return PlacedPoint(item.timestamp, item.price, item.volume)
    ohlc = (item.open, item.high, item.low, item.close)
    return PlacedCandle(item.timestamp, *ohlc, item.volume, item.closed)


def _filled(rows: Sequence[Placed], holes: Sequence[int], fill: Fill) -> Iterator[Placed]:
    """Yield rows with a row in each hole; there is a row before the first of them."""
    waiting = iter(holes)
    hole = next(waiting, None)
    for number, row in enumerate(rows):
        while hole is not None and hole < row.timestamp:
            yield _stand_in(rows[number - 1], hole, fill)
            hole = next(waiting, None)
        yield row


def _stand_in(before: Placed, at: int, fill: Fill) -> Placed:
    if isinstance(before, PlacedPoint):
        return PlacedPoint(at, before.price if fill is Fill.PREVIOUS else None, None)
    close = before.close if fill is Fill.PREVIOUS else None
    return PlacedCandle(at, close, close, close, close, None, True)


def _is_within(at: int, shape: Shape) -> bool:
    return (shape.since is None or at >= shape.since) and (shape.until is None or at < shape.until)


def _runs(holes: Sequence[int], stamps: Sequence[int]) -> Iterator[Gap]:
    """Yield the stretches that holes make: each ends with the next item there is."""
    waiting = iter(holes)
    hole = next(waiting, None)
    for stamp in stamps:
        begins = hole
        while hole is not None and hole < stamp:
            hole = next(waiting, None)
        if begins is not None and begins < stamp:
            yield Gap(begins, stamp)


def _cut(gap: Gap, shape: Shape, first: int) -> Gap | None:
    """Return what of a gap lies within what is asked for."""
    begins = max(gap.from_, shape.since or 0, first)
    ends = gap.to if shape.until is None else min(gap.to, shape.until)
    return Gap(begins, ends) if begins < ends else None


# --- How they are written ------------------------------------------------------------


def _enveloped(
    answer: HistoryAnswer | CandlesAnswer,
    rows: Sequence[Placed],
    gaps: list[Gap] | None,
    form: Form,
) -> SeriesAnswer:
    of_history = isinstance(answer, HistoryAnswer)
    told = {name: getattr(answer, name) for name in answer.__struct_fields__}
    told |= {
        "count": len(rows),
        "from_": rows[0].timestamp if rows else None,
        "to": rows[-1].timestamp if rows else None,
        "gaps": gaps,
    }
    name = "data" if of_history else "candles"
    if form is Form.COLUMNS:
        columns: type[Any] = PointColumns if of_history else CandleColumns
        told[name] = columns(*_columns(rows, columns.__struct_fields__))
        whole: type[SeriesAnswer] = HistoryColumns if of_history else CandlesColumns
    else:
        told[name] = list(rows)
        whole = HistoryCut if of_history else CandlesCut
    return whole(**told)


def _columns(rows: Sequence[Placed], names: Sequence[str]) -> list[list[Any]]:
    return [[getattr(row, name) for row in rows] for name in names]


def _lightweight(answer: HistoryAnswer | CandlesAnswer, rows: Sequence[Placed]) -> bytes:
    return msgspec.json.encode([_light(row) for row in rows])


def _light(row: Placed) -> LightweightPoint | LightweightCandle:
    if isinstance(row, PlacedPoint):
        return LightweightPoint(row.timestamp, UNSET if row.price is None else row.price)
    ohlc = (row.open, row.high, row.low, row.close)
    return LightweightCandle(row.timestamp, *(UNSET if one is None else one for one in ohlc))


def _ndjson(answer: HistoryAnswer | CandlesAnswer, rows: Sequence[Placed]) -> bytes:
    return msgspec.json.Encoder().encode_lines(rows)


def _csv(answer: HistoryAnswer | CandlesAnswer, rows: Sequence[Placed]) -> bytes:
    of_history = isinstance(answer, HistoryAnswer)
    names = ("price",) if of_history else ("open", "high", "low", "close")
    names = ("timestamp", *names, "volume")
    lines = [",".join(names)]
    lines += [",".join(_cell(getattr(row, name)) for name in names) for row in rows]
    return "\n".join([*lines, ""]).encode()


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)


_WRITERS: dict[Form, Callable[[HistoryAnswer | CandlesAnswer, Sequence[Placed]], bytes]] = {
    Form.LIGHTWEIGHT: _lightweight,
    Form.CSV: _csv,
    Form.NDJSON: _ndjson,
}


def _told(answer: SeriesAnswer) -> dict[str, str]:
    """Return the headers that say of bare rows what an envelope would."""
    told = {"X-Source": answer.source, "X-Stale": "true" if answer.stale else "false"}
    if answer.as_of is not None:
        told["X-As-Of"] = msgspec.json.decode(msgspec.json.encode(answer.as_of), type=str)
    return told
