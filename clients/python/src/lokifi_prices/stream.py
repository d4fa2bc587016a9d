"""Live prices over one WebSocket that comes back by itself and says honestly how it is.

docs/websocket.md says what goes over the wire. All of it runs on one event loop.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Any, Literal, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.uri import parse_uri

from lokifi_prices.subscription import (
    StreamClosedError,
    StreamFailedError,
    Subscription,
    Update,
)
from lokifi_prices.types import Choices, Tick, prices

Kind = Literal["state", "update", "resolved", "rejected", "notice", "error"]

_STEP_S = 1.0
_MOST_S = 60.0
_HANDSHAKE_S = 10.0
_SYMBOLS_A_MESSAGE = 100
_MAX_FRAME_BYTES = 64 * 1024 * 1024
_NO_KEY = 4401
_TOO_MUCH = 4429
_TOO_OLD = 4440


class State(StrEnum):
    CREATED = "CREATED"  # not connected yet
    CONNECTED = "CONNECTED"  # the server has answered
    SUBSCRIBING = "SUBSCRIBING"  # something that was asked for is not answered yet
    ACTIVE = "ACTIVE"  # all of it is answered: what comes is live
    DISCONNECTED = "DISCONNECTED"  # tried again by itself, unless closed


class PriceStream:
    """An async context manager: it connects when it is entered and closes when it is left."""

    def __init__(self, url: str, *, choices: Choices | None = None) -> None:
        parse_uri(url)  # raises InvalidURI
        self.state = State.CREATED
        self.tries = 0  # connections that failed since the last one that was answered
        self.interval_s: int | None = None  # between ticks; None until the server has said
        self.is_silent = False  # the server itself hears no ticks
        self.is_closed = False
        self.updated_at: str | None = None  # when the last tick was published
        self._url = url
        self._choices = choices or {}
        json.dumps(self._choices)  # raises TypeError here, where its writer sees it
        self._listeners: list[tuple[Kind, Callable[[Any], None]]] = []
        self._users: list[Subscription] = []
        self._quotes: dict[str, Tick] = {}
        self._connection: ClientConnection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()  # there may be something to ask for
        self._hurried = asyncio.Event()
        self._dead_after_s = _HANDSHAKE_S
        self._most_bytes = 2**30
        self._come_back_s: float | None = None
        self._asks = 0
        self._wanted: Counter[str] = Counter()  # users, by what they wrote
        self._names: dict[str, str] = {}  # the server's name, by what was written
        self._sent: dict[str, None] = {}  # what this connection was asked for
        self._had: set[str] = set()  # what was accepted: this can be resumed
        self._waiting: dict[int, list[str]] = {}  # symbols by the id of a request
        self._last: dict[str, Any] | None = None  # the newest tick we have
        self._heard = ("", 0)  # epoch and seq of the newest tick that this connection told of
        self._is_ours = False  # whether ticks of this connection are about our symbols

    async def __aenter__(self) -> PriceStream:
        self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- For users --------------------------------------------------------------------

    @property
    def is_stale(self) -> bool:
        """Whether what is known may be old: not live, or the server has nothing new."""
        return self.state is not State.ACTIVE or self.is_silent

    def quote(self, symbol: str) -> Tick | None:
        """Return the newest price known, marked stale where it may be old."""
        name = self._name(symbol)
        known = self._quotes.get(name)
        if known is None:
            return None
        is_stale = known.get("stale", False) or self.is_stale or name not in self._had
        return cast("Tick", {**known, "stale": is_stale})

    def on(self, kind: Kind, listener: Callable[[Any], None]) -> Callable[[], None]:
        """Call `listener` at each event of a kind, until what is returned is called.

        state: a State, also when prices come to be old.  update: a message with prices.
        resolved: names by what was asked.  rejected: codes by what was asked.
        notice, error: what the server says of itself and of a mistake.
        """
        entry = (kind, listener)
        self._listeners.append(entry)

        def off() -> None:
            if entry in self._listeners:
                self._listeners.remove(entry)

        return off

    def subscribe(self, *symbols: str, most_waiting: int = 10_000) -> Subscription:
        """Follow symbols until the subscription is closed. Raises StreamClosedError."""
        if self.is_closed:
            raise StreamClosedError("The stream is closed.")
        user = Subscription(self, symbols, most_waiting)
        self._users.append(user)
        self._wanted.update(user.symbols)
        self._catch_up(user)
        self._changed.set()
        return user

    def open(self) -> None:
        if self._keeper is None and not self.is_closed:
            self._keeper = asyncio.create_task(self._keep())

    def hurry(self) -> None:
        """Try at once instead of waiting: the network is back."""
        self._hurried.set()

    async def close(self) -> None:
        """Close for good; what iterates over a subscription comes to its end."""
        self.is_closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        for user in self._users:
            user._end()
        self._become(State.DISCONNECTED)

    def _leave(self, user: Subscription) -> None:
        if user in self._users:
            self._users.remove(user)
            self._wanted -= Counter(user.symbols)
            if self._is_away:
                self._forget()
            self._changed.set()

    def _catch_up(self, user: Subscription) -> None:
        if self._last is None:
            return
        for name in self._names_of(user):
            if name in self._had and (known := self.quote(name)) is not None:
                epoch, seq = self._last["epoch"], self._last["since"]
                user._give(Update(known, epoch, seq, is_snapshot=True))

    @property
    def _is_away(self) -> bool:
        return self.state in {State.CREATED, State.DISCONNECTED}

    def _names_of(self, user: Subscription) -> Iterator[str]:
        yield from dict.fromkeys(self._name(symbol) for symbol in user.symbols)

    def _name(self, written: str) -> str:
        return self._names.get(written, written)

    def _tell(self, kind: Kind, told: Any) -> None:
        for of, listener in list(self._listeners):
            if of == kind:
                _call(listener, told)

    def _become(self, state: State) -> None:
        if self.state is not state:
            self.state = state
            self._tell("state", state)

    # --- Going and coming back ----------------------------------------------------------

    async def _keep(self) -> None:
        try:
            await self._come_back()
        except Exception as exc:  # noqa: BLE001 (whatever it is, its users hear of it)
            failure = StreamFailedError(f"The stream has failed for good: {exc!r}")
            failure.__cause__ = exc
            self._end("failed", failure)

    def _end(self, code: str, failure: StreamFailedError | None = None) -> None:
        """Never try again, and say why."""
        self.is_closed = True
        self._gone()
        for user in self._users:
            user._end(failure)
        self._tell("error", {"code": code, "error": str(failure or "The server wants a key.")})

    async def _come_back(self) -> None:
        """Talk, and talk again, until the server wants a key."""
        while True:
            code = await self._talk()
            if code == _NO_KEY:
                self._end("unauthorized")
                return
            self._gone()
            self._hurried.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s(code)):
                    await self._hurried.wait()

    async def _talk(self) -> int:
        """Talk over one connection to its end; return the code it was closed with."""
        try:
            async with connect(
                self._url, open_timeout=_HANDSHAKE_S, close_timeout=1, max_size=_MAX_FRAME_BYTES
            ) as connection:
                self._connection = connection
                asking = asyncio.create_task(self._ask())
                try:
                    await self._listen(connection)
                finally:
                    asking.cancel()
        except ConnectionClosed as exc:
            return exc.rcvd.code if exc.rcvd else 0
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI):
            return 0  # InvalidURI: redirected to a page, as networks that want a log-in do
        return 0

    async def _listen(self, connection: ClientConnection) -> None:
        self._dead_after_s = _HANDSHAKE_S
        while True:
            # A connection that broke without a word looks open for ever.
            async with asyncio.timeout(self._dead_after_s):
                text = await connection.recv()
            self._hear(text)

    def _gone(self) -> None:
        self._connection = None
        self._is_ours = False
        self._sent.clear()
        self._waiting.clear()
        self._forget()
        self.state = State.DISCONNECTED
        self._tell("state", self.state)  # each failed try is news

    def _wait_s(self, code: int) -> float:
        """Return how long to wait, with full jitter: a thousand clients do not come together."""
        most = min(_MOST_S, _STEP_S * 2.0 ** min(self.tries, 10))
        self.tries += 1
        asked, self._come_back_s = self._come_back_s, None
        if asked is not None:
            return asked
        if code == _TOO_OLD and self.tries == 1:
            return 0.0
        if code == _TOO_MUCH:
            return _MOST_S * (1 + random.random())  # noqa: S311 (spreads load)
        return random.random() * most  # noqa: S311 (spreads load)

    # --- What the server says -------------------------------------------------------------

    def _hear(self, text: str | bytes) -> None:
        try:
            frame = json.loads(text)
        except ValueError:
            return  # Not ours; the next one will be.
        # What is not of its form, whoever stands between the server and us, is passed over.
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            hear = _HEAR.get(frame["type"])
            if hear is not None:
                hear(self, frame)

    def _welcomed(self, frame: dict[str, Any]) -> None:
        self.tries = 0
        self.interval_s = frame["update_interval"]
        self.is_silent = False  # said again where it is still so
        self._heard = (frame["epoch"], frame["seq"])
        self._dead_after_s = float(frame["dead_after_s"])
        self._most_bytes = frame.get("limits", {}).get("max_message_bytes", self._most_bytes)
        self._become(State.CONNECTED)
        self._changed.set()

    def _subscribed(self, frame: dict[str, Any]) -> None:
        asked = self._waiting.pop(frame.get("id", 0), [])
        self._is_ours = True
        rejected: dict[str, str] = frame["rejected"]
        self._lose([name for name in asked if name in rejected])
        self._learn([name for name in asked if name not in rejected], frame)
        if not frame.get("recovered"):  # Ticks were missed; nothing is known in their place.
            for symbol in frame.get("pending", []):
                self._quotes.pop(symbol, None)
        final = {n: code for n, code in rejected.items() if code != "upstream_unavailable"}
        if later := [name for name in rejected if name not in final]:
            self._ask_again(later, frame.get("retry_after_ms", 1000))
        if frame["resolved"]:
            self._tell("resolved", frame["resolved"])
        if final:
            self._tell("rejected", final)
        self._settle()
        self._changed.set()  # what was left while it was being asked for

    def _learn(self, asked: list[str], frame: dict[str, Any]) -> None:
        folded = {symbol.upper(): symbol for symbol in frame["symbols"]}
        for name in asked:
            symbol = frame["resolved"].get(name) or folded.get(name.strip().upper(), name)
            self._names[name] = symbol
            self._had.add(symbol)

    def _lose(self, names: list[str]) -> None:
        """Take it that these miss ticks from now on: asked again, they begin with a snapshot."""
        kept = self._named(name for name in self._sent if name not in names)
        self._had -= self._named(names) - kept

    def _failed(self, frame: dict[str, Any]) -> None:
        asked = self._waiting.pop(frame.get("id", 0), [])
        self._lose(asked)
        if asked and "retry_after_ms" in frame:
            self._ask_again(asked, frame["retry_after_ms"])
        else:
            self._tell("error", {"code": frame["code"], "error": frame["error"]})
        self._settle()

    def _ask_again(self, names: list[str], wait_ms: int) -> None:
        connection = self._connection

        def now() -> None:
            if connection is self._connection:
                for name in names:
                    self._sent.pop(name, None)
                self._changed.set()

        asyncio.get_running_loop().call_later(wait_ms / 1000, now)

    def _settle(self) -> None:
        if self.state is not State.DISCONNECTED:
            self._become(State.SUBSCRIBING if self._waiting else State.ACTIVE)

    def _ticked(self, frame: dict[str, Any]) -> None:
        if not isinstance(frame.get("epoch"), str) or not isinstance(frame.get("seq"), int):
            return
        self._hear_of(frame["epoch"], frame["seq"])
        is_snapshot, is_replay = "snapshot" in frame, "replay" in frame
        # A snapshot is of some symbols only, so it does not say how far the others came.
        is_new = self._last is None or self._last["epoch"] != frame["epoch"]
        if self._is_ours and (is_new or not is_snapshot):
            self._last = {"since": frame["seq"], "epoch": frame["epoch"]}
        if frame["type"] != "price_update":
            return
        frame = {**frame, "data": prices(frame["data"])}
        self.updated_at = frame["timestamp"]
        for tick in frame["data"].values():
            self._remember(tick)
        self._tell("update", frame)
        for user in list(self._users):
            for name in self._names_of(user):
                if tick := frame["data"].get(name):
                    user._give(Update(tick, frame["epoch"], frame["seq"], is_snapshot, is_replay))

    def _hear_of(self, epoch: str, seq: int) -> None:
        """Take that ticks are back from their numbers alone: they may hold nothing for us."""
        if epoch == self._heard[0] and seq <= self._heard[1]:
            return
        self._heard = (epoch, seq)
        if self.is_silent:
            self.is_silent = False
            self._tell("state", self.state)

    def _remember(self, tick: Tick) -> None:
        if tick["symbol"] not in self._had:
            return  # It was left while this was on its way.
        before = self._quotes.get(tick["symbol"])
        # With chosen fields a message has a part of a price; of another asset nothing is kept.
        is_same = before is not None and tick.get("ref", before["ref"]) == before["ref"]
        self._quotes[tick["symbol"]] = (
            cast("Tick", {**before, **tick}) if before and is_same else tick
        )

    def _noticed(self, frame: dict[str, Any]) -> None:
        if frame["code"] == "stopping":
            self._come_back_s = frame["retry_after_ms"] / 1000
        elif frame["code"] == "cadence_changed":
            self.interval_s = frame["update_interval"]
        elif frame["code"] == "publisher_silent":
            self.is_silent = True
            self._tell("state", self.state)
        self._tell("notice", {"code": frame["code"], "message": frame["message"]})

    # --- What the server is told ------------------------------------------------------------

    async def _ask(self) -> None:
        """Send what is to be asked for, whenever that may have changed."""
        with suppress(ConnectionClosed):  # who listens learns of it too
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._connection and not self._is_away:
                    for message in self._messages():
                        await self._connection.send(json.dumps(message))

    def _messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = [
            {"action": "unsubscribe", "symbols": part} for part in self._parts(self._left())
        ]
        come = [name for name in self._wanted if name not in self._sent]
        self._sent.update(dict.fromkeys(come))
        back = [n for n in come if self._last is not None and self._name(n) in self._had]
        fresh = [name for name in come if name not in set(back)]
        for symbol in self._named(fresh) - self._had:
            self._quotes.pop(symbol, None)
        for part in self._parts(back):
            messages.append(self._subscription(part, self._last or {}))
        for part in self._parts(fresh):
            messages.append(self._subscription(part, {}))
        self._settle()
        return messages

    def _left(self) -> list[str]:
        """Forget names that nobody wants; return the symbols nobody wants by any name."""
        asking = {name for names in self._waiting.values() for name in names}
        gone = [name for name in self._sent if name not in self._wanted and name not in asking]
        for name in gone:
            del self._sent[name]
        left = self._named(gone) - self._named(self._sent)
        for symbol in left:
            self._quotes.pop(symbol, None)
        told = sorted(left & self._had)
        self._had -= left
        return told

    def _forget(self) -> None:
        """Without a connection, drop what nobody wants: it misses all that comes meanwhile."""
        kept = self._named(self._wanted)
        self._had &= kept
        self._quotes = {symbol: self._quotes[symbol] for symbol in self._quotes if symbol in kept}

    def _named(self, written: Iterable[str]) -> set[str]:
        return {self._name(name) for name in written}

    def _subscription(self, symbols: list[str], since: dict[str, Any]) -> dict[str, Any]:
        self._asks += 1
        self._waiting[self._asks] = symbols
        message = {"action": "subscribe", "id": self._asks, "symbols": symbols}
        return {**message, **since, **self._choices}

    def _parts(self, symbols: list[str]) -> Iterator[list[str]]:
        """Yield parts of a list that fit into a message each."""
        room = self._most_bytes - len(json.dumps(self._choices)) - 200
        part: list[str] = []
        size = 0
        for symbol in symbols:
            more = len(json.dumps(symbol)) + 2
            if part and (len(part) >= _SYMBOLS_A_MESSAGE or size + more > room):
                yield part
                part, size = [], 0
            part.append(symbol)
            size += more
        if part:
            yield part


def _call(listener: Callable[[Any], None], told: Any) -> None:
    """Call a user's listener; what it raises is the loop's to report and ends no stream."""
    try:
        listener(told)
    except Exception as exc:  # noqa: BLE001 (whatever it is)
        context = {"message": "a listener of a price stream failed", "exception": exc}
        asyncio.get_running_loop().call_exception_handler(context)


_HEAR: dict[object, Callable[[PriceStream, dict[str, Any]], None]] = {
    "welcome": PriceStream._welcomed,
    "subscribed": PriceStream._subscribed,
    "price_update": PriceStream._ticked,
    "heartbeat": PriceStream._ticked,
    "notice": PriceStream._noticed,
    "error": PriceStream._failed,
}
