"""What speaks against a price: notes in Redis for whoever loads quotes, rows for the admin.

doubt:disputed:REF   two fresh sources differ about it
doubt:jump:REF       a price that jumped beyond reason and was not confirmed
doubt:stale:REF      its price is stale, and no other source knew better
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
from django.conf import settings
from django.db import DatabaseError

from prices import redis_clients
from prices.models import Asset, Dispute
from prices.redis_clients import RedisAwayError

logger = logging.getLogger(__name__)

SOURCES, JUMP = "sources", "jump"

# How far a price may move grows with the root of the time it had, beyond this.
STEADY = timedelta(minutes=15)
# Prices so near each other say the same of a jump, in percent.
AGREE_PERCENT = 5.0
# Who asks for what is held back causes no call sooner than this after the last.
LOOK_AGAIN = timedelta(seconds=15)
# A price that has stayed beyond reason for so long, moving on, is the price.
HELD_AT_MOST = timedelta(minutes=10)
_NOTED_S = 3600
_MOST_HERE = 1_000


class Suspicion(msgspec.Struct, frozen=True):
    """A price that jumped. is_overruled: another source knew that it is wrong."""

    price: float
    as_of: datetime
    since: datetime
    looked_at: datetime
    is_overruled: bool = False

    def is_confirmed_by(
        self, price: float, as_of: datetime, now: datetime, *, apart: timedelta | None
    ) -> bool:
        """Whether a later look shows the same: its time moved on, and the price stayed.

        A source confirms itself `apart` after the first look at the soonest, and only
        where no other could be asked; None where one could.
        """
        if self.is_overruled or as_of <= self.as_of:
            return False
        held = now - self.since
        if held >= HELD_AT_MOST:
            return True
        return apart is not None and held >= apart and agree(price, self.price)

    def is_just_looked_at(self, now: datetime) -> bool:
        return not self.is_overruled and now - self.looked_at < LOOK_AGAIN


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted of some assets, by ref."""

    disputed: Collection[str] = ()
    hopeless: Collection[str] = ()
    suspicions: Mapping[str, Suspicion] = field(default_factory=dict)

    @property
    def is_any(self) -> bool:
        """Whether a price is in dispute or held back."""
        return bool(self.disputed or self.suspicions)


_here: dict[str, Suspicion] = {}  # for when Redis is away


def is_beyond_reason(old: float, new: float, age: timedelta) -> bool:
    """Whether a price moved further than it can be believed to at once, in `age`."""
    percent: int = settings.JUMP_PERCENT
    if not percent:
        return False
    times = math.sqrt(max(1.0, abs(age) / STEADY))
    return max(new / old, old / new) > 1 + times * percent / 100


def agree(one: float, other: float) -> bool:
    """Whether two prices say the same, as far as a jump goes."""
    return apart_percent(one, other) <= AGREE_PERCENT


def apart_percent(one: float, other: float) -> float:
    return 100 * abs(one / other - 1)


# --- Notes ---------------------------------------------------------------------------


def names_of(refs: Collection[str]) -> list[str]:
    """Return the keys of all that can be noted of assets."""
    return [f"doubt:{kind}:{ref}" for kind in ("disputed", "stale", "jump") for ref in refs]


def noted(refs: Collection[str]) -> Notes:
    """Return what is noted of assets: one MGET."""
    names = list(refs)
    keys = names_of(names)
    try:
        notes = redis_clients.mget(keys) if keys else []
    except RedisAwayError:
        return Notes(suspicions=_noted_here(names))
    disputed, stale, jumps = (notes[at * len(names) :][: len(names)] for at in range(3))
    found = {ref: _suspicion(body) for ref, body in zip(names, jumps, strict=True) if body}
    return Notes(
        disputed={ref for ref, note in zip(names, disputed, strict=True) if note},
        hopeless={ref for ref, note in zip(names, stale, strict=True) if note},
        suspicions={ref: one for ref, one in found.items() if one},
    )


def _noted_here(refs: Collection[str]) -> dict[str, Suspicion]:
    """Return what this process itself suspected of assets, as long as Redis would hold it."""
    since = datetime.now(UTC) - timedelta(seconds=_NOTED_S)
    found = {ref: _here[ref] for ref in refs if ref in _here}
    return {ref: one for ref, one in found.items() if one.looked_at >= since}


def note(kind: str, ref: str, for_s: int) -> None:
    """Note that a price is `disputed` or `stale` everywhere."""
    _write(f"doubt:{kind}:{ref}", b"1", for_s)


def suspect(ref: str, suspicion: Suspicion) -> None:
    if len(_here) >= _MOST_HERE:
        _here.clear()
    _here[ref] = suspicion
    _write(f"doubt:jump:{ref}", msgspec.json.encode(suspicion), _NOTED_S)


def trust(kind: str, ref: str) -> None:
    """Forget what was noted of that kind."""
    if kind == JUMP:
        _here.pop(ref, None)
    try:
        redis_clients.ask(lambda r: r.delete(f"doubt:{kind}:{ref}"))
    except RedisAwayError:
        return  # It lapses.


def _write(key: str, body: bytes, for_s: int) -> None:
    try:
        redis_clients.ask(lambda r: r.set(key, body, ex=for_s))
    except RedisAwayError:
        logger.debug("%s is not noted while Redis is away", key)


def _suspicion(body: bytes) -> Suspicion | None:
    try:
        return msgspec.json.decode(body, type=Suspicion)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # Not a note of ours.


# --- Rows ----------------------------------------------------------------------------


def begin(
    asset: Asset, kind: str, *, source: str, price: float, against: str, other_price: float
) -> None:
    """List a dispute for the admin, or bring the one that lasts up to date."""
    now = datetime.now(UTC)
    said = {
        "source": source,
        "price": price,
        "against": against,
        "other_price": other_price,
        "apart_percent": apart_percent(price, other_price),
        "seen_at": now,
    }
    try:
        _, is_new = Dispute.objects.update_or_create(
            asset=asset,
            kind=kind,
            ended_at=None,
            defaults=said,
            create_defaults=said | {"began_at": now},
        )
    except DatabaseError as exc:
        logger.warning("a dispute about %s is not listed: %s", asset.ref, type(exc).__name__)
        return
    if is_new:
        told = (f"{price:g} ({source})", f"{other_price:g} ({against})")
        logger.warning("%s is in dispute: %s against %s", asset.ref, *told)


def end(asset: Asset, kind: str) -> None:
    """Let a dispute be over, if there is one."""
    try:
        Dispute.objects.filter(asset=asset, kind=kind, ended_at=None).update(
            ended_at=datetime.now(UTC)
        )
    except DatabaseError as exc:
        logger.warning("a dispute about %s goes on: %s", asset.ref, type(exc).__name__)
