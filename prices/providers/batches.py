"""Quotes of many assets: one a call, or many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import Any

from prices.errors import (
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
)
from prices.providers.base import Quotes
from prices.types import Instrument, Quote

_AT_ONCE = 4
_BEYOND = 1.02
_FAILURES = 3  # of a batch, after which the source counts as down for the rest of it


def one_by_one(
    instruments: Sequence[Instrument], ask: Callable[[str], Quote | None], *, name: str
) -> Quotes:
    """Return what `ask` says of each instrument by its upstream id; None is "no price".

    The first answer that speaks of a limit or of the key ends the batch, as do
    three other failures: what is left then has failed for that reason. Raises
    only where nothing was found because a call failed.
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


def in_batches(
    instruments: Sequence[Instrument],
    ask: Callable[[Sequence[str]], Quotes],
    *,
    size: int,
) -> Quotes:
    """Return what `ask` says, by symbol, of many symbols at once, `size` a call.

    A symbol that the source does not know spoils the whole call: such a
    batch is halved until that symbol stands alone. Raises only where nothing
    was found because a call failed.
    """
    refs: dict[str, list[str]] = {}
    for one in instruments:
        refs.setdefault(one.upstream_id, []).append(one.ref)
    symbols = sorted(refs)
    waiting = [symbols[at : at + size] for at in range(0, len(symbols), size)]
    result = Quotes({}, {})
    while waiting:
        batch = waiting.pop(0)
        try:
            quotes = ask(batch)
        except PricesError as exc:
            if isinstance(exc, UpstreamNotFoundError) and len(batch) > 1:
                middle = len(batch) // 2
                waiting += [batch[:middle], batch[middle:]]
                continue
            result.failed.update({ref: exc for symbol in batch for ref in refs[symbol]})
            continue
        for symbol, quote in quotes.found.items():
            result.found.update(dict.fromkeys(refs.get(symbol, ()), quote))
        for symbol, failure in quotes.failed.items():
            result.failed.update(dict.fromkeys(refs.get(symbol, ()), failure))
    if result.failed and not result.found:
        raise next(iter(result.failed.values()))
    return result


def read_each(
    rows: Mapping[str, Any],
    read: Callable[[Any], Quote | None],
    parsing: Callable[[], AbstractContextManager[None]],
) -> Quotes:
    """Return the quotes in rows by symbol: a row that cannot be read fails alone."""
    result = Quotes({}, {})
    for symbol, row in rows.items():
        try:
            with parsing():
                quote = read(row)
        except PricesError as exc:
            result.failed[symbol] = exc
        else:
            if quote is not None:
                result.found[symbol] = quote
    return result


def coherent(quote: Quote) -> Quote:
    """Return the quote. Raises ValueError where its price is beyond its own high and low.

    A little beyond is no contradiction: the figures may be of two moments.
    """
    if quote.high is not None and quote.price > quote.high * _BEYOND:
        raise ValueError("a price above its own high")
    if quote.low is not None and quote.price < quote.low / _BEYOND:
        raise ValueError("a price below its own low")
    return quote


def _ends_batch(failed: Mapping[str, PricesError]) -> bool:
    """Whether asking on would only make more of the same failures."""
    kinds = [type(error) for error in failed.values()]
    if kinds[-1] in (UpstreamRateLimitedError, UpstreamRefusedError):
        return True
    return kinds.count(UpstreamError) + kinds.count(UpstreamTimeoutError) >= _FAILURES
