"""What a connection chose, against what it was told: pure code over ticks."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from streaming import choices
from streaming.choices import View
from streaming.protocol import (
    Choices,
    Mode,
    Pieces,
    WireQuote,
    entry,
    entry_of,
    taking,
)
from streaming.ticks import Place
from tests.streaming.sockets import AT, quote, wire

BOTH = frozenset({"BTC", "ETH"})


@dataclass
class Tick:
    place: Place
    quotes: dict[str, WireQuote]
    timestamp: str = "2026-11-23T12:00:00.000Z"
    cache: dict[Any, Any] = field(default_factory=dict)


def tick(seq: int, *, epoch: str = "a", second: int = 0, **prices: float) -> Tick:
    """Return a tick whose quotes are as old as itself."""
    at = AT + timedelta(seconds=second or seq)
    quotes = {
        s: msgspec.structs.replace(WireQuote.of(quote(s, price)), last_updated=at)
        for s, price in prices.items()
    }
    return Tick(Place(epoch, seq), quotes)


def view(at: int = 0, heartbeat_s: float = 15, **chosen: Any) -> View:
    return View(Choices(**chosen), Place("a", at), heartbeat_s)


def told(
    viewed: View, one: Tick, symbols: frozenset[str] = BOTH, interval_s: int = 1
) -> dict[str, Any] | None:
    """Return the message a connection gets for a tick; None where it gets none."""
    part = viewed.part(one, symbols, interval_s)
    if part is None:
        return None
    message: dict[str, Any] = json.loads(part.text(one.place.seq - 1))
    return message


def names(message: dict[str, Any] | None) -> list[str]:
    return list((message or {}).get("data", {}))


def test_chosen_fields_come_alone_and_in_the_order_of_the_wire() -> None:
    message = told(view(fields=("stale", "price")), tick(1, BTC=1.0, ETH=2.0))

    assert message == {
        "type": "price_update",
        "epoch": "a",
        "seq": 1,
        "prev_seq": 0,
        "timestamp": "2026-11-23T12:00:00.000Z",
        "count": 2,
        "data": {
            "BTC": {"symbol": "BTC", "price": 1.0, "stale": False},
            "ETH": {"symbol": "ETH", "price": 2.0, "stale": False},
        },
    }
    assert list(message["data"]["BTC"]) == ["symbol", "price", "stale"]


def test_all_fields_are_what_a_plain_client_gets() -> None:
    message = told(view(mode=Mode.DELTA), tick(1, second=0, BTC=1.0))

    assert message is not None
    assert message["data"] == {"BTC": wire("BTC", 1.0) | {"last_updated": "2026-11-23T12:00:01Z"}}


def test_what_many_were_told_before_is_held_against_a_tick_once_whatever_they_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, look = [], choices._changed

    def watched(before: WireQuote, now: WireQuote) -> int:
        looks.append(now.symbol)
        return look(before, now)

    def prices(price: float) -> dict[str, Any]:
        return {f"S{number}": price for number in range(30)}

    monkeypatch.setattr(choices, "_changed", watched)
    names_of = [None, ("price",), ("price", "stale"), ("change",), None, ("source", "price")]
    views = [
        (view(mode=Mode.DELTA, fields=fields), frozenset([*prices(1.0)][number:]))
        for number, fields in enumerate(names_of)
    ]
    first, second = tick(1, **prices(1.0)), tick(2, **prices(1.0) | {"S29": 2.0})
    for one, symbols in views:
        told(one, first, symbols)

    got = [names(told(one, second, symbols)) for one, symbols in views]

    assert got == [["S29"], ["S29"], ["S29"], [], ["S29"], ["S29"]]
    assert sorted(looks) == sorted(prices(1.0))
    monkeypatch.setattr(choices, "COMPARED_QUOTES", 5)
    third = tick(3, **prices(3.0))
    assert names(told(views[4][0], third, views[4][1])) == sorted(views[4][1])
    assert len(third.cache["changes"]) == 5


@pytest.mark.parametrize("fields", [("price",), ("stale", "symbol", "last_updated"), ()])
def test_fields_joined_of_pieces_are_those_that_are_cut_out_of_a_quote(
    fields: tuple[str, ...],
) -> None:
    one = WireQuote.of(quote('odd"<\u20ac', 1e-9))
    every = WireQuote.__struct_fields__

    for chosen in (fields, every):
        assert Pieces("A", one).entry(taking(chosen)) == entry_of("A", one, chosen)
    assert Pieces("A", one).entry(taking(every)) == entry("A", one)


def test_a_delta_holds_what_changed_but_for_its_times() -> None:
    chosen = view(mode=Mode.DELTA)
    got = [
        told(chosen, tick(1, BTC=1.0, ETH=2.0)),
        told(chosen, tick(2, BTC=1.0, ETH=2.5)),
        told(chosen, tick(3, BTC=1.0, ETH=2.5)),
    ]

    assert [names(message) for message in got] == [["BTC", "ETH"], ["ETH"], []]
    assert got[2] == {
        "type": "heartbeat",
        "epoch": "a",
        "seq": 3,
        "prev_seq": 2,
        "timestamp": "2026-11-23T12:00:00.000Z",
        "next_update_at": "2026-11-23T12:00:01.000Z",
    }


def test_a_delta_holds_what_became_stale_and_what_is_so_no_more() -> None:
    chosen = view(mode=Mode.DELTA, fields=("price",))
    told(chosen, tick(1, BTC=1.0, ETH=2.0))
    old = tick(2, BTC=1.0, ETH=2.0)
    old.quotes["BTC"] = msgspec.structs.replace(old.quotes["BTC"], stale=True)

    assert names(told(chosen, old)) == ["BTC"]
    assert names(told(chosen, tick(3, BTC=1.0, ETH=2.0))) == ["BTC"]
    assert names(told(chosen, tick(4, BTC=1.0, ETH=2.0))) == []


def test_a_delta_of_some_fields_asks_for_those_alone() -> None:
    chosen = view(mode=Mode.DELTA, fields=("high", "last_updated"))

    got = [told(chosen, tick(seq, BTC=float(seq))) for seq in (1, 2)]

    assert [names(message) for message in got] == [["BTC"], []]


def test_a_delta_holds_a_symbol_that_means_another_asset_now() -> None:
    chosen = view(mode=Mode.DELTA, fields=("price",))
    told(chosen, tick(1, BTC=1.0))
    other = tick(2, BTC=1.0)
    other.quotes["BTC"] = msgspec.structs.replace(other.quotes["BTC"], ref="coingecko:batcat")

    assert names(told(chosen, other)) == ["BTC"]


def test_every_tenth_tick_holds_everything() -> None:
    chosen = view(at=1, mode=Mode.DELTA, min_change_percent=50)

    got = [names(told(chosen, tick(seq, BTC=1.0, ETH=2.0))) for seq in range(2, 32)]

    whole = [seq for seq, found in enumerate(got, start=2) if found]
    assert whole == [2, 10, 20, 30]


def test_a_tenth_tick_that_was_missed_is_made_up_for_by_the_next() -> None:
    chosen = view(at=1, mode=Mode.DELTA)

    got = [names(told(chosen, tick(seq, BTC=1.0))) for seq in (8, 9, 11, 12)]

    assert got == [["BTC"], [], ["BTC"], []]


def test_a_least_change_is_against_the_price_that_was_told_last() -> None:
    chosen = view(min_change_percent=1)

    got = [
        names(told(chosen, tick(seq, BTC=price)))
        for seq, price in enumerate((100.0, 100.6, 101.0, 101.9, 102.2, 101.3, 101.1), start=1)
    ]

    assert got == [["BTC"], [], ["BTC"], [], ["BTC"], [], ["BTC"]]


def test_updates_are_folded_together_and_say_how_many() -> None:
    chosen = view(at=7, max_rate=5)

    got = {seq: told(chosen, tick(seq, BTC=float(seq))) for seq in range(8, 21)}

    sent = {seq: message for seq, message in got.items() if message}
    assert list(sent) == [10, 15, 20]
    assert [message["merged"] for message in sent.values()] == [3, 5, 5]
    assert [message["data"]["BTC"]["price"] for message in sent.values()] == [10.0, 15.0, 20.0]


@pytest.mark.parametrize(
    ("max_rate", "interval_s", "apart"),
    [(5, 1, 5), (4.5, 1, 5), (5, 2, 3), (5, 30, 1), (30, 30, 1)],
)
def test_two_updates_are_never_nearer_than_was_chosen(
    max_rate: float, interval_s: int, apart: int
) -> None:
    chosen = view(heartbeat_s=3600, max_rate=max_rate)

    sent = [s for s in range(1, 31) if told(chosen, tick(s, BTC=1.0), interval_s=interval_s)]

    assert {later - earlier for earlier, later in pairwise(sent)} == {apart}


def test_what_changed_in_a_tick_that_was_folded_in_is_not_lost() -> None:
    chosen = view(max_rate=3, mode=Mode.DELTA)
    told(chosen, tick(3, BTC=1.0, ETH=2.0))

    got = [told(chosen, tick(4, BTC=5.0, ETH=2.0)), told(chosen, tick(5, BTC=5.0, ETH=2.0))]
    last = told(chosen, tick(6, BTC=5.0, ETH=2.0))

    assert got == [None, None]
    assert last is not None
    assert (last["merged"], names(last)) == (3, ["BTC"])


def test_between_rare_updates_there_are_signs_of_life_that_repeat_the_tick_told_last() -> None:
    chosen = view(max_rate=60, heartbeat_s=15)
    first = chosen.part(tick(60, BTC=1.0), BOTH, 1)
    assert first is not None
    first.text(0)

    beats = {}
    for seq in range(61, 120):
        if part := chosen.part(tick(seq, BTC=1.0), BOTH, 1):
            assert not part.moves
            beats[seq] = json.loads(part.text(60))

    assert list(beats) == [75, 90, 105]
    assert {(b["type"], b["seq"], b["prev_seq"]) for b in beats.values()} == {("heartbeat", 60, 60)}
    assert beats[75]["next_update_at"] == "2026-11-23T12:00:45.000Z"


def test_a_tick_that_was_replaced_while_it_waited_takes_nothing_with_it() -> None:
    chosen = view(mode=Mode.DELTA)
    told(chosen, tick(1, BTC=1.0, ETH=2.0))

    chosen.part(tick(2, BTC=9.0, ETH=2.0), BOTH, 1)  # never sent
    message = told(chosen, tick(3, BTC=9.0, ETH=2.0))

    assert names(message) == ["BTC"]


def test_equal_choices_with_equal_symbols_share_their_text_from_a_tenth_tick_on() -> None:
    one, two = view(at=3, mode=Mode.DELTA), view(at=7, mode=Mode.DELTA)
    told(one, tick(4, BTC=1.0, ETH=1.0))
    told(two, tick(8, BTC=8.0, ETH=2.0))

    for seq in range(10, 15):
        now = tick(seq, BTC=float(seq), ETH=2.0)
        parts = [each.part(now, frozenset(["ETH", "BTC"]), 1) for each in (one, two)]
        texts = [part.text(seq - 1) for part in parts if part]
        assert len(texts) == 2
        assert texts[0] is texts[1]
        assert one._told is two._told


def test_a_snapshot_counts_as_told_once_it_is_sent() -> None:
    chosen = view(mode=Mode.DELTA, fields=("price",))
    now = tick(1, BTC=1.0, ETH=2.0)
    part = chosen.snapshot(["BTC"], {"BTC": now.quotes["BTC"]}, now.place)
    assert json.loads(part.text(0))["data"] == {"BTC": {"symbol": "BTC", "price": 1.0}}

    message = told(chosen, tick(2, BTC=1.0, ETH=2.0))

    assert names(message) == ["ETH"]


def test_what_a_snapshot_lacked_comes_with_the_tick_that_has_it() -> None:
    chosen = view(mode=Mode.DELTA)
    told(chosen, tick(1, BTC=1.0))
    chosen.snapshot(["BTC"], {}, Place("a", 1)).text(1)

    assert names(told(chosen, tick(2, BTC=1.0))) == ["BTC"]


def test_a_new_epoch_begins_with_everything() -> None:
    chosen = view(at=900, mode=Mode.DELTA, max_rate=60)
    begun = tick(1, epoch="b", BTC=1.0, ETH=2.0)

    message = json.loads(chosen.whole(begun, BOTH).text(0))

    assert (message["snapshot"], message["seq"], names(message)) == (True, 1, ["BTC", "ETH"])
    assert told(chosen, tick(2, epoch="b", BTC=3.0)) is None
    assert names(told(chosen, tick(60, epoch="b", BTC=3.0))) == ["BTC"]


def test_what_was_replayed_is_told_anew() -> None:
    chosen = view(mode=Mode.DELTA)
    told(chosen, tick(1, BTC=1.0))
    chosen.forget(Place("a", 3))

    assert names(told(chosen, tick(4, BTC=1.0))) == ["BTC"]


def test_what_a_tick_keeps_for_others_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections chose fields of their own."""
    monkeypatch.setattr(choices, "CACHED_CHARS", 2000)
    now = tick(1, BTC=1.0, ETH=2.0)

    for at, left_out in enumerate(WireQuote.__struct_fields__):
        fields = tuple(name for name in WireQuote.__struct_fields__ if name != left_out)
        part = view(mode=Mode.DELTA, fields=fields).part(now, BOTH, 1)
        assert part is not None
        assert names(json.loads(part.text(at))) == ["BTC", "ETH"]

    texts = [text for key, text in now.cache.items() if key[0] == "text"]
    assert texts
    assert sum(map(len, texts)) <= 2000
    assert now.cache["pieces"].keys() == BOTH


def test_a_tick_that_was_cut_is_let_go_with_the_last_who_holds_it() -> None:
    now = tick(1, BTC=1.0, ETH=2.0)
    told(view(mode=Mode.DELTA, fields=("price",)), now)
    gone = weakref.ref(now)
    gc.disable()
    try:
        del now
        assert gone() is None
    finally:
        gc.enable()
