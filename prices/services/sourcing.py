"""One load of quotes: the sources of the chain in order, as far as it takes.

The next source is asked for what one did not give, for what it gave with a time
that stands still, and for what jumped beyond reason against the price before.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from prices import asked, cache, freshness, gateway, registry
from prices.answers import QuoteAnswer, Skipped, market_at, session_at
from prices.budget import Purpose, spending
from prices.errors import (
    BudgetSpentError,
    NoPriceError,
    NotListedError,
    PricesError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
)
from prices.models import Asset
from prices.providers import deadline
from prices.providers.base import Quotes
from prices.providers.values import reckoned
from prices.services import doubts, listed, pairs
from prices.services.doubts import Notes, Suspicion
from prices.services.symbols import Resolved
from prices.types import AssetKind, Capability, Freshness, Instrument, Quote

# After so long no further source is tried: who waits is better off with an old
# copy, or with trying again when the slow sources' switches are open.
CHAIN_S = 9.0
# A source has so long of it while another may follow.
SHARE_S = 6.0
# A load settles so many pairs at a source that steps in, and so long: each takes calls of its own.
MOST_SETTLED = 5
SETTLING_S = 3.0
# When to ask again for a price whose pair was not settled for that.
SETTLE_LATER_S = 10
# How long nobody else is asked about a price that no source knows better.
HOPELESS_S = {AssetKind.CRYPTO: 300, AssetKind.STOCK: 1800}
HOPELESS_IN_OUTAGE_S = 60
_FRESH = (Freshness.LIVE, Freshness.CLOSED)


def load(
    kind: AssetKind, by_key: Mapping[str, Resolved], purpose: Purpose, keys: Sequence[str]
) -> dict[str, QuoteAnswer | PricesError]:
    """Return quotes or errors by key, asking each source for what those before it did not give."""
    found = cache.newest(keys, QuoteAnswer)
    held = {key: old for key, old in found.items() if old.ref == by_key[key].asset.ref}
    never = {key: by_key[key] for key in keys if key not in held}
    return _Load(
        kind,
        by_key,
        purpose,
        list(keys),
        held,
        listed.quotes(never) | held if kind is AssetKind.CRYPTO else held,
        doubts.noted([by_key[key].asset.ref for key in keys]),
    ).results()


def ahead(kind: AssetKind, by_key: Mapping[str, Resolved], keys: Sequence[str]) -> list[str]:
    """Return the keys of Redis that `load` begins with."""
    return [
        *cache.names_of_newest(keys),
        *doubts.names_of([by_key[key].asset.ref for key in keys]),
        *gateway.switch_of_first(kind, Capability.QUOTES),
    ]


@dataclass(slots=True)
class _Load:
    """What became known so far, by key; `notes` is what is doubted.

    `held` are the newest copies of quotes, `before` the prices we had, of the list too.
    """

    kind: AssetKind
    by_key: Mapping[str, Resolved]
    purpose: Purpose
    keys: list[str]
    held: Mapping[str, QuoteAnswer]
    before: Mapping[str, QuoteAnswer]
    notes: Notes
    answers: dict[str, QuoteAnswer] = field(default_factory=dict)
    old: dict[str, QuoteAnswer] = field(default_factory=dict)  # stale: the first of each
    jumped: dict[str, QuoteAnswer] = field(default_factory=dict)  # the first of each
    source_of: dict[str, str] = field(default_factory=dict)  # of those two
    source_of_answer: dict[str, str] = field(default_factory=dict)
    errors: dict[str, PricesError] = field(default_factory=dict)
    # Of which a source might tell and cannot now, and after how many seconds it may be asked.
    unheard: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, list[Skipped]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)  # what was held before and is of a later time

    def results(self) -> dict[str, QuoteAnswer | PricesError]:
        self.skipped = {key: [] for key in self.keys}
        now = datetime.now(UTC)
        waiting = [key for key in self.keys if self._is_waiting(key, now)]
        self._ask([key for key in self.keys if key not in waiting])
        held_back = {key: self._held_back(key) for key in waiting}
        results = {key: held_back.get(key) or self._result(key) for key in self.keys}
        asked.note(self.kept)
        return results

    def _is_waiting(self, key: str, now: datetime) -> bool:
        """Whether a price is held back and was looked at a moment ago."""
        one = self.notes.suspicions.get(self._ref(key))
        return one is not None and key in self.before and one.is_just_looked_at(now)

    def _ask(self, keys: Collection[str]) -> None:
        give_up = time.monotonic() + CHAIN_S
        chain = registry.chain(self.kind, Capability.QUOTES)
        for source in chain:
            if (self.errors or self.source_of) and time.monotonic() > give_up:
                for key in self.source_of:
                    self._not_heard(key, HOPELESS_IN_OUTAGE_S)
                break
            missing = {key: self.by_key[key] for key in keys if self._is_wanting(key)}
            if not missing:
                break
            with deadline.question(SHARE_S if _is_followed(source, chain) else math.inf):
                found, failed = from_source(
                    source,
                    missing,
                    self.skipped,
                    self.purpose,
                    second_looks=self.source_of,
                    as_settled=self.jumped,
                    steps_in=source != chain[0],
                    not_by=set(self.source_of.values()),
                )
            for key, answer in found.items():
                self._take(key, source, answer)
            for key, error in failed.items():
                if key not in self.errors or isinstance(error, NoPriceError):
                    self.errors[key] = error
                if isinstance(error, UpstreamError) and not isinstance(
                    error, UpstreamNotFoundError
                ):
                    is_busy = isinstance(error, UpstreamRateLimitedError)
                    self._not_heard(key, error.retry_after_s if is_busy else HOPELESS_IN_OUTAGE_S)
                self._skip(key, source, error.code)

    def _not_heard(self, key: str, for_s: float) -> None:
        self.unheard[key] = min(for_s, self.unheard.get(key, for_s))

    def _is_wanting(self, key: str) -> bool:
        """Whether another source may know better: a coin without a market has none anywhere."""
        return key not in self.answers and not isinstance(self.errors.get(key), NoPriceError)

    def _take(self, key: str, source: str, answer: QuoteAnswer) -> None:
        """Accept an answer, or keep it aside and let the next source be asked."""
        first = self.old.get(key)
        if answer.freshness is Freshness.STALE and self._ref(key) not in self.notes.hopeless:
            self._put_aside(self.old, key, source, answer, "stale")
        elif first is not None and answer.last_updated < first.last_updated:
            return
        elif key in self.jumped:
            self._second_look(key, answer)
        elif self._is_jump(key, answer):
            self._put_aside(self.jumped, key, source, answer, "jump")
        else:
            self.answers[key] = answer
            self.source_of_answer[key] = source

    def _put_aside(
        self, aside: dict[str, QuoteAnswer], key: str, source: str, answer: QuoteAnswer, why: str
    ) -> None:
        if key not in aside:
            aside[key] = answer
            self.source_of[key] = source
        self._skip(key, source, why)

    def _second_look(self, key: str, answer: QuoteAnswer) -> None:
        """Let a fresh source decide whether the price that jumped before it is true."""
        first = self.jumped[key]
        if answer.freshness not in _FRESH:
            return
        if doubts.agree(answer.price, first.price):
            self.answers[key] = self.jumped.pop(key)
            self.source_of_answer[key] = self.source_of[key]
        elif not self._is_jump(key, answer):
            self.answers[key] = msgspec.structs.replace(answer, disputed=True)

    def _is_jump(self, key: str, answer: QuoteAnswer) -> bool:
        old = self.before.get(key)
        if old is None:
            return False
        age = answer.last_updated - old.last_updated
        if not doubts.is_beyond_reason(old.price, answer.price, age):
            return False
        ratio = _split_between(self.by_key[key].asset, old.last_updated, answer.last_updated)
        return ratio == 1 or doubts.is_beyond_reason(old.price / ratio, answer.price, age)

    # --- What comes of it -------------------------------------------------------------

    def _result(self, key: str) -> QuoteAnswer | PricesError:
        answer = self.answers.get(key)
        first = self.jumped.get(key)
        if answer is not None and first is not None:
            self._doubt(key, first, is_overruled=True)
        elif answer is not None:
            self._believe(key)
            answer = self._newest(key, answer, self.source_of_answer[key])
        elif first is not None:
            answer = self._confirmed(key, first)
        elif key in self.old:
            answer = self._newest(key, self._oldest_known(key), self.source_of[key])
        if answer is None:
            return _telling(self.errors.get(key), self.by_key[key])
        is_disputed = answer.disputed or self._ref(key) in self.notes.disputed
        return msgspec.structs.replace(answer, disputed=is_disputed)

    def _confirmed(self, key: str, answer: QuoteAnswer) -> QuoteAnswer:
        """Return a price that jumped where an earlier look saw it too; else the one before it.

        Its own source's word is enough where no other has any: not while one that might fails.
        """
        one = self.notes.suspicions.get(self._ref(key))
        now = datetime.now(UTC)
        apart = None if key in self.unheard else self._step(key)
        if one is not None and one.is_confirmed_by(
            answer.price, answer.last_updated, now, apart=apart
        ):
            self._believe(key)
            return answer
        self._doubt(key, answer, is_overruled=False)
        return self._held_back(key)

    def _step(self, key: str) -> timedelta:
        """Return how far apart a source's own looks at a price are to be."""
        return timedelta(seconds=registry.cadence(self.source_of[key]).changes_s)

    def _held_back(self, key: str) -> QuoteAnswer:
        return msgspec.structs.replace(cache.as_copy(self.before[key]), disputed=True)

    def _doubt(self, key: str, answer: QuoteAnswer, *, is_overruled: bool) -> None:
        asset, old = self.by_key[key].asset, self.before[key]
        one, now = self.notes.suspicions.get(asset.ref), datetime.now(UTC)
        is_on = one is not None and one.is_overruled == is_overruled
        since = one.since if one is not None and is_on else now
        moved = one is None or not is_on or answer.last_updated > one.as_of
        as_of = answer.last_updated if moved or one is None else one.as_of
        doubts.suspect(asset.ref, Suspicion(answer.price, as_of, since, now, is_overruled))
        doubts.begin(
            asset,
            doubts.JUMP,
            source=self.source_of[key],
            price=answer.price,
            against=f"before, of {old.last_updated:%H:%M:%S}",
            other_price=old.price,
        )

    def _believe(self, key: str) -> None:
        asset = self.by_key[key].asset
        if asset.ref in self.notes.suspicions:
            doubts.trust(doubts.JUMP, asset.ref)
            doubts.end(asset, doubts.JUMP)

    def _newest(self, key: str, answer: QuoteAnswer, source: str) -> QuoteAnswer:
        """Return what was held before where that is of a later time: a fallback may lag behind.

        It says who was passed over for it now; that they were asked is noted beside it.
        """
        held = self.held.get(key)
        if held is None or held.last_updated <= answer.last_updated or held.disputed:
            return answer
        told = cache.as_copy(held, is_stale=False)
        is_worse = told.freshness is Freshness.STALE and answer.freshness is not Freshness.STALE
        if told.freshness is Freshness.UNKNOWN or is_worse:
            return answer
        older = Skipped(source=registry.skipped_name(source), code="older")
        passed = [*answer.fallback_from, older]
        self.kept.append(key)
        return msgspec.structs.replace(told, stale=False, fallback_from=passed)

    def _oldest_known(self, key: str) -> QuoteAnswer:
        """Return the first stale answer, and note that nobody had a better one.

        Where one that might have could not be asked, only until it may be.
        """
        for_s = min(HOPELESS_S[self.kind], self.unheard.get(key, math.inf))
        doubts.note("stale", self._ref(key), max(1, math.ceil(for_s)))
        return self.old[key]

    def _ref(self, key: str) -> str:
        return self.by_key[key].asset.ref

    def _skip(self, key: str, source: str, code: str) -> None:
        self.skipped[key].append(Skipped(source=registry.skipped_name(source), code=code))


def _is_followed(source: str, chain: Sequence[str]) -> bool:
    """Whether another source may be asked after this one."""
    return any(map(registry.has_its_key, chain[chain.index(source) + 1 :]))


def _split_between(asset: Asset, earlier: datetime, later: datetime) -> float:
    """Return how many shares became of one, by the splits that are known."""
    days = asset.splits.filter(day__gt=earlier.date(), day__lte=later.date())
    return math.prod(days.values_list("ratio", flat=True))


def _telling(error: PricesError | None, resolved: Resolved) -> PricesError:
    """Return why there is no quote: that no source has the asset says nothing of our listing."""
    if error is None or isinstance(error, (NotListedError, UpstreamNotFoundError)):
        return NoPriceError(resolved.symbol)
    return error


# --- One source ------------------------------------------------------------------------


def from_source(
    source: str,
    wanted: Mapping[str, Resolved],
    skipped: Mapping[str, list[Skipped]],
    purpose: Purpose,
    *,
    second_looks: Collection[str] = (),
    as_settled: Collection[str] = (),
    steps_in: bool = False,
    not_by: Collection[str] = (),
) -> tuple[dict[str, QuoteAnswer], dict[str, PricesError]]:
    """Return what one source gives and why it does not give the rest, by key.

    For `second_looks`, and where it `steps_in` for another, few pairs that were never
    settled are settled; for `as_settled` none, since a price that is in doubt is no
    measure for them. What `not_by` said is in question, and so is their rate of a stand-in.
    """
    with spending(purpose):
        few = wanted if steps_in else second_looks
        instruments, failed = _instruments(source, wanted, few, as_settled)
        if not instruments:
            return {}, failed
        try:
            got = gateway.call(source, partial(_asked, list(instruments.values())))
        except PricesError as exc:
            return {}, failed | dict.fromkeys(instruments, exc)
        fetched_at = datetime.now(UTC)
        answers = {}
        rates = _Rates(not_by)
        for key, instrument in instruments.items():
            quote = got.found.get(instrument.ref)
            if quote is None:
                failed[key] = got.failed.get(instrument.ref) or _without_price(source, wanted[key])
                continue
            try:
                answers[key] = _answer(wanted[key], quote, source, fetched_at, skipped[key], rates)
            except PricesError as exc:  # No rate for its stand-in: not passed off as dollars.
                failed[key] = exc
    return answers, failed


def _instruments(
    source: str,
    wanted: Mapping[str, Resolved],
    few: Collection[str],
    as_settled: Collection[str],
) -> tuple[dict[str, Instrument], dict[str, PricesError]]:
    """Return how a source names what is wanted, or why not; of `few` few pairs are settled."""
    failed: dict[str, PricesError] = {}
    instruments: dict[str, Instrument] = {}
    known = pairs.known([one.asset for one in wanted.values()], source)
    unknown = {key for key, one in wanted.items() if key in few and one.asset.ref not in known}
    turns = _turns(unknown.difference(as_settled))
    until = time.monotonic() + SETTLING_S
    for key, one in wanted.items():
        if key in unknown and (key not in turns or time.monotonic() > until):
            failed[key] = _unsettled(source, one, is_doubted=key in as_settled)
            continue
        try:
            instruments[key] = pairs.instrument(one.asset, source)
        except PricesError as exc:
            failed[key] = exc
    return instruments, failed


def _turns(unsettled: Collection[str]) -> Collection[str]:
    """Return whose pairs are settled now: by lot, lest those that fail each time keep all turns."""
    return random.sample(sorted(unsettled), min(MOST_SETTLED, len(unsettled)))


def _unsettled(source: str, resolved: Resolved, *, is_doubted: bool) -> PricesError:
    """Return why a pair is not settled now: one that only had no turn yet has it soon."""
    if is_doubted:
        return NotListedError(source, resolved.asset.ref)
    detail = f"the pair of {resolved.asset.ref} is not settled yet"
    return BudgetSpentError(source, detail, retry_after_s=SETTLE_LATER_S)


def _without_price(source: str, resolved: Resolved) -> PricesError:
    """Return what it means that a source that was asked has no price for an asset."""
    if source == registry.source_for(AssetKind.CRYPTO):
        return NoPriceError(resolved.symbol)
    return NotListedError(source, resolved.asset.ref)


def _asked(instruments: Sequence[Instrument], provider: Any) -> Quotes:
    found: Quotes = provider.quotes(instruments)
    return found


def _answer(
    resolved: Resolved,
    quote: Quote,
    source: str,
    fetched_at: datetime,
    skipped: list[Skipped],
    rates: _Rates,
) -> QuoteAnswer:
    is_coin = resolved.asset.kind == AssetKind.CRYPTO
    volume_basis = "24h_currency" if is_coin else "session_shares"
    currency = pairs.quote_currency(resolved.asset, source)
    rate = rates.of(currency)
    kind = AssetKind(resolved.asset.kind)
    cadence = registry.cadence(source)
    verdict = freshness.of_quote(kind, quote.as_of, fetched_at, cadence, is_timed=quote.is_timed)
    return QuoteAnswer(
        source=registry.public_name(source),
        as_of=quote.as_of,
        fetched_at=fetched_at,
        cached=False,
        stale=False,
        symbol=resolved.symbol,
        ref=resolved.asset.ref,
        name=resolved.asset.name,
        kind=kind,
        price=_converted(quote.price, rate),
        change=_times(quote.change, rate),
        change_percent=quote.change_percent,
        high=_times(quote.high, rate),
        low=_times(quote.low, rate),
        volume=_times(quote.volume, rate if is_coin else 1.0),
        market_cap=quote.market_cap,
        last_updated=quote.as_of,
        freshness=verdict.freshness,
        market=None if is_coin else market_at(fetched_at),
        session=session_at(kind, quote.as_of),
        disputed=False,
        quote_currency=currency,
        fallback_from=list(skipped),
        change_basis="24h" if is_coin else "previous_close",
        volume_basis=volume_basis if quote.volume is not None else None,
        alternatives=resolved.alternatives,
    )


@dataclass(slots=True)
class _Rates:
    """What currencies are worth in dollars, each looked up once for all coins of an answer."""

    not_by: Collection[str]
    taken: dict[str, float | PricesError] = field(default_factory=lambda: {"USD": 1.0})

    def of(self, currency: str) -> float:
        if currency not in self.taken:
            try:
                self.taken[currency] = pairs.dollars(currency, self.not_by)
            except PricesError as exc:
                self.taken[currency] = exc
        rate = self.taken[currency]
        if isinstance(rate, PricesError):
            raise rate
        return rate


def _times(value: float | None, rate: float) -> float | None:
    return None if value is None else _converted(value, rate)


def _converted(value: float, rate: float) -> float:
    return value if rate == 1.0 else reckoned(value * rate)
