"""What no client should send, by kind, and how each may end. Pure: bytes out of a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from bench import wire

STAYS = 0  # the connection is open afterwards and an error was told
CUT = 1006


@dataclass(frozen=True)
class Kind:
    """One way to be wrong. `ends` are the close codes that are right; STAYS for none."""

    name: str
    make: Callable[[random.Random], bytes]
    ends: Collection[int]
    codes: Collection[str] = ()  # of the error frame, where the connection stays

    @property
    def stays(self) -> bool:
        return STAYS in self.ends


def _text(value: object) -> bytes:
    return wire.frame(json.dumps(value).encode())


def _raw(text: str) -> Callable[[random.Random], bytes]:
    return lambda _: wire.frame(text.encode())


def _noise(chance: random.Random) -> bytes:
    return wire.frame(bytes(chance.choices(b'{}[]",:0123456789.eE+-truefalsn \\u', k=200)))


def _deep(chance: random.Random) -> bytes:
    depth = chance.randrange(500, 8000)
    return wire.frame(b"[" * depth + b"]" * depth)


def _deep_value(chance: random.Random) -> bytes:
    name = chance.choice(["action", "id", "symbols", "since", "fields"])
    depth = chance.randrange(900, 1050)  # about as deep as can be read
    rest = "" if name == "action" else ',"action":"subscribe"'
    rest += "" if name == "symbols" else ',"symbols":["BTC"]'
    return wire.frame(f'{{"{name}":{"[" * depth}1{"]" * depth}{rest}}}'.encode())


def _huge_number(chance: random.Random) -> bytes:
    digits = "9" * chance.randrange(400, 9000)
    return wire.frame(f'{{"action":"ping","id":{digits}}}'.encode())


def _wrong_types(chance: random.Random) -> bytes:
    values: list[Any] = [None, 1, "BTC", {"BTC": 1}, [1, 2], [["BTC"]], [None], True, [{"a": []}]]
    return _text({"action": "subscribe", "symbols": chance.choice(values)})


def _wrong_action(chance: random.Random) -> bytes:
    return _text({"action": chance.choice([None, 7, [], {}, "SUBSCRIBE", "drop", ""])})


def _no_object(chance: random.Random) -> bytes:
    return _text(chance.choice([None, 0, "x", [], [{"action": "ping"}], True, 1.5]))


def _surrogate(_: random.Random) -> bytes:
    return wire.frame(b'{"action":"subscribe","symbols":["\\ud800"]}')


def _binary(chance: random.Random) -> bytes:
    return wire.frame(chance.randbytes(chance.randrange(1, 300)), wire.BINARY)


def _reserved_opcode(chance: random.Random) -> bytes:
    return wire.frame(b"{}", chance.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]))


def _reserved_bit(chance: random.Random) -> bytes:
    return wire.frame(b"{}", rsv=chance.randrange(1, 8))


def _unmasked(_: random.Random) -> bytes:
    return b'\x81\x12{"action": "ping"}'


def _long_control(chance: random.Random) -> bytes:
    return wire.frame(bytes(chance.randrange(126, 400)), wire.PING)


def _cut_control(_: random.Random) -> bytes:
    return wire.frame(b"ping", wire.PING, fin=False)


def _not_utf8(chance: random.Random) -> bytes:
    return wire.frame(
        chance.choice([b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
    )


def _lonely_rest(_: random.Random) -> bytes:
    return wire.frame(b"{}", 0)


def _two_begins(_: random.Random) -> bytes:
    return wire.frame(b"{", fin=False) + wire.frame(b"}")


def _bad_close(chance: random.Random) -> bytes:
    code = chance.choice([0, 999, 1004, 1005, 1006, 1015, 2999, 65535])
    return wire.frame(code.to_bytes(2, "big"), wire.CLOSE)


def _short_close(_: random.Random) -> bytes:
    return wire.frame(b"\x03", wire.CLOSE)


def _close_not_utf8(_: random.Random) -> bytes:
    return wire.frame(b"\x03\xe8\xff\xff", wire.CLOSE)


def _too_large(size: int) -> Callable[[random.Random], bytes]:
    return lambda _: wire.frame(b"x" * size)


def _fragments(count: int) -> Callable[[random.Random], bytes]:
    def make(_: random.Random) -> bytes:
        rest = wire.frame(b"x", 0, fin=False) * (count - 2)
        return wire.frame(b"x", fin=False) + rest + wire.frame(b"x", 0)

    return make


# The server's own reading ends these: uvicorn by a close, daphne's autobahn just drops the
# connection, which the RFC allows too.
_PROTOCOL = (1002, CUT)
MESSAGES = [
    Kind("noise", _noise, (STAYS,), ("invalid_json", "invalid_message")),
    Kind("deep JSON", _deep, (STAYS, 1009), ("invalid_json", "invalid_message", "too_large")),
    Kind(
        "deep value",
        _deep_value,
        (STAYS,),
        (
            *("invalid_json", "unknown_action", "invalid_id", "invalid_symbols"),
            *("invalid_since", "invalid_choice"),
        ),
    ),
    Kind("huge number", _huge_number, (STAYS,), ("invalid_json", "invalid_id")),
    Kind("NaN", _raw('{"action":"ping","id":NaN}'), (STAYS,), ("invalid_json",)),
    Kind("no end", _raw('{"action":"ping"'), (STAYS,), ("invalid_json",)),
    Kind("wrong types", _wrong_types, (STAYS,), ("invalid_symbols",)),
    Kind("wrong action", _wrong_action, (STAYS,), ("unknown_action",)),
    Kind(
        "the last of two keys", _raw('{"action":"ping","action":7}'), (STAYS,), ("unknown_action",)
    ),
    Kind("no object", _no_object, (STAYS,), ("invalid_message",)),
    Kind("lone surrogate", _surrogate, (STAYS,), ("invalid_symbols", "invalid_json")),
    Kind("binary", _binary, (STAYS,), ("not_text",)),
]
FRAMES = [
    Kind("reserved opcode", _reserved_opcode, _PROTOCOL),
    Kind("reserved bit", _reserved_bit, _PROTOCOL),
    Kind("no mask", _unmasked, _PROTOCOL),
    Kind("long control frame", _long_control, _PROTOCOL),
    Kind("control frame in parts", _cut_control, _PROTOCOL),
    Kind("not UTF-8", _not_utf8, (1007, CUT)),
    Kind("continuation of nothing", _lonely_rest, _PROTOCOL),
    Kind("a message within a message", _two_begins, _PROTOCOL),
    Kind("impossible close code", _bad_close, _PROTOCOL),
    Kind("close of one byte", _short_close, _PROTOCOL),
    Kind("close reason not UTF-8", _close_not_utf8, (1002, 1007, CUT)),
    Kind("16 KiB and a byte", _too_large(16 * 1024 + 1), (1009,)),
    Kind("64 KiB and a byte", _too_large(64 * 1024 + 1), (1009, CUT)),
]
# Costly for both ends, so these come a few times each.
LARGE = [
    Kind("1 MiB and a byte", _too_large(1024 * 1024 + 1), (1009, CUT)),
    Kind("100,000 fragments", _fragments(100_000), (4429, CUT)),
]
