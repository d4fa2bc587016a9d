"""What CoinGecko's bodies say, in our nouns: pure functions of a decoded payload.

They raise the built-in errors of a slip where a payload has another shape;
`HttpProvider.parsing` turns those into ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from prices.providers.bars import bar_end, bar_start, checked
from prices.providers.values import (
    amount,
    figure,
    is_id,
    known_amount,
    moment,
    past_moment,
    price,
    rank,
    seconds,
    stated_price,
    text,
)
from prices.types import AssetKind, Candle, Coin, Listing, Point, Quote, Resolution, Trend

_HOURS = 7 * 24  # of a sparkline
_OHLC_AGE_S = 1800  # how old an answer of /ohlc may be

_IMAGE = re.compile(r"https://(assets|coin-images)\.coingecko\.com/[\w./?=&%~+-]{1,400}", re.ASCII)

_WORDS = re.compile(r"[a-z0-9]+")
_DERIVED_WORDS = frozenset(
    {
        *("wrapped", "bridged", "peg", "pegged"),
        *("staked", "restaked", "mirrored", "synthetic"),
        *("tokenized", "tokenised", "xstock", "xstocks", "dinari", "bstock", "bstocks", "dshares"),
    }
)


def is_derivative(coin_id: str, name: str) -> bool:
    """Whether a coin stands for another asset: wrapped, bridged, staked, or a tokenised stock.

    Guessed from whole words of its id and name, since the catalogue does not
    say. Companies that issue such tokens (Ondo, Wormhole) are no derivatives,
    so their names alone say nothing; Wormhole's tokens have it behind the
    original's name.
    """
    id_words = _WORDS.findall(coin_id.lower())
    words = {*id_words, *_WORDS.findall(name.lower())}
    return bool(words & _DERIVED_WORDS) or "wormhole" in id_words[1:]


def error(body: bytes) -> tuple[int | None, str]:
    """Return the code and the message of an error body; None and "" where it has none.

    Four shapes are real: `error` as a text, `status` as an object or a number,
    `error.status`, and `error_code` at the top. A page of HTML and nothing at
    all are real too.
    """
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None, ""
    code, message = None, ""
    for _ in range(3):
        if isinstance(payload, str):
            return code, message or payload
        if not isinstance(payload, dict):
            break
        if isinstance(payload.get("error_code"), int):
            code = payload["error_code"]
        if isinstance(payload.get("error_message"), str):
            message = payload["error_message"]
        payload = payload.get("error", payload.get("status"))
    return code, message


def listed(payload: object) -> list[Any]:
    """Return a list as it is. Raises TypeError for anything else that one could iterate."""
    if not isinstance(payload, list):
        raise TypeError("not a list")
    return payload


def quote(row: Mapping[str, Any]) -> Quote | None:
    """Return the quote in a row of /coins/markets; None where it has no price, or no time for it.

    Raises ValueError where the price is none that could be.
    """
    value = stated_price(row.get("current_price"))
    as_of = past_moment(row.get("last_updated"))
    if value is None or as_of is None:
        return None
    return Quote(
        value,
        as_of,
        change=figure(row.get("price_change_24h")),
        change_percent=figure(row.get("price_change_percentage_24h")),
        high=price(row.get("high_24h")),
        low=price(row.get("low_24h")),
        volume=amount(row.get("total_volume")),
        market_cap=known_amount(row.get("market_cap")),
    )


def coins(rows: Iterable[Mapping[str, Any]]) -> Iterator[Coin]:
    for row in rows:
        name, symbol = text(row.get("name")), text(row.get("symbol"))
        if not name:
            continue
        yield Coin(
            id=row["id"],
            symbol=symbol,
            name=name,
            image=_image(row.get("image")),
            current_price=price(row.get("current_price")),
            market_cap=known_amount(row.get("market_cap")),
            market_cap_rank=rank(row.get("market_cap_rank")),
            total_volume=amount(row.get("total_volume")),
            high_24h=price(row.get("high_24h")),
            low_24h=price(row.get("low_24h")),
            price_change_24h=figure(row.get("price_change_24h")),
            price_change_percentage_24h=figure(row.get("price_change_percentage_24h")),
            circulating_supply=known_amount(row.get("circulating_supply")),
            total_supply=known_amount(row.get("total_supply")),
            max_supply=known_amount(row.get("max_supply")),
            ath=price(row.get("ath")),
            ath_change_percentage=figure(row.get("ath_change_percentage")),
            ath_date=moment(row.get("ath_date")),
            atl=price(row.get("atl")),
            atl_change_percentage=figure(row.get("atl_change_percentage")),
            atl_date=moment(row.get("atl_date")),
            last_updated=past_moment(row.get("last_updated")),
        )


def trend(row: Mapping[str, Any]) -> Trend:
    """Return how a coin of /coins/markets has moved; what is not readable is not known."""

    def change(span: str) -> float | None:
        return figure(row.get(f"price_change_percentage_{span}_in_currency"))

    told = row.get("sparkline_in_7d")
    prices = told.get("price") if isinstance(told, dict) else None
    line = [price(value) for value in prices[-_HOURS:]] if isinstance(prices, list) else []
    known = [value for value in line if value is not None]
    return Trend(
        as_of=past_moment(row.get("last_updated")),
        # With a price missing nobody could tell which hours the others are of.
        sparkline=known if known and len(known) == len(line) else None,
        change_percent_1h=change("1h"),
        change_percent_7d=change("7d"),
        change_percent_30d=change("30d"),
    )


def _image(value: object) -> str | None:
    """Return the address of a coin's picture where it is one of CoinGecko's own."""
    return value if isinstance(value, str) and _IMAGE.fullmatch(value) else None


def listings(rows: Sequence[Any]) -> list[Listing]:
    """Return the rows that have an id and a name. Raises where there are rows and none has."""
    found = {}
    for row in listed(rows):
        coin_id, name = row.get("id"), text(row.get("name"))
        if not is_id(coin_id) or not name:
            continue
        found[coin_id] = Listing(
            AssetKind.CRYPTO,
            coin_id,
            text(row.get("symbol"), limit=100),
            name,
            is_derivative=is_derivative(coin_id, name),
            market_cap_rank=rank(row.get("market_cap_rank")),
        )
    if rows and not found:
        raise ValueError
    return list(found.values())


def points(payload: Mapping[str, Any]) -> list[Point]:
    """Return the points of a chart, oldest first, one a second; the later of two wins.

    They come off any grid, sometimes out of order or twice. Null prices are
    left out; raises where there are points and none can be read.
    """
    # 0 stands for "unknown" in this list, and a coin nobody trades is no better known.
    volume_at = {row[0]: known_amount(row[1]) for row in payload.get("total_volumes") or ()}
    found: dict[int, Point] = {}
    rows = [row for row in listed(payload["prices"]) if row[1] is not None]
    for row in sorted(rows, key=lambda row: figure(row[0]) or 0.0):
        value, at = price(row[1]), seconds(row[0])
        if value is not None and at is not None:
            found[at] = Point(at, value, volume_at.get(row[0]))
    if rows and not found:
        raise ValueError
    return list(found.values())


def bars(rows: Sequence[Any], resolution: Resolution, now: datetime) -> tuple[list[Candle], int]:
    """Return CoinGecko's own bars, oldest first, and how many contradict themselves.

    Its stamps are closings, ours openings. The last bar is partial even where
    its stamp has passed, since the answer may be half an hour old.
    """
    now_s = now.timestamp()
    found: dict[int, Candle] = {}
    dropped = 0
    for row in listed(rows):
        at = seconds(row[0])
        start = bar_start(at - 1, resolution) if at else 0
        bar = checked(start, row[1:5], volume=None, closed=True) if len(row) >= 5 else None
        if at is None or bar is None or start > now_s:
            dropped += 1
            continue
        found[start] = bar
    if rows and not found:
        raise ValueError
    ordered = [found[start] for start in sorted(found)]
    if ordered and bar_end(ordered[-1].timestamp, resolution) + _OHLC_AGE_S > now_s:
        ordered[-1] = replace(ordered[-1], closed=False)
    return ordered, dropped
