"""Why an answer is what it is: for staff and for development."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prices import cache, cadences, freshness, registry
from prices.answers import Answer, CandlesAnswer, HistoryAnswer, QuoteAnswer
from prices.cache import Held
from prices.errors import PricesError
from prices.services import symbols
from prices.services.symbols import Resolved
from prices.tracing import Trace
from prices.types import AssetKind, Freshness


def explained(held: Held[Any], trace: Trace, asked: str, resolved: Resolved, key: str) -> Held[Any]:
    """Return an answer with a member `explain` at its end, and no life of its own."""
    value: Answer = held.value
    told = _traced(trace) | {
        "cache": trace.keys.get(key) or ("hit" if held.was_hit else "miss"),
        "key": key,
        "resolved_by": symbols.rule(asked, resolved),
        "freshness_by": _freshness_by(value, resolved, trace),
    }
    body = held.body[:-1] + b',"explain":' + cache.encode(told) + b"}"
    return Held(value, body, 0.0, held.was_hit)


def failed(error: PricesError, trace: Trace) -> PricesError:
    """Return an error with the same member; the error itself may be told to others too."""
    attributes = {name: value for name, value in vars(error).items() if name != "extra"}
    extra = error.extra | {"explain": _traced(trace)}
    return type(error).again(str(error), attributes | {"extra": extra})


def _traced(trace: Trace) -> dict[str, Any]:
    return {
        "cache": next(iter(trace.keys.values()), None),
        "key": next(iter(trace.keys), None),
        "keys": trace.keys,
        "sources": [
            {
                "source": one.source,
                "status": one.statuses[-1] if one.statuses else None,
                "calls": len(one.statuses),
                "latency_ms": one.latency_ms,
                "code": one.code or None,
            }
            for one in trace.asked
        ],
        "budget": trace.budget,
    }


def _freshness_by(value: Answer, resolved: Resolved, trace: Trace) -> str:
    """Return the rule that decided an answer's freshness, as a sentence."""
    kind = AssetKind(resolved.asset.kind)
    if resolved.asset.is_gone:
        return "it is traded no more: this does not change"
    now = datetime.now(UTC)
    cadence = cadences.of(_source(value, kind, trace))
    if isinstance(value, QuoteAnswer):
        is_timed = value.freshness is not Freshness.UNKNOWN
        return freshness.of_quote(kind, value.last_updated, now, cadence, is_timed=is_timed).why
    if isinstance(value, (HistoryAnswer, CandlesAnswer)) and value.to is not None:
        judge = freshness.of_points if isinstance(value, HistoryAnswer) else freshness.of_series
        last = datetime.fromtimestamp(value.to, UTC)
        return judge(kind, last, value.resolution, now, cadence).why
    return "a close of a day gone by does not change"


def _source(value: Answer, kind: AssetKind, trace: Trace) -> str:
    """Return the settings' name of the source an answer is of, as far as that can be told."""
    answered = [one.source for one in trace.asked if not one.code]
    first = answered[-1] if answered else registry.source_for(kind)
    # In the sandbox all answers bear the same name.
    return first if value.source == registry.public_name(first) else value.source
