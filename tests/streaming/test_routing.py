"""Which paths are the WebSocket's, and what is nobody's."""

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


def test_a_server_that_tells_of_its_own_beginning_learns_that_nobody_listens_to_that() -> None:
    from lokifi.asgi import by_protocol

    with pytest.raises(ValueError, match="lifespan"):
        by_protocol({"type": "lifespan"}, None, None)
