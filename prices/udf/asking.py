"""What a chart asks, read as its adapter writes it. What is not known is ignored."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from prices.errors import InvalidParameterError, InvalidSymbolError, UnknownSymbolError
from prices.services import symbols
from prices.services.charting import Wanted
from prices.services.symbols import Resolved
from prices.types import AssetKind, Resolution

# What stands before the colon of a full name, and in searches.
COINS, STOCKS = "COINGECKO", "US"
# Minutes are plain numbers here; what is wider has a letter, in any case and with or without a 1.
RESOLUTIONS: dict[str, Resolution] = {
    (f"1{width.value}" if not width.is_intraday else width.value): width for width in Resolution
}
MOST_QUOTES = 100
_MOST_BARS = 1_000_000
_NUMBER = re.compile(r"(-?[0-9]{1,12})(?:\.[0-9]{0,9})?")


def resolution(query: Mapping[str, str]) -> Resolution:
    """Return which bars are asked for. Raises InvalidParameterError."""
    text = query.get("resolution", "").strip().upper()
    found = RESOLUTIONS.get(text) or RESOLUTIONS.get(f"1{text}" if text in {*"DWM"} else "")
    if found is None:
        raise InvalidParameterError("resolution", f"One of {', '.join(RESOLUTIONS)}.")
    return found


def wanted(query: Mapping[str, str]) -> Wanted:
    """Return the span that is asked for; `countback` outranks `from`. Raises as above."""
    until = _whole(query, "to")
    if until is None:
        until = int(time.time()) + 1
    count = _whole(query, "countback")
    since = _whole(query, "from")
    if count is not None and count > 0:
        return Wanted(since or 0, until, min(count, _MOST_BARS))
    if since is None:
        raise InvalidParameterError("from", "Unix seconds, unless countback is named.")
    if since >= until:
        raise InvalidParameterError("to", "It must lie after `from`.")
    return Wanted(since, until)


def _whole(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise InvalidParameterError(name, "A whole number.")
    return int(match[1])


def listed(query: Mapping[str, str]) -> list[str]:
    """Return the symbols of a list, each as it was written; none is no error."""
    found = [text for text in query.get("symbols", "").split(",") if text.strip()]
    if len(found) > MOST_QUOTES:
        raise InvalidParameterError("symbols", f"At most {MOST_QUOTES}.")
    return list(dict.fromkeys(found))


def resolve(asked: str) -> Resolved:
    """Return the asset that a ticker of ours, a full name or a person's words mean.

    Raises what `symbols.resolve` raises.
    """
    errors: list[InvalidSymbolError | UnknownSymbolError] = []
    for spelling in spellings(asked):
        try:
            return symbols.resolve(spelling, of_the_past=True)
        except (InvalidSymbolError, UnknownSymbolError) as exc:
            errors.append(exc)
    raise errors[0]


def spellings(asked: str) -> list[str]:
    """Return what a symbol may be called here, the likeliest first; at least one.

    A full name has its exchange in upper case; our own refs are in lower case.
    """
    text = asked.strip()
    exchange, colon, name = text.partition(":")
    if not colon:
        return [text]
    if exchange == COINS:
        return [f"{AssetKind.CRYPTO}:{name}", f"coingecko:{name}", f"coingecko:{name.lower()}"]
    if exchange.lower() in {AssetKind.CRYPTO, AssetKind.STOCK, COINS.lower()}:
        return [text]
    return [f"{AssetKind.STOCK}:{name}"]
