from __future__ import annotations

import bisect
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.commands import is_client_id, parse
from streaming.protocol import (
    MAX_ID_NUMBER,
    Action,
    Close,
    Code,
    Command,
    Mode,
    ProtocolError,
    Since,
    error_frame,
)

MOST = 16 * 1024


def refusal(text: str | None, max_bytes: int = MOST) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        parse(text, max_bytes)
    return caught.value


@pytest.mark.parametrize(
    ("message", "command"),
    [
        pytest.param(
            {"action": "subscribe", "symbols": ["BTC", "aapl", "coingecko:bitcoin"]},
            Command(Action.SUBSCRIBE, ("BTC", "aapl", "coingecko:bitcoin")),
            id="subscribe, as written",
        ),
        pytest.param(
            {"action": "subscribe", "symbols": ["BTC", "ETH", "BTC"], "id": 7},
            Command(Action.SUBSCRIBE, ("BTC", "ETH"), 7),
            id="each symbol once",
        ),
        pytest.param(
            {"action": "unsubscribe", "symbols": [], "id": "last"},
            Command(Action.UNSUBSCRIBE, (), "last"),
            id="of nothing",
        ),
        pytest.param(
            {"action": "ping", "symbols": "whatever", "later": {"a": 1}, "id": 1.5},
            Command(Action.PING, (), 1.5),
            id="unknown fields",
        ),
        pytest.param(
            {"action": "get_subscriptions", "id": None},
            Command(Action.GET_SUBSCRIPTIONS),
            id="id null is no id",
        ),
        pytest.param(
            {"action": "subscribe", "symbols": ["BTC"], "since": 4, "epoch": "a1"},
            Command(Action.SUBSCRIBE, ("BTC",), since=Since("a1", 4)),
            id="since a tick",
        ),
        pytest.param(
            {"action": "subscribe", "symbols": ["BTC"], "since": 0},
            Command(Action.SUBSCRIBE, ("BTC",), since=Since(None, 0)),
            id="since a tick of no epoch",
        ),
        pytest.param(
            {"action": "subscribe", "symbols": ["BTC"], "since": None, "epoch": 3},
            Command(Action.SUBSCRIBE, ("BTC",)),
            id="since nothing",
        ),
        pytest.param(
            {
                "action": "subscribe",
                "symbols": ["BTC"],
                "fields": ["price", "stale", "price"],
                "min_change_percent": 0.5,
                "max_rate": 5,
                "mode": "delta",
            },
            Command(
                Action.SUBSCRIBE,
                ("BTC",),
                chosen={
                    "fields": ("price", "stale"),
                    "min_change_percent": 0.5,
                    "max_rate": 5,
                    "mode": Mode.DELTA,
                },
            ),
            id="choices",
        ),
        pytest.param(
            {"action": "subscribe", "symbols": [], "fields": None, "mode": None},
            Command(Action.SUBSCRIBE, chosen={"fields": None, "mode": Mode.FULL}),
            id="choices taken back",
        ),
        pytest.param(
            {"action": "unsubscribe", "symbols": ["BTC"], "since": "x", "mode": 1},
            Command(Action.UNSUBSCRIBE, ("BTC",)),
            id="choices belong to subscribe",
        ),
    ],
)
def test_a_request_is_understood(message: dict[str, Any], command: Command) -> None:
    assert parse(json.dumps(message), MOST) == command


@pytest.mark.parametrize("name", ["action", "id", "symbols", "since", "fields", "mode"])
def test_a_value_however_deep_is_one_more_mistake(name: str) -> None:
    rest = "" if name == "action" else ',"action":"subscribe"'
    rest += "" if name == "symbols" else ',"symbols":["BTC"]'
    codes = set()
    deepest = _deepest_read()
    for depth in range(deepest - 100, deepest + 100):
        with pytest.raises(ProtocolError) as caught:
            parse(f'{{"{name}":{"[" * depth}1{"]" * depth}{rest}}}', 4 * MOST)
        codes.add(caught.value.code)

    assert len(codes - {Code.INVALID_JSON}) == 1


def _deepest_read() -> int:
    """Return how deep JSON may be nested here; 6,000 where there is no end to it."""

    def is_too_deep(depth: int) -> bool:
        try:
            msgspec.json.decode("[" * depth + "]" * depth)
        except RecursionError:
            return True
        return False

    return bisect.bisect_left(range(6000), True, key=is_too_deep)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(None, Code.NOT_TEXT, id="binary"),
        pytest.param("", Code.INVALID_JSON, id="empty"),
        pytest.param("{", Code.INVALID_JSON, id="half"),
        pytest.param('{"action": NaN}', Code.INVALID_JSON, id="NaN"),
        pytest.param("[" * 8000, Code.INVALID_JSON, id="deep"),
        pytest.param("[]", Code.INVALID_MESSAGE, id="a list"),
        pytest.param("null", Code.INVALID_MESSAGE, id="null"),
        pytest.param('"subscribe"', Code.INVALID_MESSAGE, id="a word"),
        pytest.param("{}", Code.UNKNOWN_ACTION, id="no action"),
        pytest.param('{"action": "buy"}', Code.UNKNOWN_ACTION, id="unknown action"),
        pytest.param('{"action": ["subscribe"]}', Code.UNKNOWN_ACTION, id="listed action"),
        pytest.param('{"action": "SUBSCRIBE"}', Code.UNKNOWN_ACTION, id="loud action"),
        pytest.param('{"action": "subscribe"}', Code.INVALID_SYMBOLS, id="no symbols"),
        pytest.param(
            '{"action": "subscribe", "symbols": "BTC"}', Code.INVALID_SYMBOLS, id="text for list"
        ),
        pytest.param(
            '{"action": "subscribe", "symbols": ["BTC", 1]}', Code.INVALID_SYMBOLS, id="a number"
        ),
        pytest.param(
            '{"action": "subscribe", "symbols": ["\\ud800"]}', Code.INVALID_JSON, id="surrogate"
        ),
        pytest.param('{"action": "ping", "id": true}', Code.INVALID_ID, id="id true"),
        pytest.param('{"action": "ping", "id": [1]}', Code.INVALID_ID, id="id list"),
        pytest.param('{"action": "ping", "id": 1e300}', Code.INVALID_ID, id="id huge"),
        pytest.param(
            f'{{"action": "ping", "id": {MAX_ID_NUMBER + 1}}}', Code.INVALID_ID, id="id too exact"
        ),
        pytest.param(f'{{"action": "ping", "id": "{"x" * 65}"}}', Code.INVALID_ID, id="id long"),
        pytest.param(f'{{"action": "ping", "id": {"9" * 5000}}}', Code.INVALID_JSON, id="endless"),
    ],
)
def test_a_mistake_has_a_code_and_closes_nothing(text: str | None, code: Code) -> None:
    exc = refusal(text)

    assert (exc.code, exc.close) == (code, None)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("since", "4", Code.INVALID_SINCE),
        ("since", 4.0, Code.INVALID_SINCE),
        ("since", True, Code.INVALID_SINCE),
        ("since", -1, Code.INVALID_SINCE),
        ("since", MAX_ID_NUMBER + 1, Code.INVALID_SINCE),
        ("since", [4], Code.INVALID_SINCE),
        ("fields", [], Code.INVALID_CHOICE),
        ("fields", "price", Code.INVALID_CHOICE),
        ("fields", ["price", "prise"], Code.INVALID_CHOICE),
        ("fields", ["price", ["stale"]], Code.INVALID_CHOICE),
        ("fields", {"price": True}, Code.INVALID_CHOICE),
        ("min_change_percent", "1", Code.INVALID_CHOICE),
        ("min_change_percent", -0.1, Code.INVALID_CHOICE),
        ("min_change_percent", 101, Code.INVALID_CHOICE),
        ("min_change_percent", True, Code.INVALID_CHOICE),
        ("max_rate", -1, Code.INVALID_CHOICE),
        ("max_rate", 3601, Code.INVALID_CHOICE),
        ("max_rate", "fast", Code.INVALID_CHOICE),
        ("mode", "Delta", Code.INVALID_CHOICE),
        ("mode", False, Code.INVALID_CHOICE),
        ("mode", ["delta"], Code.INVALID_CHOICE),
    ],
)
def test_a_choice_of_another_type_or_size_is_a_mistake(
    field: str, value: object, code: Code
) -> None:
    message = {"action": "subscribe", "symbols": ["BTC"], "epoch": "a1", field: value}

    exc = refusal(json.dumps(message))

    assert (exc.code, exc.close) == (code, None)


def test_an_epoch_that_is_no_text_is_a_mistake() -> None:
    message = {"action": "subscribe", "symbols": ["BTC"], "since": 4, "epoch": 7}

    assert refusal(json.dumps(message)).code is Code.INVALID_SINCE


def test_a_mistake_in_a_request_with_an_id_bears_the_id() -> None:
    exc = refusal('{"action": "buy", "id": "a-1"}')

    assert json.loads(error_frame(exc).text) == {
        "type": "error",
        "code": "unknown_action",
        "error": "`action` is one of subscribe, unsubscribe, ping, get_subscriptions.",
        "id": "a-1",
    }


@pytest.mark.parametrize("filler", ["x", "é", "€", "\N{FULL MOON SYMBOL}"])
def test_a_message_may_have_as_many_bytes_as_the_limit_says(filler: str) -> None:
    frame = '{"action": "ping", "note": ""}'
    room = (256 - len(frame)) // len(filler.encode())
    fits = frame.replace('""', f'"{filler * room}"')

    assert parse(fits, 256).action is Action.PING
    exc = refusal(frame.replace('""', f'"{filler * (room + 1)}"'), 255)
    assert (exc.code, exc.close) == (Code.TOO_LARGE, Close.TOO_LARGE)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_requests = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from([*Action]) | _json,
        "symbols": st.lists(st.text() | _json) | _json,
        "id": _json,
        "since": _json,
        "epoch": _json,
        "fields": _json,
        "min_change_percent": _json,
        "max_rate": _json,
        "mode": _json,
    },
)


@given(
    st.text()
    | st.text(st.characters(codec=None, categories=["Cs", "L"]))
    | _requests.map(json.dumps)
    | _requests.map(lambda value: json.dumps(value, ensure_ascii=False))
)
def test_no_text_at_all_raises_anything_but_a_protocol_error(text: str) -> None:
    try:
        answer = json.dumps(parse(text, 512).symbols, ensure_ascii=False)
    except ProtocolError as exc:
        answer = error_frame(exc).text

    assert answer.encode(), "what goes back to the client can be sent"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("dashboard-1", True),
        ("a.b_c:d-9", True),
        ("x" * 64, True),
        ("", False),
        ("x" * 65, False),
        ("two words", False),
        ("é", False),
        ("a\n", False),
    ],
)
def test_a_client_id_is_a_short_plain_label(text: str, is_one: bool) -> None:
    assert is_client_id(text) is is_one
