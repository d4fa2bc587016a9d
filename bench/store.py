"""Size and speed of the store of bars: python -m bench.store --bars 1000000 [--database URL].

Fills an empty database through prices/services/store.py as requests would: five
years of hourly and twenty of daily bars an asset, a year of hours at a time. It
makes its tables itself and deletes nothing but what it prunes.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prices.models import Asset
    from prices.types import Candle, Resolution

HOUR_S, DAY_S = 3600, 86_400
YEAR_H = 365 * 24
HOURS, DAYS = 5 * YEAR_H, 20 * 365
READS = 200


def settle(url: str) -> None:
    os.environ.update(
        {
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "lokifi.settings",
            "ENV_FILE": "/dev/null",
            "REDIS_URL": "redis://127.0.0.1:1",
            "SECRET_KEY": "only-for-measuring",
            "UPSTREAM": "sandbox",
        }
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def bars(end_s: int, count: int, step_s: int) -> list[Candle]:
    """Return bars with prices and volumes that look like such: eight digits."""
    from prices.types import Candle

    price, found = 100.0, []
    for number in range(count):
        close = round(price * random.uniform(0.99, 1.01), 6)
        high, low = max(price, close) * 1.001, min(price, close) * 0.999
        volume = round(random.expovariate(1e-4), 4)
        found.append(
            Candle(end_s - (count - number) * step_s, price, high, low, close, volume, True)
        )
        price = close
    return found


def fill(count: int, end_s: int) -> tuple[list[Asset], float]:
    """Insert about `count` bars; return the assets and the seconds that the store took."""
    from prices.models import Asset
    from prices.types import Resolution

    assets: list[Asset] = []
    seconds, done = 0.0, 0
    hours, days = bars(end_s, HOURS, HOUR_S), bars(end_s, DAYS, DAY_S)
    while done < count:
        ref = f"coingecko:measured-{len(assets)}"
        asset = Asset.objects.create(ref=ref, ticker=ref.upper(), name=ref, kind="crypto")
        assets.append(asset)
        begun = time.perf_counter()
        for year in range(0, HOURS, YEAR_H):
            keep(asset, Resolution.H1, hours[max(0, year - 1) : year + YEAR_H])  # A run in all.
        keep(asset, Resolution.DAY, days)
        seconds += time.perf_counter() - begun
        done += HOURS + DAYS
    return assets, seconds


def keep(asset: Asset, width: Resolution, found: list[Candle]) -> None:
    from prices.services import store
    from prices.types import Candles, Origin, Window

    ends = [datetime.fromtimestamp(one.timestamp, UTC) for one in (found[0], found[-1])]
    store.keep(
        asset, "binance", width, Window(*ends), Candles(found, Origin.PROVIDER), store.Known()
    )


def timed(assets: list[Asset], act: Callable[[Asset], object]) -> Iterator[float]:
    for asset in random.choices(assets, k=READS):
        begun = time.perf_counter()
        act(asset)
        yield (time.perf_counter() - begun) * 1000


def told(name: str, found: Iterator[float]) -> None:
    ms = sorted(found)
    print(
        f"{name:42} median {statistics.median(ms):8.1f} ms   p95 {ms[int(0.95 * len(ms))]:8.1f} ms"
    )


def size() -> int:
    """Return what the table of bars takes with its index, in bytes."""
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.execute(
                "SELECT (SELECT page_count FROM pragma_page_count) * page_size"
                " FROM pragma_page_size"
            )
        else:
            cursor.execute("SELECT pg_total_relation_size('prices_bar')")
        return int(cursor.fetchone()[0])


def measure(count: int) -> None:
    from django.conf import settings
    from django.db import connection

    from prices.models import Bar
    from prices.services import store
    from prices.types import Resolution, Window

    now = datetime.now(UTC)
    end_s = int(now.timestamp()) // DAY_S * DAY_S
    before = size()
    assets, seconds = fill(count, end_s)
    total = Bar.objects.count()
    print(f"{connection.vendor}: {total:,} bars of {len(assets)} assets, two series each")
    print(f"{'size':42} {(size() - before) / total:.0f} bytes a bar, {size() / 2**20:,.0f} MiB")
    print(f"{'insert, a year of hours at a time':42} {total / seconds:,.0f} bars/s")
    end = datetime.fromtimestamp(end_s, UTC)
    year, five = Window(end - timedelta(days=365), end), Window(end - timedelta(days=1825), end)
    told(
        "read a year of hours (8,760)",
        timed(assets, lambda asset: store.known(asset, "binance", Resolution.H1, year)),
    )
    told(
        "read five years of days (1,825)",
        timed(assets, lambda asset: store.known(asset, "binance", Resolution.DAY, five)),
    )
    newest = bars(end_s + HOUR_S, 2, HOUR_S)
    told(
        "keep the newest two hours", timed(assets, lambda asset: keep(asset, Resolution.H1, newest))
    )
    settings.KEEP_HOURS_DAYS = 4 * 365
    begun = time.perf_counter()
    deleted = store.prune(now)
    took = time.perf_counter() - begun
    print(f"{'prune a year of hours':42} {deleted:,} bars in {took:.0f} s, {deleted / took:,.0f}/s")
    told(
        "read a year of hours after it",
        timed(assets, lambda asset: store.known(asset, "binance", Resolution.H1, year)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--database", help="an empty one; a new SQLite file where none is named")
    asked = parser.parse_args()
    random.seed(1)
    with tempfile.TemporaryDirectory(prefix="lokifi-store-") as folder:
        os.environ["VAR_DIR"] = folder
        settle(asked.database or f"sqlite:///{Path(folder) / 'store.sqlite3'}")
        measure(asked.bars)


if __name__ == "__main__":
    main()
