"""Whoever keeps answers by symbol can tell when symbols came to mean others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from prices.models import Asset
from prices.services import catalogue, holdings, symbols
from prices.types import AssetKind
from tests.market import Sandbox

pytestmark = pytest.mark.django_db


def test_a_pin_and_its_end_tell(
    django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[object]],
) -> None:
    first, second = (
        Asset.objects.create(
            ref=f"coingecko:{name}", ticker="ONE", name=name, kind="crypto", coingecko_id=name
        )
        for name in ("first", "second")
    )
    symbols.resolve_many(["ONE"])
    seen = {holdings.names_version()}
    other = second if symbols.holder(symbols.bearers("ONE")) == first else first
    for change in (symbols.pin, symbols.unpin):
        with django_capture_on_commit_callbacks(execute=True):
            change(other)
        seen.add(holdings.names_version())

    assert len(seen) == 3


def test_a_new_catalogue_tells(market: Sandbox) -> None:
    catalogue.fill(AssetKind.CRYPTO)
    before = holdings.names_version()
    catalogue.fill(AssetKind.CRYPTO)

    assert b"" != before != holdings.names_version()
