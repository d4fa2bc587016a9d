"""Fixtures of the front cache's tests."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import pytest

from lokifi.frontcache import cache, capture, shelf


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass for the cache."""

    def pass_s(seconds: float) -> None:
        for module in (cache, capture):
            monkeypatch.setattr(module, "monotonic", lambda: monotonic() + seconds)
        monkeypatch.setattr(shelf, "monotonic", lambda: monotonic() + seconds)

    return pass_s
