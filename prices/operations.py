"""What an operator can do to some assets, and the sentences that tell how it went.

One list for the actions of the admin's list and the buttons of an asset's page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from django.contrib.messages import constants as level

from prices.models import Asset
from prices.services import probing, spelling, symbols
from prices.services.probing import Checked, Refreshed
from prices.templatetags.asset_pages import age, dollars, percent

# More at once are a slip of the hand, and tracked they would cost every tick.
MOST = 250
# Above this many a message counts instead of naming.
NAMED = 8


@dataclass(slots=True)
class Outcome:
    """Which assets have changed, and what to tell: levels and sentences."""

    changed: list[Asset] = field(default_factory=list)
    said: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Operation:
    """`title` is on the button, `done` in the asset's history."""

    title: str
    done: str
    run: Callable[[Sequence[Asset]], Outcome]


def track(assets: Sequence[Asset]) -> Outcome:
    """Keep assets current though nobody follows them."""
    return _mark_tracked(assets, to=True)


def untrack(assets: Sequence[Asset]) -> Outcome:
    """Keep assets current only while somebody follows them."""
    return _mark_tracked(assets, to=False)


def pin(assets: Sequence[Asset]) -> Outcome:
    """Give each asset its ticker; two of one ticker cannot both have it."""
    outcome = Outcome()
    counts = Counter(asset.ticker for asset in assets)
    shared = [ticker for ticker, count in counts.items() if count > 1]
    if shared:
        text = f"Only one asset can be pinned on a ticker; several were chosen for {_few(shared)}."
        outcome.said.append((level.ERROR, f"{text} Nothing was done."))
        return outcome
    before = {a.ticker: a for a in Asset.objects.filter(ticker__in=list(counts), pinned=True)}
    for asset in assets:
        if not spelling.TICKER.fullmatch(asset.ticker):
            text = f"Not pinned: {asset.ref} has no ticker that anyone could ask for."
            outcome.said.append((level.WARNING, text))
            continue
        other = before.get(asset.ticker)
        if other is not None and other.pk == asset.pk:
            outcome.said.append((level.INFO, f"{asset.ticker} is pinned to {asset.ref} already."))
            continue
        symbols.pin(asset)
        outcome.changed.append(asset)
        instead = f" It was pinned to {other.ref}." if other else ""
        outcome.said.append((level.SUCCESS, f"{asset.ticker} means {asset.ref} now.{instead}"))
    return outcome


def unpin(assets: Sequence[Asset]) -> Outcome:
    """Give each ticker back to whom it settled on."""
    outcome = Outcome()
    for asset in assets:
        if not asset.pinned:
            continue
        symbols.unpin(asset)
        outcome.changed.append(asset)
        owner = symbols.holder(symbols.bearers(asset.ticker))
        means = f"{asset.ticker} means {owner.ref} now." if owner else f"{asset.ticker} is free."
        outcome.said.append((level.SUCCESS, f"No longer pinned: {asset.ref}. {means}"))
    if not outcome.changed:
        outcome.said.append((level.INFO, "None of them was pinned."))
    return outcome


def refresh(assets: Sequence[Asset]) -> Outcome:
    """Renew quotes through the budget."""
    done = probing.refresh(assets)
    outcome = Outcome()
    new = [one for one in done.outcomes if one.is_new]
    young = [one for one in done.outcomes if not one.is_new and not one.error]
    calls = f"{done.calls} upstream call{'' if done.calls == 1 else 's'}"
    if new:
        told = "; ".join(_price(one) for one in new) if len(new) <= NAMED else f"{len(new)} quotes"
        outcome.said.append((level.SUCCESS, f"Renewed with {calls}: {told}."))
    if young:
        names = _few(one.asset.ref for one in young)
        text = f"Not asked for again, since it is less than 15 s old: {names}."
        outcome.said.append((level.INFO, text))
    _tell_errors(outcome, "Could not be renewed", done.outcomes)
    return outcome


def check(assets: Sequence[Asset]) -> Outcome:
    """Ask each asset's source whether it still lists it, and at what price."""
    found = probing.check(assets)
    outcome = Outcome()
    asked = [one for one in found if not one.error]
    for one in asked[: 4 * NAMED]:
        outcome.said.append((level.SUCCESS if one.knows else level.WARNING, _verdict(one)))
    if len(asked) > 4 * NAMED:
        gone = [one.asset.ref for one in asked[4 * NAMED :] if one.knows is False]
        rest = f"{len(asked) - 4 * NAMED} more were checked; no longer listed: "
        outcome.said.append((level.WARNING if gone else level.INFO, rest + (_few(gone) or "none")))
    _tell_errors(outcome, "Could not be checked", found)
    return outcome


OPERATIONS: dict[str, Operation] = {
    "track": Operation("Track", "Tracked.", track),
    "untrack": Operation("Untrack", "No longer tracked.", untrack),
    "pin": Operation("Pin to its ticker", "Pinned.", pin),
    "unpin": Operation("Unpin", "No longer pinned.", unpin),
    "refresh": Operation("Refresh now", "Refreshed.", refresh),
    "check": Operation("Check against the source", "Checked.", check),
}


def sensible(asset: Asset) -> dict[str, Operation]:
    """Return the operations that would change or tell something of an asset as it is."""
    done = {"track" if asset.tracked else "untrack", "pin" if asset.pinned else "unpin"}
    return {name: one for name, one in OPERATIONS.items() if name not in done}


def _mark_tracked(assets: Sequence[Asset], *, to: bool) -> Outcome:
    outcome = Outcome([asset for asset in assets if asset.tracked is not to])
    Asset.objects.filter(pk__in=[asset.pk for asset in outcome.changed]).update(tracked=to)
    now = "tracked now" if to else "no longer tracked"
    if outcome.changed:
        names = _few(asset.ref for asset in outcome.changed)
        outcome.said.append((level.SUCCESS, f"{len(outcome.changed)} {now}: {names}."))
    same = len(assets) - len(outcome.changed)
    if same:
        was = "tracked" if to else "not tracked"
        outcome.said.append((level.INFO, f"{same} {'was' if same == 1 else 'were'} {was} already."))
    return outcome


def _price(one: Refreshed) -> str:
    quote = one.quote
    if quote is None:
        return one.asset.ref
    return f"{quote.symbol} {dollars(quote.price)} ({quote.source}, {age(quote.as_of)} old)"


def _verdict(one: Checked) -> str:
    if one.knows is None:
        return f"Checked {one.asset.ref}: its source gives no price for it."
    if not one.knows:
        return f"Checked {one.asset.ref}: its source does not list it any more."
    if one.price is None:
        return f"Checked {one.asset.ref}: its source lists it and gives no price."
    says = f"Checked {one.asset.ref}: its source lists it at {dollars(one.price)}"
    if one.held is None or one.off_percent is None:
        return f"{says}; no price is held."
    state = "stale" if one.held.stale else f"{age(one.held.as_of)} old"
    return f"{says}; held is {dollars(one.held.price)}, {state}, off by {percent(one.off_percent)}."


def _tell_errors(outcome: Outcome, what: str, found: Iterable[Refreshed | Checked]) -> None:
    """Tell each reason once, with those it kept."""
    kept: dict[str, list[str]] = {}
    for one in found:
        if one.error:
            kept.setdefault(one.error, []).append(one.asset.ref)
    for error, refs in kept.items():
        outcome.said.append((level.ERROR, f"{what}: {_few(refs)}. {error}"))


def _few(words: Iterable[str]) -> str:
    every = list(words)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more
