"""What an asset is to a chart: when it is traded, how finely it is priced, what can be had."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

from prices import registry
from prices.answers import CandlesAnswer
from prices.cache import Held
from prices.errors import PricesError
from prices.models import Asset, ExchangePair
from prices.services import charting, history, quotes, recorder
from prices.services.charting import Wanted
from prices.services.symbols import Resolved
from prices.sessions import closures
from prices.types import AssetKind, Capability, Freshness, Period, Resolution
from prices.udf.asking import COINS, RESOLUTIONS, STOCKS
from prices.udf.shapes import UdfSymbol

# The library wants a whole number that JavaScript can hold.
_MOST_DECIMALS = 15
_DIGITS = 6  # of a price that are worth showing
_YEARS_BACK = 10
_STATUSES = {
    Freshness.LIVE: "streaming",
    Freshness.DELAYED: "delayed_streaming",
    Freshness.CLOSED: "pulsed",
}


def described(resolved: Resolved) -> tuple[UdfSymbol, bool]:
    """Return what there is to say of an asset, and whether nothing had to be guessed."""
    asset = resolved.asset
    kind = AssetKind(asset.kind)
    widths = _widths(asset)
    series = _daily(resolved)
    closes = series.value.candles[-1].close if series and series.value.candles else None
    intraday = [width.value for width in widths if width.is_intraday]
    is_coin = kind is AssetKind.CRYPTO
    told = UdfSymbol(
        name=asset.ticker or asset.name,
        full_name=full_name(asset, resolved.symbol),
        ticker=asset.ref,
        description=asset.name,
        type=str(kind),
        exchange=COINS if is_coin else STOCKS,
        listed_exchange=COINS if is_coin else asset.exchange or STOCKS,
        timezone="Etc/UTC" if is_coin else "America/New_York",
        session="24x7" if is_coin else "0930-1600",
        session_holidays="" if is_coin else _holidays(datetime.now(UTC).year),
        corrections="" if is_coin else _early_closes(datetime.now(UTC).year),
        pricescale=10 ** decimals(kind, closes),
        has_intraday=bool(intraday),
        intraday_multipliers=intraday,
        supported_resolutions=[name for name, width in RESOLUTIONS.items() if width in widths],
        visible_plots_set=_plots(series),
        volume_precision=4 if is_coin else 0,
        data_status=_status(resolved) if intraday else "endofday",
        currency_code=series.value.currency if series else "USD",
    )
    return told, series is not None and not series.value.stale


def full_name(asset: Asset, symbol: str) -> str:
    """Return a name with its exchange; a coin that does not lead its ticker goes by its id."""
    if asset.kind == AssetKind.STOCK:
        return f"{STOCKS}:{asset.ticker}"
    return f"{COINS}:{asset.coingecko_id if symbol == asset.ref else asset.ticker}"


def decimals(kind: AssetKind, price: float | None) -> int:
    """Return with how many decimals a price is shown: two, and more for what costs little.

    Of a coin without a known price as many as any might need.
    """
    if price is None:
        return 2 if kind is AssetKind.STOCK else 8
    if kind is AssetKind.STOCK and price >= 1:
        return 2
    return min(_MOST_DECIMALS, max(2, _DIGITS - 1 - math.floor(math.log10(price))))


def _daily(resolved: Resolved) -> Held[CandlesAnswer] | None:
    """Return the series of days that a chart of the asset opens with; None where there is none."""
    soon = int(datetime.now(UTC).timestamp()) + 1
    try:
        return charting.chart(resolved, Resolution.DAY, Wanted(0, soon, count=1)).held
    except PricesError:
        return None  # The chart itself will say why; what it is can be told all the same.


def _plots(series: Held[CandlesAnswer] | None) -> str:
    return "ohlc" if series is not None and series.value.volume_basis is None else "ohlcv"


def _status(resolved: Resolved) -> str:
    """Return how fresh what the chart shows is: it never claims more than the last price does."""
    if resolved.asset.is_gone:
        return "endofday"
    try:
        quote = quotes.quote(resolved).value
    except PricesError:
        return "endofday"
    return "endofday" if quote.stale else _STATUSES.get(quote.freshness, "endofday")


def _widths(asset: Asset) -> list[Resolution]:
    """Return the widths that can be had of the newest day, finest first."""
    if asset.is_gone:
        return [Resolution.DAY, Resolution.WEEK, Resolution.MONTH]
    kind = AssetKind(asset.kind)
    window = history.window(kind, Period.DAY, datetime.now(UTC))
    found = {Resolution.DAY, Resolution.WEEK, Resolution.MONTH}
    for source in _sources(asset, kind):
        found.update(registry.provider(source).resolutions(window))
    if kind is AssetKind.STOCK:
        found.update(recorder.widths(asset, window))
    return [width for width in Resolution if width in found]


def _sources(asset: Asset, kind: AssetKind) -> list[str]:
    """Return the sources of candles that can be asked and are not known to lack the asset."""
    lacking = set(
        ExchangePair.objects.filter(asset=asset, is_settled=False).values_list("source", flat=True)
    )
    chain = registry.chain(kind, Capability.CANDLES)
    return [name for name in chain if name not in lacking and _is_configured(name)]


def _is_configured(source: str) -> bool:
    try:
        registry.provider(source)
    except PricesError:
        return False
    return True


@lru_cache(maxsize=4)
def _holidays(year: int) -> str:
    days = [c.day for y in _years(year) for c in closures(y) if c.closes is None]
    return ",".join(f"{day:%Y%m%d}" for day in days)


@lru_cache(maxsize=4)
def _early_closes(year: int) -> str:
    early = [(c.day, c.closes) for y in _years(year) for c in closures(y) if c.closes]
    return ";".join(f"0930-{closes:%H%M}:{day:%Y%m%d}" for day, closes in early)


def _years(year: int) -> range:
    return range(year - _YEARS_BACK, year + 2)
