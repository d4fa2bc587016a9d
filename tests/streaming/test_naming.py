"""Which symbols are accepted, by what name they go, and how they are left."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from pytest_django import Settings

from prices.services.symbols import Resolution
from streaming.hub import Hub
from tests.streaming.sockets import (
    client,
    knowing,
    meaning,
    publish,
    resolve,
    until,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hub")]


async def test_symbols_are_rejected_by_name_and_the_rest_is_followed() -> None:
    async with client() as socket:
        subscribed, snapshot = await socket.subscribe("btc", "NOPE", "B T C", "crypto:btc")

        assert subscribed["symbols"] == ["BTC"]
        assert subscribed["count"] == 1
        assert subscribed["rejected"] == {"NOPE": "unknown_symbol", "B T C": "invalid_symbol"}
        assert subscribed["resolved"] == {"crypto:btc": "BTC"}
        assert list(snapshot["data"]) == ["BTC"]


async def test_an_unknown_symbol_is_rejected_by_name_when_subscribing() -> None:
    async with client() as socket:
        subscribed, snapshot = await socket.subscribe("NOPE")

        assert subscribed["rejected"] == {"NOPE": "unknown_symbol"}
        assert (subscribed["symbols"], subscribed["count"]) == ([], 0)
        assert (snapshot["snapshot"], snapshot["data"]) == (True, {})


async def test_a_second_request_is_answered_for_its_own_symbols() -> None:
    async with client() as socket:
        await socket.subscribe("BTC")
        subscribed, snapshot = await socket.subscribe("ETH", "BTC")

        assert (subscribed["symbols"], subscribed["count"]) == (["ETH", "BTC"], 2)
        assert list(snapshot["data"]) == ["ETH", "BTC"]


async def test_one_symbol_more_than_the_limit_is_rejected(settings: Settings) -> None:
    settings.WS_MAX_SYMBOLS = 2
    async with client() as socket:
        subscribed, _ = await socket.subscribe("BTC", "NOPE", "ETH", "SOL", "crypto:BTC")

        assert subscribed["symbols"] == ["BTC", "ETH"]
        assert subscribed["rejected"] == {"NOPE": "unknown_symbol", "SOL": "limit"}
        await socket.ask("unsubscribe", "ETH")
        assert (await socket.subscribe("SOL"))[0]["symbols"] == ["SOL"]


async def test_what_a_symbol_meant_before_is_not_told_to_who_subscribes_after(hub: Hub) -> None:
    place = await publish(BTC=7.0)
    await until(lambda: hub.place == place)

    def pinned(asked: Collection[str]) -> Resolution:
        return meaning(asked, {}, {"BTC": "coingecko:batcat"})

    async with client(knowing(cached=["BTC"], resolution=pinned)) as socket:
        subscribed, snapshot = await socket.subscribe("BTC")

        assert (subscribed["symbols"], subscribed["pending"]) == (["BTC"], ["BTC"])
        assert snapshot["data"] == {}


async def test_with_the_catalogue_out_of_reach_nothing_is_called_unknown() -> None:
    def fail(asked: Collection[str]) -> Resolution:
        raise OSError("no database")

    async with client(knowing(resolution=fail)) as socket:
        subscribed, _ = await socket.subscribe("BTC")

        assert subscribed["rejected"] == {"BTC": "upstream_unavailable"}
        assert subscribed["retry_after_ms"] > 0
        assert subscribed["symbols"] == subscribed["pending"] == []


@pytest.mark.parametrize("code", ["upstream_unavailable", "upstream_rate_limited"])
async def test_what_no_catalogue_could_tell_may_be_asked_again(code: str) -> None:
    def unread(asked: Collection[str]) -> Resolution:
        result = resolve([name for name in asked if name != "TSLA"])
        result.rejected["TSLA"] = code
        return result

    async with client(knowing(resolution=unread)) as socket:
        subscribed, snapshot = await socket.subscribe("BTC", "TSLA", "NOPE")

        assert subscribed["symbols"] == ["BTC"]
        assert subscribed["rejected"] == {"TSLA": "upstream_unavailable", "NOPE": "unknown_symbol"}
        assert subscribed["retry_after_ms"] > 0
        assert list(snapshot["data"]) == ["BTC"]


async def test_what_needs_a_setting_of_the_server_is_refused_for_good() -> None:
    def without_key(asked: Collection[str]) -> Resolution:
        return Resolution(rejected=dict.fromkeys(asked, "provider_not_configured"))

    async with client(knowing(resolution=without_key)) as socket:
        subscribed, _ = await socket.subscribe("AAPL")

        assert subscribed["rejected"] == {"AAPL": "provider_not_configured"}
        assert "retry_after_ms" not in subscribed


async def test_what_is_traded_no_more_is_rejected_for_good() -> None:
    def renamed(asked: Collection[str]) -> Resolution:
        return Resolution(rejected=dict.fromkeys(asked, "inactive_symbol"))

    async with client(knowing(resolution=renamed)) as socket:
        subscribed, _ = await socket.subscribe("FB")

        assert subscribed["rejected"] == {"FB": "inactive_symbol"}
        assert "retry_after_ms" not in subscribed


async def test_a_name_that_means_another_asset_now_is_unsubscribed_by_the_old_name_too() -> None:
    names: dict[str, str] = {}
    lookup = knowing(resolution=lambda asked: meaning(asked, names, {}))
    async with client(lookup) as socket:
        await socket.subscribe("stock:STX", "coingecko:STX", "BTC", "ETH")
        names |= {"stock:STX": "STX", "stock:stx": "STX", "crypto:ETH": "ETH"}

        one = await socket.ask("unsubscribe", "stock:stx", "crypto:ETH")
        await socket.subscribe("stock:STX")
        two = await socket.ask("unsubscribe", "stock:STX")

        assert (one["symbols"], one["count"]) == (["stock:STX", "ETH"], 2)
        assert (two["symbols"], two["count"]) == (["STX"], 2)
        left = await socket.ask("get_subscriptions")
        assert left["symbols"] == ["BTC", "coingecko:STX"]


async def test_what_is_followed_can_be_left_while_the_catalogue_is_out_of_reach() -> None:
    is_away = False

    def fail(asked: Collection[str]) -> Resolution:
        if is_away:
            raise OSError("no database")
        return resolve(asked)

    async with client(knowing(resolution=fail)) as socket:
        await socket.subscribe("BTC", "stock:STX")
        is_away = True

        answer = await socket.ask("unsubscribe", "btc", "stock:stx", "ETH")

        assert (answer["symbols"], answer["count"]) == (["BTC", "stock:STX"], 0)


async def test_unsubscribing_once_is_enough() -> None:
    async with client() as socket:
        await socket.subscribe("BTC", "ETH", "AAPL")
        await socket.subscribe("BTC")

        answer = await socket.ask("unsubscribe", "btc", "crypto:ETH", "NOPE", id="bye")

        assert answer == {
            "type": "unsubscribed",
            "id": "bye",
            "symbols": ["BTC", "ETH"],
            "count": 1,
        }
        await publish(BTC=1.0, AAPL=2.0)
        assert list((await socket.receive())["data"]) == ["AAPL"]


async def test_subscriptions_are_sorted() -> None:
    async with client() as socket:
        await socket.subscribe("ETH", "BTC", "stock:STX")

        assert await socket.ask("get_subscriptions", id=0) == {
            "type": "subscriptions",
            "id": 0,
            "symbols": ["BTC", "ETH", "stock:STX"],
            "count": 3,
        }
