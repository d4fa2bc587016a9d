"""What lies beside a body in Redis, so that it can be sent without being read.

`sent:KEY` is written with the body under KEY and lives as long: the body's tag, until when
it lives, whose it is, when it was fetched and from whom. So one MGET of both is all that an
answer takes. Its length and checksum tell whether the body is still the one it speaks of;
any other is for somebody who decodes it.
"""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from functools import lru_cache
from zlib import crc32

import msgspec

from prices.answers import Answer, Moment, QuoteAnswer, SeriesAnswer


class Sidecar(msgspec.Struct, frozen=True):
    """`ref` is the asset's; `etag` without quotes; `until` Unix seconds by the writer's clock."""

    etag: str
    until: float
    size: int
    crc: int
    ref: str
    source: str
    as_of: Moment | None
    fetched_at: Moment
    # The last, as microseconds since 1970.
    version: int

    def is_of(self, body: bytes) -> bool:
        """Whether a body is the one that this was written with."""
        return len(body) == self.size and crc32(body) == self.crc


_decoder = msgspec.json.Decoder(Sidecar)


def name(key: str) -> str:
    """Return the key that lies beside another."""
    return f"sent:{key}"


def etag_of(body: bytes) -> str:
    """Return the strong tag of a body, without its quotes."""
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def microseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def of(value: Answer, body: bytes, life_s: float) -> bytes | None:
    """Return what to write beside an answer's body; None for what is never sent as it is held."""
    if not isinstance(value, QuoteAnswer | SeriesAnswer):
        return None
    return msgspec.json.encode(
        Sidecar(
            etag=etag_of(body),
            until=time.time() + life_s,
            size=len(body),
            crc=crc32(body),
            ref=value.ref,
            source=value.source,
            as_of=value.as_of,
            fetched_at=value.fetched_at,
            version=microseconds(value.fetched_at),
        )
    )


@lru_cache(maxsize=4096)
def read(text: bytes | None) -> Sidecar | None:
    """Return what lies beside a body; None where nothing does that can be read.

    What was read before is the same object again.
    """
    if text is None:
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
