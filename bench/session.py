"""The end of a session of New York of which no source gives candles: they are made of quotes.

    python -m bench.session [--minutes 10]

A whole product runs by a clock set back so that the session closes after so many
minutes. Finnhub's free plan is the only source of stocks: it gives quotes and
refuses candles. One client follows AAPL. Once a minute a line tells what is
answered for AAPL's candles: origin, bars, coverage, freshness. Ends with 1 where
any answer was another than recorded bars, or a minute went by without its bar.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.chaos.__main__ import load_settings

load_settings()

from bench.shifted import ShiftedStage  # noqa: E402 - what it imports reads the settings
from prices.sessions import latest_session  # noqa: E402 - as above
from tests.chaos.stage import status_of  # noqa: E402 - as above

# Starting takes a while; the session is to go on long enough after it.
_START = timedelta(seconds=60)
# How long after the close the last price is awaited, and seen as what it is.
_AFTER = timedelta(minutes=2)
_RESOLUTIONS = ("1", "5", "15", "30", "60", "240", "D")


def _asked(url: str) -> dict[str, Any]:
    status, _, body = status_of(url, timeout_s=20)
    answer: dict[str, Any] = json.loads(body)
    return {"status": status, **answer}


def _line(now: datetime, answer: dict[str, Any]) -> str:
    if answer["status"] != 200:
        return f"{now:%H:%M:%S} UTC  {answer['status']} {answer['code']}"
    return (
        f"{now:%H:%M:%S} UTC  resolution {answer['resolution']:>3}: {answer['count']} bars, "
        f"origin {answer['origin']}, coverage {answer['coverage']}, {answer['freshness']}"
    )


def _watched(url: str, shift: timedelta, until: datetime) -> list[dict[str, Any]]:
    """Ask for the day's minute bars once a minute until then; return the answers."""
    answers = []
    while (now := datetime.now(UTC) + shift) < until:
        # A copy lives half an hour: what is there now is asked for.
        answers.append(_asked(f"{url}/AAPL/ohlcv?period=1d&resolution=1&force_refresh=true"))
        quote = _asked(f"{url}/AAPL")
        print(
            f"{_line(now, answers[-1])}; quote {quote.get('price')} as of {quote.get('as_of')}, "
            f"{quote.get('freshness')}",
            flush=True,
        )
        time.sleep(60)
    return answers


def _are_right(answers: list[dict[str, Any]]) -> bool:
    told = [one for one in answers if one["status"] == 200]
    counts = [one["count"] for one in told]
    return (
        bool(told)
        and all(one["origin"] == "recorded" for one in told)
        and all(later >= earlier for earlier, later in pairwise(counts))
        and told[-1]["freshness"] == "closed"
        and counts[-1] >= len(counts) - 3
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=10)
    minutes = timedelta(minutes=parser.parse_args().minutes)
    closes = latest_session(datetime.now(UTC) - timedelta(hours=8)).closes
    shift = closes - minutes - _START - datetime.now(UTC)
    with ExitStack() as opened:
        stage = opened.enter_context(
            ShiftedStage(
                Path(tempfile.mkdtemp(prefix="lokifi-session-")),
                shift.total_seconds(),
                PUBLISH_INTERVAL_S="5",
                CHAIN_STOCK_CANDLES="finnhub",
                CHAIN_STOCK_QUOTES="finnhub",
                SANDBOX_PLAN="free",
            )
        )
        stage.sandbox.control("POST", "plan", {"plan": "free"})
        stage.up(["uvicorn"])
        socket = opened.enter_context(connect(stage.webs[0].socket_url))
        socket.send(json.dumps({"action": "subscribe", "symbols": ["AAPL"]}))
        # What is not read lets a server think that the client is gone.
        threading.Thread(target=lambda: list(socket), daemon=True).start()
        url = f"{stage.webs[0].url}/api/v1/prices"
        answers = _watched(url, shift, closes + _AFTER)
        for resolution in _RESOLUTIONS:
            asked = f"{url}/AAPL/ohlcv?period=1d&resolution={resolution}&force_refresh=true"
            print(_line(datetime.now(UTC) + shift, _asked(asked)))
        print(f"stack traces of servers: {stage.traces()}")
    return 0 if _are_right(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
