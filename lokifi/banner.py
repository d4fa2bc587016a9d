"""What a person reads when everything is up: what runs where, and what to try."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from lokifi import parts
from lokifi.development import UPSTREAM_REASON


@dataclass(frozen=True)
class Facts:
    """What `manage.py prepare` found and did."""

    made_superuser: bool
    assets: int


def banner(environment: Mapping[str, str], host: str, port: int, facts: Facts) -> str:
    place = f"{parts.reachable(host)}:{port}"
    redis = urlsplit(environment["REDIS_URL"])
    login = " (user admin; its password stands above)" if facts.made_superuser else ""
    rows = [
        ("web", f"http://{place}/ ({settings.SERVER})"),
        ("upstream", _upstream(environment)),
        ("Redis", _redis(environment)),
        ("ticks", f"every {settings.PUBLISH_INTERVAL_S} s, by a Celery worker and beat"),
        ("assets", f"{facts.assets} in the catalogue"),
        ("admin", f"http://{place}/admin/{login}"),
        ("docs", f"http://{place}/api/docs"),
    ]
    client = f"redis-cli -h {redis.hostname} -p {redis.port} -n {redis.path.strip('/') or 0}"
    tries = [
        f"curl 'http://{place}/api/v1/prices/BTC/history?period=1w'",
        f"curl 'http://{place}/api/v1/prices?symbols=BTC,ETH,AAPL'",
        f"{_python()} -m websockets ws://{place}/api/ws/prices",
        '    and type: {"action": "subscribe", "symbols": ["BTC", "ETH", "AAPL"]}',
        f"{client} GET price:BTC",
        f"{client} SUBSCRIBE lokifi:price_updates",
    ]
    return "\n".join(
        [
            "",
            "Everything is up; Ctrl-C stops it.",
            "",
            *(f"  {name:<9} {what}" for name, what in rows),
            "",
            "Try:",
            *(f"  {line}" for line in tries),
            "",
        ]
    )


def _upstream(environment: Mapping[str, str]) -> str:
    reason = environment.get(UPSTREAM_REASON, "UPSTREAM says so")
    if settings.UPSTREAM_MODE == "sandbox":
        where = f"sandbox, a market made up here, at {environment.get('SANDBOX_URL')}"
    else:
        finnhub = "Finnhub" if settings.FINNHUB_KEY else "no stocks, since FINNHUB_KEY is not set"
        where = f"live: CoinGecko and {finnhub}"
    return f"{where} ({reason})"


def _redis(environment: Mapping[str, str]) -> str:
    url = urlsplit(environment["REDIS_URL"])
    return f"{url.hostname}:{url.port}, database {url.path.strip('/') or 0}"


def _python() -> str:
    """Return this Python as a person in this folder would type it."""
    path, here = Path(sys.executable), Path.cwd()
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)
