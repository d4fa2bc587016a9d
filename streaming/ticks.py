"""The count of ticks, the last one and those of ten minutes before, as Redis holds them.

    lokifi:count      hash: epoch, seq, the interval it counts for, when it was counted last (at,
                      Unix seconds), and in which run of the server (run)
    lokifi:snapshot   the last tick whole, with its interval; this is what is true
    lokifi:ticks      stream: the ticks of this epoch, compressed; SEQ-0 is the id of tick SEQ
    lokifi:tick:…     which ticks have been published, so that none is twice

A tick of 500 symbols is 140 kB of JSON and 36 kB in the stream, so ten minutes of
them at one a second are 21 MB, and at one in 30 s 0.7 MB. Where ticks are so large
that ten minutes would be more than KEPT_BYTES, fewer of them are kept.

Whoever writes or reads says what it knew last. A count that went backwards
within an epoch (a server that came back with an older dump) is then seen, and
a new epoch begun, before anyone takes an old number for a new one. Where all
that knew went with the server, its run is another one: then an epoch begins too,
unless its last tick is so young that none can have followed it.
"""

from __future__ import annotations

import math
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
import redis
import redis.asyncio
from redis.client import Pipeline

from streaming.protocol import UPDATES_CHANNEL

COUNT = "lokifi:count"
SNAPSHOT = "lokifi:snapshot"
STREAM = "lokifi:ticks"
KEPT_S = 600
KEPT_BYTES = 32 * 1024 * 1024
_TICK = "lokifi:tick:"

# How early a tick may be by Redis's clock and still count as the coming one, as
# a part of the interval. Beat fires on the boundary by its own clock: without
# this a clock a hair fast would put some ticks into the interval before.
EARLY = 0.1

# KEYS: prefix. ARGV: interval, early.
_CLAIM = """
local now = redis.call('TIME')
local interval = tonumber(ARGV[1])
local id = math.floor((now[1] + now[2] / 1000000) / interval + tonumber(ARGV[2]))
local key = KEYS[1] .. ARGV[1] .. ':' .. string.format('%d', id)
if redis.call('SET', key, '1', 'NX', 'EX', math.ceil(interval * 2)) then return 1 end
return 0
"""

# The fastest: it makes JSON a quarter, and the slowest no more than a fifth.
_COMPRESSION = 1

# KEYS: count, snapshot, stream. ARGV: a fresh epoch, epoch and seq known, then for
# publishing: interval, the rest of the frame, channel, the rest compressed, how many
# ticks the stream keeps, and for how many seconds.
_COUNTED = """
local c = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'interval', 'at', 'run')
local now = redis.call('TIME')[1]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local is_sure = not c[5] or c[5] == run or
  (c[3] and c[4] and tonumber(now) - tonumber(c[4]) < tonumber(c[3]))
local went_back = c[1] == ARGV[2] and tonumber(c[2]) < tonumber(ARGV[3])
local other_cadence = ARGV[4] and c[3] and c[3] ~= ARGV[4]
if not c[1] or went_back or other_cadence or not is_sure then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'seq', '0')
  c = {ARGV[1], '0'}
end
if c[5] ~= run then redis.call('HSET', KEYS[1], 'run', run) end
"""
_LOOK = (
    _COUNTED
    + """
if c[1] == ARGV[2] and c[2] == ARGV[3] then return {c[1], c[2], false} end
return {c[1], c[2], redis.call('GET', KEYS[2])}
"""
)
_PUBLISH = (
    _COUNTED
    + """
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('HSET', KEYS[1], 'interval', ARGV[4], 'at', now)
local tick = '{"type":"price_update","epoch":"' .. c[1] .. '","seq":' ..
  string.format('%d,"prev_seq":%d', seq, seq - 1) .. ARGV[5]
redis.call('SET', KEYS[2], '{"update_interval":' .. ARGV[4] .. ',"tick":' .. tick .. '}')
local function keep()
  return redis.pcall('XADD', KEYS[3], 'MAXLEN', '=', ARGV[8],
    string.format('%d-0', seq), c[1], ARGV[7])
end
local kept = keep()
if type(kept) == 'table' and kept.err then
  -- What is there is of another type, or counted otherwise: not ours.
  redis.call('DEL', KEYS[3])
  keep()
end
redis.call('EXPIRE', KEYS[3], ARGV[9])
redis.call('PUBLISH', ARGV[6], tick)
return {c[1], string.format('%d', seq)}
"""
)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in the count a tick stands."""

    epoch: str
    seq: int


UNKNOWN = Place("unknown", 0)


def ask_claim(pipe: Pipeline, interval_s: int) -> None:
    """Ask whether the tick that is due now is the caller's to publish; the reply is 1 or 0."""
    pipe.eval(_CLAIM, 1, _TICK, interval_s, EARLY)


def publish(client: redis.Redis, known: Place, interval_s: int, rest: str) -> Place:
    """Count a tick, store it and tell every listener, in one step. Raises RedisError.

    `rest` is the frame's text from after `prev_seq`.
    """
    script = client.register_script(_PUBLISH)
    packed = zlib.compress(rest.encode(), _COMPRESSION)
    kept = max(1, min(math.ceil(KEPT_S / interval_s), KEPT_BYTES // len(packed)))
    epoch, seq = script(
        keys=[COUNT, SNAPSHOT, STREAM],
        args=[
            *(_new_epoch(), known.epoch, known.seq),
            *(interval_s, "," + rest, UPDATES_CHANNEL),
            *(packed, kept, max(KEPT_S, 2 * interval_s)),
        ],
    )
    return Place(_text(epoch), int(seq))


class _Stamped(msgspec.Struct):
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]


class _Last(msgspec.Struct):
    tick: _Stamped


def last_at(client: redis.Redis) -> datetime | None:
    """Return when the last tick was published; None without one. Raises RedisError."""
    body: Any = client.get(SNAPSHOT)
    try:
        return msgspec.json.decode(body or b"", type=_Last).tick.timestamp
    except (ValueError, RecursionError):
        return None


async def look(client: redis.asyncio.Redis, known: Place) -> tuple[Place, bytes | None]:
    """Return where the count stands, and the snapshot unless `known` is that place already.

    Begins an epoch where there is none. Raises RedisError.
    """
    script = client.register_script(_LOOK)
    epoch, seq, body = await script(
        keys=[COUNT, SNAPSHOT, STREAM], args=[_new_epoch(), known.epoch, known.seq]
    )
    return Place(_text(epoch), int(seq)), body


@dataclass(frozen=True, slots=True)
class Kept:
    """A tick as the stream keeps it."""

    place: Place
    packed: bytes

    def rest(self) -> bytes:
        """Return the frame's text from after `prev_seq`. Raises ValueError where it is none."""
        try:
            return zlib.decompress(self.packed)
        except zlib.error as exc:
            raise ValueError(f"tick {self.place.seq} cannot be read") from exc


async def kept(
    client: redis.asyncio.Redis, after: Place, until_seq: int, most: int
) -> tuple[Place, list[Kept]]:
    """Return where the count stands, and the first `most` ticks of `after`'s epoch behind it.

    Raises RedisError.
    """
    async with client.pipeline(transaction=True) as pipe:
        pipe.hmget(COUNT, ["epoch", "seq"])
        pipe.xrange(STREAM, f"{after.seq + 1}-0", f"{until_seq}-0", count=most)
        (epoch, seq), entries = await pipe.execute()
    found = [
        Kept(Place(after.epoch, int(_text(id_).partition("-")[0])), fields[after.epoch.encode()])
        for id_, fields in entries
        if after.epoch.encode() in fields
    ]
    return (Place(_text(epoch), int(seq)) if epoch and seq else UNKNOWN), found


def _new_epoch() -> str:
    return secrets.token_hex(6)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
