"""From the moment a tick is due to the moment it is published, with 500 symbols cached.

Worker, beat and publisher are the product's own. The market stands in for CoinGecko and Finnhub
in live mode, where a quote is asked for once a minute and cached in between.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from typing import Any

import redis
from websockets.sync.client import ClientConnection, connect

from bench.row import How, Row, stage
from streaming.demand import WANTED
from streaming.protocol import UPDATES_CHANNEL
from tests.chaos.figures import percentile
from tests.chaos.stage import Stage

_SYMBOLS = 500
_PRICELESS = 12  # listed, and without a price
_CALM_S = 25  # for the first quotes of all to be there


def due(how: How) -> Row:
    seconds = max(10, int(60 * how.part))
    about = "from a tick's due time to publishing done, worker and beat real"
    row = Row("beat to publish", f"{about}, 1 s cadence, {seconds} s a round", rounds=how.rounds)
    rounds = [_one_round(seconds) for _ in range(how.rounds)]
    for result in rounds:
        print(f"    {result}", flush=True)
    row.table["worker"] = {
        key: statistics.median(result[key] for result in rounds) for key in rounds[0]
    }
    row.judge_least("symbols in the tick", row.table["worker"]["symbols"], _SYMBOLS)
    row.judge("due to published, median", row.table["worker"]["median_ms"], 25, "ms")
    return row


def _one_round(seconds: int) -> dict[str, float]:
    with stage(1) as made:
        made.environment.update(_live(made))
        made.manage("prepare")
        with redis.Redis(port=made.redis.port, db=3) as client:
            until_ms = int((time.time() + 3600) * 1000)
            client.zadd(WANTED, dict.fromkeys(_followed(made), until_ms))
            made.up([], workers=1, beats=1)
            time.sleep(_CALM_S)
            delays, counts = _observe(client, seconds)
    return {
        "ticks": len(delays),
        "symbols": statistics.median(counts or [0]),
        "median_ms": round(statistics.median(delays or [0]), 2),
        "p90_ms": round(percentile(delays or [0], 0.9), 2),
    }


def _live(made: Stage) -> dict[str, str]:
    market = made.sandbox.url
    return {
        "UPSTREAM": "live",
        "COINGECKO_URL": f"{market}/coingecko/api/v3",
        "COINGECKO_PER_MINUTE": "1000",
        "CHAIN_COIN_QUOTES": "coingecko",
        "FINNHUB_URL": f"{market}/finnhub/api/v1",
        "FINNHUB_KEY": "for-the-sandbox",
        "FINNHUB_PER_SECOND": "1000",
        "FINNHUB_PER_MINUTE": "100000",
        "CHAIN_STOCK_QUOTES": "finnhub",
        "REDIS_URL": f"{made.redis.url}/3",
        "CELERY_BROKER_URL": f"{made.redis.url}/4",
        "DATABASE_URL": f"sqlite:///{made.folder / 'live.sqlite3'}",
    }


def _followed(made: Stage) -> list[str]:
    """Return so many symbols, by the names that a client follows them by."""
    web = made.web("uvicorn")
    names = _names(made)
    with connect(web.socket_url) as client:
        # A server that has just started may take longer to learn so many names than it waits.
        while not (symbols := _accepted(client, names)):
            time.sleep(1)
    web.process.stop()
    # The market has not quite so many; a coin that is followed by its id too counts twice.
    return [*symbols, *(name for name in names if name not in symbols)][: _SYMBOLS + _PRICELESS]


def _accepted(client: ClientConnection, names: list[str]) -> list[str]:
    client.send(json.dumps({"action": "subscribe", "symbols": names}))
    while (answer := json.loads(client.recv(20)))["type"] != "subscribed":
        pass
    symbols: list[str] = answer["symbols"]
    return symbols


def _names(made: Stage) -> list[str]:
    """Return each coin by its id, and stocks."""
    coins = _asked(f"{made.sandbox.url}/coingecko/api/v3/coins/list")
    stocks = _asked(f"{made.sandbox.url}/finnhub/api/v1/stock/symbol?exchange=US&token=any")
    names = [f"coingecko:{coin['id']}" for coin in coins]
    names += [f"stock:{stock['symbol']}" for stock in stocks]
    return list(dict.fromkeys(names))


def _asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.load(response)


def _observe(client: redis.Redis, seconds: int) -> tuple[list[float], list[int]]:
    """Return by how many milliseconds after the full second each tick was told, and its size."""
    delays, counts = [], []
    listener: Any = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    with listener:
        listener.subscribe(UPDATES_CHANNEL)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            message = listener.get_message(timeout=1)
            if message:
                delays.append(time.time() % 1 * 1000)
                counts.append(json.loads(message["data"])["count"])
    return delays, counts
