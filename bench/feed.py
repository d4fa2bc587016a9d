"""Publishes made-up prices as the product does: counted, stored, told on the channel, announced.

python -m bench.feed SYMBOL_FILE INTERVAL_S     with the product's settings in the environment

The figures are about handing out a tick, so nothing is asked of sources here.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec


def main(symbols: list[str], interval_s: int) -> None:
    import django

    django.setup()
    from prices import redis_clients
    from prices.services.symbols import resolve_many
    from streaming import publisher, ticks
    from streaming.protocol import WireQuote, entry, share, stamp

    chance = random.Random(7)
    # As they are in the catalogue: a server believes a tick only of the asset that it knows.
    refs = {symbol: one.asset.ref for symbol, one in resolve_many(symbols).assets.items()}
    client = redis_clients.client()
    known = ticks.UNKNOWN
    due = time.time()
    while True:
        now = datetime.now(UTC)
        entries = []
        for symbol in symbols:
            price = round(chance.uniform(0.01, 70_000), 4)
            quote = {
                "symbol": symbol,
                "ref": refs.get(symbol, f"coingecko:{symbol.lower()}"),
                "price": price,
                "change": round(price * 0.0187, 4),
                "change_percent": 1.8712,
                "high": round(price * 1.02, 4),
                "low": round(price * 0.98, 4),
                "volume": 31_234_567_890.12,
                "market_cap": 1_320_000_000_000.5,
                "last_updated": now,
                "source": "sandbox",
                "stale": False,
                "freshness": "live",
                "market": None,
                "session": None,
                "disputed": False,
            }
            entries.append(entry(symbol, msgspec.convert(quote, WireQuote)))
        known = ticks.publish(client, known, interval_s, share(stamp(), entries))
        publisher.announce(known)
        due += interval_s
        time.sleep(max(0.0, due - time.time()))


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text().split(), int(sys.argv[2]))
