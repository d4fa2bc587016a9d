"""What an operator can do to assets in the admin, against a real Redis and the sandbox."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from redis import Redis

from prices import registry
from prices.models import Asset
from tests.market import Sandbox
from tests.prices.admin_pages import (
    LIST,
    STATUS,
    act,
    charted,
    coin,
    detail,
    messages,
    page,
    plain,
    press,
    stock,
    told,
)

pytestmark = pytest.mark.django_db


def test_assets_are_tracked_and_untracked(admin_client: Client) -> None:
    one, two = coin("bitcoin", "BTC", 1), coin("ethereum", "ETH", 2, tracked=True)

    assert act(admin_client, "track", one, two) == [
        "1 tracked now: coingecko:bitcoin.",
        "1 was tracked already.",
    ]
    assert Asset.objects.filter(tracked=True).count() == 2
    assert press(admin_client, "untrack", one) == ["1 no longer tracked: coingecko:bitcoin."]
    assert list(Asset.objects.filter(tracked=True)) == [two]
    assert [entry.object_repr for entry in LogEntry.objects.order_by("pk")] == [str(one)] * 2


def test_pinning_tells_from_whom_the_ticker_was_taken(admin_client: Client) -> None:
    bitcoin, other = coin("bitcoin", "BTC", 1), coin("batcat", "BTC", 2900)

    assert act(admin_client, "pin", bitcoin) == ["BTC means coingecko:bitcoin now."]
    assert press(admin_client, "pin", other) == [
        "BTC means coingecko:batcat now. It was pinned to coingecko:bitcoin."
    ]
    assert act(admin_client, "pin", other) == ["BTC is pinned to coingecko:batcat already."]
    assert act(admin_client, "unpin", other) == [
        "No longer pinned: coingecko:batcat. BTC means coingecko:bitcoin now."
    ]
    assert act(admin_client, "unpin", other) == ["None of them was pinned."]


def test_two_assets_of_one_ticker_are_not_pinned_at_once(admin_client: Client) -> None:
    one, two = coin("bitcoin", "BTC", 1), coin("batcat", "BTC", 2900)

    assert act(admin_client, "pin", one, two, coin("ethereum", "ETH", 2)) == [
        "Only one asset can be pinned on a ticker; several were chosen for BTC. Nothing was done."
    ]
    assert not Asset.objects.filter(pinned=True).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["button", "form"])
def test_a_ticker_that_changes_hands_takes_no_old_price_with_it(
    admin_client: Client, redis_client: Redis, how: str
) -> None:
    bitcoin, other = coin("bitcoin", "BTC", 1, settled=True), coin("batcat", "BTC", 2900)
    told(bitcoin, "BTC", 67_234.5)
    charted(bitcoin, "BTC", [1.0, 2.0])
    told(other, other.ref, 0.5)

    if how == "button":
        press(admin_client, "pin", other)
    else:
        admin_client.post(detail(other), {"pinned": "on", "is_active": "on"})

    names = {*redis_client.keys("*price:*"), *redis_client.keys("*history:*")}
    assert names == {f"{kind}price:{other.ref}" for kind in ("", "good:", "sent:")}


def test_more_assets_than_anyone_means_are_refused(admin_client: Client) -> None:
    Asset.objects.bulk_create(
        Asset(ref=f"coingecko:c{n}", ticker=f"C{n}", name="C", kind="crypto") for n in range(300)
    )
    first = Asset.objects.first()
    assert first is not None

    data = {"action": "track", "_selected_action": [first.pk], "select_across": "1"}
    said = messages(admin_client.post(LIST, data, follow=True))

    assert said == ["At most 250 assets at once; nothing was done."]
    assert not Asset.objects.filter(tracked=True).exists()


def test_refreshing_asks_each_source_once_and_tells_the_prices(
    admin_client: Client, market: Sandbox, redis_client: Redis
) -> None:
    chosen = list(
        Asset.objects.filter(ref__in=["coingecko:bitcoin", "coingecko:ethereum", "stock:AAPL"])
    )

    said = act(admin_client, "refresh", *chosen)

    assert len(said) == 1
    assert said[0].startswith("Renewed with 2 upstream calls: ")
    assert re.search(r"BTC \$[\d,.]+ \(sandbox, ", said[0])
    assert market.count() == 2
    assert redis_client.ttl("price:BTC") > 50
    again = act(admin_client, "refresh", *chosen)
    assert [text[:40] for text in again] == ["Not asked for again, since it is less th"]
    assert market.count() == 2


def test_a_source_that_fails_is_told_and_the_old_price_stays(
    admin_client: Client, market: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.JUMP_PERCENT = 0  # The old price is made up, and far from the market's.
    bitcoin = Asset.objects.get(ref="coingecko:bitcoin")
    told(bitcoin, "BTC", 1234.5, age_s=40)
    market.fault("status", source="coingecko", status=503)

    refreshed = press(admin_client, "refresh", bitcoin)
    checked = press(admin_client, "check", bitcoin)

    assert len(refreshed) == len(checked) == 1
    assert refreshed[0].startswith("Could not be renewed: coingecko:bitcoin. coingecko: ")
    assert checked[0].startswith("Could not be checked: coingecko:bitcoin. coingecko: ")
    assert "$1,234.50" in page(admin_client, LIST, q="coingecko:bitcoin")
    market.heal()
    assert press(admin_client, "refresh", bitcoin)[0].startswith("Renewed with 1 upstream call")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("operation", ["refresh", "check"])
def test_a_spent_budget_is_told_and_no_call_is_made(
    admin_client: Client, market: Sandbox, operation: str
) -> None:
    bitcoin = Asset.objects.get(ref="coingecko:bitcoin")
    registry.budget("coingecko").freeze(30)

    said = press(admin_client, operation, bitcoin)

    assert len(said) == 1
    assert "our budget of calls is used up" in said[0]
    assert market.count() == 0


def test_checking_tells_how_far_the_held_price_is_off(
    admin_client: Client, market: Sandbox
) -> None:
    bitcoin = Asset.objects.get(ref="coingecko:bitcoin")
    told(bitcoin, "BTC", 1.0, age_s=30)

    said = press(admin_client, "check", bitcoin)

    assert len(said) == 1
    assert re.fullmatch(
        r"Checked coingecko:bitcoin: its source lists it at \$[\d,.]+; "
        r"held is \$1\.00, 3\d s old, off by -\d+\.\d\d %\.",
        said[0],
    )


def test_checking_finds_what_its_source_no_longer_lists(
    admin_client: Client, market: Sandbox
) -> None:
    gone = coin("no-such-coin-at-all", "GONE", 4000)
    delisted = stock("ZZZZQ")
    apple = Asset.objects.get(ref="stock:AAPL")

    said = act(admin_client, "check", gone, delisted, apple)

    assert "Checked coingecko:no-such-coin-at-all: its source does not list it any more." in said
    # A stock may be idle: no price is no proof that it is gone.
    assert "Checked stock:ZZZZQ: its source gives no price for it." in said
    assert any(text.startswith("Checked stock:AAPL: its source lists it at $") for text in said)


@pytest.mark.usefixtures("alone")
def test_a_source_without_its_key_is_told(
    admin_client: Client, settings: Any, redis_client: Redis
) -> None:
    providers = {name: dict(one) for name, one in settings.PRICE_PROVIDERS.items()}
    providers["finnhub"]["OPTIONS"] = {**providers["finnhub"]["OPTIONS"], "api_key": ""}
    settings.PRICE_PROVIDERS = providers
    apple = stock("AAPL")

    for operation in ("refresh", "check"):
        assert "finnhub needs FINNHUB_KEY to be set." in press(admin_client, operation, apple)[0]
    assert "not_configured finnhub needs FINNHUB_KEY" in plain(page(admin_client, STATUS))


def test_who_may_only_look_can_do_nothing(client: Client) -> None:
    user = User.objects.create_user("reader", password="reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_asset"))
    client.force_login(user)
    bitcoin = coin("bitcoin", "BTC", 1)

    assert 'value="refresh"' not in page(client, detail(bitcoin))
    assert client.post(f"{LIST}{bitcoin.pk}/act/", {"operation": "pin"}).status_code == 403
    assert "Upstream calls" in page(client, STATUS)
    user.user_permissions.clear()
    assert client.get(STATUS).status_code == 403
    assert "How it stands" not in page(client, "/admin/")


def test_an_operation_is_only_done_when_it_is_posted(admin_client: Client) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)

    assert admin_client.get(f"{LIST}{bitcoin.pk}/act/?operation=pin").status_code == 405
    assert admin_client.post(f"{LIST}{bitcoin.pk}/act/", {"operation": "x"}).status_code == 403
