"""With which price each cached series ends, so that a quote that comes later can contradict it.

endings:SYMBOL, a JSON object by the keys of the cache, lives as long as what is made of a
series; one value a symbol, so that a tick reads those of all its symbols at once. A
series that would be passed over, were it told now, is dropped; the next to ask for it has it
made anew. What the store has of its source until then counts as said by nobody, and closes
of days that were got until then as not held: doubt:until:SYMBOL has that moment.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from prices import cache, redis_clients
from prices.answers import Moment, QuoteAnswer
from prices.redis_clients import RedisAwayError
from prices.services import holdings, store
from prices.services.series import End, Had, Measure
from prices.services.symbols import Resolved
from prices.types import Freshness, Resolution, TradingSession

logger = logging.getLogger(__name__)

# What a quote may be to say something of the present.
_FRESH = (Freshness.LIVE, Freshness.DELAYED, Freshness.CLOSED)
_Note = tuple[float, Moment, float | None, str, Resolution]
# As long as a close of a day that was made of a series.
_NOTED_S = cache.LIST.fresh_s

# Two processes may note two series of a symbol at once; so Redis puts a note to the others.
_NOTE = """
local held = redis.call('GET', KEYS[1])
local is_read, notes = pcall(cjson.decode, held or '{}')
if not is_read or type(notes) ~= 'table' then notes = {} end
for key, note in pairs(notes) do
  if type(note) ~= 'string' then notes[key] = nil end
end
notes[ARGV[1]] = ARGV[2] ~= '' and ARGV[2] or nil
if next(notes) == nil then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], cjson.encode(notes), 'EX', ARGV[3])
end
"""


def note(symbol: str, key: str, end: End | None) -> None:
    """Note how the series ends that is about to be kept under a key.

    None where no quote may speak against it: we made it, or two sources overruled a quote by it.
    """
    name = holdings.ends_name(symbol)
    text = b"" if end is None else msgspec.json.encode((end, datetime.now(UTC)))
    try:
        redis_clients.ask(lambda r: r.eval(_NOTE, 1, name, key, text, _NOTED_S))
    except RedisAwayError:
        logger.debug("the end of %s is not noted while Redis is away", key)


def compare(
    quotes: Sequence[tuple[Resolved, QuoteAnswer]],
    noted: Mapping[str, bytes | None] = MappingProxyType({}),
) -> None:
    """Drop the series that new quotes contradict; a quote that is in doubt itself says nothing.

    `noted` is what was read, behind the quotes' storing, under some of `holdings.ends_name`.
    """
    sure = [(one, quote) for one, quote in quotes if _is_sure(quote)]
    if not sure:
        return
    now = datetime.now(UTC)
    texts = _noted([holdings.ends_name(one.symbol) for one, _ in sure], noted)
    for (resolved, quote), notes in zip(sure, texts, strict=True):
        if not notes:
            continue
        measure = Measure(resolved.asset, resolved.symbol, now)
        had = Had(quote.price, quote.last_updated)
        wrong = {key: one for key, one in _read(notes) if measure.is_contradicted(one[0], had)}
        if wrong:
            _doubt(resolved, list(wrong.values()))
        if wrong and holdings.drop(list(wrong)):
            said = ", ".join(f"{key} at {end.price:g}" for key, (end, _) in wrong.items())
            logger.warning("dropped what ends beyond reason from %g: %s", quote.price, said)


def is_doubted(symbol: str, fetched_at: datetime) -> bool:
    """Whether something that was got then may be made of a series that was contradicted since."""
    try:
        until: Any = redis_clients.ask(lambda r: r.get(_until_name(symbol)))
    except RedisAwayError:
        return False
    return until is not None and fetched_at.timestamp() <= float(until)


def _doubt(resolved: Resolved, wrong: Sequence[tuple[End, datetime]]) -> None:
    """Let nothing be made any more of what the sources of wrong series said until then: once."""
    until = str(max(told_at for _, told_at in wrong).timestamp())
    name = _until_name(resolved.symbol)
    try:
        before: Any = redis_clients.ask(lambda r: r.set(name, until, ex=_NOTED_S, get=True))
    except RedisAwayError:
        return  # What is held lapses.
    if before != until.encode():
        for end, told_at in wrong:
            store.doubt(resolved.asset, end.source, end.width, told_at)
        holdings.note_dropped()


def _until_name(symbol: str) -> str:
    return f"doubt:until:{symbol}"


def _is_sure(quote: QuoteAnswer) -> bool:
    is_regular = quote.session in (None, TradingSession.REGULAR)  # as series are
    return not quote.disputed and quote.freshness in _FRESH and is_regular


def _noted(names: Sequence[str], noted: Mapping[str, bytes | None]) -> list[bytes | None]:
    missing = [name for name in names if name not in noted]
    try:
        found = dict(zip(missing, redis_clients.mget(missing), strict=True)) if missing else {}
    except RedisAwayError:
        found = {}
    return [noted[name] if name in noted else found.get(name) for name in names]


def _read(notes: bytes) -> Iterator[tuple[str, tuple[End, datetime]]]:
    try:
        by_key = msgspec.json.decode(notes, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # Not notes of ours.
    for key, text in by_key.items():
        if not isinstance(text, str):
            continue
        try:
            end, told_at = msgspec.json.decode(text, type=tuple[_Note, Moment])
        except msgspec.DecodeError:
            continue
        yield key, (End(*end), told_at)
