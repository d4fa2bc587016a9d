"""The channel layer: what is announced on it is heard at once, and costs nothing until then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio.client import PubSub

from streaming.layer import PatientLayer, layer

pytestmark = pytest.mark.asyncio


async def test_who_listens_waits_for_what_is_announced_and_does_not_look_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    async def parse_response(pubsub: PubSub, *args: Any, **how: Any) -> Any:
        nonlocal looks
        looks += 1
        return await whole(pubsub, *args, **how)

    whole: Any = PubSub.parse_response
    monkeypatch.setattr(PubSub, "parse_response", parse_response)
    announcing = layer()
    assert isinstance(announcing, PatientLayer)
    channel = await announcing.new_channel()
    try:
        await announcing.group_add("readers", channel)
        await asyncio.sleep(0.2)  # Both subscriptions are confirmed by now.
        before = looks

        await asyncio.sleep(1)

        assert looks - before <= 1
        await announcing.group_send("readers", {"type": "tick", "seq": 7})
        async with asyncio.timeout(2):
            assert (await announcing.receive(channel))["seq"] == 7
    finally:
        await announcing.flush()
