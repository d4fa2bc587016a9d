"""Which period holds a span that a client names by its ends."""

from __future__ import annotations

from datetime import UTC, datetime

from prices.services import history
from prices.services.symbols import Resolved
from prices.types import AssetKind, Period

USUAL = Period.MONTH


def period_of(resolved: Resolved, since: int | None, until: int | None = None) -> Period:
    """Return the shortest period that begins at `since` or before it; the usual one without.

    Where only `until` is named: no shorter one than usual, which begins before that.
    """
    periods = list(Period)
    if since is None:
        periods = periods[periods.index(USUAL) :]
        since = None if until is None else until - 1
    if since is None:
        return USUAL
    if resolved.asset.is_gone:
        return Period.ALL
    kind, now = AssetKind(resolved.asset.kind), datetime.now(UTC)
    for period in periods:
        start = history.window(kind, period, now).start
        if start is None or start.timestamp() <= since:
            return period
    return Period.ALL
