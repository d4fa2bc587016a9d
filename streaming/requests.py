"""What a subscriber asks for, and the answers. Knows nothing of WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

import msgspec
from django.conf import settings
from msgspec import UNSET

from prices import cadences, redis_clients
from prices.answers import QuoteAnswer
from prices.services.symbols import Resolution
from streaming import protocol
from streaming.choices import View
from streaming.feed import ROOM, Feed, Share
from streaming.hub import Hub
from streaming.limits import Manners, log_once, most_names
from streaming.lookup import Lookup, literal
from streaming.protocol import (
    PLAIN,
    Action,
    Choices,
    Code,
    Command,
    ProtocolError,
    Since,
    WireQuote,
)
from streaming.ticks import KEPT_S, Kept, Place

# From the request to its snapshot a second may pass, and the way to the client counts too.
ANSWER_WITHIN_S = 0.9
# Of what one connection may have waiting, replayed ticks take so much at most.
_REPLAYED_SHARE = 0.25
# A reader slower than the ticks would be behind for ever: after so many it has the newest.
_MOST_REPLAYED = 2 * KEPT_S
# How long those wait for old ticks who come back while Redis does not answer.
_MISSED_WITHIN_S = 5.0


class Requests:
    """Answers the requests of one subscriber."""

    def __init__(self, lookup: Lookup, feed: Feed, hub: Hub, manners: Manners) -> None:
        self._lookup = lookup
        self._feed = feed
        self._hub = hub
        self._manners = manners
        self._choices = PLAIN
        self._view: View | None = None

    async def obey(self, command: Command) -> None:
        """Answer one request. Raises ProtocolError."""
        try:
            await _OBEY[command.action](self, command)
        except ProtocolError as exc:
            exc.id = command.id
            raise

    # --- Subscribing ---------------------------------------------------------------------

    async def _subscribe(self, command: Command) -> None:
        answer = await self._answer_of(command)
        if answer.missed is None or command.since is None:
            self._enter(command, answer)
        else:
            await self._come_back(command, command.since, answer)

    async def _answer_of(self, command: Command) -> _Answer:
        """Ask for all that has to be asked for; nothing of the subscriber changes meanwhile."""
        until = monotonic() + ANSWER_WITHIN_S
        names = self._readable(command.symbols)
        found = await self._lookup.resolution(names, until, self._manners) if names else None
        accepted, rejected = self._sorted(command, found)
        symbols = list(dict.fromkeys(accepted.values()))
        self._manners.symbols(len(set(symbols) - self._feed.symbols), monotonic())
        refs = {s: one.asset.ref for s, one in found.assets.items()} if found else {}
        self._hub.expect(symbols)
        missed = await self._missed(command.since, symbols)
        # What a replay brings need not be asked for.
        wanted = symbols if missed is None else [s for s in symbols if not self._hub.known([s])]
        quotes, is_newest = await self._quotes(wanted, refs, until)
        return _Answer(
            symbols=symbols,
            rejected=rejected,
            resolved={n: s for n, s in found.resolved.items() if n in accepted} if found else {},
            refs=refs,
            missed=missed,
            wanted=wanted,
            quotes=quotes,
            is_newest=is_newest,
        )

    def _enter(self, command: Command, answer: _Answer) -> None:
        """Say what is known now, and follow.

        All in one turn of the loop: a tick that came while others were asked is in the
        snapshot, and one that comes next is behind it.
        """
        quotes = self._newest(answer)
        self._choose(command.chosen)
        self._hub.follow(self._feed, answer.symbols)
        self._feed.put(
            self._subscribed(command, answer, quotes), self._snapshot(answer.symbols, quotes)
        )

    async def _come_back(self, command: Command, since: Since, answer: _Answer) -> None:
        """Send what was missed, and then follow; live ticks wait until that is through."""
        self._choose(command.chosen)
        self._feed.hold(Place(since.epoch or "", since.seq))
        try:
            self._feed.put(self._subscribed(command, answer, self._newest(answer)))
            self._resume(await self._replay(since, answer), answer)
        finally:
            self._feed.release()

    def _newest(self, answer: _Answer) -> dict[str, WireQuote]:
        """Return what is known of the symbols that were asked for, which may be newer by now."""
        if answer.is_newest:
            return answer.quotes
        known = _about(answer.refs, self._hub.known(answer.wanted))
        return _newest(answer.wanted, known, answer.quotes)

    def _subscribed(
        self, command: Command, answer: _Answer, quotes: Mapping[str, WireQuote]
    ) -> protocol.Subscribed:
        is_passing = Code.UPSTREAM_UNAVAILABLE in answer.rejected.values()
        return protocol.Subscribed(
            symbols=answer.symbols,
            count=len(self._feed.symbols.union(answer.symbols)),
            rejected=answer.rejected,
            pending=[symbol for symbol in answer.wanted if symbol not in quotes],
            resolved=answer.resolved,
            retry_after_ms=protocol.RETRY_AFTER_MS if is_passing else UNSET,
            recovered=UNSET if command.since is None else answer.missed is not None,
            id=_echo(command),
            **self._chosen(command),
        )

    def _readable(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return as many names as are worth looking up for one connection."""
        return names[: most_names(self._manners.allowance.symbols)]

    def _sorted(
        self, command: Command, found: Resolution | None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return symbols of what is accepted and codes of what is not, by what was asked."""
        accepted: dict[str, str] = {}
        rejected: dict[str, str] = {}
        held, most = set(self._feed.symbols), self._manners.allowance.symbols
        for name in command.symbols:
            if found is None:
                # The catalogue itself could not be read; nothing is known of the symbol.
                rejected[name] = Code.UPSTREAM_UNAVAILABLE
            elif name in found.rejected:
                code = found.rejected[name]
                is_passing = code.startswith("upstream")
                rejected[name] = Code.UPSTREAM_UNAVAILABLE if is_passing else code
            elif (symbol := found.found.get(name)) and (symbol in held or len(held) < most):
                accepted[name] = symbol
                held.add(symbol)
            else:
                rejected[name] = Code.LIMIT
        if Code.LIMIT in rejected.values():
            log_once("WS_MAX_SYMBOLS")
        return accepted, rejected

    async def _quotes(
        self, symbols: list[str], refs: Mapping[str, str], until: float
    ) -> tuple[dict[str, WireQuote], bool]:
        """Return what is known of `symbols` now, and what can be fetched in time.

        And whether all of it is of the newest tick, and nothing had to be waited for.
        """
        hub = self._hub
        quotes = _about(refs, hub.known(symbols)) if hub.is_current else {}
        if len(quotes) == len(symbols):
            return quotes, True
        for ask in (self._lookup.held, self._lookup.fetched):
            missing = [symbol for symbol in symbols if symbol not in quotes]
            if missing:
                got = await ask(missing, until)
                quotes |= _about(refs, {s: _told(quote) for s, quote in got.items()})
        return quotes, False

    def _snapshot(self, symbols: list[str], quotes: Mapping[str, WireQuote]) -> Share:
        if self._view is None:
            return self._hub.snapshot(quotes)
        return self._view.snapshot(symbols, quotes, self._hub.place)

    # --- Choosing --------------------------------------------------------------------------

    def _choose(self, chosen: Mapping[str, Any]) -> None:
        choices = replace(self._choices, **chosen) if chosen else self._choices
        if choices != self._choices:
            self._choices = choices
            self._view = _view(choices, self._hub.place)
            self._hub.choose(self._feed, self._view)

    def _chosen(self, command: Command) -> dict[str, Any]:
        """Return what `subscribed` says of choices: nothing where there never was one."""
        if self._choices == PLAIN and not command.chosen:
            return {}
        return asdict(self._choices)

    # --- Coming back -----------------------------------------------------------------------

    async def _missed(self, since: Since | None, symbols: list[str]) -> list[Kept] | None:
        """Return the first ticks behind `since`; None where not all of them can be had."""
        if since is None or since.epoch is None or not symbols:
            return None
        newest = self._hub.place
        behind = newest.seq - since.seq
        # First: reading them holds up all others who come back. Who is ahead of us has Redis
        # asked as well, and is given nothing back.
        if not self._manners.may_replay(behind if behind >= 0 else 1, monotonic()):
            return None
        found = None
        try:
            async with asyncio.timeout(_MISSED_WITHIN_S):
                found = await self._hub.past.between(Place(since.epoch, since.seq), newest)
        except TimeoutError:
            pass
        finally:
            if found is None:
                self._manners.give_back_replay(max(0, behind), monotonic())
        return found

    async def _replay(self, since: Since, answer: _Answer) -> _Replay:
        """Send what was missed and what comes meanwhile; return how far that came.

        The feed is held: its own ticks come from here too, so that each comes once.
        """
        feed, hub = self._feed, self._hub
        done = _Replay(Place(since.epoch or "", since.seq))
        found = answer.missed
        while found is not None and done.at.seq - since.seq <= _MOST_REPLAYED:
            for kept in found:
                size = await hub.past.turns.run(partial(self._send_again, kept, answer, done))
                if not size:
                    return done
                await feed.room(_frames_of(size))
            if feed.is_ended or _is_behind(hub.place, done.at):
                return done
            found = await hub.past.between(done.at, hub.place)
        return done

    def _send_again(self, kept: Kept, answer: _Answer, done: _Replay) -> int:
        """Send an old tick again; return its size, 0 where it cannot be."""
        feed, hub = self._feed, self._hub
        if feed.is_ended or hub.place.epoch != done.at.epoch:
            return 0
        text = self._told_again(kept, answer)
        if text is None:
            return 0
        feed.put(_Replayed(kept.place, text))
        done.at = kept.place
        done.told |= hub.past.quotes(kept, answer.wanted)
        return len(text)

    def _told_again(self, kept: Kept, answer: _Answer) -> str | None:
        """Return this subscriber's part of an old tick; None where that cannot be read."""
        mine = frozenset(answer.symbols)
        # What was followed before had its part of the tick already, if that was told.
        if not _is_behind(kept.place, self._feed.told):
            mine |= self._feed.symbols
        return self._hub.past.text(kept, mine, self._choices.fields)

    def _resume(self, done: _Replay, answer: _Answer) -> None:
        """Let live ticks come again, behind what was replayed.

        All in one turn of the loop, so that no tick comes between.
        """
        feed, hub, at = self._feed, self._hub, done.at
        hub.follow(feed, answer.symbols)
        if self._view is not None:
            self._view.forget(at)
        if at.epoch == feed.told.epoch and at.seq > feed.told.seq:
            feed.put(Share("heartbeat", at, hub.heartbeat().rest))
        news = {s: quote for s, quote in answer.quotes.items() if done.is_news(s, quote)}
        if _is_behind(hub.place, at):
            # The tick that was told last needs no repeating, nor what is older than it.
            known = _about(answer.refs, hub.known(answer.wanted))
            symbols = [symbol for symbol in news if symbol not in known]
            quotes = {symbol: news[symbol] for symbol in symbols}
        else:
            # It broke off: the newest of everything, and then live ticks.
            symbols = sorted(feed.symbols)
            quotes = _newest(symbols, _about(answer.refs, hub.known(symbols)), news)
        if symbols:
            feed.put(self._snapshot(symbols, quotes))

    # --- The rest ----------------------------------------------------------------------------

    async def _unsubscribe(self, command: Command) -> None:
        feed = self._feed
        until = monotonic() + ANSWER_WITHIN_S
        names = self._readable(command.symbols)
        found = await self._lookup.resolution(names, until, self._manners) if names else None
        meant = found.found if found else {}
        symbols: list[str] = []
        for name in names:
            # The name it was followed by counts, even where it means another one by now.
            held = [literal(name), *([meant[name]] if name in meant else [])]
            symbols += [n for n in held if n in feed.symbols] or held[1:]
        self._hub.unfollow(feed, symbols)
        feed.put(
            protocol.Unsubscribed(
                symbols=list(dict.fromkeys(symbols)), count=len(feed.symbols), id=_echo(command)
            )
        )

    async def _ping(self, command: Command) -> None:
        self._feed.put(protocol.Pong(id=_echo(command)))

    async def _get_subscriptions(self, command: Command) -> None:
        symbols = sorted(self._feed.symbols)
        self._feed.put(
            protocol.Subscriptions(symbols=symbols, count=len(symbols), id=_echo(command))
        )


_OBEY: dict[Action, Callable[[Requests, Command], Awaitable[None]]] = {
    Action.SUBSCRIBE: Requests._subscribe,
    Action.UNSUBSCRIBE: Requests._unsubscribe,
    Action.PING: Requests._ping,
    Action.GET_SUBSCRIPTIONS: Requests._get_subscriptions,
}


class _Answer(msgspec.Struct, frozen=True):
    """What a subscribe is answered with, as far as others had to be asked for it."""

    symbols: list[str]  # all that were accepted
    rejected: dict[str, str]
    resolved: dict[str, str]
    refs: Mapping[str, str]  # of the assets that the symbols mean now
    missed: list[Kept] | None  # the first ticks to be sent again; None for a snapshot instead
    wanted: list[str]  # those symbols that no replay brings
    quotes: dict[str, WireQuote]  # what was known of them when it was asked for
    is_newest: bool  # whether that is what is known now


@dataclass(slots=True)
class _Replay:
    """How far a replay came, and what it told last of the symbols it was not to bring."""

    at: Place
    told: dict[str, WireQuote] = field(default_factory=dict)

    def is_news(self, symbol: str, quote: WireQuote) -> bool:
        told = self.told.get(symbol)
        return told is None or told.ref != quote.ref or _age(quote) > _age(told)


class _Replayed(Share):
    """An old tick, sent again; it stands outside the count of what a subscriber was told."""

    __slots__ = ()

    def __init__(self, place: Place, text: str) -> None:
        super().__init__("price_update", place, text, moves=False)

    def text(self, prev_seq: int) -> str:
        return self.rest


def _view(choices: Choices, place: Place) -> View | None:
    return None if choices == PLAIN else View(choices, place, settings.WS_HEARTBEAT_S)


def _is_behind(newest: Place, at: Place) -> bool:
    """Return whether nothing newer than `at` is to be had here."""
    return newest.epoch == at.epoch and newest.seq <= at.seq


def _frames_of(size: int) -> int:
    """Return how many frames of a size may wait while more are made."""
    return min(ROOM, int(_REPLAYED_SHARE * settings.WS_MAX_BUFFERED_BYTES) // max(1, size))


def _told(quote: QuoteAnswer) -> WireQuote:
    """Return a quote as it is told: a copy counts as stale while Redis could not renew it."""
    told = WireQuote.of(quote)
    is_old = quote.cached and redis_clients.is_away()
    return told.as_copy(datetime.now(UTC), cadences.of(quote.source)) if is_old else told


def _about(refs: Mapping[str, str], quotes: Mapping[str, WireQuote]) -> dict[str, WireQuote]:
    """Leave out what is of an asset that its symbol does not mean any more."""
    return {s: quote for s, quote in quotes.items() if refs.get(s, quote.ref) == quote.ref}


def _newest(
    symbols: list[str], known: Mapping[str, WireQuote], asked: Mapping[str, WireQuote]
) -> dict[str, WireQuote]:
    """Return the newer one of two quotes of each symbol, in the order of `symbols`."""
    newest: dict[str, WireQuote] = {}
    for symbol in symbols:
        one, other = known.get(symbol), asked.get(symbol)
        if one is None or other is None:
            found = one or other
        else:  # the very same one for all who come between two ticks
            found = one if one is other else max(one, other, key=_age)
        if found is not None:
            newest[symbol] = found
    return newest


def _age(quote: WireQuote) -> tuple[datetime, bool]:
    return quote.last_updated, not quote.stale


def _echo(command: Command) -> Any:
    return UNSET if command.id is None else command.id
