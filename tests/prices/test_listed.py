"""The list of coins, looked at where a coin was never quoted."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from redis import Redis

from prices.services import listed, ranking
from tests.prices.rest import ok

pytestmark = pytest.mark.usefixtures("market")
REF = "coingecko:ripple"


@pytest.mark.usefixtures("redis_client")
def test_a_list_is_not_read_again_for_some_seconds(questions: list[Any]) -> None:
    ok("/crypto/top", limit=1)
    before = listed.price(REF)
    questions.clear()

    assert before is not None
    assert listed.price(REF) == before
    assert questions == []


def test_a_newer_list_is_seen_after_some_seconds(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok("/crypto/top", limit=1)
    before = listed.price(REF)
    assert before is not None
    whole = msgspec.json.decode(redis_client.get(ranking.KEY) or "")
    for row in whole["cryptos"]:
        row["current_price"] = 2 * before[0]
    redis_client.set(ranking.KEY, msgspec.json.encode(whole), keepttl=True)

    assert listed.price(REF) == before
    later = time.monotonic() + listed._LOOK_AGAIN_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert listed.price(REF) == (2 * before[0], before[1])


@pytest.mark.usefixtures("redis_client")
def test_no_list_is_looked_for_each_time_until_there_is_one() -> None:
    assert listed.price(REF) is None

    ok("/crypto/top", limit=1)

    assert listed.price(REF) is not None
