"""HTTP by hand: whatever bytes a client may send, and every header that comes back."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.processes import until

Header = tuple[str, str]

# What may differ between two answers to one question: ages, ids, and whose clock.
OWN = {"age", "x-cache", "date", "x-request-id", "server"}

# How many answers Django has given, where they are counted (counting.py).
COUNT = "x-django"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: tuple[Header, ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    @property
    def max_age(self) -> int:
        _, _, life = (self.header("cache-control") or "").partition("max-age=")
        return int(life) if life else 0

    @property
    def life_left(self) -> int:
        return self.max_age - int(self.header("age") or 0)

    @property
    def content(self) -> bytes:
        is_zipped = self.header("content-encoding") == "gzip" and self.body
        return gzip.decompress(self.body) if is_zipped else self.body


class Line:
    """One connection that stays, as a browser's does."""

    def __init__(self, port: int, timeout_s: float = 20) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def ask(
        self,
        target: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        self._connection.putrequest(
            method, target, skip_host="Host" in (headers or {}), skip_accept_encoding=True
        )
        if body is not None:
            self._connection.putheader("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self._connection.putheader(name, value)
        self._connection.endheaders(body)
        response = self._connection.getresponse()
        named = sorted((name.lower(), value) for name, value in response.getheaders())
        return Reply(response.status, tuple(named), response.read())

    def close(self) -> None:
        self._connection.close()


Connect = Callable[..., Line]


def kept(line: Line, target: str, age_s: int = 0) -> Reply:
    """Return an answer from a copy, of some age.

    A server's first copies go as soon as it has heard what names mean, which takes it no
    second: where one of that age is there, it has.
    """
    found = list[Reply]()

    def is_kept() -> bool:
        found.append(line.ask(target))
        return int(found[-1].header("age") or -1) >= age_s

    until(is_kept, f"a copy of {target}")
    return found[-1]
