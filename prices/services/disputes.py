"""Two fresh sources about the same price: where they differ too far, it is in dispute.

A second source is asked now and then about what is followed or tracked, within a
small share of its plan. Only what is live is compared, of about the same moment and
in dollars. A dispute ends when the sources agree again, or when nobody could look
for an hour.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis
from django.conf import settings

from prices import cache, redis_clients, registry
from prices.answers import QuoteAnswer, Skipped
from prices.budget import Limits, Purpose
from prices.models import Dispute
from prices.redis_clients import RedisAwayError
from prices.services import doubts, pairs, sourcing, symbols
from prices.services.symbols import Resolution, Resolved
from prices.types import AssetKind, Capability, Freshness

# Prices of moments further apart than this may differ and both be true.
NEAR = timedelta(seconds=120)
# Of a source's plan, comparing takes so much at most.
SHARE = 0.1
# Of a source that tells one symbol a call, so many are asked at a time.
FEW = 3
LASTS = timedelta(hours=1)
_WINDOWS_S = {
    "per_second": 1,
    "per_minute": 60,
    "per_hour": 3600,
    "per_day": 86_400,
    "per_month": 30 * 86_400,
}


@dataclass(frozen=True, slots=True)
class _Own:
    """A live quote that is held, and the source it came from."""

    resolved: Resolved
    quote: QuoteAnswer
    source: str

    @property
    def ref(self) -> str:
        return self.resolved.asset.ref


def check(wanted: Collection[str]) -> int:
    """Compare what is held of `wanted` with second sources; return how many were compared."""
    if not settings.DISPUTE_PERCENT:
        return 0
    found = symbols.resolve_many(wanted)
    compared = 0
    for kind in AssetKind:
        left = _held(found, kind)
        disputed = doubts.noted([own.ref for own in left.values()]).disputed
        for source in registry.chain(kind, Capability.QUOTES):
            chosen = _chosen(source, left, disputed)
            if not chosen or not _may_ask(source):
                continue
            asked = {symbol: own.resolved for symbol, own in chosen.items()}
            nothing: dict[str, list[Skipped]] = {symbol: [] for symbol in asked}
            answers, _ = sourcing.from_source(
                source,
                asked,
                nothing,
                Purpose.ANSWER,
                second_looks=asked,
                not_by={own.source for own in chosen.values()},
            )
            for symbol, second in answers.items():
                if _are_comparable(chosen[symbol].quote, second):
                    _compare(left.pop(symbol), second, source)
                    compared += 1
    _let_lapse()
    return compared


def _held(found: Resolution, kind: AssetKind) -> dict[str, _Own]:
    """Return the live quotes of a kind that are held, by symbol; no source is asked."""
    wanted = {
        cache.price_key(one.symbol): one for one in found.assets.values() if one.asset.kind == kind
    }
    held = {}
    for key, one in cache.read_many(wanted, QuoteAnswer).items():
        resolved, source = wanted[key], pairs.source_of(one.value)
        is_fitting = one.value.ref == resolved.asset.ref and source is not None
        if is_fitting and source and one.value.freshness is Freshness.LIVE:
            held[resolved.symbol] = _Own(resolved, one.value, source)
    return held


def _chosen(source: str, left: Mapping[str, _Own], disputed: Collection[str]) -> dict[str, _Own]:
    """Return what to ask a source about: what is in dispute first, the rest by turns."""
    fitting = {symbol: own for symbol, own in sorted(left.items()) if own.source != source}
    at_once = registry.symbols_a_call(source)
    room = at_once if at_once > 1 else FEW
    if len(fitting) <= room:
        return fitting
    urgent = [symbol for symbol, own in fitting.items() if own.ref in disputed]
    others = [symbol for symbol in fitting if symbol not in urgent]
    start = _turn(source, room) % max(1, len(others))
    order = [*urgent, *others[start:], *others[:start]]
    return {symbol: fitting[symbol] for symbol in order[:room]}


def _turn(source: str, room: int) -> int:
    try:
        return int(redis_clients.ask(lambda r: r.incrby(f"doubt:turn:{source}", room)))
    except RedisAwayError:
        return 0


def _may_ask(source: str) -> bool:
    """Whether a call now stays within a small share of the source's plan."""
    pace_s = _pace_s(registry.budget(source).limits)
    if registry.symbols_a_call(source) == 1:
        pace_s *= FEW
    if pace_s <= settings.DISPUTE_CHECK_S:
        return True

    def claim(r: redis.Redis) -> bool:
        return bool(r.set(f"doubt:asked:{source}", b"1", nx=True, ex=int(pace_s)))

    try:
        return redis_clients.ask(claim)
    except RedisAwayError:
        return False


def _pace_s(limits: Limits) -> float:
    """Return the seconds between calls that take their share of every limit of a plan."""
    paces = [
        width / (SHARE * limit)
        for name, width in _WINDOWS_S.items()
        if (limit := getattr(limits, name))
    ]
    return max(paces, default=0.0)


def _are_comparable(own: QuoteAnswer, second: QuoteAnswer) -> bool:
    is_live = second.freshness is Freshness.LIVE
    return is_live and abs(second.last_updated - own.last_updated) <= NEAR


def _compare(own: _Own, second: QuoteAnswer, source: str) -> None:
    asset, price = own.resolved.asset, own.quote.price
    if doubts.apart_percent(price, second.price) <= settings.DISPUTE_PERCENT:
        doubts.trust("disputed", asset.ref)
        doubts.end(asset, doubts.SOURCES)
        return
    doubts.note("disputed", asset.ref, int(LASTS.total_seconds()))
    doubts.begin(
        asset,
        doubts.SOURCES,
        source=own.source,
        price=price,
        against=source,
        other_price=second.price,
    )


def _let_lapse() -> None:
    """End what nobody has seen for so long that nobody knows."""
    now = datetime.now(UTC)
    Dispute.objects.filter(ended_at=None, seen_at__lt=now - LASTS).update(ended_at=now)
