"""Quotes from a source that takes one asset a call: a few at a time, while it helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextvars import copy_context

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
)
from prices.providers.base import Quotes
from prices.types import Instrument, Quote

_AT_ONCE = 4
_FAILURES = 3  # of a batch, after which the source counts as down for the rest of it


def one_by_one(
    instruments: Sequence[Instrument], ask: Callable[[str], Quote | None], *, name: str
) -> Quotes:
    """Return what `ask` says of each instrument by its upstream id; None is "no price".

    The first answer that speaks of a limit, of the key or of the plan ends the
    batch, as do three other failures: what is left then has failed for that
    reason. Raises only where nothing was found because a call failed.
    """
    result = Quotes({}, {})
    last: PricesError | None = None
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix=name) as pool:
        # A call is counted in the context of who asks for it.
        calls = {
            pool.submit(copy_context().run, ask, one.upstream_id): one.ref for one in instruments
        }
        for call in as_completed(calls):
            try:
                quote = call.result()
            except PricesError as exc:
                result.failed[calls[call]] = last = exc
                if _ends_batch(result.failed):
                    for other in calls:
                        other.cancel()
            except CancelledError:
                assert last is not None  # noqa: S101 - nothing else cancels
                result.failed[calls[call]] = last
            else:
                if quote is not None:
                    result.found[calls[call]] = quote
    if last is not None and not result.found:
        raise last
    return result


def _ends_batch(failed: Mapping[str, PricesError]) -> bool:
    """Whether asking on would only make more of the same failures."""
    kinds = [type(error) for error in failed.values()]
    if kinds[-1] in (UpstreamRateLimitedError, UpstreamRefusedError, PlanRestrictedError):
        return True
    return kinds.count(UpstreamError) + kinds.count(UpstreamTimeoutError) >= _FAILURES
