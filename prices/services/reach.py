"""How far back a series reaches: whether a later source of the chain does better, and seams.

A series comes from one source. Where the one that reaches back furthest lacks the
newest bars, those of another are put behind it, if both are in one currency and
agree on the bars that both have; the answer names the seam.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.conf import settings

from prices import gateway, registry
from prices.answers import Segment, Skipped
from prices.budget import Purpose
from prices.errors import PricesError
from prices.gateway import Sourced
from prices.models import Asset
from prices.services import store
from prices.services.series import Measure, Part, bars
from prices.types import (
    AssetKind,
    Candle,
    Candles,
    Capability,
    Period,
    Points,
    Resolution,
    TruncatedBy,
    Window,
)

LONG = frozenset({Period.YEAR, Period.FIVE_YEARS, Period.ALL})
# So much longer than what we have a series must be for its source to be preferred.
GAIN = 0.1
MOST_ASKED = 2
# After so long no further source is asked.
PATIENCE_S = 8.0
# How far two sources may lie apart on the bars that both have, to be joined.
SAME = 0.01
# A series that begins so shortly after its source did may be of an older asset.
BEGINS_WITH_S = 10 * 86_400
BELIEVED = timedelta(hours=1)
A_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Quest:
    """What was asked for, as further sources are to be asked for it too."""

    asset: Asset
    capability: Capability
    period: Period
    span: Window
    question: Callable[[Any], Part]
    falls_short: Callable[[Part, str], str | None]
    purpose: Purpose


def furthest(got: Sourced[Part], quest: Quest) -> Sourced[Part]:
    """Return the series of the source that reaches back furthest, where the first is cut.

    Only for long periods of days or wider bars, and where a plan is the reason; two
    further sources are asked at most, and those never again that were found to have
    no more.
    """
    if not _is_cut(got.value, quest):
        return got
    best, passed = got, [Skipped(source=registry.skipped_name(got.name), code=_why(got.value))]
    chain = registry.chain(AssetKind(quest.asset.kind), quest.capability)
    later = chain[chain.index(got.name) + 1 :] if got.name in chain else []
    asked, give_up = 0, time.monotonic() + PATIENCE_S
    for name in later:
        if asked == MOST_ASKED or time.monotonic() > give_up:
            break
        if not _may_do_better(name, best.value, quest):
            continue
        asked += 1
        other = _asked(name, quest)
        if other is None or not _is_better(other.value.first, best.value):
            continue
        chosen = _with_newest_of(other, best, quest)
        if chosen is not None:
            best = replace(chosen, skipped=[*got.skipped, *passed])
            passed.append(Skipped(source=registry.skipped_name(name), code=_why(chosen.value)))
    return best


def why_cut(part: Part, name: str, span: Window) -> TruncatedBy | None:
    """Return why a series begins later than its period, as far as that is known.

    An exchange may have listed a coin long after it began, and what begins with the source
    need not have begun then: both are limits of the source. All there is of an asset that
    began later is cut by nothing.
    """
    cut = part.series.truncated_by
    is_all = cut is None and span.start is None
    if name not in settings.PRICE_PROVIDERS or not (is_all or cut is TruncatedBy.LISTING):
        return cut
    source = registry.backend(name)
    began = source.began.timestamp() + BEGINS_WITH_S
    is_known = source.has_assets_whole and (part.first > began or not is_all)
    return cut if is_known else TruncatedBy.LIMIT


def refusal(name: str, quest: Quest, measure: Measure) -> PricesError | None:
    """Return why a source would give no bars of the asset now; None where it would.

    One that did within the hour is believed; another is asked for the newest days.
    """
    if store.has_given(quest.asset, name, measure.now - BELIEVED):
        return None
    latest = Window(measure.now - A_WEEK, measure.now)
    try:
        gateway.ask(
            AssetKind(quest.asset.kind),
            quest.capability,
            lambda source: bars(source, latest, Resolution.DAY, measure),
            purpose=quest.purpose,
            sources=[name],
        )
    except PricesError as exc:
        return exc
    return None


def _is_cut(part: Part, quest: Quest) -> bool:
    cut = part.series.truncated_by
    if cut is TruncatedBy.PLAN:
        return True
    if quest.period not in LONG or part.resolution.is_intraday:
        return False
    return cut is not None or quest.span.start is None


def _why(part: Part) -> str:
    """Return the code of why a series begins where it does: all a source has is its listing."""
    return str(part.series.truncated_by or TruncatedBy.LISTING)


def _is_better(first: int, best: Part) -> bool:
    gained = best.first - first
    return gained >= max(GAIN * (best.last - best.first), 3 * best.resolution.minutes * 60)


def _may_do_better(name: str, best: Part, quest: Quest) -> bool:
    """Whether a source may reach further: not where it cannot, or was found not to."""
    try:
        source = registry.provider(name)
    except PricesError:
        return False
    start = quest.span.start
    edge = source.earliest(best.resolution)
    if not _is_better(int(max(edge, start or edge).timestamp()), best):
        return False
    width = best.resolution if best.resolution.is_intraday else Resolution.DAY
    if source.has_points and quest.capability is Capability.HISTORY:
        return True
    begins = store.begins(quest.asset, name, width, start)
    return begins is None or _is_better(begins, best)


def _asked(name: str, quest: Quest) -> Sourced[Part] | None:
    try:
        return gateway.ask(
            AssetKind(quest.asset.kind),
            quest.capability,
            quest.question,
            purpose=quest.purpose,
            sources=[name],
        )
    except PricesError:
        return None  # What there is already is an answer.


def _with_newest_of(far: Sourced[Part], near: Sourced[Part], quest: Quest) -> Sourced[Part] | None:
    """Return the series that reaches further, with the newest bars of the other where it lacks any.

    None where it cannot take the other's place.
    """
    if far.value.resolution is not near.value.resolution:
        return None
    width_s = near.value.resolution.minutes * 60
    if near.value.last - far.value.last < width_s:
        return far
    joint = joined(far.value, near.value, far.source, near.source)
    if joint is not None:
        return replace(far, value=joint)
    return None if quest.falls_short(far.value, far.name) else far


def joined(far: Part, near: Part, far_source: str, near_source: str) -> Part | None:
    """Return `far` with what of `near` is newer, or None where they do not fit together."""
    one, other = far.series, near.series
    if far.currency != near.currency or (one.volume_basis, one.adjustment) != (
        other.volume_basis,
        other.adjustment,
    ):
        return None
    # The newest of each may still change.
    closes = _closes(near)
    shared = [(price, closes[at]) for at, price in list(_closes(far).items())[:-1] if at in closes]
    if not shared or any(abs(price / its - 1) > SAME for price, its in shared):
        return None
    if isinstance(one, Candles) and isinstance(other, Candles):
        old = one.candles[:-1] if not one.candles[-1].closed else one.candles
        new = [bar for bar in other.candles if bar.timestamp > old[-1].timestamp]
        whole: Candles | Points = replace(one, candles=[*old, *new])
        ends, begins = old[-1].timestamp, new[0].timestamp
    elif isinstance(one, Points) and isinstance(other, Points):
        fresh = [point for point in other.points if point.timestamp > far.last]
        whole = replace(one, points=[*one.points, *fresh])
        ends, begins = far.last, fresh[0].timestamp
    else:
        return None
    segments = (
        Segment(from_=far.first, to=ends, source=far_source),
        Segment(from_=begins, to=near.last, source=near_source),
    )
    return replace(far, series=whole, segments=segments, held_at=near.held_at, end=near.end)


def _closes(part: Part) -> dict[int, float]:
    return {
        one.timestamp: one.close if isinstance(one, Candle) else one.price for one in part.items
    }
