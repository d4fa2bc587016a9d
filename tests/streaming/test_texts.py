from __future__ import annotations

from streaming.texts import Texts
from tests.streaming.sockets import quote


def test_a_quote_that_is_the_same_as_in_the_tick_before_is_not_made_anew() -> None:
    texts, btc = Texts(), quote("BTC")
    first = texts.told({"BTC": btc, "ETH": quote("ETH")})
    made = dict(zip(sorted(first), texts.entries(first), strict=True))

    again = texts.told({"BTC": btc, "ETH": quote("ETH", 101.0)})
    texts_again = texts.entries(again)

    assert again["BTC"] is first["BTC"]
    assert texts_again[0] is made["BTC"]
    assert '"price":101.0' in texts_again[1]


def test_what_left_the_tick_is_forgotten_and_names_keep_their_order() -> None:
    texts, btc = Texts(), quote("BTC")
    first = texts.told({"BTC": btc, "coingecko:bitcoin": btc})
    assert [text.split(":{")[0] for text in texts.entries(first)] == [
        '"BTC"',
        '"coingecko:bitcoin"',
    ]

    assert texts.entries(texts.told({})) == []
    assert texts.told({"BTC": btc})["BTC"] is not first["BTC"]
