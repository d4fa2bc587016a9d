"""How what is said becomes what is written: each kind of line has a form of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Form:
    """How what is said becomes what is written; one for all lines that are written to alike.

    This one leaves texts as they are.
    """

    __slots__ = ()

    def __call__(self, text: str) -> Any:
        return text

    def members(self, start: bytes, members: Sequence[bytes]) -> Any:
        """Return what is written of `start`, members with commas between, and two braces."""
        return self(text_of(start, members))


def text_of(start: bytes, members: Sequence[bytes]) -> str:
    """Return a text whose end, most of it, many others have as well."""
    return f"{start.decode()}{b','.join(members).decode()}}}}}"
