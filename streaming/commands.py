"""What a client may say: the text of one message in, a command out, or what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from streaming.protocol import (
    MAX_ID_CHARS,
    MAX_ID_NUMBER,
    MAX_RATE_S,
    Action,
    Close,
    Code,
    Command,
    Mode,
    ProtocolError,
    RequestId,
    Since,
    WireQuote,
)

_CLIENT_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")
_ACTIONS = {action.value: action for action in Action}


def parse(text: str | None, max_bytes: int) -> Command:
    """Return the command in one client message; None stands for a binary one.

    Raises ProtocolError, and nothing else, whatever the text.
    """
    if text is None:
        raise ProtocolError(Code.NOT_TEXT, "Send JSON in text messages, not in binary ones.")
    _check_size(text, max_bytes)
    try:
        message = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise ProtocolError(Code.INVALID_JSON, "This is not JSON.") from None
    if not isinstance(message, dict):
        raise ProtocolError(Code.INVALID_MESSAGE, "Send one JSON object a message.")
    request_id = _request_id(message.get("id"))
    try:
        return _command(message, request_id)
    except ProtocolError as exc:
        exc.id = request_id
        raise


class _Identified(msgspec.Struct):
    id: RequestId | None = None


_identified = msgspec.json.Decoder(_Identified).decode


def id_in(text: str | None, max_bytes: int) -> RequestId | None:
    """Return the `id` of a message that is not heeded; None where it has none that is right."""
    if text is None or len(text) > max_bytes:
        return None
    try:
        return _request_id(_identified(text).id)
    except (ValueError, RecursionError, ProtocolError):
        return None


def _check_size(text: str, max_bytes: int) -> None:
    # Characters are counted first: they cost nothing and are never more than the bytes.
    if len(text) > max_bytes or len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise ProtocolError(
            Code.TOO_LARGE,
            f"A message may have {max_bytes} bytes (WS_MAX_MESSAGE_BYTES).",
            close=Close.TOO_LARGE,
        )


def _request_id(value: object) -> RequestId | None:
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= MAX_ID_CHARS and _is_sendable(value):
        return value
    if isinstance(value, bool):
        pass  # a number to Python alone
    elif isinstance(value, int | float) and abs(value) <= MAX_ID_NUMBER:
        return value
    raise ProtocolError(
        Code.INVALID_ID, f"`id` is a text of up to {MAX_ID_CHARS} characters, or a number."
    )


def _command(message: dict[str, Any], request_id: RequestId | None) -> Command:
    named = message.get("action")
    # Nothing else is made a text of: what is nested deeply could not be.
    action = _ACTIONS.get(named) if isinstance(named, str) else None
    if action is None:
        raise ProtocolError(Code.UNKNOWN_ACTION, f"`action` is one of {', '.join(_ACTIONS)}.")
    if action in {Action.PING, Action.GET_SUBSCRIPTIONS}:
        return Command(action, id=request_id)
    symbols = _symbols(message.get("symbols"))
    if action is Action.UNSUBSCRIBE:
        return Command(action, symbols, request_id)
    chosen = {name: read(message[name]) for name, read in _CHOICES.items() if name in message}
    return Command(action, symbols, request_id, _since(message), chosen)


def _symbols(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not _are_texts(value):
        raise ProtocolError(Code.INVALID_SYMBOLS, '`symbols` is a list like ["BTC", "AAPL"].')
    return tuple(dict.fromkeys(value))


def _are_texts(values: list[Any]) -> bool:
    """Return whether all are texts that can be sent back."""
    try:
        return _is_sendable("".join(values))
    except TypeError:
        return False


def _since(message: dict[str, Any]) -> Since | None:
    seq, epoch = message.get("since"), message.get("epoch")
    if seq is None:
        return None
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= MAX_ID_NUMBER:
        raise ProtocolError(Code.INVALID_SINCE, "`since` is the `seq` of the last tick you have.")
    if not (epoch is None or isinstance(epoch, str)):
        raise ProtocolError(Code.INVALID_SINCE, "`epoch` is a text, as `welcome` has it.")
    return Since(epoch, seq)


def _fields(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    known = WireQuote.__struct_fields__
    if not isinstance(value, list) or not value or not all(name in known for name in value):
        raise ProtocolError(
            Code.INVALID_CHOICE, f"`fields` is null or a list of some of {', '.join(known)}."
        )
    return tuple(dict.fromkeys(value))


def _number(name: str, most: int, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    raise ProtocolError(Code.INVALID_CHOICE, f"`{name}` is null or a number from 0 to {most}.")


def _mode(value: object) -> Mode:
    if value is None:
        return Mode.FULL
    if isinstance(value, str) and value in set(Mode):
        return Mode(value)
    raise ProtocolError(Code.INVALID_CHOICE, f"`mode` is {' or '.join(Mode)}.")


_CHOICES: dict[str, Callable[[object], Any]] = {
    "fields": _fields,
    "min_change_percent": partial(_number, "min_change_percent", 100),
    "max_rate": partial(_number, "max_rate", MAX_RATE_S),
    "mode": _mode,
}


def _is_sendable(text: str) -> bool:
    """Return whether a text of the client's can be sent back: lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_client_id(text: str) -> bool:
    return _CLIENT_ID.fullmatch(text) is not None
