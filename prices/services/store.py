"""The store: closed bars that sources gave, kept in the database and asked for once.

Bars are kept per asset, source and width (weeks and months are made of days), as
the source said them: in its currency, adjusted for splits or not. A series knows
which stretches it was asked for, so that "there is nothing before" is known too.
A database that is locked or broken costs the saving, and never the answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from prices.models import Asset, Bar, Series
from prices.types import AssetKind, Candle, Candles, Resolution, TruncatedBy, Window

logger = logging.getLogger(__name__)

Span = tuple[int, int]
"""From one Unix second to the opening of the last bar in it; from 0: nothing lies before."""
Run = tuple[int, int, int]
"""A span, and when a source last said the same of its bars; 0 where that is not known."""

RECORDED = "recorded"
# How long a write waits for another one before it is given up.
PATIENCE_MS = 500
# A close that the source now says so much otherwise was restated, and with it all before:
# by a split. A coin's last bar may have been early, but not by so much.
_RESTATED = {AssetKind.STOCK: 0.005, AssetKind.CRYPTO: 0.05}
_HOLE_S = 4 * 86_400  # a longer one in a series that broke off may be what is missing
_PRUNED_AT_ONCE = 5000
_PAUSE_S = 0.02

_COLUMNS = ("opens", "open", "high", "low", "close", "volume")
# The name of the table is ours; values are handed over beside the words.
_INSERT = f"INSERT INTO {Bar._meta.db_table} (series_id, {', '.join(_COLUMNS)})"
_OVER = "ON CONFLICT (series_id, opens) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS[1:]
)
_ROW = f"{_INSERT} VALUES (%s, %s, %s, %s, %s, %s, %s) {_OVER}"
# PostgreSQL takes whole columns at once, which is some times as fast as row by row.
_ALL = (
    f"{_INSERT} SELECT %s, * FROM unnest(%s::bigint[], "  # noqa: S608
    f"{', '.join(['%s::float8[]'] * 5)}) {_OVER}"
)


@dataclass(frozen=True, slots=True)
class Known:
    """One run of closed bars of a window, oldest first, and the span they are of."""

    bars: list[Candle] = field(default_factory=list)
    span: Span | None = None

    def covers(self, start: datetime | None) -> bool:
        """Whether nothing is missing between `start` (None: all there is) and the first bar."""
        if self.span is None:
            return False
        return self.span[0] <= (start.timestamp() if start else 0)


def known(
    asset: Asset, source: str, resolution: Resolution, window: Window, currency: str = "USD"
) -> Known:
    """Return the stored bars of the run that holds most of the window."""
    try:
        series = Series.objects.filter(
            asset=asset, source=source, resolution=resolution, currency=currency
        ).first()
        if series is None:
            return Known()
        since = int(window.start.timestamp()) - resolution.minutes * 60 if window.start else 0
        until = int(window.end.timestamp())
        span = max(_spans(series), key=lambda one: _shared(one, (since, until)), default=None)
        if span is None or _shared(span, (since, until)) < 0:
            return Known()
        rows = Bar.objects.filter(
            series=series, opens__gt=max(since, span[0] - 1), opens__lte=min(until, span[1])
        ).order_by("opens")
        return Known(_read(rows), span)
    except DatabaseError as exc:
        _outages.begin(exc)
        return Known()


def begins(asset: Asset, source: str, resolution: Resolution, start: datetime | None) -> int | None:
    """Return where a source's series begins that was asked for from `start` on; None if unasked."""
    since = int(start.timestamp()) if start else 0
    rows = Series.objects.filter(asset=asset, source=source, resolution=resolution)
    for series in rows:
        for span in _spans(series):
            if span[0] <= since <= span[1]:
                bars = Bar.objects.filter(series=series, opens__gte=since, opens__lte=span[1])
                return bars.order_by("opens").values_list("opens", flat=True).first()
    return None


def confirmed_at(series: Series, opens: int) -> datetime | None:
    """Return when its source last said the same of the run of bars that holds this one.

    All of a run is in the same shares: it was replaced as a whole where its source said otherwise.
    """
    times = [at for since, until, at in _runs(series) if since <= opens <= until and at]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def doubt(asset: Asset, source: str, resolution: Resolution, until: datetime) -> None:
    """Let what a source said of its bars up to a moment count as said by nobody.

    They stay, for the source to say the same of them again, or otherwise.
    """
    at_latest = int(until.timestamp())
    try:
        with _soon(), transaction.atomic():
            rows = Series.objects.select_for_update().filter(
                asset=asset, source=source, resolution=resolution
            )
            for series in rows:
                series.spans = [
                    (since, last, at if at > at_latest else 0) for since, last, at in _runs(series)
                ]
                series.save(update_fields=["spans"])
    except DatabaseError as exc:
        _outages.begin(exc)


def has_given(asset: Asset, source: str, since: datetime) -> bool:
    """Return whether bars of a source came, of whatever width, at or after a moment."""
    return Series.objects.filter(asset=asset, source=source, renewed_at__gte=since).exists()


def keep(
    asset: Asset,
    source: str,
    resolution: Resolution,
    window: Window,
    got: Candles,
    known: Known,
    currency: str = "USD",
) -> None:
    """Keep the closed bars of a series that was asked for over a window.

    `known` is what the source was told to be known. Where it now says otherwise, or in
    another currency, all that was kept is replaced.
    """
    bars = [bar for bar in got.candles if bar.closed]
    if not bars:
        return
    span = (_since(bars, window, got.truncated_by), bars[-1].timestamp)
    _save(asset, source, resolution, bars, span, known, currency, str(got.adjustment))


def keep_part(
    asset: Asset,
    source: str,
    resolution: Resolution,
    got: Sequence[Candle],
    known: Known,
    currency: str = "USD",
) -> None:
    """Keep the newest bars of a series that broke off, as far back as they have no hole."""
    bars = [bar for bar in got if bar.closed]
    for earlier, later in reversed(list(pairwise(bars))):
        if later.timestamp - earlier.timestamp > max(_HOLE_S, 3 * resolution.minutes * 60):
            bars = [bar for bar in bars if bar.timestamp >= later.timestamp]
            break
    if bars:
        span = (bars[0].timestamp, bars[-1].timestamp)
        _save(asset, source, resolution, bars, span, known, currency, "")


def is_restated(asset: Asset, held: Sequence[Candle], got: Sequence[Candle]) -> bool:
    """Return whether a source now says otherwise of bars that it gave before."""
    most, new = _RESTATED[AssetKind(asset.kind)], {bar.timestamp: bar.close for bar in got}
    return any(
        abs(new[old.timestamp] / old.close - 1) > most for old in held if old.timestamp in new
    )


def prune(now: datetime) -> int:
    """Delete bars past their keeping, some at a time; return how many. Days stay for ever.

    Recorded minutes are left: recordings.py makes hours and days of them first.
    """
    deleted = 0
    narrow = Series.objects.filter(resolution__in=[r for r in Resolution if r.is_intraday])
    for series in narrow.exclude(source=RECORDED, resolution=Resolution.M1):
        cut = int((now - keeping(Resolution(series.resolution))).timestamp())
        if any(since < cut for since, _ in _spans(series)):
            _cut_spans(series.pk, cut)
        while True:
            old = Bar.objects.filter(series=series, opens__lt=cut).order_by("opens")
            stamps = list(old.values_list("opens", flat=True)[:_PRUNED_AT_ONCE])
            if not stamps:
                break
            deleted += Bar.objects.filter(series=series, opens__lte=stamps[-1]).delete()[0]
            time.sleep(_PAUSE_S)  # Others write too.
    return deleted


def keeping(resolution: Resolution) -> timedelta:
    """Return how long bars of a width are kept."""
    if resolution.minutes < Resolution.H1.minutes:
        return timedelta(days=settings.KEEP_MINUTES_DAYS)
    if resolution.is_intraday:
        return timedelta(days=settings.KEEP_HOURS_DAYS)
    return timedelta.max


def write(series_id: int, bars: Sequence[Candle]) -> None:
    """Insert bars into a series, or put them over those of the same stamps."""
    rows = [(b.timestamp, b.open, b.high, b.low, b.close, b.volume) for b in bars]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql" and rows:
            cursor.execute(_ALL, [series_id, *map(_array, zip(*rows, strict=True))])
        else:
            cursor.executemany(_ROW, [(series_id, *row) for row in rows])


def _array(column: Sequence[float | None]) -> str:
    """Return numbers as PostgreSQL writes an array; the client's own way is much slower."""
    return "{" + ",".join("NULL" if one is None else repr(one) for one in column) + "}"


def _save(
    asset: Asset,
    source: str,
    resolution: Resolution,
    bars: Sequence[Candle],
    span: Span,
    known: Known,
    currency: str,
    adjustment: str,
) -> None:
    try:
        with _soon(), transaction.atomic():
            series, is_new = Series.objects.select_for_update().get_or_create(
                asset=asset,
                source=source,
                resolution=resolution,
                defaults={"currency": currency, "renewed_at": datetime.now(UTC)},
            )
            held = [] if is_new else [*known.bars, *_beside(series, bars, known)]
            if is_restated(asset, held, bars) or series.currency != currency:
                Bar.objects.filter(series=series).delete()
                series.spans, held = [], []
            series.spans = _joined(series, span, bars, held)
            write(series.pk, _news(bars, held))
            series.currency = currency
            series.adjustment = adjustment or series.adjustment
            series.renewed_at = datetime.now(UTC)
            series.save()
        _outages.end()
    except DatabaseError as exc:
        _outages.begin(exc)


def _since(bars: Sequence[Candle], window: Window, cut: TruncatedBy | None) -> int:
    """Return the moment back to which a series is whole."""
    if cut is None and window.start is None:
        return 0
    if cut in (None, TruncatedBy.LISTING) and window.start is not None:
        return min(int(window.start.timestamp()), bars[0].timestamp)
    return bars[0].timestamp


def _spans(series: Series) -> list[Span]:
    return [(since, until) for since, until, _ in _runs(series)]


def _runs(series: Series) -> list[Run]:
    return [(int(since), int(until), int(at[0]) if at else 0) for since, until, *at in series.spans]


def _beside(series: Series, bars: Sequence[Candle], known: Known) -> list[Candle]:
    """Return what is kept of the time that bars are of, besides what is known."""
    rows = Bar.objects.filter(
        series=series, opens__gte=bars[0].timestamp, opens__lte=bars[-1].timestamp
    )
    if known.bars:
        told = (known.bars[0].timestamp, known.bars[-1].timestamp)
        rows = rows.exclude(opens__range=told)
    return _read(rows)


def _read(rows: QuerySet[Bar]) -> list[Candle]:
    found = rows.values_list("opens", "open", "high", "low", "close", "volume")
    return [Candle(*row, True) for row in found]


def _news(bars: Sequence[Candle], held: Sequence[Candle]) -> list[Candle]:
    old = {bar.timestamp: bar for bar in held}
    return [bar for bar in bars if old.get(bar.timestamp) != bar]


def _joined(
    series: Series, span: Span, bars: Sequence[Candle], held: Sequence[Candle]
) -> list[Run]:
    """Return the runs, oldest first, the new one joined with those that it tells a bar of again.

    These are in the same shares, and confirmed with it. To touch a run proves nothing of it, so
    it stays by itself; one whose bars are not told any more where it should be is forgotten.
    """
    told = {bar.timestamp for bar in bars} & {bar.timestamp for bar in held}
    since, until = span
    others: list[Run] = []
    for run in _runs(series):
        if any(run[0] <= at <= run[1] for at in told):
            since, until = min(since, run[0]), max(until, run[1])
        elif _shared(span, run[:2]) < 0:
            others.append(run)
        else:
            Bar.objects.filter(series=series, opens__gte=run[0], opens__lte=run[1]).delete()
    return sorted([*others, (since, until, _now())])


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


def _shared(one: Span, other: Span) -> int:
    return min(one[1], other[1]) - max(one[0], other[0])


def _cut_spans(series_id: int, cut: int) -> None:
    with transaction.atomic():
        series = Series.objects.select_for_update().get(pk=series_id)
        runs = _runs(series)
        series.spans = [(max(since, cut), until, at) for since, until, at in runs if until > cut]
        series.save(update_fields=["spans"])


@contextmanager
def _soon() -> Iterator[None]:
    """Let a write wait for others a short while only: who asked waits for the answer."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "sqlite":
        usual: Mapping[str, int] = connection.settings_dict.get("OPTIONS", {})
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA busy_timeout = {int(usual.get('timeout', 5)) * 1000}")
    else:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE_MS}")
            yield


class _Outages:
    """Whether the database failed last, so that an outage is told once, and its end."""

    def __init__(self) -> None:
        self.is_on = False

    def begin(self, exc: DatabaseError) -> None:
        if not self.is_on:
            logger.warning("bars cannot be kept or read: %s", exc)
        self.is_on = True

    def end(self) -> None:
        if self.is_on:
            logger.info("bars are kept again")
        self.is_on = False


_outages = _Outages()
