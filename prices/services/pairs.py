"""Which pair of an exchange stands for a coin: settled once, and never by the ticker alone.

A pair is a candidate where its base is the coin's ticker. It is settled where
its price lies within 5 % of CoinGecko's: tickers are shared, prices are not.
But copies of a coin share its price too, so a pair is only ever that of the
best-ranked coin of its ticker, and of one coin.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import F

from prices import cache, failures, freshness, gateway, redis_clients, registry
from prices.answers import PairsAnswer, QuoteAnswer, TopAnswer
from prices.errors import (
    NotListedError,
    PricesError,
    UpstreamError,
)
from prices.models import Asset, ExchangePair
from prices.providers import deadline
from prices.redis_clients import RedisAwayError
from prices.services import doubts, ranking, settling, symbols
from prices.types import AssetKind, Capability, Freshness, Instrument, Pair, Quote

logger = logging.getLogger(__name__)

# How far a pair's price may lie from CoinGecko's, in percent.
MOST_APART_PERCENT = 5.0
# When a settled pair is looked at again: an exchange may give a ticker to another coin.
SETTLED_FOR = timedelta(days=7)
# When one is that was refused, or not there. An error of the source, or of the price it was
# held against, looks the same: so soon at first, four times as late after each further look.
REFUSED_FOR = timedelta(minutes=15)
REFUSED_AT_MOST = timedelta(days=7)
# A look that finds no pair a second time is at a list no older than this.
LIST_S = 3600
# When settling a pair is tried again that was not found or not proved, and how long a price
# that was fetched to compare with is good for that.
UNSETTLED_S = 60
REFERENCE_S = 60
# How long CoinGecko is waited for with such a price: the exchange that steps in needs time too.
REFERENCE_WITHIN_S = 3.0
# Dollars, then what is kept at a dollar, the busier first.
QUOTES = ("USD", "USDT", "USDC")
# What is further from a dollar than this is no stand-in for one, or the source errs.
MOST_OFF = 0.05
RATE_S = 60
_STAND_INS = {"USDC": "usd-coin", "USDT": "tether"}


def instrument(asset: Asset, source: str) -> Instrument:
    """Return an asset as a source names it. Raises NotListedError, UpstreamError."""
    if asset.kind == AssetKind.STOCK:
        # Stocks go by their ticker everywhere.
        return Instrument(asset.ref, AssetKind.STOCK, asset.finnhub_symbol or asset.ticker)
    if source == registry.source_for(AssetKind.CRYPTO):
        return asset.instrument
    return Instrument(asset.ref, AssetKind.CRYPTO, settled(asset, source).symbol)


def known(assets: Sequence[Asset], source: str) -> set[str]:
    """Return the refs of which a source can be asked for without settling a pair first."""
    if source == registry.source_for(AssetKind.CRYPTO):
        return {asset.ref for asset in assets}
    rows = ExchangePair.objects.filter(asset__in=assets, source=source).select_related("asset")
    paired = {row.asset.ref for row in rows if row.is_settled or not _is_due(row)}
    return paired | {asset.ref for asset in assets if asset.kind == AssetKind.STOCK}


def quote_currency(asset: Asset, source: str) -> str:
    """Return what the prices of a source are in: USD, or the stand-in of its settled pair."""
    if asset.kind == AssetKind.STOCK or source == registry.source_for(AssetKind.CRYPTO):
        return "USD"
    return settled(asset, source).quote


def settled(asset: Asset, source: str) -> ExchangePair:
    """Return the pair that stands for a coin at an exchange, settling it at first use.

    Raises NotListedError where there is none, UpstreamError where it cannot be told now.
    """
    row = ExchangePair.objects.filter(asset=asset, source=source).first()
    if row is None or _is_due(row):
        row = _looked_at(asset, source, row)
    if not row.is_settled:
        raise NotListedError(source, asset.ref)
    return row


def _is_due(row: ExchangePair) -> bool:
    """Whether a pair, settled or refused, is to be looked at again."""
    if row.is_settled:
        rest = SETTLED_FOR
    else:
        rest = min(REFUSED_AT_MOST, REFUSED_FOR * 4 ** min(8, max(0, row.refusals - 1)))
    return row.checked_at < datetime.now(UTC) - rest


def _looked_at(asset: Asset, source: str, row: ExchangePair | None) -> ExchangePair:
    """Settle a pair, or look at it again; one that is settled stays so where nobody can tell."""
    if row is None or not row.is_settled:
        return _settle_now_and_then(asset, source, row)
    if doubts.noted([asset.ref]).is_any:
        return row  # A price in doubt is no measure.
    try:
        return _settle_now_and_then(asset, source, row)
    except (NotListedError, UpstreamError):
        return row


def _settle_now_and_then(asset: Asset, source: str, row: ExchangePair | None) -> ExchangePair:
    """Settle a pair, or raise again why that failed within the last minute."""
    key = f"pair:{source}:{asset.ref}"
    failed = failures.remembered([key]).get(key)
    if failed is not None:
        raise failed
    try:
        return _settle(asset, source, row)
    except (NotListedError, UpstreamError) as exc:
        # An outage is over sooner than a price comes to be another.
        failures.remember({key: exc}, UNSETTLED_S if isinstance(exc, NotListedError) else None)
        raise


def _settle(asset: Asset, source: str, row: ExchangePair | None) -> ExchangePair:
    if not _has_a_claim(asset, row):
        return _stored(asset, source, None, None)
    candidate = _candidate(asset.ticker, _listed(source, LIST_S if row else None))
    if candidate is None:
        return _stored(asset, source, None, None)
    reference = _reference(asset)
    found = gateway.call(
        source,
        lambda provider: provider.quotes(
            [Instrument(asset.ref, AssetKind.CRYPTO, candidate.symbol)]
        ),
    ).found.get(asset.ref)
    if found is None:
        raise NotListedError(source, asset.ref)
    apart_percent = 100 * abs(found.price / reference.price - 1)
    if apart_percent > MOST_APART_PERCENT and not reference.is_fresh:
        raise NotListedError(source, asset.ref)  # A day's move is no proof of another coin.
    return _stored(asset, source, candidate, apart_percent)


def _has_a_claim(asset: Asset, row: ExchangePair | None) -> bool:
    """Whether a pair of its ticker can be a coin's: the one pinned on it, else the best-ranked.

    A coin that has one keeps it though another was ranked higher since, and one that is
    gone may have one; but no copy beside an original.
    """
    coins = [one for one in _bearers(asset.ticker) if one.kind == AssetKind.CRYPTO]
    first = next((one for one in coins if one.pinned), next(iter(coins), None))
    if first is None or first.pk == asset.pk:
        return True
    if first.pinned or asset.is_derivative > first.is_derivative:
        return False
    return asset.is_derivative < first.is_derivative or (row is not None and row.is_settled)


def _bearers(ticker: str) -> list[Asset]:
    return settling.bearers([ticker]).get(ticker, [])


def source_of(quote: QuoteAnswer) -> str | None:
    """Return the name of the source of a quote: the first of its chain that was not passed over.

    None where that cannot be told: what was kept beside a source that lagged may be anyone's.
    """
    if any(one.code == "older" for one in quote.fallback_from):
        return None
    passed = {one.source for one in quote.fallback_from}
    chain = registry.chain(quote.kind, Capability.QUOTES)
    return next((name for name in chain if registry.skipped_name(name) not in passed), None)


def dollars(currency: str, not_by: Collection[str] = ()) -> float:
    """Return what a stand-in for the dollar is worth, by a price that is live.

    `not_by` are the sources that what is told in dollars is to be held against: one that is
    wrong in everything would be found right by its own rate.

    Raises NotListedError or UpstreamError where that cannot be told: then nothing
    priced in it can be told in dollars.
    """
    asset = Asset.objects.filter(coingecko_id=_STAND_INS[currency]).first()
    if asset is None:
        raise NotListedError("settings", currency)
    held = cache.read(cache.price_key(symbols.names([asset])[asset.ref]), QuoteAnswer)
    if held and _is_fit(held.value, asset, not_by):
        return held.value.price
    noted = _noted_rate(currency)
    if noted is not None and noted.source not in not_by:
        return noted.price
    asked = _asked_rate(asset, not_by)
    if asked is None:
        raise NotListedError("every source", currency)
    # Only what was asked: a note renewed by each reader would outlast an outage.
    _note_rate(currency, asked)
    return asked.price


class _Rate(NamedTuple):
    price: float
    source: str


def _is_fit(quote: QuoteAnswer, asset: Asset, not_by: Collection[str]) -> bool:
    """Whether a quote that is held is a rate, and of a source that may tell one."""
    if quote.ref != asset.ref or quote.disputed or not _is_a_rate(quote.price, quote.freshness):
        return False
    return not not_by or source_of(quote) not in {None, *not_by}


def _is_a_rate(price: float, fresh: Freshness) -> bool:
    """Whether a stand-in's price can be reckoned with: of now, and near a dollar."""
    return fresh is Freshness.LIVE and abs(price - 1) <= MOST_OFF


def _asked_rate(asset: Asset, not_by: Collection[str]) -> _Rate | None:
    """Return a stand-in's price by the first source that has a likely one.

    Exchanges come first: they differ from whoever's price is looked at a second time,
    and their calls are not counted by the month.
    """
    first = registry.source_for(AssetKind.CRYPTO)
    chain = registry.chain(AssetKind.CRYPTO, Capability.QUOTES)
    for source in [*(name for name in chain if name != first), first]:
        if source in not_by:
            continue
        try:
            if quote_currency(asset, source) != "USD":
                continue
            quote = gateway.call(source, partial(_quote_of, instrument(asset, source)))
        except PricesError:
            continue
        if quote is not None and _is_a_rate(quote.price, _freshness(quote, source)):
            return _Rate(float(quote.price), source)
    return None


def _freshness(quote: Quote, source: str) -> Freshness:
    cadence, now = registry.cadence(source), datetime.now(UTC)
    kind, is_timed = AssetKind.CRYPTO, quote.is_timed
    return freshness.of_quote(kind, quote.as_of, now, cadence, is_timed=is_timed).freshness


def _noted_rate(currency: str) -> _Rate | None:
    try:
        note: Any = redis_clients.ask(lambda r: r.get(f"rate:{currency}"))
    except RedisAwayError:
        return None
    price, _, source = (note or b"0").decode().partition(" ")
    return _Rate(float(price), source) if _is_a_rate(float(price), Freshness.LIVE) else None


def _note_rate(currency: str, rate: _Rate) -> None:
    note = f"{rate.price!r} {rate.source}"
    try:
        redis_clients.ask(lambda r: r.set(f"rate:{currency}", note, ex=RATE_S))
    except RedisAwayError:
        return  # The next price asks again.


def _quote_of(where: Instrument, provider: Any) -> Quote | None:
    found: Quote | None = provider.quotes([where]).found.get(where.ref)
    return found


def _listed(source: str, max_age_s: float | None = None) -> Sequence[Pair]:
    """Return the exchange's own product list, a day old at most, or as old as it may be."""
    key = cache.list_key(f"pairs:{source}")
    load = partial(_load, source)
    return cache.fetch(key, load, PairsAnswer, cache.PAIRS, max_age_s=max_age_s).value.pairs


def _load(source: str) -> PairsAnswer:
    got = gateway.ask(
        AssetKind.CRYPTO, Capability.PAIRS, lambda provider: provider.pairs(), sources=[source]
    )
    return PairsAnswer(
        source=got.source,
        as_of=None,
        fetched_at=got.fetched_at,
        cached=False,
        stale=False,
        pairs=[pair for pair in got.value if pair.quote in QUOTES],
    )


def _candidate(ticker: str, pairs: Sequence[Pair]) -> Pair | None:
    fitting = [pair for pair in pairs if pair.base == ticker and pair.is_trading]
    return min(fitting, key=lambda pair: QUOTES.index(pair.quote), default=None)


@dataclass(frozen=True, slots=True)
class Reference:
    """CoinGecko's own price of a coin; up to a day old where it cannot be asked."""

    price: float
    is_fresh: bool


def _reference(asset: Asset) -> Reference:
    """Return what a pair's price is compared with. Raises UpstreamError, NotListedError."""
    key = cache.price_key(symbols.names([asset])[asset.ref])
    held = cache.read(key, QuoteAnswer)
    if held is not None and _is_first_hand(held.value, asset):
        return Reference(held.value.price, is_fresh=held.value.freshness is Freshness.LIVE)
    return _noted_reference(asset) or _asked_reference(asset, key)


def _asked_reference(asset: Asset, key: str) -> Reference:
    """Ask CoinGecko for a coin's price. What came of it, also that it failed, counts for a while.

    Else each exchange of a chain would wait for it in turn.
    """
    source, note = registry.source_for(AssetKind.CRYPTO), f"reference:{asset.ref}"
    failed = failures.remembered([note]).get(note)
    if failed is not None:
        raise failed
    try:
        with deadline.question(REFERENCE_WITHIN_S):
            quote = gateway.call(source, partial(_quote_of, asset.instrument))
    except UpstreamError as exc:
        price = _old_price(key, asset)
        if price is None:
            failures.remember({note: exc})
            raise
        return _noted_as(asset, Reference(price, is_fresh=False))
    if quote is None:
        raise NotListedError(source, asset.ref)
    # A price whose time stands still proves no more than an old copy.
    is_fresh = _freshness(quote, source) is Freshness.LIVE
    return _noted_as(asset, Reference(float(quote.price), is_fresh=is_fresh))


def _noted_reference(asset: Asset) -> Reference | None:
    try:
        note: Any = redis_clients.ask(lambda r: r.get(f"reference:{asset.ref}"))
    except RedisAwayError:
        return None
    if not note:
        return None
    price, _, is_fresh = note.decode().partition(" ")
    return Reference(float(price), is_fresh=is_fresh == "fresh")


def _noted_as(asset: Asset, asked: Reference) -> Reference:
    """Note a price for other exchanges' pairs, and return it."""
    note = f"{asked.price!r} {'fresh' if asked.is_fresh else 'old'}"
    try:
        redis_clients.ask(lambda r: r.set(f"reference:{asset.ref}", note, ex=REFERENCE_S))
    except RedisAwayError:
        logger.debug("a price to compare with is not noted while Redis is away")
    return asked


def _old_price(key: str, asset: Asset) -> float | None:
    """Return CoinGecko's price of a coin as of some time today, from a quote or the stored list."""
    old = cache.last_good(key, QuoteAnswer)
    if old is not None and _is_first_hand(old, asset):
        return old.price
    listed = cache.newest([ranking.KEY], TopAnswer).get(ranking.KEY)
    rows = listed.cryptos if listed else []
    return next((row.current_price for row in rows if row.id == asset.coingecko_id), None)


def _is_first_hand(quote: QuoteAnswer, asset: Asset) -> bool:
    """Whether a quote is of this coin, and not itself from an exchange's pair."""
    is_ours = quote.ref == asset.ref and quote.quote_currency == "USD"
    return is_ours and not quote.fallback_from and not quote.disputed


def _stored(
    asset: Asset, source: str, pair: Pair | None, apart_percent: float | None
) -> ExchangePair:
    is_settled = apart_percent is not None and apart_percent <= MOST_APART_PERCENT
    if pair is not None and not is_settled:
        logger.warning(
            "%s is not %s: %.1f %% apart", f"{source}:{pair.symbol}", asset.ref, apart_percent
        )
    before = ExchangePair.objects.filter(asset=asset, source=source).first()
    try:
        with transaction.atomic():
            if pair is not None and is_settled:
                _take(asset, source, pair)
            row, _ = ExchangePair.objects.update_or_create(
                asset=asset,
                source=source,
                defaults={
                    "refusals": 0 if is_settled else 1 + (before.refusals if before else 0),
                    "symbol": pair.symbol if pair else "",
                    "quote": pair.quote if pair else "",
                    "is_settled": is_settled,
                    "apart_percent": apart_percent,
                    "checked_at": datetime.now(UTC),
                },
            )
    except IntegrityError as exc:  # Another process gave the pair to another coin meanwhile.
        raise NotListedError(source, asset.ref) from exc
    return row


def _take(asset: Asset, source: str, pair: Pair) -> None:
    """Take a pair from another coin that has it: its claim is the lesser one."""
    others = ExchangePair.objects.filter(source=source, symbol=pair.symbol, is_settled=True)
    others.exclude(asset=asset).update(
        is_settled=False, refusals=F("refusals") + 1, checked_at=datetime.now(UTC)
    )
