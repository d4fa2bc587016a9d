"""Every period by every resolution of some coins, asked of a running product without keys.

    python -m bench.matrix [--coins BTC,ETH,DOGE] [--url http://127.0.0.1:8000]

Without a URL a product of its own is started, on the free plan of every source. A cell
tells how many bars there are, in what they are priced and where the series is cut, or
409 where the docs say that the width cannot be had. Each is held to what it claims:
width, steps without a gap, opening stamps, volume of what is closed, both ends.
What is wrong is listed below; the command then ends with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from prices.providers.bars import bar_end, bar_start
from prices.types import Period, Resolution

COINS = ("BTC", "ETH", "DOGE")
# The finest that any source without a key gives, as docs/http-api.md has it.
FINEST = {
    Period.DAY: Resolution.M1,
    Period.WEEK: Resolution.M1,
    Period.MONTH: Resolution.M5,
    Period.QUARTER: Resolution.M15,
    Period.HALF_YEAR: Resolution.M15,
    Period.YEAR: Resolution.M30,
    Period.FIVE_YEARS: Resolution.H4,
    Period.ALL: Resolution.H4,
}
_WHYS = ("plan", "limit", "listing")
# A source may be so much later than the moment of asking, beside the bar under way.
_LATE_S = 600

Answer = dict[str, Any]
Ask = Callable[[str], tuple[int, Answer]]


def faults(period: Period, resolution: Resolution, status: int, body: Answer) -> list[str]:
    """Return what is wrong with an answer; nothing where it is what the docs promise."""
    if resolution.minutes < FINEST[period].minutes:
        return list(_of_refusal(period, resolution, status, body))
    if status != 200:
        return [f"{status} {body.get('code')}: {body.get('detail')}"]
    return list(_of_series(period, resolution, body, datetime.now(UTC).timestamp()))


def _of_refusal(period: Period, resolution: Resolution, status: int, body: Answer) -> Iterator[str]:
    if (status, body.get("code")) != (409, "resolution_unavailable"):
        yield f"is {status} {body.get('code')}, not the documented 409"
        return
    coarser = [str(one) for one in Resolution if one.minutes >= FINEST[period].minutes]
    if body["available"] != coarser:
        yield f"offers {' '.join(body['available'])} instead of {' '.join(coarser)}"


def _of_series(period: Period, resolution: Resolution, body: Answer, now: float) -> Iterator[str]:
    bars = body["candles"]
    if body["resolution"] != resolution:
        yield f"is of width {body['resolution']}"
    if not bars:
        yield "has no bars"
        return
    stamps = [bar["timestamp"] for bar in bars]
    if (body["count"], body["from"], body["to"]) != (len(bars), stamps[0], stamps[-1]):
        yield "tells another count or other ends than it has"
    if any(bar_start(at, resolution) != at for at in stamps):
        yield "has stamps that are no openings"
    gaps = sum(bar_end(one, resolution) != other for one, other in pairwise(stamps))
    if gaps:
        yield f"has {gaps} steps that are not one bar wide"
    if not all(bar["closed"] for bar in bars[:-1]):
        yield "has an open bar before its newest one"
    without = sum(not bar["volume"] for bar in bars if bar["closed"])
    if without or body["volume_basis"] != "bar_units":
        yield f"has {without} closed bars without volume (basis {body['volume_basis']})"
    if not all(bar["low"] <= min(bar["open"], bar["close"]) for bar in bars) or not all(
        bar["high"] >= max(bar["open"], bar["close"]) for bar in bars
    ):
        yield "has bars that contradict themselves"
    yield from _of_ends(period, resolution, body, now)


def _of_ends(period: Period, resolution: Resolution, body: Answer, now: float) -> Iterator[str]:
    if bar_end(body["to"], resolution) < now - _LATE_S:
        yield f"ends {now - bar_end(body['to'], resolution):.0f} s ago"
    if body["truncated"]:
        if body["truncated_by"] not in _WHYS or body["available_from"] != body["from"]:
            yield f"is cut, by {body['truncated_by']} at {body['available_from']}"
    elif period.span is not None:
        start = now - period.span.total_seconds()
        if body["from"] > bar_end(bar_start(int(start), resolution), resolution):
            yield "begins late and says nothing of it"
    if period.span is not None and body["from"] < bar_start(
        int(now - period.span.total_seconds() - _LATE_S), resolution
    ):
        yield "begins before its period"


def text(status: int, body: Answer) -> str:
    """Return an answer as a cell shows it."""
    if status != 200:
        return str(status)
    marks = {"USD": "", "USDT": " T", "USDC": " C"}[body["currency"]]
    return f"{body['count']}{marks}{'*' if body['truncated'] else ''}"


def table(coin: str, ask: Ask, say: Callable[[str], object] = print) -> list[str]:
    """Print a coin's table; return what is wrong in it."""
    say(f"{coin:<6}" + "".join(f"{resolution:>10}" for resolution in Resolution))
    wrong: list[str] = []
    for period in Period:
        cells = []
        for resolution in Resolution:
            query = f"period={period}&resolution={resolution}"
            status, body = ask(f"/api/v1/prices/{coin}/ohlcv?{query}")
            found = faults(period, resolution, status, body)
            wrong += [f"{coin} {period} {resolution}: {one}" for one in found]
            cells.append(f"{text(status, body)}{'!' if found else ''}")
        say(f"{period:<6}" + "".join(f"{cell:>10}" for cell in cells))
    return wrong


def _told(coins: Sequence[str], ask: Ask) -> list[str]:
    """Print all tables, what the marks mean, and what is wrong."""
    begun = time.perf_counter()
    wrong = [one for coin in coins for one in table(coin, ask)]
    print("bars; T, C: in USDT, USDC; *: truncated, and says by what; !: wrong, as below")
    cells = len(coins) * len(Period) * len(Resolution)
    print(f"{cells} cells in {time.perf_counter() - begun:.0f} s, {len(wrong)} faults")
    for one in wrong:
        print(one)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coins", default=",".join(COINS))
    parser.add_argument("--url", default="", help="of a product that runs already")
    chosen = parser.parse_args()
    from tests.chaos.__main__ import load_settings

    load_settings()
    from tests.chaos.stage import status_of
    from tests.product import Product

    def asking(url: str) -> Ask:
        def ask(path: str) -> tuple[int, Answer]:
            status, _, body = status_of(url + path, timeout_s=60)
            return status, json.loads(body)

        return ask

    coins = chosen.coins.split(",")
    if chosen.url:
        return bool(_told(coins, asking(chosen.url)))
    folder = Path(tempfile.mkdtemp(prefix="lokifi-matrix-"))
    with Product(folder, SANDBOX_PLAN="free") as product:
        return bool(_told(coins, asking(product.web("uvicorn").url)))


if __name__ == "__main__":
    sys.exit(main())
