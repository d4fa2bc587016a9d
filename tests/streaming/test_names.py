"""What names mean is asked for together and remembered, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from prices.services.symbols import Resolution
from streaming.lookup import Names
from tests.streaming.sockets import meaning

pytestmark = pytest.mark.asyncio


class Catalogue:
    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def resolve(self, names: Collection[str]) -> Resolution:
        self.asked.append(list(names))
        return meaning(names, {}, {})


async def learn(names: Names, wanted: Collection[str]) -> Resolution:
    found = await names.resolution(wanted, asyncio.get_running_loop().time() + 30)
    assert found is not None
    return found


async def test_a_name_longer_than_any_symbol_is_refused_unasked_and_not_kept() -> None:
    catalogue = Catalogue()
    names = Names(catalogue.resolve)

    found = await learn(names, ["x" * 5000, "BTC"])

    assert found.rejected == {"x" * 5000: "invalid_symbol"}
    assert list(found.found) == ["BTC"]
    assert catalogue.asked == [["BTC"]]
    assert list(names._known) == ["BTC"]


async def test_a_flood_of_names_is_asked_for_in_parts_and_leaves_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.lookup._MOST_NAMES", 10)
    monkeypatch.setattr("streaming.lookup._ASKED_AT_ONCE", 4)
    catalogue = Catalogue()
    names = Names(catalogue.resolve)
    many = [f"N{number}" for number in range(9)]

    assert list((await learn(names, many)).found) == many
    assert [len(part) for part in catalogue.asked] == [4, 4, 1]
    await learn(names, ["A", "B", "C"])

    assert list(names._known) == [*many[2:], "A", "B", "C"]
