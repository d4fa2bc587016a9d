"""The sources the sandbox speaks for: where each lives, who answers, how it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prices.sandbox import binance, coinbase, coingecko, finnhub, kraken, tiingo, twelvedata, yahoo
from prices.sandbox.wire import Call, Reply, json_reply


@dataclass(frozen=True, slots=True)
class Source:
    """One source.

    `prefix` begins its paths. `failure` is the body it gives a status with a text;
    `weight` what a call counts against its limits, from the rest of the path and the query.
    """

    name: str
    prefix: str
    respond: Callable[[Call], Reply]
    failure: Callable[[int, str], Reply]
    weight: Callable[[str, Mapping[str, str]], int] = lambda _path, _query: 1
    # Numbers come as text in its answers.
    writes_text: bool = False


def _coingecko_failure(status: int, text: str) -> Reply:
    if status == 429:
        return coingecko.rate_limited(None)
    return json_reply(status, {"status": {"error_code": status, "error_message": text}})


def _finnhub_failure(status: int, text: str) -> Reply:
    return finnhub.rate_limited(60, 0) if status == 429 else json_reply(status, {"error": text})


def _kraken_failure(status: int, text: str) -> Reply:
    told = "EAPI:Rate limit exceeded" if status == 429 else text
    return kraken.failure(status, told)


def _coinbase_failure(status: int, text: str) -> Reply:
    return coinbase.rate_limited() if status == 429 else coinbase.failure(status, text)


def _twelvedata_failure(status: int, text: str) -> Reply:
    """Return an error; 200 is the refusal that only the body tells."""
    if status in (200, 429):
        refusal = twelvedata.rate_limited(9, 8, "minute")
        return Reply(status, refusal.body, refusal.headers)
    return twelvedata.failure(status, text)


def _tiingo_failure(status: int, text: str) -> Reply:
    return tiingo.rate_limited("hourly") if status == 429 else tiingo.failure(status, text)


_ALL = (
    Source("coingecko", "/coingecko/api/v3", coingecko.respond, _coingecko_failure),
    Source("finnhub", "/finnhub/api/v1", finnhub.respond, _finnhub_failure),
    Source("files", finnhub.FILES, finnhub.respond_file, _finnhub_failure),
    Source("coinbase", "/coinbase", coinbase.respond, _coinbase_failure, writes_text=True),
    Source("kraken", "/kraken/0/public", kraken.respond, _kraken_failure, writes_text=True),
    Source(
        "binance",
        "/binance/api/v3",
        binance.respond,
        binance.failure,
        binance.weight,
        writes_text=True,
    ),
    Source(
        "twelvedata",
        "/twelvedata",
        twelvedata.respond,
        _twelvedata_failure,
        twelvedata.credits_of,
        writes_text=True,
    ),
    Source("tiingo", "/tiingo", tiingo.respond, _tiingo_failure),
    Source("yahoo", "/yahoo/v8/finance", yahoo.respond, yahoo.failure),
)
SOURCES = {source.name: source for source in _ALL}
# What a fault may be set for: the file host fails with Finnhub.
FAULTY = tuple(name for name in SOURCES if name != "files")


def source_of(path: str) -> Source | None:
    return next((source for source in _ALL if path.startswith(f"{source.prefix}")), None)
