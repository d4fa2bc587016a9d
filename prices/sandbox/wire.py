"""What a call and a reply are, for all of the sandbox's sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any


class Plan(StrEnum):
    """What a caller may do: everything without limits, or what the free plans allow."""

    ALL = "all"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as the wire formats need it. `path` begins after the source's own part."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    now: float
    plan: Plan
    origin: str = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Header names are in lower case."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(
        status,
        encoded(content),
        {"content-type": "application/json; charset=utf-8", **(headers or {})},
    )


def encoded(content: Any) -> bytes:
    """Return compact JSON; small numbers come in exponent form, as 6.335e-07."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def weak_etag(body: bytes) -> str:
    return f'W/"{blake2b(body, digest_size=16).hexdigest()}"'


def key_of(query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return the API key of a call, wherever it is carried; empty where there is none."""
    for name in ("x-cg-demo-api-key", "x-cg-pro-api-key", "x-finnhub-token"):
        if headers.get(name):
            return headers[name]
    # Twelve Data's "apikey K" and Tiingo's "Token K".
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if secret.strip() and scheme.lower() in ("apikey", "token"):
        return secret.strip()
    for name in ("x_cg_demo_api_key", "x_cg_pro_api_key", "token", "apikey"):
        if query.get(name):
            return query[name]
    return ""


def is_refused(key: str) -> bool:
    """Whether the sources do not know this key: any that calls itself invalid."""
    return "invalid" in key.lower()


def iso(when: float) -> str:
    """Return a time as the sources write it, 2026-11-23T21:00:00.000Z."""
    text = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def moment(text: str) -> float | None:
    """Return a time given as Unix seconds or in ISO form, UTC where no zone is told."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def spread(text: str, within: int) -> int:
    """Return a number from 0 up to `within` that depends on `text` alone."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") % within
