"""CoinGecko: coins, their quotes, charts, bars and catalogue.

Source: https://docs.coingecko.com/ (v3); `docs/providers.md` says what each
plan really gives. The base URL holds /api/v3 already. Which plan a key belongs
to cannot be told from the key, so it is a setting.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote as url_quote

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRefusedError,
)
from prices.providers import coingecko_payloads as payloads
from prices.providers.bars import (
    DAY_S,
    aligned,
    bar_end,
    bar_start,
    roll_up,
    why_later,
)
from prices.providers.base import (
    CATALOGUE_LIMIT,
    CATALOGUE_LIMIT_S,
    RETRY_AFTER_FLOOR_S,
    HttpProvider,
    Quotes,
)
from prices.providers.coingecko_payloads import is_derivative
from prices.providers.days import MOST_CALLS, WINDOW_DAYS, daily_bars
from prices.providers.values import (
    CLOCK_SKEW,
    is_id,
)
from prices.types import (
    AssetKind,
    Candle,
    Candles,
    Capability,
    Coin,
    Instrument,
    Listing,
    Origin,
    Point,
    Points,
    Resolution,
    Trend,
    TruncatedBy,
    Window,
)

__all__ = ["CoinGecko", "is_derivative"]

PAGE = 250  # rows that one call of /coins/markets gives; ids beyond that are cut off
URL_ROOM = 6000  # characters of ids in one URL, commas counted as they are sent
FREE_REACH = timedelta(days=365)
CALLS_REACH = timedelta(days=MOST_CALLS * WINDOW_DAYS)
ROLLING = "rolling_24h"

_PAID = frozenset({"pro", "sandbox"})

# Which of its bars /ohlc gives for how many days. Its 4-day bars (31 days up)
# are of no use: they begin on no day anyone could name.
_OWN_BARS: dict[Resolution, tuple[int, ...]] = {Resolution.M30: (1,), Resolution.H4: (7, 14, 30)}
_FULL: dict[str, str | int] = {"vs_currency": "usd", "precision": "full"}

_KEY_CODES = frozenset({10002, 10010, 10011})
_PLAN_CODES = frozenset({10005, 10012})


class CoinGecko(HttpProvider):
    """Coins. Keyless and demo plans reach 365 days back; "sandbox" is a plan without limits."""

    name = "coingecko"
    attribution = "Data provided by CoinGecko"
    link = "https://www.coingecko.com"
    must_be_named = True
    terms = "https://brand.coingecko.com/resources/attribution-guide"
    began = datetime(2013, 4, 28, tzinfo=UTC)
    offers = frozenset(
        {
            Capability.QUOTES,
            Capability.HISTORY,
            Capability.CANDLES,
            Capability.COINS,
            Capability.LISTINGS,
            Capability.LOOKUP,
            Capability.SEARCH,
        }
    )

    def auth_headers(self) -> dict[str, str]:
        if not self._api_key or self.plan == "keyless":
            return {}
        return {f"x-cg-{'pro' if self.plan == 'pro' else 'demo'}-api-key": self._api_key}

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        code, message = payloads.error(body)
        if code in _PLAN_CODES:
            return PlanRestrictedError(
                self.name,
                f"{path} asks for more than this plan gives ({code})",
                allowed_by="a paid CoinGecko plan",
            )
        if code in _KEY_CODES:
            return UpstreamRefusedError(self.name, f"the key does not fit the plan ({code})")
        if code is None and b"error code: 1015" in body:
            return UpstreamRateLimitedError(
                self.name, "its CDN asks for fewer calls", retry_after_s=RETRY_AFTER_FLOOR_S
            )
        if status in (403, 404) and not message:
            # A page of the CDN's firewall, or of something else at this address.
            return UpstreamError(self.name, f"{path} answered HTTP {status} without a reason")
        if status == 404 and "incorrect path" in message.lower():
            return UpstreamError(self.name, f"{path} is no path at this address")
        return None

    # Quotes and lists of coins

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return quotes in one call for 250 coins; coins without a price or a time are left out."""
        wanted: dict[str, list[str]] = {}
        for instrument in instruments:
            wanted.setdefault(instrument.upstream_id, []).append(instrument.ref)
        result = Quotes({}, {})
        for ids in _chunks(sorted(wanted)):
            try:
                rows = self._markets({"ids": ",".join(ids)})
            except PricesError as exc:
                result.failed.update({ref: exc for coin_id in ids for ref in wanted[coin_id]})
                continue
            for row in rows:
                refs = wanted.get(row["id"], ())
                try:
                    with self.parsing("/coins/markets"):
                        quote = payloads.quote(row)
                except PricesError as exc:
                    result.failed.update(dict.fromkeys(refs, exc))
                    continue
                if quote is not None:
                    result.found.update(dict.fromkeys(refs, quote))
        if result.failed and not result.found:
            raise next(iter(result.failed.values()))
        return result

    def top(self, limit: int) -> list[Coin]:
        found: dict[str, Coin] = {}
        for page in range(1, math.ceil(limit / PAGE) + 1):
            rows = self._markets({"page": page}, per_page=min(limit, PAGE))
            # Pages are fetched at different moments: a coin may be on two of them.
            for coin in payloads.coins(rows):
                found.setdefault(coin.id, coin)
            if len(rows) < min(limit, PAGE):
                break
        return list(found.values())[:limit]

    def coins(self, ids: Collection[str]) -> list[Coin]:
        found: dict[str, Coin] = {}
        for chunk in _chunks(sorted(set(ids))):
            rows = self._markets({"ids": ",".join(chunk)})
            found |= {coin.id: coin for coin in payloads.coins(rows)}
        return list(found.values())

    def trends(self, ids: Collection[str]) -> dict[str, Trend]:
        """Return trends in one call for 250 coins, which is what it is asked for anyway."""
        more = {"sparkline": "true", "price_change_percentage": "1h,7d,30d"}
        found: dict[str, Trend] = {}
        for chunk in _chunks(sorted(set(ids))):
            for row in self._markets({"ids": ",".join(chunk), **more}):
                with self.parsing("/coins/markets"):
                    found[row["id"]] = payloads.trend(row)
        return found

    def _markets(
        self, params: Mapping[str, str | int], *, per_page: int = PAGE
    ) -> list[dict[str, Any]]:
        """Return the rows of /coins/markets that are rows of a coin at all."""
        path = "/coins/markets"
        rows = self.get_json(
            path,
            {
                **_FULL,
                "order": "market_cap_desc",
                "per_page": per_page,
                "page": 1,
                **params,
            },
        )
        with self.parsing(path):
            coins = [
                row
                for row in payloads.listed(rows)
                if isinstance(row, dict) and is_id(row.get("id"))
            ]
            if rows and not coins:
                raise ValueError
        return coins

    # The catalogue

    def listings(self) -> list[Listing]:
        """Return all coins by id; tickers repeat, may be empty and may be in any script."""
        path = "/coins/list"
        rows = self.get_json(path, {}, max_bytes=CATALOGUE_LIMIT, within_s=CATALOGUE_LIMIT_S)
        with self.parsing(path):
            if not rows:
                raise ValueError  # An empty catalogue would delist everything.
            return payloads.listings(rows)

    def lookup(self, asked: str) -> list[Listing]:
        path = "/search"
        payload = self.get_json(path, {"query": asked})
        with self.parsing(path):
            return payloads.listings(payload["coins"])

    def search(self, words: str) -> list[Listing]:
        return self.lookup(words)

    # Charts

    def history(self, instrument: Instrument, window: Window, step_s: int) -> Points:
        """Return prices oldest first, the newest as of now; `volume` is the rolling 24 h figure.

        A window gives as many points as it has whole steps, at most. Of points
        much closer than a step the newer one is kept.
        """
        start = self._reachable(window)
        path = self._coin_path(instrument, "market_chart")
        payload = self.get_json(path, _FULL | {"days": _days(start, window.end, step_s)})
        with self.parsing(path):
            points = payloads.points(payload)
        start_s = math.ceil(start.timestamp()) if start else 0
        end_s = window.end.timestamp()
        # The newest point bears the moment of their answer, a little after the window's end.
        last_s = end_s + CLOCK_SKEW.total_seconds()
        points = [point for point in points if start_s <= point.timestamp <= last_s]
        points = _thinned(points, step_s, most=round((end_s - start_s) / step_s))
        first = points[0].timestamp if points else None
        cut = None if start == window.start else TruncatedBy.PLAN
        return Points(
            points, why_later(first, window, start_s, max(6 * step_s, 3600), cut), ROLLING
        )

    def earliest(self, resolution: Resolution) -> datetime:
        now = datetime.now(UTC)
        return now - (CALLS_REACH if self.plan in _PAID else FREE_REACH)

    def resolutions(self, window: Window) -> list[Resolution]:
        span = _span_days(window.start, window.end)
        own = [width for width, days in _OWN_BARS.items() if span <= days[-1]]
        return [*own, Resolution.DAY, Resolution.WEEK, Resolution.MONTH]

    def candles(
        self,
        instrument: Instrument,
        window: Window,
        resolution: Resolution,
        *,
        known: Sequence[Candle] = (),
        now: datetime | None = None,
    ) -> Candles:
        """Return bars without volume, which CoinGecko does not have.

        30-minute and 4-hour bars are its own; daily ones are made of hourly
        points, 90 days a call, and weeks and months of those days.
        """
        available = self.resolutions(window)
        if resolution not in available:
            raise ResolutionUnavailableError(resolution, available)
        now = now or datetime.now(UTC)
        if resolution in _OWN_BARS:
            return self._own_bars(instrument, window, resolution, now)
        if resolution is Resolution.DAY:
            return self._daily_bars(instrument, window, known, now)
        days = self._daily_bars(instrument, aligned(window, resolution), known, now)
        return roll_up(days, resolution, window, kind=AssetKind.CRYPTO, now=now)

    def _own_bars(
        self, instrument: Instrument, window: Window, resolution: Resolution, now: datetime
    ) -> Candles:
        span = _span_days(window.start, window.end)
        days = next(days for days in _OWN_BARS[resolution] if days >= span)
        path = self._coin_path(instrument, "ohlc")
        rows = self.get_json(path, _FULL | {"days": days})
        with self.parsing(path):
            bars, dropped = payloads.bars(rows, resolution, now)
        start_s = int(window.start.timestamp()) if window.start else 0
        bars = [bar for bar in bars if bar_end(bar.timestamp, resolution) > start_s]
        first = bars[0].timestamp if bars else None
        slack_s = 3 * resolution.minutes * 60
        return Candles(
            bars, Origin.PROVIDER, dropped, why_later(first, window, start_s, slack_s, None)
        )

    def _daily_bars(
        self, instrument: Instrument, window: Window, known: Sequence[Candle], now: datetime
    ) -> Candles:
        wanted = bar_start(int(window.start.timestamp()), Resolution.DAY) if window.start else 0
        first = max(wanted, self._first_whole_day(now))
        path = self._coin_path(instrument, "market_chart/range")

        def ask(since: int, until: int) -> list[Point]:
            payload = self.get_json(path, _FULL | {"from": since, "to": until})
            with self.parsing(path):
                return [p for p in payloads.points(payload) if since <= p.timestamp <= until]

        bars, reached = daily_bars(first, known, now, ask, until=window.end)
        cut = TruncatedBy.PLAN if first > wanted else None
        if reached > first:
            cut = TruncatedBy.LIMIT
        begins = bars[0].timestamp if bars else None
        return Candles(bars, Origin.DERIVED, 0, why_later(begins, window, reached, DAY_S, cut))

    def _coin_path(self, instrument: Instrument, what: str) -> str:
        coin_id = instrument.upstream_id
        if coin_id.strip(".") == "":
            # Such an id would climb out of /coins/.
            raise UpstreamNotFoundError(self.name, f"{coin_id!r} is no id there")
        return f"/coins/{url_quote(coin_id, safe='')}/{what}"

    def _reachable(self, window: Window) -> datetime | None:
        """Return the window's start, or where the plan's reach begins if that is later."""
        if self.plan in _PAID:
            return window.start
        edge = window.end - FREE_REACH
        return edge if window.start is None else max(edge, window.start)

    def _first_whole_day(self, now: datetime) -> int:
        """Return the first day that the plan's reach holds from its midnight on; 0 for any."""
        if self.plan in _PAID:
            return 0
        # A little inside the reach, since their clock says where it begins.
        edge = int((now - FREE_REACH).timestamp()) + 600
        return -(-edge // DAY_S) * DAY_S


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield ids in portions that one call takes. What holds a comma is no id."""
    chunk: list[str] = []
    room = URL_ROOM
    for coin_id in ids:
        if not coin_id or "," in coin_id:
            continue
        length = len(url_quote(coin_id, safe="")) + 3
        if chunk and (len(chunk) == PAGE or length > room):
            yield chunk
            chunk, room = [], URL_ROOM
        chunk.append(coin_id)
        room -= length
    if chunk:
        yield chunk


def _thinned(points: Sequence[Point], step_s: int, *, most: int) -> list[Point]:
    """Return points at least half a step apart, counted from the newest, and the newest `most`."""
    kept: list[Point] = []
    for point in reversed(points):
        if len(kept) == most:
            break
        if not kept or kept[-1].timestamp - point.timestamp >= step_s / 2:
            kept.append(point)
    return kept[::-1]


def _span_days(start: datetime | None, end: datetime) -> float:
    """Return the whole days that hold a span; a few minutes more do not make another day."""
    if start is None:
        return math.inf
    return math.ceil((end - start) / timedelta(days=1) - 0.004)


def _days(start: datetime | None, end: datetime, step_s: int) -> str | int:
    """Return the `days` at which CoinGecko answers in that step; nothing else sets it."""
    if step_s < 3600:
        return 1
    span = _span_days(start, end)
    if step_s < DAY_S:
        return int(min(max(span, 2), 90))
    return "max" if span == math.inf else int(max(span, 91))
