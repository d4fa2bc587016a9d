"""The REST API: one method a request, a PriceError for every failure."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, cast
from urllib.parse import quote as quoted

import httpx

from lokifi_prices.stream import PriceStream
from lokifi_prices.types import (
    Batch,
    Candles,
    Choices,
    CoinSearch,
    History,
    Kind,
    Mapping,
    Period,
    PriceAt,
    Problem,
    Quote,
    Resolution,
    SymbolSearch,
    Top,
)

_A_REQUEST = 100  # symbols; more are asked for in several

Parameter = str | int | float | bool | None


class PriceError(Exception):
    """A request that failed. `code` is the problem's, `unreachable` where no server answered."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 0,
        problem: Problem | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s


class PriceClient:
    """Asks a server at `url`. An async context manager; `more` goes to httpx.AsyncClient."""

    def __init__(self, url: str, *, timeout_s: float = 20.0, **more: Any) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(timeout=timeout_s, **more)

    async def __aenter__(self) -> PriceClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def quote(self, symbol: str, **query: Parameter) -> Quote:
        return cast("Quote", await self.get(_of(symbol), **query))

    async def quotes(self, symbols: Iterable[str], **query: Parameter) -> Batch:
        """Return quotes, a hundred a request; the times are those of the last one."""
        names = list(dict.fromkeys(symbols))
        whole: Batch | None = None
        for at in range(0, max(1, len(names)), _A_REQUEST):
            part = ",".join(names[at : at + _A_REQUEST])
            answer = cast("Batch", await self.get("/prices", symbols=part, **query))
            whole = _added(whole, answer) if whole else answer
        assert whole is not None  # noqa: S101 (there is one request at least)
        return whole

    async def history(self, symbol: str, period: Period = "1m", **query: Parameter) -> History:
        return cast("History", await self.get(f"{_of(symbol)}/history", period=period, **query))

    async def candles(
        self,
        symbol: str,
        period: Period = "1m",
        resolution: Resolution | None = None,
        **query: Parameter,
    ) -> Candles:
        path = f"{_of(symbol)}/ohlcv"
        return cast("Candles", await self.get(path, period=period, resolution=resolution, **query))

    async def price_at(self, symbol: str, date: str, **query: Parameter) -> PriceAt:
        """Return the close of a day gone by, `YYYY-MM-DD`."""
        return cast("PriceAt", await self.get(f"{_of(symbol)}/at", date=date, **query))

    async def top(self, limit: int = 100, page: int = 1, **query: Parameter) -> Top:
        return cast("Top", await self.get("/prices/crypto/top", limit=limit, page=page, **query))

    async def search_coins(self, q: str, limit: int = 50, **query: Parameter) -> CoinSearch:
        path = "/prices/crypto/search"
        return cast("CoinSearch", await self.get(path, q=q, limit=limit, **query))

    async def search(
        self, q: str, limit: int = 50, kind: Kind | None = None, **query: Parameter
    ) -> SymbolSearch:
        path = "/prices/symbols/search"
        return cast("SymbolSearch", await self.get(path, q=q, limit=limit, kind=kind, **query))

    async def mapping(self) -> Mapping:
        return cast("Mapping", await self.get("/prices/crypto/mapping"))

    def stream(self, *, choices: Choices | None = None) -> PriceStream:
        """Return a stream of this server; use it as an async context manager."""
        return PriceStream(f"ws{self.url.removeprefix('http')}/api/ws/prices", choices=choices)

    async def get(self, path: str, **query: Parameter) -> Any:
        """Return whatever else is to be had below /api/v1. Raises PriceError."""
        given = {name: _written(value) for name, value in query.items() if value is not None}
        try:
            response = await self._http.get(f"{self.url}/api/v1{path}", params=given)
        except httpx.HTTPError as exc:
            raise PriceError("unreachable", "The server cannot be reached.") from exc
        body = _body(response)
        if response.is_success and body is not None:
            return body
        raise _failure(response, body)


def _of(symbol: str) -> str:
    # Tickers may be written in any case, and in capitals none is a word of the API's addresses.
    ticker = symbol.upper() if symbol.isascii() and symbol.isalpha() else symbol
    return f"/prices/{quoted(ticker, safe='')}"


def _written(value: Parameter) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _body(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _added(whole: Batch, part: Batch) -> Batch:
    return {
        **part,
        "count": whole["count"] + part["count"],
        "data": {**whole["data"], **part["data"]},
        "failed": {**whole["failed"], **part["failed"]},
        "resolved": {**whole["resolved"], **part["resolved"]},
        "cache_hits": whole["cache_hits"] + part["cache_hits"],
        "api_calls": whole["api_calls"] + part["api_calls"],
        "cached": whole["cached"] and part["cached"],
        "stale": whole["stale"] or part["stale"],
    }


def _failure(response: httpx.Response, body: Any) -> PriceError:
    problem = cast("Problem", body) if isinstance(body, dict) and "code" in body else None
    status = response.status_code
    wait = response.headers.get("Retry-After", "")
    return PriceError(
        problem["code"] if problem else "internal_error",
        problem["detail"] if problem else f"The server answered {status}.",
        status=status,
        problem=problem,
        retry_after_s=float(wait) if wait.isdecimal() else None,
    )
