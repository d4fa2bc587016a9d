"""What of a page is too weak to be read, by the colours that the browser computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_SCRIPT = Path(__file__).with_name("contrast.js").read_text()


@dataclass(frozen=True)
class Seen:
    """A text, or the edge of a field, with its contrast and the one that AA wants."""

    text: str
    where: str
    ratio: float
    needed: float

    @property
    def is_weak(self) -> bool:
        return self.ratio < self.needed

    def __str__(self) -> str:
        return f"{self.where} {self.text!r}: {self.ratio:.2f} of {self.needed}"


def seen(page: Page) -> list[Seen]:
    """Return everything that is seen, the weakest first; never nothing."""
    return [Seen(**one) for one in page.evaluate(_SCRIPT)]
