"""Which paths are the WebSocket's."""

from __future__ import annotations

from typing import Any

import pytest

from streaming import routing
from streaming.origins import deny


@pytest.mark.parametrize(
    ("path", "root", "is_prices"),
    [
        ("/api/ws/prices", "", True),
        ("//api/ws/prices", "", True),
        ("/x/api/ws/prices", "/x", True),
        ("/x/api/ws/prices", "/x/", True),
        ("/x//api/ws/prices", "/x", True),
        ("/api/ws/prices", "/x", True),  # a proxy that took the root path off
        ("/api/ws/prices/", "", False),
        ("/api/ws/pricesx", "", False),
        ("/x/api/ws/prices", "", False),
        ("/", "", False),
        ("", "", False),
    ],
)
def test_the_socket_is_found_behind_any_root_path_and_nowhere_else(
    path: str, root: str, is_prices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(name: str) -> Any:
        return lambda *_: name

    monkeypatch.setattr(routing, "_prices", called("prices"))
    monkeypatch.setattr(routing, deny.__name__, called("denied"))

    scope = {"type": "websocket", "path": path, "root_path": root}

    told: object = routing.by_path(scope, None, None)

    assert told == ("prices" if is_prices else "denied")
