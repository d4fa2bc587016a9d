"""What a client gets while sources come and go: the next one, and the truth about it."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis

from prices import cache, failures, registry
from prices.answers import PairsAnswer, QuoteAnswer
from prices.breaker import Standing
from prices.errors import NotListedError
from prices.models import Asset, ExchangePair
from prices.services import history, pairs, quotes, sourcing
from prices.types import AssetKind, Pair, Period, Resolution
from tests.market import Sandbox
from tests.prices.rest import get, ok, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]

CANDLE = "/finnhub/api/v1/stock/candle"
# How the rows of the docs' table begin.
_FINEST = {f"| `{period}"[:4] for period in Period}


def skipped(answer: Any) -> list[str]:
    return [one["source"].removeprefix("sandbox:") for one in answer["fallback_from"]]


@pytest.mark.parametrize(
    ("period", "resolution"), [("1d", "5"), ("1w", "15"), ("1m", "60"), ("3m", "60"), ("1y", "D")]
)
def test_the_usual_width_of_a_period_can_be_had(period: str, resolution: str) -> None:
    assert ok("/ETH/ohlcv", period=period)["resolution"] == resolution


@pytest.mark.parametrize("kind", list(AssetKind))
def test_the_finest_resolutions_that_can_be_had_are_those_of_the_docs(kind: AssetKind) -> None:
    table = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:4] in _FINEST]
    rows = {one[0].strip("`"): one[1:] for one in lines if len(one) == 8}
    sources = ["coinbase", "binance", "kraken", "coingecko", "finnhub", "twelvedata", "tiingo"]
    of_kind = slice(0, 4) if kind is AssetKind.CRYPTO else slice(4, 7)
    now = datetime.now(UTC)

    for period in Period:
        window = history.window(kind, period, now)
        for source, told in zip(sources[of_kind], rows[period][of_kind], strict=True):
            given = registry.provider(source).resolutions(window)
            coarser = [one for one in Resolution if given and one.minutes >= given[0].minutes]
            finest = (
                f"{given[0]}, no 60"
                if set(coarser) - set(given)
                else str(given[0])
                if given
                else "none"
            )
            assert told == finest, (period, source)


def test_a_second_request_for_days_asks_for_the_missing_end_alone(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/ETH/ohlcv", period="1y")
    before = sandbox.count("/coinbase")
    redis_client.delete("ohlcv:ETH:1y")

    ok("/ETH/ohlcv", period="1y")

    assert sandbox.count("/coinbase") - before == 1


@pytest.mark.parametrize("path", ["/BTC/ohlcv", "/BTC/history"])
def test_no_series_that_was_just_loaded_holds_later_than_it_was_got(path: str) -> None:
    series = ok(path, period="1d")

    as_of, fetched_at = (datetime.fromisoformat(series[name]) for name in ("as_of", "fetched_at"))
    assert as_of <= fetched_at


def test_a_series_comes_from_the_next_source_and_says_so(sandbox: Sandbox) -> None:
    sandbox.fault("status", status=503, source="coinbase")

    series = ok("/BTC/ohlcv", period="1d")

    assert skipped(series) == ["coinbase"]
    assert series["fallback_from"][0]["code"] == "upstream_unavailable"
    assert series["volume_basis"] == "bar_units"


def test_a_series_of_a_later_source_makes_way_for_a_better_one_soon(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/LTC/ohlcv", period="1d")
    sandbox.fault("status", status=503, source="coinbase")
    ok("/BTC/ohlcv", period="1d")

    assert redis_client.ttl("ohlcv:LTC:1d") > 1700
    assert 0 < redis_client.ttl("ohlcv:BTC:1d") <= 60


def test_a_coin_nobody_asked_for_is_told_by_an_exchange_while_coingecko_is_down(
    sandbox: Sandbox,
) -> None:
    ok("/crypto/top", limit=10)
    sandbox.fault("status", status=500, source="coingecko")

    quote = ok("/XRP")

    assert skipped(quote)[0] == "coingecko"
    assert quote["price"] > 0


def test_an_outage_of_coingecko_settles_few_pairs_a_load_and_tells_of_those_that_are(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    rows = Asset.objects.filter(kind="crypto", is_active=True, market_cap_rank__lte=30)
    last = max(rows, key=lambda asset: (asset.ticker == "LTC", asset.ref))
    assert pairs.settled(last, "binance").is_settled
    wanted = [asset.ref for asset in rows if asset != last] + [last.ref]
    ok("/crypto/top", limit=10)  # what pairs are compared with
    redis_client.delete("price:LTC", "good:price:LTC")
    sandbox.fault("status", status=500, source="coingecko")
    sources = ("binance", "coinbase", "kraken")
    # Beside USDT's, for what a dollar is.
    rows_of = ExchangePair.objects.exclude(asset__ticker="USDT").filter
    before = {source: rows_of(source=source).count() for source in sources}

    batch = quotes.for_tick(wanted)

    assert "LTC" in batch.data
    for source, count in before.items():
        settled = rows_of(source=source).count() - count
        assert settled <= sourcing.MOST_SETTLED, source
    assert {error.code for error in batch.errors.values()} <= {
        *("upstream_unavailable", "upstream_rate_limited")
    }


def test_with_every_exchange_down_candles_are_those_of_coingecko(sandbox: Sandbox) -> None:
    for source in ("coinbase", "binance", "kraken"):
        sandbox.fault("reset", source=source)

    series = ok("/BTC/ohlcv", period="1d")

    assert skipped(series) == ["coinbase", "binance", "kraken"]
    assert (series["resolution"], series["volume_basis"]) == ("30", None)


def test_a_quote_comes_from_an_exchange_where_coingecko_fails_and_says_so(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/BTC/ohlcv", period="1d")  # settles pairs
    before = ok("/BTC")
    redis_client.delete("price:BTC")
    sandbox.fault("status", status=500, source="coingecko")

    quote = ok("/BTC")

    assert quote["stale"] is False
    assert skipped(quote)[0] == "coingecko"
    assert quote["price"] == pytest.approx(before["price"], rel=0.01)
    assert quote["market_cap"] is None


def test_a_source_that_drips_leaves_the_next_one_time_to_answer(
    sandbox: Sandbox, redis_client: Redis, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    chain = ["coingecko", "coinbase"]
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": chain}
    ok("/BTC")
    assert pairs.settled(Asset.objects.get(ref="coingecko:bitcoin"), "coinbase").is_settled
    redis_client.delete("price:BTC")
    monkeypatch.setattr(sourcing, "SHARE_S", 0.5)
    monkeypatch.setattr(sourcing, "CHAIN_S", 3.0)
    sandbox.fault("slow_drip", bytes_per_s=100, source="coingecko")

    quote = ok("/BTC")

    assert (quote["stale"], quote["freshness"]) == (False, "live")
    assert skipped(quote) == ["coingecko"]
    assert redis_client.get("breaker:coingecko:failures") == "1"


def test_a_pair_that_an_outage_left_unsettled_is_settled_seconds_after_it(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    sandbox.fault("status", status=500)
    problem(get("/FIL/ohlcv", period="1d"), 503, "upstream_unavailable")

    notes = list(redis_client.scan_iter("failed:pair:*"))
    assert notes
    assert all(0 < redis_client.ttl(note) <= failures.FAILED_S for note in notes)


def test_an_exchange_waits_shortly_for_coingecko_s_price_and_takes_that_of_the_list(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["coingecko", "coinbase"]}
    ok("/crypto/top", limit=10)
    monkeypatch.setattr(sourcing, "SHARE_S", 0.3)
    monkeypatch.setattr(pairs, "REFERENCE_WITHIN_S", 0.3)
    sandbox.fault("delay", delay_s=6, source="coingecko")
    before = sandbox.count("/coingecko")

    quote = ok("/LTC")

    assert (quote["freshness"], skipped(quote)) == ("live", ["coingecko"])
    assert registry.breaker("coinbase").standing() == Standing()
    assert sandbox.count("/coingecko") <= before + 2


def test_a_price_in_tether_is_told_in_dollars(sandbox: Sandbox, settings: Any) -> None:
    ok("/USDT")
    held = cache.read(cache.price_key("USDT"), QuoteAnswer)
    assert held is not None
    cache.store(cache.price_key("USDT"), msgspec.structs.replace(held.value, price=0.9937), 60)
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["binance"]}

    quote = ok("/BTC")
    in_tether = sandbox.price("/binance/api/v3/ticker/24hr?symbol=BTCUSDT", "lastPrice")

    assert (quote["quote_currency"], quote["currency"]) == ("USDT", "USD")
    assert quote["price"] == pytest.approx(0.9937 * in_tether, rel=0.005)
    figures = [quote[name] for name in ("price", "change", "high", "low", "volume")]
    assert figures == [float(f"{figure:.12g}") for figure in figures], "no noise of the product"


def test_a_rate_of_tether_is_not_renewed_by_who_reads_it(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    assert pairs.dollars("USDT") == pytest.approx(1, abs=0.02)
    redis_client.expire("rate:USDT", 20)

    pairs.dollars("USDT")

    assert 0 < redis_client.ttl("rate:USDT") <= 20


@pytest.mark.parametrize("wrong", [{"price": 0.5}, {"price": 0.95, "freshness": "stale"}])
def test_a_held_price_of_tether_counts_while_it_is_live_and_near_a_dollar(
    sandbox: Sandbox, wrong: dict[str, Any]
) -> None:
    ok("/USDT")
    key = cache.price_key("USDT")
    held = cache.read(key, QuoteAnswer)
    assert held is not None
    cache.store(key, msgspec.structs.replace(held.value, **wrong), 60)

    assert pairs.dollars("USDT") == pytest.approx(1, abs=0.02)


def test_a_source_whose_time_stands_still_tells_no_rate(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["coinbase"]}
    pairs.dollars("USDT")  # settles its pair
    redis_client.delete("rate:USDT")
    sandbox.control("POST", "clock", {"shift_s": -1800})

    with pytest.raises(NotListedError):
        pairs.dollars("USDT")


def test_a_rate_that_cannot_be_had_is_asked_for_once_for_many_coins(
    sandbox: Sandbox, redis_client: Redis, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_quotes": ["binance"]}
    ok("", symbols="BTC,ETH,LTC")  # settles pairs
    redis_client.flushdb()
    sandbox.fault("status", status=404, source="coingecko")
    asked = sandbox.count("/coingecko")

    answer = get("", symbols="BTC,ETH,LTC").json()

    assert answer["data"] == {}
    assert sandbox.count("/coingecko") - asked == 1


def test_candles_in_tether_name_it_as_their_currency(sandbox: Sandbox, settings: Any) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["binance"]}

    series = ok("/BTC/ohlcv", period="1d")

    assert (series["currency"], series["quote_currency"]) == ("USDT", "USDT")


def test_a_pair_is_settled_by_price_and_shown_with_how_far_it_was_apart() -> None:
    ok("/BTC/ohlcv", period="1d")

    row = ExchangePair.objects.get(asset__coingecko_id="bitcoin", source="coinbase")

    assert (row.symbol, row.quote, row.is_settled) == ("BTC-USD", "USD", True)
    assert row.apart_percent is not None
    assert row.apart_percent < 1


def test_a_pair_of_another_coin_with_the_same_ticker_is_refused(sandbox: Sandbox) -> None:
    # What Coinbase lists as TON here is another token of that ticker.
    trapped = Asset.objects.get(coingecko_id="the-open-network")

    series = ok(f"/{trapped.ref}/ohlcv", period="1d")

    row = ExchangePair.objects.get(asset=trapped, source="coinbase")
    assert not row.is_settled
    assert row.apart_percent is not None
    assert row.apart_percent > pairs.MOST_APART_PERCENT
    assert "coinbase" in skipped(series)


def aged(row: ExchangePair, **by: float) -> ExchangePair:
    """Let a pair have been looked at so long ago."""
    row.checked_at -= timedelta(**by)
    row.save()
    return row


@pytest.mark.parametrize("source", ["coinbase", "coingecko"])
def test_a_pair_refused_while_a_source_erred_is_settled_when_it_is_looked_at_again(
    sandbox: Sandbox, redis_client: Redis, source: str
) -> None:
    doge = Asset.objects.get(coingecko_id="dogecoin")
    sandbox.fault("times", source=source, factor=2)
    with pytest.raises(NotListedError):
        pairs.settled(doge, "coinbase")
    row = ExchangePair.objects.get(asset=doge, source="coinbase")
    assert (row.is_settled, row.refusals) == (False, 1)
    sandbox.heal()
    redis_client.delete("reference:coingecko:dogecoin")

    aged(row, minutes=16)
    row = pairs.settled(doge, "coinbase")

    assert (row.is_settled, row.refusals) == (True, 0)


def test_a_pair_that_is_another_coin_at_every_look_is_looked_at_ever_more_rarely(
    sandbox: Sandbox,
) -> None:
    trapped = Asset.objects.get(coingecko_id="the-open-network")
    for refusals, rest in ((1, {"minutes": 15}), (2, {"hours": 1}), (3, {"hours": 4})):
        with pytest.raises(NotListedError):
            pairs.settled(trapped, "coinbase")
        row = ExchangePair.objects.get(asset=trapped, source="coinbase")
        assert row.refusals == refusals
        calls = sandbox.count("/coinbase/products/TON-USD")
        with pytest.raises(NotListedError):
            pairs.settled(trapped, "coinbase")
        assert sandbox.count("/coinbase/products/TON-USD") == calls
        aged(row, seconds=1, **rest)


def test_a_pair_that_was_not_listed_is_found_in_a_later_list(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    doge = Asset.objects.get(coingecko_id="dogecoin")
    without = PairsAnswer(
        source="sandbox",
        as_of=None,
        fetched_at=datetime.now(UTC) - timedelta(hours=2),
        cached=False,
        stale=False,
        pairs=[Pair("BTC-USD", "BTC", "USD", is_trading=True)],
    )
    cache.store("list:pairs:coinbase", without, 80_000)
    with pytest.raises(NotListedError):
        pairs.settled(doge, "coinbase")

    aged(ExchangePair.objects.get(asset=doge, source="coinbase"), hours=1)

    assert pairs.settled(doge, "coinbase").symbol == "DOGE-USD"


def test_a_settled_pair_that_became_another_coin_is_refused_within_a_week(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/DOGE/ohlcv", period="1d", resolution="5")
    row = ExchangePair.objects.get(asset__coingecko_id="dogecoin", source="coinbase")
    aged(row, days=7, seconds=1)
    sandbox.fault("status", status=503, source="coinbase")
    assert pairs.settled(row.asset, "coinbase").is_settled  # nobody can tell now
    sandbox.heal()
    redis_client.delete(f"failed:pair:coinbase:{row.asset.ref}")
    sandbox.fault("times", source="coinbase", factor=3)

    with pytest.raises(NotListedError):
        pairs.settled(row.asset, "coinbase")

    row.refresh_from_db()
    assert (row.is_settled, row.refusals) == (False, 1)


def test_a_pair_that_cannot_be_settled_is_not_tried_by_each_request(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is.
    monkeypatch.setattr(failures, "_failure_life_s", lambda error: 60.0)
    sandbox.fault("status", status=503, source="coinbase", path="/coinbase/products/DOGE-USD")

    for resolution in ("5", "15", "60", "D"):
        series = ok("/DOGE/ohlcv", period="1d", resolution=resolution)
        assert series["fallback_from"][0]["source"] == "sandbox:coinbase"

    assert sandbox.count("/coinbase/products/DOGE-USD") == 1
    assert sandbox.count("/coingecko/api/v3/coins/markets") == 1


def test_a_pair_is_settled_with_the_price_that_was_fetched_a_moment_ago(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    sandbox.fault("status", status=503, source="coinbase", path="/coinbase/products/DOGE-USD")
    series = ok("/DOGE/ohlcv", period="1d", resolution="5")
    sandbox.heal()
    redis_client.delete(f"failed:pair:coinbase:{series['ref']}")

    series = ok("/DOGE/ohlcv", period="1d", resolution="15")

    assert skipped(series) == []
    assert sandbox.count("/coingecko/api/v3/coins/markets") == 1


def test_a_limit_by_the_second_lets_coinbase_rest_for_seconds(sandbox: Sandbox) -> None:
    ok("/BTC/ohlcv", period="1d", resolution="5")
    sandbox.fault("status", status=429, source="coinbase", calls=1)
    before = sandbox.count("/coinbase")

    series = ok("/BTC/ohlcv", period="1d", resolution="15")
    ok("/BTC/ohlcv", period="1d", resolution="60")

    assert skipped(series)[0] == "coinbase"
    assert sandbox.count("/coinbase") == before + 1
    assert 0 < registry.budget("coinbase").spent().frozen_s <= 3


def test_a_source_that_fails_again_and_again_is_not_asked_for_a_while(sandbox: Sandbox) -> None:
    sandbox.fault("status", status=500, source="coinbase")
    for symbol in ("BTC", "ETH", "SOL", "XRP"):
        ok(f"/{symbol}/ohlcv", period="1d")
    asked = sandbox.count("/coinbase")

    ok("/LTC/ohlcv", period="1d")

    assert sandbox.count("/coinbase") == asked


def test_a_resolution_no_source_has_is_refused_with_what_all_of_them_have() -> None:
    body = problem(get("/BTC/ohlcv", period="all", resolution="1"), 409, "resolution_unavailable")

    assert {"D", "W", "M"} <= set(body["available"])
    assert "1" not in body["available"]


@pytest.fixture
def free_plan(sandbox: Sandbox) -> None:
    """Sources give what they give without payment."""
    sandbox.control("POST", "plan", {"plan": "free"})


@pytest.mark.usefixtures("free_plan")
def test_a_plan_that_refuses_candles_is_asked_once_an_hour(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    for symbol in ("AAPL", "MSFT", "NVDA"):
        for resolution in ("60", "D"):
            series = ok(f"/{symbol}/ohlcv", period="1m", resolution=resolution)
            assert series["fallback_from"][0] == {
                "source": "sandbox:finnhub",
                "code": "plan_restricted",
            }

    [key] = redis_client.keys("failed:refused:finnhub:stock:candles:*")
    assert sandbox.count(CANDLE) == 1
    assert 3500 < redis_client.ttl(key) <= 3600
    assert ok("/AAPL")["source"] == "sandbox"
    assert sandbox.count("/finnhub/api/v1/quote") == 1


@pytest.mark.usefixtures("free_plan")
@pytest.mark.parametrize("option", ["api_key", "plan"])
def test_another_key_or_plan_is_tried_at_once(sandbox: Sandbox, settings: Any, option: str) -> None:
    ok("/AAPL/ohlcv", period="1m", resolution="D")
    providers = deepcopy(settings.PRICE_PROVIDERS)
    providers["finnhub"]["OPTIONS"][option] = "another"
    settings.PRICE_PROVIDERS = providers
    sandbox.control("POST", "plan", {"plan": "all"})

    series = ok("/MSFT/ohlcv", period="1m", resolution="D")

    assert skipped(series) == []
    assert sandbox.count(CANDLE) > 1


@pytest.mark.usefixtures("free_plan")
def test_a_forced_refresh_finds_that_a_plan_allows_candles_now(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/AAPL/ohlcv", period="1m", resolution="D")
    sandbox.control("POST", "plan", {"plan": "all"})

    assert skipped(ok("/NVDA/ohlcv", period="1m", resolution="D"))[0] == "finnhub"
    ok("/MSFT/ohlcv", period="1m", resolution="D", force_refresh="true")

    assert redis_client.keys("failed:refused:*") == []
    assert skipped(ok("/AMZN/ohlcv", period="1m", resolution="D")) == []
