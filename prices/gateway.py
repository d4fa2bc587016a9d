"""Every upstream call passes here: which source, for what reason, at what cost.

Each capability has a chain of sources (PRICE_CHAINS). They are tried in order:
the next one on an error, where a plan refuses, where a source does not have the
asset, and where its switch is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar

from prices import budget, failures, registry, tracing
from prices.answers import Skipped
from prices.breaker import Breaker, Turn
from prices.budget import Purpose, Tally, spending
from prices.errors import (
    BudgetSpentError,
    NotListedError,
    PlanRestrictedError,
    PricesError,
    ProviderNotConfiguredError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamJumpError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
)
from prices.providers import deadline
from prices.redis_clients import RedisAwayError
from prices.types import AssetKind, Capability

T = TypeVar("T")

# All calls that an answer takes, by whatever sources, end after so long: what came is kept.
QUESTION_S = 24.0
# A source has so long of it while another may follow: three of its failures then fall into
# the time that its switch counts them in.
SHARE_S = 9.0
# With less left no further source is tried: it could not answer, and would be blamed for that.
LEAST_S = 2.0

# What lets the next source of a chain be tried.
_PASSED_OVER = (
    NotListedError,
    PlanRestrictedError,
    ResolutionUnavailableError,
    UpstreamError,
)


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """A value and where it came from.

    source is what answers call it, name what the settings do. calls counts the
    HTTP calls it took; skipped are the sources that would have come first, and
    why they did not answer.
    """

    value: T
    source: str
    fetched_at: datetime
    calls: int
    skipped: list[Skipped] = field(default_factory=list)
    name: str = ""


def ask(
    kind: AssetKind,
    capability: Capability,
    question: Callable[[Any], T],
    *,
    purpose: Purpose = Purpose.ANSWER,
    sources: Sequence[str] | None = None,
    falls_short: Callable[[T, str], str | None] | None = None,
    skipped: list[Skipped] | None = None,
) -> Sourced[T]:
    """Ask the sources of a capability in order; return the first answer.

    `question` is given a provider, whose `name` says which, and may raise
    NotListedError to pass it over. `sources` narrows the chain. `falls_short`
    tells by a code why an answer is not good enough: the next source is tried
    then, and the first such answer given where nobody has a better one.
    `skipped` is filled with the sources that were passed over, also where this raises.
    Where nobody answers, one whose pages only came too slowly goes on with the time left.
    A plan that refused the capability is not asked again for an hour, unless on purpose.

    Raises what says most about why none could answer: that a source failed
    before that a plan refuses, and that before that a key is missing.
    """
    skipped = [] if skipped is None else skipped
    errors: list[PricesError] = []
    second_best: Sourced[T] | None = None
    names = registry.chain(kind, capability) if sources is None else sources
    refusals = _Refusals(names, kind, capability, purpose)
    turns = _Turns(names)
    with spending(purpose) as tally, _in_time(QUESTION_S, capability):
        for name in turns:
            if (errors or second_best) and deadline.left_s() < LEAST_S:
                break
            if turns.are_second and second_best:
                break
            try:
                with _in_time(SHARE_S if turns.others_follow else QUESTION_S, capability):
                    value = refusals.heeded(name, question)
            except ProviderNotConfiguredError as exc:
                errors.append(exc)
                continue
            except _PASSED_OVER as exc:
                errors.append(exc)
                if turns.are_second:
                    continue
                if isinstance(exc, UpstreamTimeoutError) and exc.got and turns.others_follow:
                    turns.slow.append(name)
                code = exc.passed_over_as or exc.code
                skipped.append(Skipped(source=registry.skipped_name(name), code=code))
                continue
            source, now = registry.public_name(name), datetime.now(UTC)
            if turns.are_second:
                first = {registry.skipped_name(one) for one in names[: names.index(name)]}
                skipped[:] = [one for one in skipped if one.source in first]
            got = Sourced(value, source, now, tally.calls, list(skipped), name)
            short = falls_short(value, name) if falls_short else None
            if short is None:
                return got
            second_best = second_best or got
            skipped.append(Skipped(source=registry.skipped_name(name), code=short))
    if second_best is not None:
        return second_best
    raise _telling(errors, kind, capability)


def ahead(kind: AssetKind, capability: Capability) -> list[str]:
    """Return the keys of Redis that `ask` looks at first where all is well."""
    refusals = [_refusal_key(name, kind, capability) for name in registry.chain(kind, capability)]
    return [*failures.names(refusals), *switch_of_first(kind, capability)]


def switch_of_first(kind: AssetKind, capability: Capability) -> list[str]:
    """Return the keys of the switch of the source that is asked first."""
    first = next(filter(registry.has_its_key, registry.chain(kind, capability)), None)
    return registry.breaker(first).names if first else []


def _refusal_key(name: str, kind: AssetKind, capability: Capability) -> str:
    return f"refused:{name}:{kind}:{capability}:{registry.account(name)}"


def _in_time(seconds: float, capability: Capability) -> AbstractContextManager[None]:
    """Limit the time of a question; a catalogue is a few long calls that nobody waits for."""
    return nullcontext() if capability is Capability.LISTINGS else deadline.question(seconds)


@dataclass(slots=True)
class _Turns:
    """The sources of a chain in order, then once more those of which pages came too slowly."""

    names: Sequence[str]
    slow: list[str] = field(default_factory=list)
    others_follow: bool = False
    are_second: bool = False

    def __iter__(self) -> Iterator[str]:
        for at, name in enumerate(self.names):
            self.others_follow = any(map(registry.has_its_key, self.names[at + 1 :]))
            yield name
        self.others_follow, self.are_second = False, True
        yield from self.slow


class _Refusals:
    """Which sources of a chain have refused a capability as a whole within the hour.

    Noted under the source's key and plan, so that a change of either is tried at once.
    """

    def __init__(
        self, names: Sequence[str], kind: AssetKind, capability: Capability, purpose: Purpose
    ) -> None:
        self._keys = {name: _refusal_key(name, kind, capability) for name in names}
        self._noted = failures.remembered(list(self._keys.values()))
        self._is_forced = purpose is Purpose.REFRESH

    def heeded(self, name: str, question: Callable[[Any], T]) -> T:
        """Ask a source as `call` does, or raise its refusal once more."""
        key = self._keys[name]
        refusal = self._noted.get(key)
        if refusal is not None and not self._is_forced:
            raise refusal
        try:
            value = call(name, question)
        except PlanRestrictedError as exc:
            if exc.of_capability:
                failures.remember({key: exc}, failures.REFUSED_S)
            raise
        if refusal is not None:
            failures.forget(key)
        return value


def call(name: str, question: Callable[[Any], T]) -> T:
    """Ask one source, through its switch. Raises what `question` raises, and UpstreamError."""
    with tracing.calling(name, partial(_spent, name)):
        return _call(name, question)


def _spent(name: str) -> dict[str, int] | None:
    try:
        spent = registry.budget(name).spent()
    except RedisAwayError:
        return None
    return {"minute": spent.last_minute, "month": spent.this_month}


_asking: ContextVar[frozenset[str]] = ContextVar("asking", default=frozenset())


def _call(name: str, question: Callable[[Any], T]) -> T:
    provider = registry.provider(name)
    if name in _asking.get():
        # Within a question of its own, which has the turn and tells what came of it.
        return question(provider)
    switch = registry.breaker(name)
    turn = switch.turn(of_tick=budget.purpose() is Purpose.TICK)
    if not turn.may_call:
        raise _held_back(name, turn)
    with _asked(name) as tally:
        try:
            value = question(provider)
        except BaseException as exc:
            _tell(name, switch, turn, exc, was_called=tally.of[name] > 0)
            raise
    if tally.of[name]:
        switch.succeeded()
    else:
        switch.not_made(turn)
    return value


@contextmanager
def _asked(name: str) -> Iterator[Tally]:
    """Note that a source is being asked, and count the calls that takes."""
    token = _asking.set(_asking.get() | {name})
    try:
        with spending(budget.purpose()) as tally:
            yield tally
    finally:
        _asking.reset(token)


def _held_back(name: str, turn: Turn) -> PricesError:
    """Return why a source is not asked now."""
    refusal = failures.from_note(turn.refusal) if turn.refusal else None
    if refusal is not None:
        return refusal
    return UpstreamError(name, "it has failed several times", retry_after_s=turn.wait_s)


def _tell(
    name: str, switch: Breaker, turn: Turn, error: BaseException, *, was_called: bool
) -> None:
    """Tell a source's switch what came of a call that raised.

    What another source did within the question, or what was only remembered, says
    nothing of this one.
    """
    if not was_called or getattr(error, "provider", name) != name:
        switch.not_made(turn)
        return
    match error:
        case BudgetSpentError():
            switch.not_made(turn)
        case UpstreamRateLimitedError():
            # However it said so, by a 429 or by a page of its CDN: everyone lets it rest.
            registry.budget(name).freeze(error.retry_after_s)
            switch.succeeded()
        case UpstreamNotFoundError() | UpstreamJumpError():
            switch.succeeded()  # It answers; only it does not know, or we doubt it.
        case UpstreamError():
            switch.failed(error.detail)
        case PlanRestrictedError() if error.of_source_s:
            switch.refused(failures.as_note(error), error.of_source_s)
        case _:
            switch.not_made(turn)


def _telling(errors: Sequence[PricesError], kind: AssetKind, capability: Capability) -> PricesError:
    """Return the error of a chain that says most."""

    def weight(error: PricesError) -> int:
        if isinstance(error, UpstreamNotFoundError):
            return 2
        if isinstance(error, UpstreamError):
            return 0
        return {ResolutionUnavailableError: 1, PlanRestrictedError: 3}.get(type(error), 4)

    if not errors:
        return PlanRestrictedError(
            "settings", f"no source gives {capability} of {kind}", allowed_by="PRICE_CHAINS"
        )
    return min(errors, key=weight)
