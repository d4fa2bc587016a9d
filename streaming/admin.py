"""What the admin's pages learn from streaming: who follows what, and the last tick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
import redis
from django.conf import settings

from prices import redis_clients
from prices.admin import Section, hooks
from prices.redis_clients import RedisAwayError
from prices.templatetags.asset_pages import age, utc
from streaming import demand, ticks
from streaming.protocol import Snapshot


def followers(symbols: Collection[str]) -> dict[str, int]:
    """Return how many sockets follow each symbol. Raises RedisAwayError."""
    return redis_clients.ask(lambda r: demand.followers(symbols, r))


def ticking() -> Section:
    """Tell of the last tick, and of what is followed."""
    try:
        body, wanted = redis_clients.ask(_look)
    except RedisAwayError:
        return Section("Ticks", [], trouble="Not known while Redis is away.")
    rows = [
        ("Interval", f"{settings.PUBLISH_INTERVAL_S} s"),
        ("Followed", f"{len(wanted)} symbols by sockets"),
    ]
    if body is None:
        return Section("Ticks", rows, trouble="None was published yet.")
    try:
        tick = msgspec.json.decode(body, type=Snapshot).tick
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Section("Ticks", rows, trouble=f"What {ticks.SNAPSHOT} holds cannot be read.")
    at = datetime.fromisoformat(tick.timestamp)
    return Section(
        "Ticks",
        [
            *rows,
            ("Last tick", f"number {tick.seq} of epoch {tick.epoch}"),
            ("Published", f"{age(at)} ago, {utc(at)}"),
            (
                "Prices in it",
                f"{tick.count}, {sum(q.stale for q in tick.data.values())} of them stale",
            ),
        ],
    )


def sockets() -> Section:
    """Tell what all server processes together count since each of them started."""
    try:
        processes = redis_clients.ask(demand.figures)
    except RedisAwayError:
        return Section("Sockets", [], trouble="Not known while Redis is away.")
    total: Counter[str] = Counter()
    for figures in processes.values():
        total.update(figures)
    if not processes:
        return Section("Sockets", [("Open", "none, on no server process")])
    closes = sorted(name for name in total if name.startswith("closed_"))
    left = sorted(name for name in total if name.startswith("left_"))
    rows = [
        ("Open", f"{total['sockets']:,} on {len(processes)} server processes"),
        ("Subscriptions", f"{total['subscriptions']:,}"),
        ("Sent", f"{total['frames']:,} messages, {total['bytes'] / 1e6:,.1f} MB"),
        ("Ticks skipped by slow readers", f"{total['conflated']:,}"),
        ("Messages never taken by who is gone", f"{total['dropped']:,}"),
        ("Closed for not reading", f"{total['slow']:,}"),
        *((f"Closed with {name[7:]}", f"{total[name]:,}") for name in closes),
        *((f"Left by themselves, {name[5:]}", f"{total[name]:,}") for name in left),
    ]
    return Section("Sockets", rows)


def _look(r: redis.Redis) -> tuple[Any, list[str]]:
    return r.get(ticks.SNAPSHOT), demand.wanted(r)


hooks.followers = followers
hooks.sections += [ticking, sockets]
