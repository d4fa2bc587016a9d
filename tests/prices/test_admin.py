"""The admin's pages as an operator sees them: Django's client, a real Redis, the sandbox."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from prices import admin, redis_clients, registry
from prices.models import Asset, Catalogue, ExchangePair
from prices.services import sources
from prices.types import Period
from tests.market import Sandbox
from tests.prices.admin_pages import (
    LIST,
    STATUS,
    charted,
    coin,
    detail,
    page,
    plain,
    press,
    stock,
    told,
)

pytestmark = pytest.mark.django_db

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def hanging_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """A Redis that takes connections and never answers; says how many it has had."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    # With the time-outs of the product's own clients.
    client = Redis(
        port=listener.getsockname()[1],
        **redis_clients._COMMON,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    taken: list[socket.socket] = []

    def asked() -> int:
        before = len(taken)
        with suppress(BlockingIOError):
            while True:
                taken.append(listener.accept()[0])
        return len(taken) - before

    monkeypatch.setattr(redis_clients, "client", lambda: client)
    monkeypatch.setattr(redis_clients, "_outage", redis_clients._Outage())
    yield asked
    asked()
    client.close()
    for one in (listener, *taken):
        one.close()


# --- The list -----------------------------------------------------------------------


def test_the_list_shows_each_asset_s_last_price_its_age_and_source(admin_client: Client) -> None:
    told(coin("bitcoin", "BTC", 1), "BTC", 67_234.5, age_s=12)
    told(coin("tiny-dog", "TINY", 2000), "TINY", 0.00000123456)
    coin("silent", "SIL", 300)

    text = plain(page(admin_client, LIST))

    assert re.search(r"BTC Bitcoin crypto 1 \$67,234\.50 1\d s sandbox 0", text)
    assert re.search(r"TINY Tiny-Dog crypto 2000 \$0\.00000123456 \d s sandbox 0", text)
    assert "SIL Silent crypto 300 – – – 0" in text  # noqa: RUF001


def test_a_price_past_its_life_is_shown_as_stale(admin_client: Client, redis_client: Redis) -> None:
    told(coin("bitcoin", "BTC", 1), "BTC", 67_234.5, age_s=600)
    redis_client.delete("price:BTC")

    assert "$67,234.50 10 min stale sandbox" in plain(page(admin_client, LIST))


def test_an_asset_that_lost_its_ticker_is_shown_with_its_own_price(admin_client: Client) -> None:
    told(coin("blockstack", "STX", 50), "STX", 1.25)
    told(stock("STX"), "stock:STX", 98.5)

    text = plain(page(admin_client, LIST))

    assert "STX Blockstack crypto 50 $1.25" in text
    assert "STX Stx stock – $98.50" in text  # noqa: RUF001


@pytest.mark.parametrize("words", ["btc", "bitcoin", "coingecko:bitcoin", "Bitc"])
def test_the_list_is_searched_by_ticker_name_id_and_ref(admin_client: Client, words: str) -> None:
    coin("bitcoin", "BTC", 1)
    stock("AAPL")

    html = page(admin_client, LIST, q=words)

    assert "coingecko" not in plain(html), "refs are for the asset's own page"
    assert ("Bitcoin" in html, "AAPL" in html) == (True, False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind__exact", "stock"),
        ("tracked__exact", "1"),
        ("pinned__exact", "1"),
        ("settled__exact", "1"),
        ("is_active__exact", "0"),
        ("is_derivative__exact", "1"),
        ("exchange", "XNYS"),
    ],
)
def test_the_list_is_filtered_by_what_assets_are(
    admin_client: Client, field: str, value: str
) -> None:
    coin("bitcoin", "BTC", 1)
    stock(
        *("WANTED",),
        exchange="XNYS",
        tracked=True,
        pinned=True,
        settled=True,
        is_active=False,
        is_derivative=True,
    )

    html = page(admin_client, LIST, **{field: value})

    assert ("WANTED" in html, "Bitcoin" in html) == (True, False)


def test_a_page_of_20_000_assets_costs_as_many_queries_as_one_of_few(
    admin_client: Client, redis_client: Redis, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    few = [coin(f"first-{n}", "SAME", n + 1) for n in range(3)]
    with CaptureQueriesContext(connection) as for_few:
        page(admin_client, LIST)
    rows = [
        Asset(
            ref=f"coingecko:coin-{n}",
            ticker=f"T{n % 15_000}",
            name=f"Coin {n}",
            kind="crypto",
            coingecko_id=f"coin-{n}",
            market_cap_rank=n + 10,
        )
        for n in range(20_000 - len(few))
    ]
    Asset.objects.bulk_create(rows, batch_size=1000)
    redis_client.config_resetstat()

    with django_assert_num_queries(len(for_few)):
        html = page(admin_client, LIST, p=7)

    assert html.count('class="field-price"') == 50
    assert len(for_few) <= 8
    commands = redis_client.info("commandstats")
    assert commands["cmdstat_mget"]["calls"] == 1, "one question for all prices of the page"
    assert not {"cmdstat_get", "cmdstat_pttl"} & commands.keys()
    assert not Asset.objects.filter(settled=True).exists(), "looking settles no ticker"


def test_nothing_is_added_or_deleted_by_hand(admin_client: Client) -> None:
    asset = coin("bitcoin", "BTC", 1)

    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.get(f"{LIST}{asset.pk}/delete/").status_code == 403
    assert "delete_selected" not in page(admin_client, LIST)


# --- One asset ----------------------------------------------------------------------


def test_an_asset_s_page_tells_what_its_source_last_said(admin_client: Client) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)
    told(bitcoin, "BTC", 67_234.5, age_s=90)
    charted(bitcoin, "BTC", [1.0, 2.0, 60_000.0])

    text = plain(page(admin_client, detail(bitcoin)))

    assert "Clients know it as BTC , always as coingecko:bitcoin" in text
    assert "quote sandbox $67,234.50 +1.50 % 90 s ago 90 s ago" in text
    assert "last point of history 1w sandbox $60,000.00" in text


def test_an_asset_s_page_tells_how_long_its_keys_live_and_why_loading_failed(
    admin_client: Client, redis_client: Redis
) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)
    told(bitcoin, "BTC", 67_234.5)
    redis_client.set("lock:ohlcv:BTC:1w:60", "x", ex=30)
    note = '{"error":"UpstreamError","message":"coingecko: <b>down</b>","noted_at":0}'
    redis_client.set("failed:history:BTC:1d", note, ex=10)

    html = page(admin_client, detail(bitcoin))

    text = plain(html)
    assert re.search(r"price:BTC \d+ B (60|59) s 2[34] h – –", text)  # noqa: RUF001
    assert re.search(r"history:BTC:1d – – – coingecko: <b>down</b> \(for \d+ s\)", text)  # noqa: RUF001
    assert re.search(r"ohlcv:BTC:1w:60 – – – – (30|29) s", text)  # noqa: RUF001
    assert "<b>down" not in html


def test_the_chart_is_drawn_from_what_is_held_and_asks_no_source(
    admin_client: Client, market: Sandbox
) -> None:
    bitcoin = Asset.objects.get(ref="coingecko:bitcoin")
    assert "No history of it is held" in page(admin_client, detail(bitcoin))
    charted(bitcoin, "BTC", [10.0, 30.0, 20.0])

    html = page(admin_client, detail(bitcoin))

    assert '<polyline points="0.0,160.0 320.0,0.0 640.0,80.0"' in html
    assert "between $10.00 and $30.00" in html
    assert market.count() == 0


def test_another_period_is_drawn_when_it_is_asked_for(admin_client: Client) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)
    charted(bitcoin, "BTC", [1.0, 2.0])
    charted(bitcoin, "BTC", [5.0, 5.0], Period.DAY)

    html = page(admin_client, detail(bitcoin), chart="1d")

    assert "<strong>1d</strong>" in html
    assert '<polyline points="0.0,80.0 640.0,80.0"' in html, "a price that stood still"
    assert "<strong>1w</strong>" in page(admin_client, detail(bitcoin), chart="<b>")


def test_pages_need_neither_inline_script_nor_inline_style(admin_client: Client) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)
    charted(bitcoin, "BTC", [1.0, 2.0])

    for path in (LIST, detail(bitcoin), STATUS, "/admin/"):
        html = page(admin_client, path)
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>\s*\S", html)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html)


def test_an_asset_s_page_links_the_others_of_its_ticker_and_tells_who_has_it(
    admin_client: Client,
) -> None:
    small = coin("batcat", "BTC", 2900)
    bitcoin = coin("bitcoin", "BTC", 1)

    html = page(admin_client, detail(small))
    assert f'<a href="{detail(bitcoin)}">coingecko:bitcoin</a>' in html
    assert "BTC is settled on nobody yet; coingecko:bitcoin would get it" in plain(html)

    Asset.objects.filter(pk=bitcoin.pk).update(settled=True)
    assert "BTC means coingecko:bitcoin: it settled on it" in plain(
        page(admin_client, detail(small))
    )
    Asset.objects.filter(pk=small.pk).update(pinned=True)
    assert "BTC means coingecko:batcat: it is pinned." in plain(page(admin_client, detail(small)))


def test_only_what_is_ours_to_set_can_be_edited(admin_client: Client) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)

    html = page(admin_client, detail(bitcoin))
    assert set(re.findall(r'<input[^>]* name="(\w+)"', html)) <= {
        *("csrfmiddlewaretoken", "tracked", "pinned", "is_active"),
        *("_save", "_continue", "_addanother"),
    }
    admin_client.post(detail(bitcoin), {"tracked": "on", "is_active": "on", "ticker": "EVIL"})

    bitcoin.refresh_from_db()
    assert (bitcoin.tracked, bitcoin.is_active, bitcoin.ticker) == (True, True, "BTC")


def test_pinning_in_the_form_moves_the_pin(admin_client: Client) -> None:
    bitcoin = coin("bitcoin", "BTC", 1, pinned=True)
    other = coin("batcat", "BTC", 2900)

    response = admin_client.post(detail(other), {"pinned": "on", "is_active": "on"})

    assert response.status_code == 302
    assert list(Asset.objects.filter(pinned=True)) == [other]
    assert Asset.objects.get(pk=bitcoin.pk).is_active


def test_an_asset_that_is_not_there_leads_back_to_the_list(admin_client: Client) -> None:
    assert admin_client.get(f"{LIST}999999/change/").status_code == 302
    assert admin_client.get(f"{LIST}x'y/change/").status_code == 302
    assert admin_client.post(f"{LIST}999999/act/", {"operation": "track"}).status_code == 404


# --- The status page ----------------------------------------------------------------


def test_the_index_leads_to_the_status_page(admin_client: Client) -> None:
    assert f'<a href="{STATUS}">Status</a>' in page(admin_client, "/admin/")
    assert f'<a href="{STATUS}">Status</a>' in page(admin_client, LIST)


@pytest.mark.parametrize(
    ("hits", "misses", "shown"),
    [
        (80, 20, "price 80 20 80.0 % 75 to 85 % within the band"),
        (70, 30, "price 70 30 70.0 % 75 to 85 % below the band"),
        (99, 1, "price 99 1 99.0 % 75 to 85 % above the band"),
        (4, 1, "price 4 1 80.0 % 75 to 85 % too few reads to tell"),
    ],
)
def test_hit_rates_are_shown_beside_what_is_expected(
    admin_client: Client, redis_client: Redis, hits: int, misses: int, shown: str
) -> None:
    key = f"stats:cache:{datetime.now(UTC):%Y-%m-%d}"
    redis_client.hset(key, mapping={"price:hit": hits, "price:miss": misses, "search:miss": 3})

    text = plain(page(admin_client, STATUS))

    assert shown in text
    assert "list 0 0 – 90 to 95 %" in text  # noqa: RUF001
    assert "search 0 3 0.0 %" in text


def test_budgets_are_shown_with_what_is_left_of_them(admin_client: Client, settings: Any) -> None:
    providers = {name: dict(one) for name, one in settings.PRICE_PROVIDERS.items()}
    providers["coingecko"]["LIMITS"] = {"per_second": None, "per_minute": 30, "per_month": 10_000}
    settings.PRICE_PROVIDERS = providers
    for _ in range(3):
        registry.budget("coingecko").take()
    registry.budget("finnhub").freeze(45)

    text = plain(page(admin_client, STATUS))

    assert "coingecko sandbox 3 of 30 27 3 of 10000 9997 no limit ok" in text
    frozen = (
        r"finnhub sandbox 0 no limit 0 no limit .* rate_limited it asked for fewer calls, 4\d s yet"
    )
    assert re.search(frozen, text)
    assert "look-ups of unknown symbols, all sources 0 of 5" in text


def test_a_source_stands_on_the_status_page_as_the_api_says_it_does(
    admin_client: Client, settings: Any
) -> None:
    settings.PRICE_CHAINS = {"crypto:quotes": ["coingecko"]}
    breaker = registry.breaker("coingecko")
    for _ in range(20):
        breaker.failed("no answer in time")

    row = {one.name: one for one in sources.sources().value.sources}["coingecko"]
    text = plain(page(admin_client, STATUS))

    assert row.state == "open"
    assert f"open {row.reason}" in text
    assert "unused no chain has it" in text


def test_catalogues_and_redis_are_on_the_status_page(admin_client: Client) -> None:
    filled = datetime.now(UTC) - timedelta(hours=3)
    Catalogue.objects.create(kind="crypto", source=EVIL, filled_at=filled, rows=17_000)

    html = page(admin_client, STATUS)

    assert EVIL not in html
    text = plain(html)
    assert f"crypto {EVIL} 17000 3 h ago" in text
    assert re.search(r"Memory [\d.]+ MiB", text)


# --- Redis away, hostile names ------------------------------------------------------


def test_every_page_is_there_without_redis_and_asks_a_hung_one_once(
    admin_client: Client, hanging_redis: Callable[[], int]
) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)

    for path in (LIST, detail(bitcoin), STATUS):
        redis_clients._outage._until = 0.0
        assert "Redis is away" in plain(page(admin_client, path))
        assert hanging_redis() == 1


def test_actions_without_redis_tell_what_they_could_do(
    admin_client: Client, market: Sandbox, hanging_redis: Callable[[], int]
) -> None:
    bitcoin = Asset.objects.get(ref="coingecko:bitcoin")

    assert press(admin_client, "pin", bitcoin) == ["BTC means coingecko:bitcoin now."]
    assert press(admin_client, "refresh", bitcoin)[0].startswith("Renewed with 1 upstream call")
    assert press(admin_client, "check", bitcoin)[0].startswith("Checked coingecko:bitcoin")


def test_what_redis_holds_and_is_not_ours_spoils_no_page(
    admin_client: Client, redis_client: Redis
) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)
    for key in ("price:BTC", "good:price:BTC", "history:BTC:1w", "failed:price:BTC"):
        redis_client.set(key, b"\xff<script>", ex=60)
    redis_client.set("lock:price:BTC", "x")

    for path in (LIST, detail(bitcoin), STATUS):
        assert "<script>alert" not in page(admin_client, path)


def test_names_from_upstream_are_text_on_every_page(
    admin_client: Client, redis_client: Redis
) -> None:
    bad = coin("bad", "BAD", 1, name=EVIL, exchange=f'"{EVIL}', settled=True)
    worse = coin(f"worse{EVIL}", "BAD", 2, name=f"{EVIL}'\"")
    told(bad, "BAD", 1.0, name=EVIL)
    redis_client.hset(f"stats:cache:{datetime.now(UTC):%Y-%m-%d}", f"{EVIL}:hit", 1)

    pages = [page(admin_client, path) for path in (LIST, detail(bad), detail(worse), STATUS)]
    after = admin_client.post(f"{LIST}{worse.pk}/act/", {"operation": "pin"}, follow=True)

    for html in (*pages, after.content.decode()):
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)" in html


def test_the_list_does_without_followers_where_nobody_tells_them(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "hooks", admin.Hooks())
    coin("bitcoin", "BTC", 1)

    assert "field-followers" not in page(admin_client, LIST)
    assert "Ticks" not in page(admin_client, STATUS)


def test_the_admin_s_own_checks_find_nothing() -> None:
    # It raises SystemCheckError where they find something.
    call_command("check", "--tag", "admin", "--fail-level", "WARNING")


# --- Pairs at the exchanges ------------------------------------------------------------


def test_a_coin_s_page_shows_which_pairs_stand_for_it_and_lets_none_be_changed(
    admin_client: Client,
) -> None:
    bitcoin = coin("bitcoin", "BTC", 1)
    at = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    pairs = [("binance", "BTCUSDT", "USDT", True, 0.1234), ("kraken", EVIL, "USD", False, None)]
    for source, symbol, quote, is_settled, apart in pairs:
        ExchangePair.objects.create(
            asset=bitcoin,
            source=source,
            symbol=symbol,
            quote=quote,
            is_settled=is_settled,
            apart_percent=apart,
            checked_at=at,
        )

    html = page(admin_client, detail(bitcoin))

    assert "binance BTCUSDT USDT 0.12 % 2026-03-01 12:30" in plain(html)
    assert EVIL not in html
    assert not re.search(r'name="pairs-\d+-(source|symbol|quote|is_settled)"', html)
    assert "pairs at the exchanges" not in page(admin_client, detail(stock("AAPL"))).lower()


# --- What a page may run ---------------------------------------------------------------


@pytest.mark.parametrize("path", [LIST, STATUS, "/admin/", "/admin/login/"])
def test_an_admin_page_runs_and_loads_nothing_that_is_not_ours(
    admin_client: Client, path: str
) -> None:
    response = admin_client.get(path, follow=True)
    policy = response["Content-Security-Policy"]

    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    html = response.content.decode()
    assert not re.search(r"<script(?![^>]*(src=|application/json))|<style| style=| on\w+=", html)
