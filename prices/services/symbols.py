"""What a symbol means: the one place where tickers, forced kinds and refs become assets.

What was found is remembered by the process (asset_index.py), so that a symbol in use
takes no query. `settling` says who has a ticker that several assets bear.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db import Error as DatabaseAwayError
from django.db import transaction

from prices import cache, registry
from prices.answers import Alternative
from prices.errors import (
    InactiveSymbolError,
    InvalidSymbolError,
    PricesError,
    ProviderNotConfiguredError,
    UnknownSymbolError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
)
from prices.models import Asset, Catalogue, assets_changed
from prices.services import catalogue, holdings, retirement, settling
from prices.services.asset_index import AssetIndex
from prices.services.spelling import STOCK_TICKER, TICKER, Asked, parse, spellings
from prices.types import AssetKind

MAX_ALTERNATIVES = 20


@dataclass(frozen=True, slots=True)
class Resolved:
    """An asset with the name that maps, subscriptions and keys know it by."""

    asset: Asset
    symbol: str
    alternatives: list[Alternative]


_index: AssetIndex[Resolved] = AssetIndex()
assets_changed.connect(_index.change, dispatch_uid="what symbols mean")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of several symbols.

    found: symbol by what was asked.  rejected: error code by what was asked.
    resolved: symbol by what was asked, where it is not simply that in upper case.
    assets: by symbol.
    """

    found: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    resolved: dict[str, str] = field(default_factory=dict)
    assets: dict[str, Resolved] = field(default_factory=dict)

    def only(self, names: Collection[str]) -> Resolution | None:
        """Return what it says of these names; None where it does not know all of them."""
        found = {name: self.found[name] for name in names if name in self.found}
        rejected = {name: self.rejected[name] for name in names if name in self.rejected}
        if len(found) + len(rejected) < len(set(names)):
            return None
        return Resolution(
            found,
            rejected,
            {name: self.resolved[name] for name in found if name in self.resolved},
            {symbol: self.assets[symbol] for symbol in found.values()},
        )


def resolve(asked: str, *, lookup: bool = False, of_the_past: bool = False) -> Resolved:
    """Return the asset a symbol means.

    With `lookup` a symbol that no catalogue knows is asked of its source, within
    LOOKUPS_PER_MINUTE and at most once in five minutes. What is traded no more is
    given `of_the_past` alone, and by its ref.

    Raises InvalidSymbolError, InactiveSymbolError, UnknownSymbolError,
    ProviderNotConfiguredError, or UpstreamError where the catalogue itself is not
    there yet and cannot be had.
    """
    meant = parse(asked)
    _index.look()
    kept = _index.get(meant.name)
    if kept is not None:
        return kept
    try:
        return _from_catalogue(asked, meant, lookup=lookup, of_the_past=of_the_past)
    except DatabaseAwayError:
        last = _index.last(meant.name)
        if last is None:
            raise
        return last


def known(asked: str) -> Resolved | None:
    """Return what a symbol means where this process knows; None where it has to be resolved.

    It never waits, so it may be asked in an event loop. Raises InvalidSymbolError.
    """
    return _index.get(parse(asked).name)


def hear() -> bytes | None:
    """Return a word that is another one once symbols may mean others; None with Redis away.

    What this process remembers of symbols then goes.
    """
    return _index.hear()


def _from_catalogue(asked: str, meant: Asked, *, lookup: bool, of_the_past: bool) -> Resolved:
    try:
        _have(AssetKind.CRYPTO if meant.kind is not AssetKind.STOCK else AssetKind.STOCK)
    except UpstreamError:
        found = _find([meant])[meant.text]
        if not _is_settled(found):  # Else no catalogue could change whose the ticker is.
            raise
    else:
        found = _find([meant])[meant.text]
    if meant.kind is None and not _is_settled(found):
        # Whether a stock bears the ticker must be known before a smaller coin has it.
        _ensure_stocks(meant, is_needed=found is None)
        found = _find([meant])[meant.text]
    if found is not None and (of_the_past or not found.asset.is_gone):
        return found
    gone = found.asset if found else _gone([meant]).get(meant.text)
    if gone is not None:
        raise inactive(asked, gone)
    found = _look_up(meant) if lookup else None
    if found is None:
        raise UnknownSymbolError(asked)
    return found


def _is_settled(found: Resolved | None) -> bool:
    return found is not None and (found.asset.settled or found.asset.pinned)


def resolve_many(asked: Iterable[str]) -> Resolution:
    """Return what each symbol means by the catalogues alone; no source is ever asked.

    Where a catalogue that could know a symbol was never filled, it is rejected as
    upstream_unavailable (or provider_not_configured), which may pass, and not as
    unknown_symbol, which does not.
    """
    result = Resolution()
    meant: list[Asked] = []
    name_of: dict[str, list[str]] = {}
    for text in dict.fromkeys(asked):
        try:
            one = parse(text)
        except InvalidSymbolError as exc:
            result.rejected[text] = exc.code
            continue
        meant.append(one)
        name_of.setdefault(one.text, []).append(text)
    missing = _Missing({one.text: one for one in meant})
    for text, found in _all_known(meant).items():
        for name in name_of[text]:
            if found is None or found.asset.is_gone:
                result.rejected[name] = missing.code(text)
                continue
            result.found[name] = found.symbol
            result.assets[found.symbol] = found
            if found.symbol.upper() != name.strip().upper():
                result.resolved[name] = found.symbol
    return result


def coin_mapping() -> dict[str, str]:
    """Return what `crypto:TICKER` gives, as CoinGecko ids by ticker, for every usable ticker."""
    best: dict[str, tuple[tuple[object, ...], str]] = {}
    rows = Asset.objects.filter(kind=AssetKind.CRYPTO, is_active=True).exclude(ticker="")
    for asset in rows.iterator(chunk_size=2000):
        if not TICKER.fullmatch(asset.ticker):
            continue
        order = (not asset.pinned, not asset.leading, *settling.by_size(asset))
        if asset.ticker not in best or order < best[asset.ticker][0]:
            best[asset.ticker] = (order, asset.coingecko_id)
    return {ticker: coin_id for ticker, (_, coin_id) in sorted(best.items())}


def named(assets: Collection[Asset]) -> dict[str, Resolved]:
    """Return the name and the alternatives of assets we hold already, by ref."""
    rivals = settling.bearers(asset.ticker for asset in assets)
    return {asset.ref: _resolved(asset, rivals.get(asset.ticker, [asset])) for asset in assets}


def names(assets: Collection[Asset]) -> dict[str, str]:
    """Return symbols by ref as things stand, in one query; unlike `named` it settles nothing."""
    rivals = settling.bearers(asset.ticker for asset in assets)
    return {a.ref: settling.symbol_of(a, rivals.get(a.ticker, [a]), keep=False) for a in assets}


def bearers(ticker: str) -> list[Asset]:
    """Return the active assets that bear a ticker, best first."""
    return settling.bearers([ticker]).get(ticker, [])


def holder(candidates: Sequence[Asset]) -> Asset | None:
    """Return who among the bearers of a ticker has it, or would if asked now; settles nothing."""
    return settling.winner(candidates, None, keep=False)


def pin(asset: Asset) -> None:
    """Let an asset have its ticker until it is unpinned."""
    before = holder(bearers(asset.ticker))
    with transaction.atomic():
        Asset.objects.filter(ticker=asset.ticker, pinned=True).update(pinned=False)
        Asset.objects.filter(pk=asset.pk).update(pinned=True)
        if before is None or before.pk != asset.pk:
            transaction.on_commit(lambda: _forget(asset.ticker))


def unpin(asset: Asset) -> None:
    """Give the ticker back to whom it settled on."""
    with transaction.atomic():
        Asset.objects.filter(pk=asset.pk).update(pinned=False)
        transaction.on_commit(lambda: _forget(asset.ticker))


def _forget(ticker: str) -> None:
    """Drop what is cached under the names of a ticker that has changed hands."""
    holdings.forget([ticker, f"crypto:{ticker}"])


class _Missing:
    """Why symbols are in no catalogue: they are unknown, or the catalogue is not there."""

    def __init__(self, meant: Mapping[str, Asked]) -> None:
        self._meant = meant
        self._filled: set[str] | None = None
        self._gone: dict[str, Asset] | None = None

    def code(self, text: str) -> str:
        if self._filled is None:
            self._filled = set(Catalogue.objects.values_list("kind", flat=True))
        one = self._meant[text]
        if self._gone is None:
            self._gone = _gone(self._meant.values())
        if text in self._gone:
            return InactiveSymbolError.code
        for kind in [one.kind] if one.kind else list(AssetKind):
            if kind in self._filled:
                continue
            if _can_ask(kind):
                return UpstreamError.code
            if one.kind or STOCK_TICKER.fullmatch(one.ticker.replace("-", ".")):
                return ProviderNotConfiguredError.code
        return UnknownSymbolError.code


def rule(asked: str, resolved: Resolved) -> str:
    """Return by which rule a symbol came to mean an asset, as words; settles nothing."""
    meant, asset = parse(asked), resolved.asset
    if meant.coin_id:
        return "a ref: CoinGecko's id"
    if meant.kind is AssetKind.STOCK:
        return "a ref: the stock of that ticker"
    if asset.pinned:
        return f"{asset.ticker} is pinned to it in the admin"
    if meant.kind is AssetKind.CRYPTO:
        return f"of the coins called {asset.ticker} this one leads"
    if not resolved.alternatives:
        return f"nothing else is called {asset.ticker}"
    if settling.is_top_coin(asset):
        return (
            f"an original coin among the top {settling.TOP_RANK} comes first, and it stays settled"
        )
    if asset.kind == AssetKind.STOCK:
        return "no coin of the top has the ticker, so a US stock comes first; it stays settled"
    return "of the coins of that ticker the largest, an original before copies; it stays settled"


def inactive(asked: str, gone: Asset) -> InactiveSymbolError:
    """Return what there is to say of a symbol whose asset is traded no more."""
    heir = retirement.heir(gone)
    now = {"ref": heir.ref, "symbol": names([heir])[heir.ref]} if heir else None
    return InactiveSymbolError(asked, now, gone.last_day)


def _gone(meant: Iterable[Asked]) -> dict[str, Asset]:
    """Return who bore a symbol last and is traded no more, by the symbol's text."""
    of = {one.text: one for one in meant}
    tickers = [ticker for one in of.values() for ticker in spellings(one.ticker) if one.ticker]
    refs = [one.ref for one in of.values() if one.coin_id]
    by_ticker = retirement.bearers(tickers) if tickers else {}
    by_ref = {a.ref: a for a in Asset.objects.filter(ref__in=refs) if a.is_gone} if refs else {}
    found = {}
    for text, one in of.items():
        bore = [a for ticker in spellings(one.ticker) for a in by_ticker.get(ticker, [])]
        asset = by_ref.get(one.ref) or next((a for a in bore if one.kind in {None, a.kind}), None)
        if asset is not None:
            found[text] = asset
    return found


def _all_known(meant: Sequence[Asked]) -> dict[str, Resolved | None]:
    """Return the asset each symbol means, by its text: from memory, and the rest by `_find`."""
    _index.look()
    found: dict[str, Resolved | None] = {}
    rest = []
    for one in meant:
        found[one.text] = _index.get(one.name)
        if found[one.text] is None:
            rest.append(one)
    try:
        return found | (_find(rest) if rest else {})
    except DatabaseAwayError:
        last = {one.text: _index.last(one.name) for one in rest}
        if None in last.values():
            raise
        return found | last


def _find(meant: Sequence[Asked]) -> dict[str, Resolved | None]:
    """Return the asset each symbol means, by its text, in two queries; remember it."""
    generation = _index.generation
    tickers = {t for one in meant if one.ticker for t in spellings(one.ticker)}
    refs = [one.ref for one in meant if one.ref]
    by_ref = {a.ref: a for a in Asset.objects.filter(ref__in=refs)} if refs else {}
    rivals = settling.bearers(tickers | {a.ticker for a in by_ref.values()})
    found: dict[str, Resolved | None] = {}
    for one in meant:
        found[one.text] = None
        if one.coin_id:
            asset = by_ref.get(one.ref)
            if asset is not None:
                found[one.text] = _kept(one, asset, rivals.get(asset.ticker, [asset]), generation)
            continue
        for ticker in spellings(one.ticker):
            candidates = rivals.get(ticker, [])
            winner = settling.winner(candidates, one.kind)
            if winner is not None:
                found[one.text] = _kept(one, winner, candidates, generation)
                break
        if found[one.text] is None and one.ref in by_ref:
            # Retired, and still what its ref names.
            asset = by_ref[one.ref]
            found[one.text] = _resolved(asset, [asset, *rivals.get(asset.ticker, [])])
    return found


def _kept(one: Asked, asset: Asset, rivals: Sequence[Asset], generation: int) -> Resolved:
    resolved = _resolved(asset, rivals)
    if settling.is_final(asset, rivals):
        _index.put(one.name, resolved, generation)
    return resolved


def _resolved(asset: Asset, rivals: Sequence[Asset]) -> Resolved:
    others = [
        Alternative(ref=a.ref, name=a.name, kind=AssetKind(a.kind))
        for a in rivals
        if a.pk != asset.pk
    ]
    return Resolved(asset, settling.symbol_of(asset, rivals), others[:MAX_ALTERNATIVES])


def _ensure_stocks(meant: Asked, *, is_needed: bool) -> None:
    """Have the stock catalogue; where it cannot be had, raise if only a stock would do."""
    try:
        _have(AssetKind.STOCK)
    except ProviderNotConfiguredError:
        if is_needed and STOCK_TICKER.fullmatch(meant.ticker.replace("-", ".")):
            raise
    except UpstreamError:
        if is_needed:
            raise


def _look_up(meant: Asked) -> Resolved | None:
    """Ask the sources for a symbol that no catalogue knows. Raises UpstreamError."""
    if cache.is_known_unknown(meant.name):
        return None
    try:
        if meant.coin_id:
            rows = catalogue.look_up_coin(meant.coin_id)
        else:
            kinds = [meant.kind] if meant.kind else [AssetKind.CRYPTO, AssetKind.STOCK]
            rows = sum(catalogue.look_up(kind, meant.ticker) for kind in kinds if _can_ask(kind))
    except UpstreamRateLimitedError:
        # By look-ups, by the plan or by the source itself: the catalogue's answer stands, so that
        # a symbol has one answer all along, and is not remembered as the source's.
        return None
    except UpstreamNotFoundError:
        rows = 0
    if not rows:
        cache.remember_unknown(meant.name)
        return None
    return _find([meant])[meant.text]


def _can_ask(kind: AssetKind) -> bool:
    try:
        registry.provider(registry.source_for(kind))
    except PricesError:
        return False
    return True


def tracked() -> list[str]:
    """Return the symbols of the assets that are kept current without followers."""
    assets = list(Asset.objects.filter(tracked=True, is_active=True))
    return [one.symbol for one in named(assets).values()]


def fill(kinds: Iterable[AssetKind]) -> dict[AssetKind, catalogue.Filled | PricesError]:
    """Fill catalogues; what a kind's first one holds of TRACKED_SYMBOLS is tracked from then on."""
    outcomes = catalogue.fill_all(kinds)
    for kind, outcome in outcomes.items():
        if isinstance(outcome, catalogue.Filled) and outcome.is_first:
            _track_first(kind)
    return outcomes


def fill_missing() -> dict[AssetKind, catalogue.Filled | PricesError]:
    """Fill the catalogues that never were, as far as their sources are configured."""
    filled = set(Catalogue.objects.values_list("kind", flat=True))
    return fill([kind for kind in AssetKind if kind not in filled and _can_ask(kind)])


def _have(kind: AssetKind) -> None:
    """Have the catalogue of a kind. Raises what `catalogue.ensure` raises."""
    if catalogue.ensure(kind):
        _track_first(kind)


def _track_first(kind: AssetKind) -> None:
    found = resolve_many(settings.TRACKED_SYMBOLS).assets.values()
    chosen = [one.asset.pk for one in found if one.asset.kind == kind]
    Asset.objects.filter(pk__in=chosen).update(tracked=True)


def rejection(asked: str, code: str) -> PricesError:
    """Return the error behind a code of `Resolution.rejected`."""
    if code == InvalidSymbolError.code:
        return InvalidSymbolError(asked)
    if code == InactiveSymbolError.code:
        return InactiveSymbolError(asked)
    if code == UpstreamError.code:
        return UpstreamError("catalogue", "it has not been filled yet", retry_after_s=10)
    if code == ProviderNotConfiguredError.code:
        source = registry.source_for(AssetKind.STOCK)
        return ProviderNotConfiguredError(source, registry.needed_setting(source))
    return UnknownSymbolError(asked)


def ensure_kinds(kinds: Sequence[AssetKind]) -> list[str]:
    """Have the catalogues of several kinds, as far as they can be had; return their sources.

    Raises the last error where none of them can.
    """
    sources, last = [], None
    for kind in kinds:
        try:
            _have(kind)
            sources.append(registry.source_for(kind))
        except PricesError as exc:
            last = exc
    if not sources and last is not None:
        raise last
    return sources
