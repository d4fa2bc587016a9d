"""A far end for tests of providers, without a socket: answers by path, and what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

Route = Any | Callable[[Mapping[str, str]], Any]
"""A JSON body, a whole response, an exception to raise, or what makes one of these of the query."""


class Site:
    """Answers by the path below `root`."""

    def __init__(self, root: str, routes: Mapping[str, Route]) -> None:
        self.root = root
        self.routes = routes
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.routes[request.url.path.removeprefix(self.root)]
        if callable(reply):
            reply = reply(dict(request.url.params))
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return reply
        return httpx.Response(200, content=json.dumps(reply).encode())

    @property
    def params(self) -> list[dict[str, str]]:
        return [dict(request.url.params) for request in self.asked]
