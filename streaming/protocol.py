"""The WebSocket protocol as plain data: commands, and frames as structs; no I/O.

docs/websocket.md is the public copy of this contract, with an example of each
message; commands.py reads what a client says. A client's mistake is a ProtocolError:
it is answered with an `error` frame and the connection stays open, unless the error
names a close code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from prices import freshness
from prices.answers import Market, QuoteAnswer, market_at
from prices.freshness import Cadence
from prices.types import AssetKind, Freshness, TradingSession

SUBPROTOCOL = "lokifi.prices.v1"
VERSION = 1
GROUP = "ticks"
UPDATES_CHANNEL = "lokifi:price_updates"

MAX_ID_CHARS = 64
# Above 2**53 a JavaScript client would get another number back than it sent.
MAX_ID_NUMBER = 2**53
MESSAGE_WINDOW_S = 10
MISTAKES_WINDOW_S = 60
# Refusals for the message rate within a minute that end the connection.
MAX_REFUSALS = 3
RETRY_AFTER_MS = 5_000
# What `max_rate` may ask for at most.
MAX_RATE_S = 3600

RequestId = str | int | float


class Action(StrEnum):
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    PING = "ping"
    GET_SUBSCRIPTIONS = "get_subscriptions"


class Code(StrEnum):
    """Why something was refused: `code` of an error frame, values of `rejected`."""

    NOT_TEXT = "not_text"
    TOO_LARGE = "too_large"
    INVALID_JSON = "invalid_json"
    INVALID_MESSAGE = "invalid_message"
    UNKNOWN_ACTION = "unknown_action"
    INVALID_SYMBOLS = "invalid_symbols"
    INVALID_ID = "invalid_id"
    INVALID_SINCE = "invalid_since"
    INVALID_CHOICE = "invalid_choice"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_MISTAKES = "too_many_mistakes"
    FULL = "full"
    INTERNAL_ERROR = "internal_error"
    LIMIT = "limit"
    INACTIVE_SYMBOL = "inactive_symbol"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"


class Notice(StrEnum):
    STOPPING = "stopping"
    CADENCE_CHANGED = "cadence_changed"
    PUBLISHER_SILENT = "publisher_silent"
    EPOCH_CHANGED = "epoch_changed"


class Close(IntEnum):
    """The close codes of the contract that we send ourselves."""

    GOING_AWAY = 1001
    RESTARTING = 1012
    TOO_LARGE = 1009
    INTERNAL_ERROR = 1011
    FULL = 1013
    NOT_READING = 4409
    TOO_MUCH = 4429
    TOO_OLD = 4440


class Mode(StrEnum):
    FULL = "full"
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Choices:
    """What a connection may choose; the defaults are the plain contract."""

    fields: tuple[str, ...] | None = None
    min_change_percent: float | None = None
    max_rate: float | None = None  # one update in so many seconds at most
    mode: Mode = Mode.FULL


PLAIN = Choices()


class Since(msgspec.Struct, frozen=True):
    """The last tick a client has, as it says itself."""

    epoch: str | None
    seq: int


class Command(msgspec.Struct, frozen=True):
    """One request of a client. `symbols` are as the client wrote them, each once.

    `chosen` has values for the fields of Choices that the request names.
    """

    action: Action
    symbols: tuple[str, ...] = ()
    id: RequestId | None = None
    since: Since | None = None
    chosen: Mapping[str, Any] = msgspec.field(default_factory=dict)


class ProtocolError(Exception):
    """The client sent something it should not have."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        id: RequestId | None = None,
        retry_after_ms: int | None = None,
        close: Close | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.id = id
        self.retry_after_ms = retry_after_ms
        self.close = close


# --- To the client -------------------------------------------------------------


def stamp(at: datetime | None = None) -> str:
    """Return a moment (default: now) as ISO 8601 with Z and milliseconds."""
    if at is None:  # for each who comes: in a fraction of the time
        seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
        return f"{_second(seconds)}.{milliseconds:03d}Z"
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A message to the client. `text` is what goes over the wire."""

    @property
    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class Answer(Frame, frozen=True, kw_only=True):
    """A message that answers a request, and bears its `id` where it had one."""

    id: RequestId | UnsetType = UNSET


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    max_message_bytes: int
    max_symbols: int
    max_messages: int
    message_window_s: int = MESSAGE_WINDOW_S
    message_burst: int
    max_mistakes: int
    mistakes_window_s: int = MISTAKES_WINDOW_S
    max_age_s: int


class Welcome(Frame, frozen=True, kw_only=True, tag="welcome"):
    client_id: str
    message: str = 'Connected. Send {"action": "subscribe", "symbols": ["BTC"]}.'
    protocol: int = VERSION
    epoch: str
    seq: int
    update_interval: int
    heartbeat_s: int
    dead_after_s: int
    limits: Limits


class Subscribed(Answer, frozen=True, kw_only=True, tag="subscribed"):
    symbols: list[str]
    count: int
    rejected: dict[str, str]
    pending: list[str]
    resolved: dict[str, str]
    retry_after_ms: int | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    # What was chosen: all four where any of them is, or is named by the request.
    fields: tuple[str, ...] | UnsetType | None = UNSET
    min_change_percent: float | UnsetType | None = UNSET
    max_rate: float | UnsetType | None = UNSET
    mode: Mode | UnsetType = UNSET


class Unsubscribed(Answer, frozen=True, kw_only=True, tag="unsubscribed"):
    symbols: list[str]
    count: int


class Subscriptions(Answer, frozen=True, kw_only=True, tag="subscriptions"):
    symbols: list[str]
    count: int


class Pong(Answer, frozen=True, kw_only=True, tag="pong"):
    timestamp: str = msgspec.field(default_factory=stamp)


class NoticeFrame(Frame, frozen=True, kw_only=True, tag="notice"):
    code: Notice
    message: str
    retry_after_ms: int | UnsetType = UNSET
    update_interval: int | UnsetType = UNSET


class ErrorFrame(Answer, frozen=True, kw_only=True, tag="error"):
    code: Code
    error: str
    retry_after_ms: int | UnsetType = UNSET


def error_frame(exc: ProtocolError) -> ErrorFrame:
    return ErrorFrame(
        code=exc.code,
        error=str(exc),
        retry_after_ms=UNSET if exc.retry_after_ms is None else exc.retry_after_ms,
        id=UNSET if exc.id is None else exc.id,
    )


# --- Prices ----------------------------------------------------------------------


class WireQuote(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a price_update's `data`, in the order of the wire."""

    symbol: str
    ref: str
    price: float
    change: float | None
    change_percent: float | None
    high: float | None
    low: float | None
    volume: float | None
    market_cap: float | None
    last_updated: datetime
    source: str
    stale: bool
    freshness: Freshness
    market: Market | None
    session: TradingSession | None
    disputed: bool

    @classmethod
    def of(cls, quote: QuoteAnswer, name: str = "") -> WireQuote:
        """Return a quote for those who follow it by `name` (its own symbol by default)."""
        return cls(
            symbol=name or quote.symbol,
            ref=quote.ref,
            price=quote.price,
            change=quote.change,
            change_percent=quote.change_percent,
            high=quote.high,
            low=quote.low,
            volume=quote.volume,
            market_cap=quote.market_cap,
            last_updated=quote.last_updated,
            source=quote.source,
            stale=quote.stale,
            freshness=quote.freshness,
            market=quote.market,
            session=quote.session,
            disputed=quote.disputed,
        )

    def as_copy(self, now: datetime, cadence: Cadence) -> WireQuote:
        """Return it as it is told when it could not be renewed: judged anew, marked stale."""
        verdict = freshness.of_quote(
            AssetKind.STOCK if self.market else AssetKind.CRYPTO,
            self.last_updated,
            now,
            cadence,
            is_timed=self.freshness is not Freshness.UNKNOWN,
        )
        return msgspec.structs.replace(
            self,
            stale=True,
            freshness=verdict.freshness,
            market=self.market and market_at(now),
        )


class PriceUpdate(Frame, frozen=True, kw_only=True, tag="price_update"):
    """A tick with all symbols, as the publisher stores and announces it."""

    epoch: str
    seq: int
    prev_seq: int
    timestamp: str
    count: int
    data: dict[str, WireQuote]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the snapshot key holds: the last tick, and the interval it was made for."""

    update_interval: int
    tick: PriceUpdate


def entry(symbol: str, quote: WireQuote) -> str:
    """Return one member of `data` as JSON text; everyone who follows the symbol gets this text."""
    return f"{_json(symbol)}:{_json(quote)}"


@lru_cache(maxsize=16)  # a tick's is the same for nearly all
def head(kind: str, epoch: str, seq: int, prev_seq: int) -> str:
    """Return the beginning of a price_update or heartbeat; `share` or `due` continues it."""
    return f'{{"type":"{kind}","epoch":{_json(epoch)},"seq":{seq},"prev_seq":{prev_seq},'


def entry_of(symbol: str, quote: WireQuote, fields: Collection[str]) -> str:
    """Return one member of `data` with some of its fields alone, in the order of the wire."""
    kept = {name: getattr(quote, name) for name in quote.__struct_fields__ if name in fields}
    return f"{_json(symbol)}:{_json({'symbol': quote.symbol} | kept)}"


class Pieces:
    """A quote's fields as JSON texts, made once and joined as each client chose."""

    __slots__ = ("_texts",)

    def __init__(self, symbol: str, quote: WireQuote) -> None:
        values = _raws(msgspec.json.encode(quote))
        self._texts = {name: f'"{name}":{bytes(value).decode()}' for name, value in values.items()}
        # It is told whatever is chosen, and first.
        self._texts["symbol"] = f"{_json(symbol)}:{{{self._texts['symbol']}"

    def entry(self, take: Callable[[Mapping[str, str]], tuple[str, ...]]) -> str:
        """Return what `entry_of` does, of the fields that `taking` was given."""
        return ",".join(take(self._texts)) + "}"


def taking(fields: Collection[str]) -> Callable[[Mapping[str, str]], tuple[str, ...]]:
    """Return what takes fields of `Pieces`, in the order of the wire and with the symbol."""
    names = tuple(n for n in WireQuote.__struct_fields__ if n in fields or n == "symbol")
    # Of one it would not make a tuple.
    return itemgetter(*names) if len(names) > 1 else lambda texts: (texts["symbol"],)


def share(
    timestamp: str,
    entries: Sequence[str],
    *,
    snapshot: bool = False,
    replay: bool = False,
    merged: int = 0,
) -> str:
    """Return the part of a price_update that all who follow the same symbols have in common."""
    mark = '"snapshot":true,' if snapshot else '"replay":true,' if replay else ""
    if merged:
        mark += f'"merged":{merged},'
    return f"{mark}{share_head(timestamp, len(entries))}{','.join(entries)}}}}}"


@lru_cache(maxsize=256)
def share_head(timestamp: str, count: int) -> str:
    """Return how the common part begins where so many entries follow, and two braces."""
    return f'"timestamp":{_json(timestamp)},"count":{count},"data":{{'


def due(timestamp: str, next_update_at: str) -> str:
    """Return the part of a heartbeat that all have in common."""
    return f'"timestamp":{_json(timestamp)},"next_update_at":{_json(next_update_at)}}}'


_raws = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
