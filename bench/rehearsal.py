"""What a client sees while sources fail in every way: a quarter of an hour of a running product.

    python -m bench.rehearsal [--seconds 30] [--write docs/rehearsal.md]

Each act sets faults at the sandbox, watches REST and the socket, takes the faults
away, and waits for the first tick that is whole again. A number counts as made
up where it is more than 10 % off what the market itself says. All of it goes by a
clock that is set back into the last session of New York, so that it closes before
the last act.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.chaos.__main__ import load_settings

load_settings()

from bench.shifted import ShiftedStage  # noqa: E402 - as the next
from prices.sessions import latest_session  # noqa: E402 - as the next
from tests.chaos.stage import Stage, status_of  # noqa: E402 - what it imports reads the settings

_SYMBOLS = ("BTC", "ETH", "DOGE", "AAPL")
_TICK_S = 5
_PATHS = (
    "/api/v1/prices/BTC",
    "/api/v1/prices/AAPL",
    "/api/v1/prices?symbols=BTC,ETH,DOGE,AAPL",
    "/api/v1/prices/ETH/ohlcv?period=1d&resolution=5",
    "/api/v1/prices/DOGE/history?period=1w",
)
_MADE_UP = 0.10
# What an act takes beside its own time: until sources are whole again.
_BETWEEN_S = 15

Fault = dict[str, Any]
_COINS = ("coingecko", "binance", "coinbase", "kraken")


def _down(*sources: str) -> list[Fault]:
    return [{"kind": "status", "source": source, "status": 503} for source in sources]


_STOCKS: dict[str, list[Fault]] = {
    "nothing wrong": [],
    "Finnhub down": _down("finnhub"),
    "Finnhub and Twelve Data down": _down("finnhub", "twelvedata"),
    "Finnhub stands still": [{"kind": "frozen", "source": "finnhub"}],
    "every source down": _down(*_COINS, "finnhub", "twelvedata", "tiingo"),
}
_COINS_TOO: dict[str, list[Fault]] = {
    "CoinGecko down": _down("coingecko"),
    "Binance down": _down("binance"),
    "Coinbase down": _down("coinbase"),
    "CoinGecko and Binance down": _down("coingecko", "binance"),
    "CoinGecko and Finnhub slow (6 s)": [
        {"kind": "delay", "source": source, "delay_s": 6} for source in ("coingecko", "finnhub")
    ],
    "CoinGecko sends pages, Finnhub nulls": [
        {"kind": "html", "source": "coingecko"},
        {"kind": "nulls", "source": "finnhub"},
    ],
    "CoinGecko a million million times too high": [{"kind": "absurd", "source": "coingecko"}],
    "Binance says twice the price": [{"kind": "times", "source": "binance", "factor": 2}],
    "CoinGecko stands still": [{"kind": "frozen", "source": "coingecko"}],
}
_CLOSED: dict[str, list[Fault]] = {
    "New York has closed": [],
    "New York has closed, Finnhub down": _down("finnhub"),
}
# A copy lives for 60 s: only after that does anybody see that all are down, or that one froze.
_LASTS_S = {"every source down": 100, "CoinGecko stands still": 100, "Finnhub stands still": 100}
# A source that stands still did so longer ago than the five minutes it is given.
_FROZEN_FOR_S = 400
_STOCK = "AAPL"
# How long after the close a source may still be at the last trades.
_SETTLED = timedelta(minutes=2)


@dataclass
class Seen:
    """What one act showed. Counters of what was said; `made_up` names numbers nobody gave."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    sources: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    freshness: Counter[str] = field(default_factory=Counter)
    stale: int = 0
    disputed: int = 0
    stock: Counter[str] = field(default_factory=Counter)
    quotes: int = 0
    ticks: int = 0
    stale_ticks: int = 0
    made_up: list[str] = field(default_factory=list)
    back_s: float | None = None

    def note(self, quote: dict[str, Any], truth: dict[str, float]) -> None:
        self.quotes += 1
        self.freshness[quote["freshness"]] += 1
        self.stale += quote["stale"]
        self.disputed += quote["disputed"]
        if quote["symbol"] == _STOCK:
            self.stock[quote["freshness"]] += 1
        for one in quote.get("fallback_from", []):
            self.skipped[f"{one['source'].removeprefix('sandbox:')} {one['code']}"] += 1
        right = truth[quote["symbol"]]
        if abs(quote["price"] / right - 1) > _MADE_UP:
            self.made_up.append(f"{quote['symbol']} at {quote['price']}, not {right}")


class Listener:
    """A socket that follows the symbols for the whole rehearsal, and what it heard last."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.socket.send(json.dumps({"action": "subscribe", "symbols": list(_SYMBOLS)}))
        self.heard: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.is_closed = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            for text in self.socket:
                message = json.loads(text)
                if message["type"] == "price_update":
                    with self._lock:
                        self.heard.append(message)
        except ConnectionClosed:
            self.is_closed = True

    def taken(self) -> list[dict[str, Any]]:
        with self._lock:
            heard, self.heard = self.heard, []
        return heard


def _act(
    stage: Stage,
    listener: Listener,
    faults: Sequence[Fault],
    truth: dict[str, float],
    seconds: int,
    shift: timedelta,
) -> Seen:
    seen = Seen()
    listener.taken()
    for fault in faults:
        _set(stage, fault, shift)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for path in _PATHS:
            _look(stage.webs[0].url + path, seen, truth)
        _hear(listener, seen, truth)
        time.sleep(1)
    stage.sandbox.heal()
    listener.taken()  # What was told before is no sign that it is over.
    healed = time.monotonic()
    while time.monotonic() < healed + 90:
        ticks = listener.taken()
        if any(_is_whole(tick) for tick in ticks):
            seen.back_s = time.monotonic() - healed
            break
        time.sleep(0.1)
    return seen


def _set(stage: Stage, fault: Fault, shift: timedelta) -> None:
    is_frozen = fault["kind"] == "frozen"
    if is_frozen:
        earlier_s = shift.total_seconds() - _FROZEN_FOR_S
        stage.sandbox.control("POST", "clock", {"shift_s": earlier_s})
    stage.sandbox.fault(**fault)
    if is_frozen:
        stage.sandbox.control("POST", "clock", {"shift_s": shift.total_seconds()})


def _look(url: str, seen: Seen, truth: dict[str, float]) -> None:
    status, took_s, body = status_of(url, timeout_s=20)
    seen.statuses[status] += 1
    seen.slowest_s = max(seen.slowest_s, took_s)
    if status != 200:
        return
    answer = json.loads(body)
    if "price" in answer:
        seen.note(answer, truth)
    elif isinstance(answer.get("data"), dict):
        for quote in answer["data"].values():
            seen.note(quote, truth)
    else:
        last = (
            answer["candles"][-1]["close"] if "candles" in answer else answer["data"][-1]["price"]
        )
        seen.sources["series"] += 1
        seen.stale += answer["stale"]
        if abs(last / truth[answer["symbol"]] - 1) > _MADE_UP:
            seen.made_up.append(f"{answer['symbol']} series ends at {last}")


def _hear(listener: Listener, seen: Seen, truth: dict[str, float]) -> None:
    for tick in listener.taken():
        seen.ticks += 1
        seen.stale_ticks += any(quote["stale"] for quote in tick["data"].values())
        for quote in tick["data"].values():
            seen.note(quote, truth)


def _is_whole(tick: dict[str, Any]) -> bool:
    quotes = tick["data"].values()
    return len(quotes) == len(_SYMBOLS) and not any(q["stale"] or q["disputed"] for q in quotes)


def _truth(stage: Stage) -> dict[str, float]:
    found = {}
    for symbol in _SYMBOLS:
        status, _, body = status_of(f"{stage.webs[0].url}/api/v1/prices/{symbol}", timeout_s=20)
        if status != 200:
            raise SystemExit(f"{symbol} has no price before any fault: {body!r}")
        found[symbol] = float(json.loads(body)["price"])
    return found


def _row(name: str, seen: Seen) -> str:
    said = "; ".join(
        [
            ", ".join(f"{code} x {n}" for code, n in sorted(seen.statuses.items())),
            f"{seen.slowest_s:.1f} s",
            ", ".join(f"{word} {n}" for word, n in seen.freshness.most_common()),
        ]
    ).split("; ")
    stock = ", ".join(f"{word} {n}" for word, n in seen.stock.most_common())
    skipped = ", ".join(name for name, _ in seen.skipped.most_common(6)) or "-"
    back = "not within 90 s" if seen.back_s is None else f"{seen.back_s:.1f} s"
    made_up = str(len(seen.made_up))
    cells = [name, *said, stock, str(seen.stale), str(seen.disputed), skipped]
    return f"| {' | '.join([*cells, f'{seen.ticks} ({seen.stale_ticks})', made_up, back])} |"


_HEAD = """# Rehearsal of faults

What clients see while sources fail: `make rehearsal`,
{date}, Python {python}, ticks every {tick} s, a second source compared every 30 s, sandbox over HTTP.
Each act lasts {seconds} s, those of all sources down and of one that stands still 100 s: a copy lives for
60 s. Then its faults are taken away. Statuses are of five REST requests a second
(two quotes, a batch, candles, a history); "made up" counts numbers more than 10 % off the market's own.
"Back" is from then to the first tick with all symbols, none stale or disputed; an open breaker rests 20 s.
The clock is set back: it begins in a session of New York, which closes before the last two acts.

| act | statuses | slowest answer | freshness of quotes | of AAPL's | stale | disputed | passed over | ticks (with a stale price) | made up | back |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""  # noqa: E501 - a table's head is one line


def _stage(shift: timedelta) -> Stage:
    return ShiftedStage(
        Path(tempfile.mkdtemp(prefix="lokifi-rehearsal-")),
        shift.total_seconds(),
        PUBLISH_INTERVAL_S=str(_TICK_S),
        DISPUTE_CHECK_S="30",
        TRACKED_SYMBOLS=",".join(_SYMBOLS),
    )


def _wait_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    rows: list[str] = []
    before_close = {**_STOCKS, **_COINS_TOO}
    closes = latest_session(datetime.now(UTC) - timedelta(hours=8)).closes
    lasts = {name: _LASTS_S.get(name, given.seconds) for name in [*before_close, *_CLOSED]}
    acting_s = sum(lasts[name] + _BETWEEN_S for name in before_close)
    begins = closes - timedelta(seconds=acting_s)
    shift = begins - datetime.now(UTC)
    with ExitStack() as opened:
        stage = opened.enter_context(_stage(shift))
        stage.up(["uvicorn"])
        truth = _truth(stage)
        socket = opened.enter_context(connect(stage.webs[0].socket_url))
        listener = Listener(socket)
        time.sleep(3 * _TICK_S)
        for name, faults in [*before_close.items(), *_CLOSED.items()]:
            if name in _CLOSED:
                _wait_until(closes + _SETTLED - shift)
            seen = _act(stage, listener, faults, truth, lasts[name], shift)
            rows.append(_row(name, seen))
            print(rows[-1], *seen.made_up[:5], sep="\n    ", flush=True)
        rows.append("")
        rows.append(f"The one socket was {'closed' if listener.is_closed else 'open'} at the end; ")
        rows[-1] += f"the servers wrote {stage.traces()} stack traces."
    head = _HEAD.format(
        seconds=given.seconds,
        date=datetime.now(UTC).date(),
        python=platform.python_version(),
        tick=_TICK_S,
    )
    if given.write:
        given.write.write_text(head + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
