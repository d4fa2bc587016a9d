"""A source whose series contradicts the price we have is passed over, and nothing of it kept."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import time_machine
from redis import Redis

from prices import cache, redis_clients, registry
from prices.answers import QuoteAnswer
from prices.errors import UpstreamJumpError
from prices.models import Asset, Bar, Series, StockSplit
from prices.providers.coinbase import Coinbase
from prices.services import doubts, ends, pairs, sourcing
from prices.services.series import Measure
from prices.sessions import latest_session
from prices.types import Candle, Period, Resolution
from tests.market import Sandbox
from tests.prices.rest import ok

ENDINGS = "endings:AVAX"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("market")]


@pytest.fixture(autouse=True)
def _chains(alone: None, settings: Any) -> None:
    coins = {
        "coin_history": ["coingecko", "coinbase", "binance"],
        "coin_candles": ["coinbase", "binance", "kraken"],
    }
    stocks = {"stock_history": ["finnhub", "tiingo", "yahoo"]}
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | coins | stocks


@pytest.fixture(autouse=True)
def _settled(market: None, _chains: None, redis_client: Redis) -> None:
    """Settle the exchanges' pairs while all is well, and forget the price it took."""
    asset = Asset.objects.get(ref=ok("/AVAX")["ref"])
    assert all(pairs.settled(asset, source).is_settled for source in ("coinbase", "binance"))
    redis_client.flushdb()


def forget(redis_client: Redis, symbol: str) -> None:
    """Empty the cache of a symbol's series: only the store remembers."""
    for key in redis_client.scan_iter(f"*:{symbol}:*"):
        redis_client.delete(key)


def skipped(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(one["source"].split(":")[-1], one["code"]) for one in answer["fallback_from"]]


def last(answer: Mapping[str, Any]) -> float:
    return float(answer["candles"][-1]["close"])


def highest_kept(symbol: str) -> float:
    closes = Bar.objects.filter(series__asset__ticker=symbol).values_list("close", flat=True)
    return max(closes, default=0.0)


@pytest.mark.parametrize("asked", [{"period": "1d"}, {"period": "1w", "resolution": "60"}])
def test_doubled_candles_of_a_coin_are_answered_by_the_next_source_and_not_kept(
    sandbox: Sandbox, redis_client: Redis, asked: dict[str, str]
) -> None:
    price = ok("/AVAX")["price"]
    sandbox.fault("times", source="coinbase", factor=2)

    doubted = ok("/AVAX/ohlcv", **asked)

    assert skipped(doubted) == [("coinbase", "jump")]
    assert last(doubted) == pytest.approx(price, rel=0.05)
    assert highest_kept("AVAX") < 1.6 * price
    assert not Series.objects.filter(asset__ticker="AVAX", source="coinbase").exists()
    assert registry.breaker("coinbase").turn().may_call

    sandbox.heal()
    forget(redis_client, "AVAX")
    healed = ok("/AVAX/ohlcv", **asked)

    assert skipped(healed) == []
    assert last(healed) == pytest.approx(price, rel=0.05)


@pytest.mark.parametrize("asked", [{"period": "1d"}, {"period": "3m", "resolution": "240"}])
def test_candles_a_fifth_off_a_price_of_just_now_are_answered_by_the_next_source(
    sandbox: Sandbox, asked: dict[str, str]
) -> None:
    price = ok("/AVAX")["price"]
    sandbox.fault("times", source="coinbase", factor=1.2)

    doubted = ok("/AVAX/ohlcv", **asked)

    assert skipped(doubted) == [("coinbase", "jump")]
    assert last(doubted) == pytest.approx(price, rel=0.05)
    assert highest_kept("AVAX") < 1.6 * price


def test_newest_candles_a_fifth_off_behind_known_ones_are_seen_too(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    price = ok("/AVAX")["price"]
    ok("/AVAX/ohlcv", period="1w", resolution="60")
    forget(redis_client, "AVAX")
    sandbox.fault("times", source="coinbase", factor=1.2)

    doubted = ok("/AVAX/ohlcv", period="1w", resolution="60")

    assert skipped(doubted) == [("coinbase", "jump")]
    assert last(doubted) == pytest.approx(price, rel=0.05)


def test_a_thin_market_s_old_trades_are_no_error_of_its_source() -> None:
    bars = [Candle(at * 300, 1.2, 1.2, 1.2, 1.2, 1.0, True) for at in range(40)]
    del bars[-3]
    now = datetime.fromtimestamp(bars[-1].timestamp + 300, UTC)
    ok("/AVAX")
    asset = Asset.objects.get(ref="coingecko:avalanche-2")
    cached = cache.read("price:AVAX", QuoteAnswer)
    assert cached is not None
    quote = msgspec.structs.replace(cached.value, price=1.0, last_updated=now)
    cache.store("price:AVAX", quote, 60)
    measure = Measure(asset, "AVAX", now)

    measure.check("coinbase", bars, Resolution.M5)
    whole = [replace(bar, timestamp=bars[-1].timestamp - 300 * at) for at, bar in enumerate(bars)]
    with pytest.raises(UpstreamJumpError):
        measure.check("coinbase", whole[::-1], Resolution.M5)


def test_a_coin_s_known_bars_outlive_a_source_that_doubles(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    ok("/AVAX")
    before = ok("/AVAX/ohlcv", period="1w", resolution="60")
    kept = highest_kept("AVAX")
    forget(redis_client, "AVAX")
    sandbox.fault("times", source="coinbase", factor=2)

    assert skipped(ok("/AVAX/ohlcv", period="1w", resolution="60")) == [("coinbase", "jump")]
    sandbox.heal()
    forget(redis_client, "AVAX")
    asked = sandbox.count()
    after = ok("/AVAX/ohlcv", period="1w", resolution="60")

    assert sandbox.count() == asked + 1
    assert after["candles"][:-2] == before["candles"][-len(after["candles"]) :][:-2]
    assert highest_kept("AVAX") < 1.2 * kept


def test_a_coin_s_doubled_points_are_answered_by_the_next_source(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    price = ok("/AVAX")["price"]
    sandbox.fault("times", source="coingecko", factor=2)

    points = ok("/AVAX/history", period="1d")

    assert skipped(points) == [("coingecko", "jump")]
    assert 0 < redis_client.ttl("history:AVAX:1d") <= 60  # As after a failure.
    assert points["data"][-1]["price"] == pytest.approx(price, rel=0.05)


@pytest.mark.parametrize("period", ["1d", "1y"])
def test_a_stock_s_doubled_history_is_answered_by_the_next_source_and_not_kept(
    sandbox: Sandbox, redis_client: Redis, period: str
) -> None:
    price = ok("/MSFT")["price"]
    sandbox.fault("times", source="finnhub", factor=2)

    doubted = ok("/MSFT/history", period=period)

    assert skipped(doubted)[0] == ("finnhub", "jump")
    assert doubted["data"][-1]["price"] == pytest.approx(price, rel=0.1)
    assert not Series.objects.filter(asset__ticker="MSFT", source="finnhub").exists()

    sandbox.heal()
    forget(redis_client, "MSFT")
    healed = ok("/MSFT/history", period=period)

    assert skipped(healed) == []
    assert healed["data"][-1]["price"] == pytest.approx(price, rel=0.1)


@pytest.fixture
def closed(sandbox: Sandbox) -> Iterator[None]:
    """Let it be a Saturday: every price is of Friday's close."""
    at = datetime(2026, 11, 14, 15, 0, tzinfo=UTC)
    sandbox.control("POST", "clock", {"now": at.timestamp()})
    with time_machine.travel(at):
        yield
    sandbox.control("POST", "clock", {"shift_s": 0})


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/MSFT/history", {"period": "1m"}),
        ("/MSFT/ohlcv", {"period": "1y", "resolution": "D"}),
        ("/MSFT/ohlcv", {"period": "1w", "resolution": "60"}),
    ],
)
def test_while_the_market_is_closed_a_stock_s_chart_ends_with_its_quote(
    sandbox: Sandbox, settings: Any, path: str, asked: dict[str, str]
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"stock_candles": ["finnhub", "yahoo"]}
    price = ok("/MSFT")["price"]
    sandbox.fault("times", source="finnhub", factor=1.2)

    chart, day = ok(path, **asked), ok("/MSFT/at", date="2026-11-13")

    assert skipped(chart)[0] == ("finnhub", "jump")
    assert end(chart) == pytest.approx(price, rel=0.01)
    assert day["price"] == pytest.approx(price, rel=0.01)


@pytest.mark.usefixtures("closed")
def test_a_stock_s_kept_chart_that_ends_with_another_close_than_a_later_quote_is_made_anew(
    sandbox: Sandbox,
) -> None:
    sandbox.fault("times", source="finnhub", factor=1.2)
    ok("/MSFT/history", period="1y")
    sandbox.heal()

    price = ok("/MSFT")["price"]

    assert end(ok("/MSFT/history", period="1y")) == pytest.approx(price, rel=0.01)


@pytest.mark.usefixtures("closed")
def test_a_stock_s_chart_that_ends_with_its_quote_stays(sandbox: Sandbox) -> None:
    ok("/MSFT/history", period="1y")
    ok("/MSFT")

    assert ok("/MSFT/history", period="1y")["cached"]


def test_where_two_sources_agree_against_the_price_we_have_it_is_the_price_that_is_wrong(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    sandbox.fault("times", source="coingecko", factor=2)
    doubled = ok("/AVAX")["price"]

    bars = ok("/AVAX/ohlcv", period="1d")

    assert skipped(bars) == [("coinbase", "jump")]
    assert last(bars) == pytest.approx(doubled / 2, rel=0.05)
    redis_client.delete("price:AVAX")
    assert ok("/AVAX")["price"] == pytest.approx(doubled, rel=0.05)
    assert ok("/AVAX/ohlcv", period="1d")["cached"]  # The same quote does not drop it again.


def test_without_a_price_to_measure_by_a_series_is_taken_at_its_word(sandbox: Sandbox) -> None:
    sandbox.fault("times", source="coinbase", factor=2)

    assert skipped(ok("/AVAX/ohlcv", period="1d")) == []


def test_a_series_is_taken_at_its_word_where_jumps_are_not_looked_for(
    sandbox: Sandbox, settings: Any
) -> None:
    settings.JUMP_PERCENT = 0
    ok("/AVAX")
    sandbox.fault("times", source="coinbase", factor=2)

    assert skipped(ok("/AVAX/ohlcv", period="1d")) == []


def test_a_split_that_is_known_for_the_day_is_no_jump(sandbox: Sandbox) -> None:
    ref = ok("/MSFT")["ref"]
    day = latest_session(datetime.now(UTC)).day
    sandbox.fault("times", source="finnhub", factor=0.5)
    StockSplit.objects.create(asset=Asset.objects.get(ref=ref), day=day, ratio=2, source="tests")

    points = ok("/MSFT/history", period="1y")

    assert skipped(points) == []


def test_candles_of_which_a_third_contradicts_itself_are_answered_by_the_next_source(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    sandbox.fault("bad_bars", source="coinbase")

    holed = ok("/AVAX/ohlcv", period="1d")

    assert skipped(holed) == [("coinbase", "dropped")]
    assert (holed["dropped"], holed["count"] > 280) == (0, True)
    assert not Series.objects.filter(asset__ticker="AVAX", source="coinbase").exists()

    sandbox.heal()
    forget(redis_client, "AVAX")
    healed = ok("/AVAX/ohlcv", period="1d")
    assert (skipped(healed), healed["dropped"], healed["count"] > 280) == ([], 0, True)


def test_candles_of_which_a_third_contradicts_itself_are_given_where_nobody_has_better_ones(
    sandbox: Sandbox, settings: Any
) -> None:
    settings.PRICE_CHAINS = settings.PRICE_CHAINS | {"coin_candles": ["coinbase"]}
    sandbox.fault("bad_bars", source="coinbase")

    holed = ok("/AVAX/ohlcv", period="1d")

    assert (holed["dropped"] > 90, holed["count"] > 180) == (True, True)


CHARTS = [
    ("/AVAX/ohlcv", {"period": "1d"}, "coinbase"),
    ("/AVAX/ohlcv", {"period": "3m", "resolution": "240"}, "coinbase"),
    ("/AVAX/history", {"period": "1d"}, "coingecko"),
]


def end(chart: Mapping[str, Any]) -> float:
    return last(chart) if "candles" in chart else float(chart["data"][-1]["price"])


@pytest.mark.parametrize(("path", "asked", "source"), CHARTS)
def test_a_kept_chart_that_a_later_quote_contradicts_is_made_anew(
    sandbox: Sandbox, redis_client: Redis, path: str, asked: dict[str, str], source: str
) -> None:
    sandbox.fault("times", source=source, factor=1.5)
    wrong = ok(path, **asked)
    sandbox.heal()

    price = ok("/AVAX")["price"]

    # Neither the way that decodes it has it any more nor the one that does not.
    assert not list(redis_client.scan_iter("ohlcv:*")) + list(redis_client.scan_iter("history:*"))
    assert not list(redis_client.scan_iter("sent:[oh]*"))
    right = ok(path, **asked)
    assert end(wrong) > 1.4 * price
    assert not right["cached"]
    assert end(right) == pytest.approx(price, rel=0.05)
    assert redis_client.get("lokifi:dropped")


def test_one_quote_has_every_kept_chart_made_anew_that_it_contradicts(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    sandbox.fault("times", source="coinbase", factor=1.5)
    wrong = [ok("/AVAX/ohlcv", period=period) for period in ("1d", "3m")]
    redis_client.set(ENDINGS, with_foreign_members(redis_client.get(ENDINGS)))
    wrong.append(ok("/AVAX/ohlcv", period="1w"))
    sandbox.heal()
    assert len(list(redis_client.scan_iter("ohlcv:*"))) == 3

    price = ok("/AVAX")["price"]

    assert all(end(chart) > 1.4 * price for chart in wrong)
    assert not list(redis_client.scan_iter("ohlcv:*"))


def with_foreign_members(notes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(notes) | {"a": None, "b": 1, "c": "no note"})


def test_what_a_chart_ended_with_is_forgotten_with_the_chart_that_takes_its_place(
    sandbox: Sandbox,
) -> None:
    sandbox.fault("times", source="coinbase", factor=1.5)
    ok("/AVAX/ohlcv", period="1d")
    symbol, key = "AVAX", cache.candles_key("AVAX", Period.DAY, None)
    ends.note(symbol, cache.candles_key("AVAX", Period.WEEK, None), None)
    assert set(noted(symbol)) == {key}

    ends.note(symbol, key, None)

    assert noted(symbol) == {}


def noted(symbol: str) -> dict[str, Any]:
    (notes,) = redis_clients.mget([f"endings:{symbol}"])
    return dict(ends._read(notes)) if notes else {}


@pytest.mark.parametrize("first", ["the quote", "the chart"])
def test_a_quote_and_a_chart_that_are_loaded_at_once_see_each_other(
    sandbox: Sandbox, redis_client: Redis, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    sandbox.fault("times", source="coinbase", factor=1.5)
    meanwhile: list[Any] = []

    def with_the_other(load: Any, path: str, **asked: str) -> Any:
        def loaded(*args: Any, **kwargs: Any) -> Any:
            got = load(*args, **kwargs)
            if not meanwhile:
                meanwhile.append(None)
                meanwhile[0] = contextvars.Context().run(lambda: ok(path, **asked))
            return got

        return loaded

    if first == "the quote":
        load = with_the_other(Coinbase.candles, "/AVAX")
        monkeypatch.setattr(Coinbase, "candles", load)
        chart, quote = ok("/AVAX/ohlcv", period="1d"), meanwhile[0]
        assert end(chart) == pytest.approx(quote["price"], rel=0.05)
    else:
        load = with_the_other(sourcing.load, "/AVAX/ohlcv", period="1d")
        monkeypatch.setattr(sourcing, "load", load)
        quote, chart = ok("/AVAX"), meanwhile[0]
        assert end(chart) > 1.4 * quote["price"]
        assert not list(redis_client.scan_iter("ohlcv:*"))


@pytest.mark.parametrize(("path", "asked", "source"), CHARTS)
def test_a_kept_chart_that_later_quotes_agree_with_stays(
    sandbox: Sandbox, redis_client: Redis, path: str, asked: dict[str, str], source: str
) -> None:
    ok(path, **asked)

    ok("/AVAX")

    assert ok(path, **asked)["cached"]
    assert redis_client.get("lokifi:dropped") is None


def test_a_stock_s_kept_chart_that_a_later_quote_contradicts_is_made_anew(
    sandbox: Sandbox, redis_client: Redis
) -> None:
    sandbox.fault("times", source="finnhub", factor=2)
    wrong = ok("/MSFT/history", period="1d")
    sandbox.heal()

    price = ok("/MSFT")["price"]

    right = ok("/MSFT/history", period="1d")
    assert end(wrong) > 1.5 * price
    assert not right["cached"]
    assert end(right) == pytest.approx(price, rel=0.05)


def test_a_quote_in_dispute_drops_no_chart(sandbox: Sandbox) -> None:
    ok("/AVAX/ohlcv", period="1d")
    doubts.note("disputed", "coingecko:avalanche-2", 60)
    sandbox.fault("times", source="coingecko", factor=1.2)

    assert ok("/AVAX")["disputed"]

    assert ok("/AVAX/ohlcv", period="1d")["cached"]


@pytest.mark.parametrize(
    ("symbol", "source", "day"),
    [("AVAX", "coinbase", "2026-08-01"), ("MSFT", "finnhub", "2026-08-03")],
)
def test_a_close_made_of_a_chart_that_a_later_quote_contradicts_is_got_anew(
    sandbox: Sandbox, redis_client: Redis, symbol: str, source: str, day: str
) -> None:
    true = ok(f"/{symbol}/at", date=day)["price"]
    redis_client.flushdb()
    Series.objects.all().delete()
    sandbox.fault("times", source=source, factor=2)
    ok(f"/{symbol}/ohlcv", period="1y", resolution="D")
    wrong = ok(f"/{symbol}/at", date=day)
    sandbox.heal()

    ok(f"/{symbol}")

    assert wrong["price"] == pytest.approx(2 * true)
    assert ok(f"/{symbol}/at", date=day)["price"] == pytest.approx(true)
    again = ok(f"/{symbol}/at", date=day)
    assert (again["price"], again["cached"]) == (pytest.approx(true), True)


@pytest.mark.parametrize(
    ("symbol", "source", "day"),
    [("AVAX", "coinbase", "2026-08-01"), ("MSFT", "finnhub", "2026-08-03")],
)
def test_no_close_comes_out_of_the_store_of_a_source_whose_chart_a_quote_contradicts(
    sandbox: Sandbox, symbol: str, source: str, day: str
) -> None:
    sandbox.fault("times", source=source, factor=2)
    wrong = ok(f"/{symbol}/ohlcv", period="1y", resolution="D")
    sandbox.heal()
    ok(f"/{symbol}")

    price = ok(f"/{symbol}/at", date=day)["price"]

    at = datetime.fromisoformat(f"{day}T00:00Z").timestamp()
    told = next(bar["close"] for bar in wrong["candles"] if bar["timestamp"] == at)
    assert price == pytest.approx(told / 2)
