"""Finnhub: US stocks, their quotes, bars and catalogue.

Source: https://finnhub.io/docs/api (v1); `docs/providers.md` says what each
plan really gives. One symbol a call; bars are for paying plans only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec

from prices.errors import (
    PlanRestrictedError,
    PricesError,
    ResolutionUnavailableError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamRefusedError,
)
from prices.providers.bars import (
    DAY_S,
    aligned,
    checked,
    merged,
    midnight,
    roll_up,
    why_later,
)
from prices.providers.base import CATALOGUE_LIMIT, CATALOGUE_LIMIT_S, HttpProvider, Quotes, Reply
from prices.providers.batches import one_by_one
from prices.providers.stock_source import (
    BAR_SHARES,
    Read,
    closes,
    closing,
    completed,
    first_bar,
    is_same,
    of_sessions,
    session_quote,
    widened,
)
from prices.providers.values import (
    amount,
    is_id,
    seconds,
    text,
)
from prices.sessions import Session, latest_session, next_session, sessions_between
from prices.types import (
    COMPOSITE,
    Adjustment,
    AssetKind,
    Candle,
    Candles,
    Capability,
    Instrument,
    Listing,
    Origin,
    Points,
    Quote,
    Resolution,
    TruncatedBy,
    Window,
)

CANDLE_PLAN = "a Finnhub plan with stock candles"

_BEGINNING = datetime(1980, 1, 1, tzinfo=UTC)  # earlier than any daily bar it has
_INTRADAY_DAYS = 30  # a month of intraday bars is what one call gives
_MOST_CALLS = 24
_MINUTE_BARS_DAYS = 31
_SLACK_S = 5 * DAY_S  # no two sessions are further apart but in a crisis

# What is asked for each width: hours are made of half hours, since the source
# counts them from the full hour and a session begins at half past nine.
_ASKED = {
    Resolution.M1: Resolution.M1,
    Resolution.M5: Resolution.M5,
    Resolution.M15: Resolution.M15,
    Resolution.M30: Resolution.M30,
    Resolution.H1: Resolution.M30,
    Resolution.H4: Resolution.M30,
}
_STEPS = {300: Resolution.M5, 3600: Resolution.H1, DAY_S: Resolution.DAY}

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SYMBOL_FILE_HOSTS = frozenset({"static2.finnhub.io"})

# "NY Reg Shrs" are foreign companies' shares listed in New York (ASML), MLPs
# partnerships that trade like shares.
_SHARES = frozenset({"Common Stock", "ETP", "ETF", "ADR", "REIT", "NY Reg Shrs", "MLP"})
_EXCHANGES = {
    "XNAS": "NASDAQ",
    "XNYS": "NYSE",
    "ARCX": "NYSE Arca",
    "XASE": "NYSE American",
    "BATS": "Cboe BZX",
    "IEXG": "IEX",
    "OOTC": "OTC",
}


class Finnhub(HttpProvider):
    """US stocks. Candles need a paid plan; a free key is refused them."""

    name = "finnhub"
    attribution = "Data provided by Finnhub"
    link = "https://finnhub.io"
    use = (
        "The free plan is said to be for personal use, and showing its data to others to need a "
        "licence; its terms were not read."
    )
    has_points = False
    began = _BEGINNING
    offers = frozenset(
        {
            Capability.QUOTES,
            Capability.HISTORY,
            Capability.CANDLES,
            Capability.LISTINGS,
            Capability.LOOKUP,
            Capability.SEARCH,
        }
    )

    def auth_headers(self) -> dict[str, str]:
        return {"X-Finnhub-Token": self._api_key} if self._api_key else {}

    def refusal(self, path: str, status: int, body: bytes) -> PricesError | None:
        said = _error(body)
        if status in (401, 403) and "have access" in said:
            # The same words for a paid endpoint and for a symbol outside the US: who pays
            # for candles is refused a symbol.
            is_candles = path == "/stock/candle"
            return PlanRestrictedError(
                self.name,
                f"{path} is not part of this plan",
                allowed_by=CANDLE_PLAN if is_candles else "another Finnhub plan",
                of_capability=is_candles and self.plan != "paid",
            )
        if status in (401, 403) and said:
            return UpstreamRefusedError(self.name, "the key is refused")
        return UpstreamError(self.name, f"{path} answered HTTP {status}")

    # Quotes

    def quotes(self, instruments: Sequence[Instrument]) -> Quotes:
        """Return quotes, one call each, a few at a time.

        The first answer that speaks of a limit or of the key ends the batch, as
        do three other failures: what is left then has failed for that reason.
        """
        return one_by_one(instruments, self._quote, name=self.name)

    def _quote(self, symbol: str) -> Quote | None:
        """Return the quote; None for the zeros that stand for "unknown" and "no data"."""
        path = "/quote"
        payload = self.get_json(path, {"symbol": symbol})
        with self.parsing(path):
            return session_quote(
                payload["c"],
                payload.get("t"),
                change=payload.get("d"),
                percent=payload.get("dp"),
                high=payload.get("h"),
                low=payload.get("l"),
            )

    # Bars

    def resolutions(self, window: Window) -> list[Resolution]:
        minutes = timedelta(days=_MINUTE_BARS_DAYS)
        is_short = window.start is not None and window.end - window.start <= minutes
        return [width for width in Resolution if width is not Resolution.M1 or is_short]

    def history(self, instrument: Instrument, window: Window, step_s: int) -> Points:
        """Return closing prices at the moments they held, with the shares traded before each."""
        resolution = _STEPS[step_s]
        return self.points(self.candles(instrument, window, resolution), window, resolution)

    def points(self, bars: Candles, window: Window, resolution: Resolution) -> Points:
        return closes(bars, window, resolution)

    def candles(
        self,
        instrument: Instrument,
        window: Window,
        resolution: Resolution,
        *,
        known: Sequence[Candle] = (),
        now: datetime | None = None,
    ) -> Candles:
        """Return bars of the regular sessions, with the shares traded in them.

        `known` are closed bars of the asked width from earlier answers, as a StockSource
        has them. Beside what follows them, intraday bars are asked that lie before: what one
        request has no calls for comes with the next ones.
        """
        available = self.resolutions(window)
        if resolution not in available:
            raise ResolutionUnavailableError(resolution, available)
        now = now or datetime.now(UTC)
        if resolution.is_intraday:
            return self._intraday(instrument, window, resolution, known, now)
        if resolution is Resolution.DAY:
            return self._daily(instrument, window, known, now)
        days = self._daily(instrument, aligned(window, resolution), known, now)
        return roll_up(days, resolution, window, kind=AssetKind.STOCK, now=now)

    def _daily(
        self, instrument: Instrument, window: Window, known: Sequence[Candle], now: datetime
    ) -> Candles:
        start = max(window.start or _BEGINNING, _BEGINNING)
        first = latest_session(start)
        if first.closes <= start:
            first = next_session(start)
        until = int(window.end.timestamp())

        def ask(since: int) -> Read:
            bars, dropped = self._bars(instrument, Resolution.DAY, since, until)
            # Where a stamp is the session's rather than midnight's, the day is the same.
            days = [replace(bar, timestamp=bar.timestamp - bar.timestamp % DAY_S) for bar in bars]
            return Read(list(of_sessions(days, since, now)), dropped)

        since = midnight(first.day)
        read = completed(known, since, ask)
        found = {bar.timestamp: bar for bar in read.bars if bar.timestamp <= until}
        days = _series(found, read.dropped, Origin.PROVIDER, window, since, None)
        return replace(days, adjustment=Adjustment.SPLITS)

    def _intraday(
        self,
        instrument: Instrument,
        window: Window,
        resolution: Resolution,
        known: Sequence[Candle],
        now: datetime,
    ) -> Candles:
        end = window.end
        start = window.start or _as_far_back(known, end)
        sessions = sessions_between(start, end)
        if not sessions:
            return Candles([], Origin.PROVIDER, 0, None, BAR_SHARES)
        asked = _ASKED[resolution]

        def ask(since: int, until: int) -> tuple[list[Candle], int]:
            bars, dropped = self._bars(instrument, asked, since, until)
            return list(_regular(bars, sessions, asked, now)), dropped

        pages = _Pages(ask, resolution, now)
        first = first_bar(sessions[0], start, resolution)
        held = [bar for bar in known if bar.closed and bar.timestamp >= first]
        try:
            pages.go_on(held, first, int(end.timestamp()))
        except UpstreamError as exc:
            # The next request goes on from here instead of asking for all again.
            exc.got = [pages.found[at] for at in sorted(pages.found)]
            raise
        origin = Origin.PROVIDER if asked is resolution else Origin.DERIVED
        cut = TruncatedBy.LIMIT if pages.is_cut or not window.start else None
        return _series(pages.found, pages.dropped, origin, window, pages.reached, cut)

    def _bars(
        self, instrument: Instrument, resolution: Resolution, since: int, until: int
    ) -> tuple[list[Candle], int]:
        """Return the source's own bars and how many of them contradict themselves."""
        path = "/stock/candle"
        payload = self.get_json(
            path,
            {
                "symbol": instrument.upstream_id,
                "resolution": resolution.value,
                "from": since,
                "to": until,
            },
        )
        with self.parsing(path):
            return _read_bars(payload)

    # The catalogue

    def listings(self) -> list[Listing]:
        """Return the shares and funds that trade in the US, in dollars."""
        path = "/stock/symbol"
        address = self.base_url + path
        limits = (CATALOGUE_LIMIT, CATALOGUE_LIMIT_S)
        with self.admitted() as call:
            call.reply = self.ask(address, {"exchange": "US"}, self.auth_headers(), *limits)
            if call.reply.status in _REDIRECTS:
                # By hand: the file lies elsewhere, and our key is none of that host's business.
                call.reply = self.ask(self._symbol_file(address, call.reply), {}, {}, *limits)
        rows = self.decoded(path, call.reply)
        with self.parsing(path):
            found = {row["symbol"]: _listing(row) for row in rows if _is_share(row)}
            if not found:
                raise ValueError  # An empty catalogue would delist everything.
            return list(found.values())

    def lookup(self, asked: str) -> list[Listing]:
        """Return the stock of exactly that ticker, if the source has a price for it."""
        ticker = asked.upper()
        if self._quote(ticker) is None:
            return []
        path = "/stock/profile2"
        profile = self.get_json(path, {"symbol": ticker})
        with self.parsing(path):
            if profile.get("currency", "USD") != "USD":
                return []
            return [
                Listing(
                    AssetKind.STOCK,
                    ticker,
                    ticker,
                    # Funds have no profile.
                    text(profile.get("name")) or ticker,
                    exchange=_exchange(text(profile.get("exchange"))),
                )
            ]

    def search(self, words: str) -> list[Listing]:
        path = "/search"
        payload = self.get_json(path, {"q": words, "exchange": "US"})
        with self.parsing(path):
            rows = payload["result"]
            return [
                _listing(row)
                for row in rows
                if row.get("type") in _SHARES and is_id(row.get("symbol"))
            ]

    def _symbol_file(self, address: str, reply: Reply) -> str:
        """Return where a redirect leads, if it is a place we know."""
        base = httpx.URL(address)
        try:
            target = base.join(reply.headers.get("location", ""))
        except (httpx.InvalidURL, ValueError) as exc:
            raise UpstreamMalformedError(self.name, "a redirect leads nowhere") from exc
        at_home = (target.scheme, target.host, target.port) == (base.scheme, base.host, base.port)
        listed = target.scheme == "https" and target.host in _SYMBOL_FILE_HOSTS
        if target.userinfo or not (at_home or listed):
            raise UpstreamMalformedError(self.name, "a redirect leads to a host that is not listed")
        return str(target)


def _error(body: bytes) -> str:
    """Return the words of an error body in lower case; "" where it has none."""
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    said = payload.get("error") if isinstance(payload, dict) else None
    return text(said).lower()


def _read_bars(payload: Mapping[str, Any]) -> tuple[list[Candle], int]:
    if payload["s"] == "no_data":
        return [], 0
    if payload["s"] != "ok":
        raise ValueError
    columns = [payload[name] for name in ("t", "o", "h", "l", "c", "v")]
    found: dict[int, Candle] = {}
    dropped = 0
    for at, opening, high, low, close, volume in zip(*columns, strict=True):
        start = seconds(at)
        ohlc = (opening, high, low, close)
        bar = checked(start or 0, ohlc, volume=amount(volume), closed=True)
        if start is None or bar is None:
            dropped += 1
        else:
            found[start] = bar
    if dropped and not found:
        raise ValueError
    return [found[start] for start in sorted(found)], dropped


def _as_far_back(known: Sequence[Candle], end: datetime) -> datetime:
    """Return from when on intraday bars are asked for without a start: all that is known is in."""
    start = end - timedelta(days=_INTRADAY_DAYS * _MOST_CALLS)
    return min([start, *(datetime.fromtimestamp(bar.timestamp, UTC) for bar in known[:1])])


@dataclass(slots=True)
class _Pages:
    """Intraday bars by their stamps, a month a call, newest first, as far as the calls go.

    `reached` is the moment back to which the source was asked.
    """

    ask: Callable[[int, int], tuple[list[Candle], int]]
    width: Resolution
    now: datetime
    found: dict[int, Candle] = field(default_factory=dict)
    dropped: int = 0
    calls: int = 0
    reached: int = 0
    is_cut: bool = False

    def go_on(self, held: Sequence[Candle], since: int, until: int) -> None:
        """Read what follows known bars and what lies before them; all where they do not hold."""
        if not held:
            self._read(since, until)
            return
        self._read(held[-1].timestamp, until)
        again = self.found.get(held[-1].timestamp)
        are_true = again is not None and is_same(held[-1], again)
        if are_true:
            self.found = {bar.timestamp: bar for bar in held} | self.found
        oldest = held[0 if are_true else -1].timestamp
        if oldest > since:
            self._read(since, oldest - 1)
        else:
            self.reached = since

    def _read(self, since: int, until: int) -> None:
        while until >= since:
            if self.calls == _MOST_CALLS:
                self.is_cut = True
                return
            self.reached = max(since, until - _INTRADAY_DAYS * DAY_S + 1)
            bars, dropped = self.ask(self.reached, until)
            self.calls += 1
            self.dropped += dropped
            self._add(bars)
            if not bars and until - self.reached > 2 * _SLACK_S:
                self.reached = since
                return  # Nothing was traded before.
            until = self.reached - 1

    def _add(self, bars: Sequence[Candle]) -> None:
        """Take in bars, made wide; one that a page's edge goes through is made of both parts."""
        for bar in widened(bars, self.width, self.now):
            later = self.found.get(bar.timestamp)
            self.found[bar.timestamp] = (
                merged([bar, later], bar.timestamp, closed=later.closed) if later else bar
            )


def _regular(
    bars: Sequence[Candle], sessions: Sequence[Session], resolution: Resolution, now: datetime
) -> Iterator[Candle]:
    """Yield the bars that open within a regular session."""
    spans = {session.day: session for session in sessions}
    for bar in bars:
        opening = datetime.fromtimestamp(bar.timestamp, UTC)
        # Regular hours in New York fall on one and the same day in UTC.
        session = spans.get(opening.date())
        if session is not None and session.opens <= opening < session.closes:
            yield replace(bar, closed=closing(bar.timestamp, resolution) <= now.timestamp())


def _series(
    found: Mapping[int, Candle],
    dropped: int,
    origin: Origin,
    window: Window,
    reached: int,
    cut: TruncatedBy | None,
) -> Candles:
    bars = [found[at] for at in sorted(found)]
    first = bars[0].timestamp if bars else None
    truncated_by = why_later(first, window, reached, _SLACK_S, cut)
    return Candles(bars, origin, dropped, truncated_by, BAR_SHARES)


def _is_share(row: Mapping[str, Any]) -> bool:
    return (
        row.get("type") in _SHARES
        and row.get("currency") in ("USD", "", None)
        and is_id(row.get("symbol"))
    )


def _listing(row: Mapping[str, Any]) -> Listing:
    ticker = text(row.get("displaySymbol"), limit=100) or row["symbol"]
    return Listing(
        AssetKind.STOCK,
        row["symbol"],
        ticker,
        text(row.get("description")) or ticker,
        exchange=_exchange(text(row.get("mic"))),
        figi=_figi(row),
    )


def _figi(row: Mapping[str, Any]) -> str:
    """Return the number of a stock's share class, else of the stock: told apart, as two kinds."""
    share_class = text(row.get("shareClassFIGI"), limit=20)
    composite = text(row.get("figiComposite"), limit=14)
    return share_class or (composite and f"{COMPOSITE}{composite}")


def _exchange(name: str) -> str:
    """Return the short name of an exchange, from its MIC or from a profile's long one."""
    if name.startswith("NASDAQ"):
        return "NASDAQ"
    if name.startswith("NEW YORK STOCK EXCHANGE"):
        return "NYSE"
    return _EXCHANGES.get(name, name)
