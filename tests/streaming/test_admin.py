"""What streaming adds to the admin: who follows what, and the last tick."""

from __future__ import annotations

import re
from html import unescape

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from redis import Redis

from prices import redis_clients
from streaming import ticks
from streaming.demand import Leases
from streaming.protocol import share, stamp
from streaming.ticks import UNKNOWN

pytestmark = pytest.mark.django_db

LIST = "/admin/prices/asset/"
STATUS = "/admin/prices/asset/status/"


@pytest.fixture
def bitcoin() -> int:
    from django.apps import apps

    return int(
        apps.get_model("prices", "Asset")
        .objects.create(
            ref="coingecko:bitcoin",
            ticker="BTC",
            name="Bitcoin",
            kind="crypto",
            coingecko_id="bitcoin",
            market_cap_rank=1,
        )
        .pk
    )


@async_to_sync
async def follow(counts: dict[str, int], **figures: int) -> None:
    """Be a server process whose sockets follow symbols."""
    async with redis_clients.async_client() as client:
        await Leases(client, 60).renew(counts, figures)


def text_of(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def test_the_list_shows_how_many_sockets_of_all_processes_follow_an_asset(
    admin_client: Client, bitcoin: int
) -> None:
    follow({"BTC": 2, "ETH": 7})
    follow({"BTC": 3})

    assert "BTC Bitcoin crypto 1 – – – 5" in text_of(admin_client, LIST)  # noqa: RUF001


def test_an_asset_s_page_shows_how_many_sockets_follow_it(
    admin_client: Client, bitcoin: int
) -> None:
    assert "0 sockets follow it now" in text_of(admin_client, f"{LIST}{bitcoin}/change/")

    follow({"BTC": 1})

    assert "1 socket follows it now" in text_of(admin_client, f"{LIST}{bitcoin}/change/")


def test_the_status_page_shows_the_last_tick_and_what_is_followed(
    admin_client: Client, redis_client: Redis
) -> None:
    assert "None was published yet." in text_of(admin_client, STATUS)
    follow({"BTC": 2, "ETH": 7})
    for _ in range(2):
        place = ticks.publish(redis_clients.client(), UNKNOWN, 30, share(stamp(), []))

    text = text_of(admin_client, STATUS)

    assert "Followed 2 symbols by sockets" in text
    assert f"Last tick number 2 of epoch {place.epoch}" in text
    assert "Prices in it 0, 0 of them stale" in text


def test_the_status_page_shows_what_all_processes_count_together(
    admin_client: Client, redis_client: Redis
) -> None:
    assert "Open none, on no server process" in text_of(admin_client, STATUS)
    one = {"sockets": 1200, "subscriptions": 12_000, "frames": 5000, "bytes": 2_500_000}
    follow({"BTC": 2}, **one, conflated=3, dropped=5, slow=1, closed_4409=1)
    follow({"BTC": 2}, **one, conflated=0, slow=0, left_1006=7, left_other=2)

    text = text_of(admin_client, STATUS)

    assert "Open 2,400 on 2 server processes" in text
    assert "Subscriptions 24,000" in text
    assert "Sent 10,000 messages, 5.0 MB" in text
    assert "Ticks skipped by slow readers 3" in text
    assert "Closed with 4409 1 Left by themselves, 1006 7 Left by themselves, other 2" in text


def test_figures_that_are_not_ours_are_left_out(admin_client: Client, redis_client: Redis) -> None:
    follow({"BTC": 1}, sockets=1)
    (name,) = redis_client.keys("lokifi:demand:figures:*")
    redis_client.set(name, b"[1")

    assert "Open none, on no server process" in text_of(admin_client, STATUS)


def test_a_snapshot_that_is_not_ours_spoils_no_page(
    admin_client: Client, redis_client: Redis
) -> None:
    redis_client.set(ticks.SNAPSHOT, b"\xff<script>alert(1)</script>")

    assert "lokifi:snapshot holds cannot be read" in text_of(admin_client, STATUS)
